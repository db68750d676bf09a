"""A mapping in the terminal: its loop nest, what moves and what is busy, how well it is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from rich.console import Console, Group
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from accel_models.engines.tile import ceil_div
from accel_models.path import ENGINE
from mappers.legality import occupancy
from mappers.mapping import describe_tile
from mappers.matmul import output_jobs
from mappers.reuse import Nest
from sim.map_api import Mapped
from sim.report.quantities import binary, percent, si

SMALLEST_SHARE = 0.0005


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the nest: a level with its tile and what it holds, or a loop, at its depth."""

    depth: int
    text: str
    tile: tuple[int, ...] = ()
    held: str = ""


def nest_lines(mapped: Mapped) -> Iterator[Line]:
    """Levels from the outermost in; between two of them the loops that step through the outer
    one's tile, and how each step is spread over instances."""
    nest = Nest(mapped.found.mapping, mapped.path, mapped.problem)
    ranks = shown_ranks(mapped)
    depth = 0
    for index, level in enumerate(mapped.path.levels):
        if index:
            loops = [*_dealt(nest, index), *_loops(nest, index), *_spread(nest, index)]
            yield from (Line(depth + 1 + i, text) for i, text in enumerate(loops))
            depth += len(loops) + 1
        here = nest.mapping.levels[index]
        tile = tuple(here.tile[rank] for rank in ranks)
        held = "" if level.name == ENGINE else _held(mapped, index)
        yield Line(depth, level.name, tile, held)


def shown_ranks(mapped: Mapped) -> list[str]:
    """Ranks with more than one element; all of them where there is none."""
    extents = mapped.problem.extents
    return [rank for rank, extent in extents.items() if extent > 1] or list(extents)


def _loops(nest: Nest, index: int) -> Iterator[str]:
    """`for m in 32`, with the size of a shorter last step."""
    here, above = nest.mapping.levels[index], nest.mapping.levels[index - 1]
    for rank in here.order:
        trips = nest.trips(index, rank)
        if trips == 1 or nest.dealt(index, rank):
            continue
        step = here.tile[rank] * here.spatial[rank]
        last = above.tile[rank] - (trips - 1) * step
        yield f"for {rank} in {trips}" + (f"  (last: {last} of {step})" if last < step else "")


def _dealt(nest: Nest, index: int) -> Iterator[str]:
    """`deal tiles m 86 x n 3`: cores take them, or shares of their sums, as they fall free."""
    path, here, output = nest.path, nest.mapping.levels[index], nest.problem.ranks_of("output")
    dealt = [rank for rank in nest.problem.extents if nest.dealt(index, rank) and rank in output]
    if not dealt:
        return
    tiles = " x ".join(f"{r} {nest.ratio(index, r)}" for r in dealt if nest.ratio(index, r) > 1)
    shares = "".join(f", {r} in {s} shares" for r, s in here.spatial.items() if s > 1)
    jobs = output_jobs(nest)
    waves = ceil_div(jobs, path.cores)
    every = f"{jobs} in all, {waves} {'wave' if waves == 1 else 'waves'}"
    yield f"deal tiles {tiles or 1}{shares} to {path.cores} {path.name}  ({every})"


def _spread(nest: Nest, index: int) -> Iterator[str]:
    """`spread m over 2, n over 2  (4 of 4 engine)`, where there are instances to spread over."""
    path, here = nest.path, nest.mapping.levels[index]
    fan_out = path.levels[index].instances // path.levels[index - 1].instances
    if fan_out == 1 or (index == path.first_core and path.control.dispatch == "dynamic"):
        return
    name = path.name if index == path.first_core else path.levels[index].name
    over = ", ".join(f"{r} over {s}" for r, s in here.spatial.items() if s > 1) or "nothing"
    yield f"spread {over}  ({prod(here.spatial.values())} of {fan_out} {name})"


def _held(mapped: Mapped, index: int) -> str:
    """`48 KiB of 164 KiB (29 %): activation 16 KiB, weight 32 KiB`"""
    bytes_by = occupancy(mapped.problem, mapped.found.mapping, mapped.path, index)
    total, capacity = sum(bytes_by.values()), mapped.path.levels[index].capacity
    parts = ", ".join(f"{operand} {binary(size)}" for operand, size in bytes_by.items())
    if not parts:
        return "nothing"
    return f"{binary(total)} of {binary(capacity)} ({small(total / capacity)}): {parts}"


def small(share: float) -> str:
    """A share as people read it, also where it is next to nothing."""
    return "< 0.1 %" if 0 < share < SMALLEST_SHARE else percent(share)


