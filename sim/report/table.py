"""A Run in the terminal: key figures, ops grouped by kind, what limits, how far to trust it."""

from __future__ import annotations

from textwrap import wrap

from rich.console import Console, Group
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from sim.report.quantities import binary, percent, si
from sim.report.tenants import tenants_lines
from sim.run import EventRun, OpRun, Run, Trust

GROUPS = {
    "einsum": "matrix multiplications",
    "experts": "layers of experts",
    "attention": "attention",
    "vector": "vector functions",
    "gather": "gathers",
    "move": "copies",
    "collective": "between chips",
    "fetch": "fetches, beside layers",
    "attention_backward": "gradients of attention",
    "update": "the optimizer",
}
SHOWN_LIMITS = 4
CAUSES = ("data", "space", "sync", "launch", "refresh", "turnaround")
LEAST_WAIT = 5e-4  # share of the latency that is said
WIDTH_WITHOUT_TERMINAL = 140
WIDEST_NAME = 40
COLUMNS = ("op", "each", "total", "share", "bound by", "then", "util.", "energy", "tile")


def report_console() -> Console:
    """The terminal's width, or wide enough for the table where the output is a file or a pipe."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH_WITHOUT_TERMINAL)


def show_run(run: Run, console: Console) -> None:
    """Print the whole report."""
    title = Text(f"{run.workload} on {run.design_title}")
    console.print(Panel(Group(*_headline(run)), title=title, expand=False))
    console.print(_ops_table(run))
    console.print(Group(*_closing(run)))
    for warning in run.warnings:
        console.print(Text(f"warning: {warning}", style="yellow"))


def _headline(run: Run) -> list[Text]:
    span = f"batch {run.batch}, new tokens {run.tokens}, context {run.context}"
    span = span if run.unit == "token" else "all of them once"
    times = [f"[bold]{si(run.latency_s, 's')}[/]"]
    times += [f"TTFT {si(run.ttft_s, 's')}"] if run.ttft_s else []
    times += [f"TPOT {si(run.tpot_s, 's')}"] if run.tpot_s else []
    area = f"{run.area_mm2:.4g} mm2" if run.area_mm2 else "not given"
    area += "" if run.area_is_die or not run.area_mm2 else ", of the parts that state one"
    energy = f"[bold]{si(run.energy_j, 'J')}[/], {si(run.energy_per_token_j, 'J')}/{run.unit}"
    fits = "fits" if run.fits else "[red]does not fit[/]"
    need = " + ".join(f"{name} {binary(size)}" for name, size in run.held().items())
    need += _elsewhere(run)
    formats, parameters = escape(run.formats), f"{run.params:,}"
    if run.kept_params != run.params:
        parameters = f"{run.kept_params:,} of {parameters}"
    speed = f"[bold]{run.tokens_per_s:.4g}[/] {run.unit}s/s"
    rows = {
        "phase": f"[bold]{run.phase}[/], {span}, formats: {formats}, {run.simulator}",
        "latency": f"{', '.join(times)}, {speed}{_money(run)}",
        "energy": f"{energy}, power {si(run.power_w, 'W')}",
        **({"chips": _chips(run)} if run.stages else {}),
        "area": area,
        "memory": f"{need}: {fits} {binary(run.memory_bytes)} ({parameters} parameters)",
    }
    return [Text.from_markup(f"{key:8} {value}") for key, value in rows.items()]


def _chips(run: Run) -> str:
    """How many there are, how they share the work, and how full the fullest is."""
    axes = ", ".join(f"{axis} {ways}" for axis, ways in run.parallel.items()) or "no parallelism"
    full = max(run.stages, key=lambda stage: stage.need_bytes / stage.memory_bytes)
    fits = "fits" if full.fits else "[red]does not fit[/]"
    most = f"the fullest holds {binary(full.need_bytes)}: {fits} {binary(full.memory_bytes)}"
    every = f"; a batch every {si(run.interval_s, 's')}" if run.interval_s else ""
    return f"[bold]{run.chips}[/]: {axes}{every}; {most}"


def _elsewhere(run: Run) -> str:
    """What lives in backing memories, and what that leaves."""
    if not run.backing:
        return ""
    parts = (f"{binary(h.bytes)} in {n} of {binary(h.capacity)}" for n, h in run.backing.items())
    return f", {', '.join(parts)}, here {binary(run.main_bytes)}"


def _money(run: Run) -> str:
    if run.cost_usd is None:
        return ""
    return f", {run.cost_usd / run.produced_tokens * 1e6:.3g} USD per million {run.unit}s"


def _ops_table(run: Run) -> Table:
    table = Table(header_style="bold", pad_edge=False)
    for name in COLUMNS:
        right = name in ("each", "total", "share", "util.", "energy")
        table.add_column(name, justify="right" if right else "left", no_wrap=True)
    for kind, title in GROUPS.items():
        ops = [op for op in run.ops if op.kind == kind]
        if not ops:
            continue
        total = sum(op.count * op.latency_s for op in ops)
        joules = sum(op.count * op.energy_j for op in ops)
        share = percent(total / run.latency_s)
        table.add_section()
        table.add_row(
            f"[bold]{title}[/]",
            "",
            si(total, "s"),
            share,
            "",
            "",
            "",
            si(joules, "J"),
            "",
            style="cyan",
        )
        for op in sorted(ops, key=lambda op: -op.count * op.latency_s):
            table.add_row(*_op_row(op, run))
    return table


def _op_row(op: OpRun, run: Run) -> tuple[str, ...]:
    name = _folded(op.name + (f" x{op.count:g}" if op.count > 1 else ""))
    if op.fused:
        name += "\n" + "\n".join(wrap("+ " + ", ".join(op.fused), WIDEST_NAME))
    tile = f"{op.variant}\n{op.tile}" if op.fused else op.tile
    tile = f"{op.variant}: {op.tile}" if op.variant and not op.fused else tile
    return (
        name,
        si(op.latency_s, "s"),
        si(op.count * op.latency_s, "s"),
        percent(op.count * op.latency_s / run.latency_s),
        op.bound_by,
        op.next_bound,
        percent(op.utilization) if op.utilization else "",
        si(op.count * op.energy_j, "J"),
        tile,
    )


def _folded(name: str) -> str:
    """In lines of at most WIDEST_NAME, which end where a part of the name does."""
    lines = []
    while len(name) > WIDEST_NAME:
        cut = max(name.rfind(mark, 0, WIDEST_NAME) for mark in "._ ") + 1 or WIDEST_NAME
        lines.append(name[:cut].rstrip())
        name = name[cut:]
    return "\n".join((*lines, name))


def _closing(run: Run) -> list[Text]:
    lines = [Text("what limits", style="bold")]
    for limit in run.limits[:SHOWN_LIMITS]:
        saved = percent(limit.saves_s / run.latency_s)
        lines.append(
            Text(
                f"  {limit.resource}: {percent(limit.exposed_s / run.latency_s)} of the latency; "
                f"were it free, {saved} less before something else limits"
            )
        )
    lines += _waiting(run)
    lines.append(Text("how far to trust it", style="bold"))
    lines.append(Text("  latency " + _trust(run.latency_trust, "s")))
    lines.append(Text("  energy  " + _trust(run.energy_trust, "J")))
    if run.area_trust and run.area_mm2:
        shares = ", ".join(f"{percent(s)} {k}" for k, s in run.area_trust.shares.items() if s)
        lines.append(Text(f"  area    {run.area_mm2:.4g} mm2 rests on {shares}"))
    return lines


def _waiting(run: Run) -> list[Text]:
    """Of a run by events, who waited for whom, busiest first."""
    if run.event is None:
        return []
    closed = run.event.analytic_latency_s
    share = run.latency_s / closed - 1
    more = f"{percent(abs(share))} {'less' if share >= 0 else 'more'}"
    policy = f" by {run.event.policy}" if run.event.policy else ""
    events = f"{run.event.events:,} events"
    title = f"who waits{policy} ({events}; closed form {si(closed, 's')}, {more})"
    lines = [Text(title, style="bold")]
    ranked = sorted(run.event.stalls.items(), key=lambda item: -item[1]["busy"])
    for name, parts in ranked:
        whole = sum(parts.values()) or 1.0
        shares = {what: seconds / whole for what, seconds in parts.items()}
        waits = [f"{percent(shares[c])} for {c}" for c in CAUSES if shares.get(c, 0.0) > LEAST_WAIT]
        said = f"{percent(shares['busy'])} busy; waits {', '.join(waits) or 'for nothing'}"
        lines.append(Text(f"  {name}: {said}; {percent(shares['idle'])} idle"))
    if run.event.tenants:
        head, *rows = tenants_lines(run.event)
        lines += [Text(head, style="bold"), *map(Text, rows)]
    return lines + _board_power(run.event)


def _board_power(event: EventRun) -> list[Text]:
    """Of a board that limits mean power, how far the credit of a board that was idle goes."""
    if not event.power:
        return []
    most = max(event.power, key=lambda span: span.watts)
    held = next((span for span in event.power if span.clock < 1), None)
    said = "the limit never holds"
    if held:
        last = min(event.power, key=lambda span: span.clock)
        said = f"the limit holds from {si(held.start_s, 's')} on, at {percent(last.clock)} speed"
    return [Text(f"board power over time: up to {si(most.watts, 'W')}; {said}")]


def _trust(trust: Trust, unit: str) -> str:
    shares = ", ".join(f"{percent(s)} {k}" for k, s in trust.shares.items() if s > 0.0005)
    return f"{si(trust.low, unit)} to {si(trust.high, unit)}; rests on {shares} numbers"