def nest_text(mapped: Mapped) -> str:
    """The nest as aligned lines, each level with its tile and what it holds."""
    lines, ranks = list(nest_lines(mapped)), shown_ranks(mapped)
    width = max(len("  " * line.depth + line.text) for line in lines if line.tile)
    columns = [max(len(rank), *(len(str(x.tile[i])) for x in lines if x.tile))
               for i, rank in enumerate(ranks)]  # fmt: skip
    head = " ".join(rank.rjust(size) for rank, size in zip(ranks, columns, strict=True))
    found = [f"{'level'.ljust(width)}  {head}  holds"]
    for line in lines:
        text = ("  " * line.depth + line.text).ljust(width)
        tile = " ".join(str(x).rjust(size) for x, size in zip(line.tile, columns, strict=False))
        found.append(f"{text}  {tile}  {line.held}".rstrip())
    return "\n".join(found)


def show_mapped(mapped: Mapped, console: Console) -> None:
    """Print the whole report."""
    title = Text(f"{mapped.workload} on {mapped.design.title}")
    console.print(Panel(Group(*_headline(mapped)), title=title, expand=False))
    console.print(Text(nest_text(mapped)), soft_wrap=True)
    console.print(_resources(mapped))
    if mapped.front:
        console.print(_front(mapped))


def _front(mapped: Mapped) -> Table:
    """Latency, energy and bytes held of each, and its tiles in the cores."""
    table = Table(title="no other mapping found beats these in all three", header_style="bold")
    for name in ("latency", "energy", "held on chip", "tile"):
        table.add_column(name, justify="left" if name == "tile" else "right")
    for point in mapped.front:
        tile = describe_tile(point.found.mapping, mapped.path.first_core)
        held = f"{point.held_bytes / 1024:,.1f} KiB"
        table.add_row(si(point.latency_s, "s"), si(point.energy_j, "J"), held, tile)
    return table


def _headline(mapped: Mapped) -> Iterator[Text]:
    cost, path = mapped.cost, mapped.path
    engine = "" if path.runs_on == "matrix" else ", on the vector engine"
    rows = {
        "latency": f"[bold]{si(cost.latency_s, 's')}[/], {mapped.cycles:,.0f} cycles at "
        f"{si(path.clock_hz, 'Hz')}, {mapped.compute_cycles:,.0f} of them computing",
        "energy": f"[bold]{si(cost.energy_j, 'J')}[/], {si(cost.energy_j / cost.latency_s, 'W')}",
        "bound by": f"[bold]{escape(cost.bound_by)}[/]; utilization {percent(mapped.utilization)} "
        f"of {path.cores} {escape(path.name)}{engine}",
        "formats": escape(", ".join(f"{what} {name}" for what, name in mapped.formats.items())),
        "mapping": escape(how_known(mapped)),
    }
    return (Text.from_markup(f"{key:9} {value}") for key, value in rows.items())


def how_known(mapped: Mapped) -> str:
    """Where the mapping comes from, how many there are, and how far the optimum can be."""
    found = mapped.found
    if mapped.file:
        return f"as written in {mapped.file}"
    rest = "not looked at" if found.gap else "pruned"
    counts = f"{_count(found.total)} mappings, {_count(found.evaluated)} costed, "
    counts += f"{_count(found.pruned)} {rest}, {si(found.seconds, 's')}"
    counts += " (from the cache)" if found.cached else ""
    return f"{quality(mapped)}; {counts}"


def quality(mapped: Mapped) -> str:
    """`least latency`, or how far from it at most."""
    found, objective = mapped.found, {"edp": "energy-delay product"}.get(mapped.objective)
    what = f"least {objective or mapped.objective}"
    if not found.gap:
        return what
    stopped = "interrupted: " if found.interrupted else ""
    return f"{stopped}within {100 * found.gap:.3g} % of the {what}"


def _count(number: int) -> str:
    """With separators up to a million, then as a power."""
    return f"{number:,}" if number < 10_000_000 else f"{float(number):.3g}".replace("e+", "e")


def _resources(mapped: Mapped) -> Table:
    """Bytes by level and operand; time of everything that can be busy; energy."""
    cost = mapped.cost
    table = Table(header_style="bold", pad_edge=False)
    for name in ("level", "operand", "read", "written", "busy", "of latency", "energy"):
        table.add_column(name, justify="left" if name in ("level", "operand") else "right")
    rest = dict(cost.bounds())
    for level in mapped.path.memories:
        operands = cost.work.traffic.get(level.name, {})
        busy = rest.pop(level.name, 0.0)
        sums = [sum(moved[way] for moved in operands.values()) for way in (0, 1)]
        times = (si(busy, "s"), percent(busy / cost.latency_s))
        joules = si(cost.joules.get(level.name, 0.0), "J")
        table.add_section()
        table.add_row(level.name, "all", *(binary(s) for s in sums), *times, joules, style="bold")
        for operand, moved in operands.items():
            table.add_row("", operand, *(binary(amount) for amount in moved))
    table.add_section()
    for name, seconds in (rest | {"static": 0.0}).items():
        spent = cost.joules.get(name)
        if seconds or spent:
            times = (si(seconds, "s"), percent(seconds / cost.latency_s)) if seconds else ("", "")
            table.add_row(name, "", "", "", *times, "" if spent is None else si(spent, "J"))
    return table
