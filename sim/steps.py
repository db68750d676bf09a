"""Runs one after the other as one: the steps of a request, the chunks of a prompt.

Steps that differ only in how long the context is are simulated at up to SAMPLES of them, evenly
spaced from the first to the last, and interpolated linearly between them (attention's cost is close
to linear in the context, everything else constant).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sim import analytic
from sim.run import EventRun, OpRun, Run, StageRun, Traffic, Trust

SAMPLES = 9


@dataclass(frozen=True)
class Part:
    """Steps alike: runs at some of them, how many each stands for, and the name of the part."""

    label: str
    runs: Sequence[Run]
    weights: Sequence[float]

    @property
    def steps(self) -> float:
        return sum(self.weights)

    @property
    def latency_s(self) -> float:
        return sum(w * r.latency_s for w, r in zip(self.weights, self.runs, strict=True))

    @property
    def energy_j(self) -> float:
        return sum(w * r.energy_j for w, r in zip(self.weights, self.runs, strict=True))


def sampled(label: str, first: int, last: int, every: int, run: Callable[[int], Run]) -> Part:
    """Steps of which each adds `every` to the context, simulated at some contexts."""
    wanted = np.arange(first, last + 1, every)
    places = np.linspace(0, len(wanted) - 1, min(SAMPLES, len(wanted))).round().astype(int)
    contexts = wanted[np.unique(places)]
    return Part(label, [run(int(c)) for c in contexts], step_weights(contexts, wanted))


def step_weights(contexts: np.ndarray, wanted: np.ndarray) -> list[float]:
    """How often each sampled context counts, so that sum(weight * value) is the interpolated
    sum."""
    basis = np.eye(len(contexts))
    return [float(np.interp(wanted, contexts, row).sum()) for row in basis]


def in_turn(parts: Sequence[Part]) -> Run:
    """All parts as one run; what is not summed is the last one's."""
    ops = tuple(op for part in parts for op in _mean_ops(part))
    last = parts[-1].runs[-1]
    latency, energy = parts[0].runs[-1].latency_trust, parts[0].runs[-1].energy_trust
    seconds, joules = parts[0].latency_s, parts[0].energy_j
    for part in parts[1:]:
        run = part.runs[-1]
        latency = _joined(latency, run.latency_trust, seconds, part.latency_s)
        energy = _joined(energy, run.energy_trust, joules, part.energy_j)
        seconds, joules = seconds + part.latency_s, joules + part.energy_j
    warnings = [text for part in parts for text in part.runs[-1].warnings]
    return replace(
        last,
        latency_s=seconds,
        energy_j=joules,
        ops=ops,
        limits=analytic.limits(ops),
        latency_trust=latency,
        energy_trust=energy,
        facts=parts[0].runs[-1].facts,
        stages=_stages(parts),
        event=_by_events(parts),
        interval_s=None,  # steps differ
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _by_events(parts: Sequence[Part]) -> EventRun | None:
    """All steps together; None of runs by the closed form."""
    steps = [
        (part, w, run.event)
        for part in parts
        for w, run in zip(part.weights, part.runs, strict=True)
        if run.event is not None
    ]
    if not steps:
        return None
    stalls: dict[str, dict[str, float]] = {}
    for _, weight, event in steps:
        for name, times in event.stalls.items():
            total = stalls.setdefault(name, {})
            for what, seconds in times.items():
                total[what] = total.get(what, 0.0) + weight * seconds
    sections = (
        replace(section, op=f"{part.label}.{section.op}".strip("."), count=section.count * weight)
        for part, weight, event in steps
        for section in event.sections
    )
    return EventRun(
        sum(weight * event.analytic_latency_s for _, weight, event in steps),
        sum(event.events for _, _, event in steps),
        stalls,
        tuple(sections),
        any(event.partial for _, _, event in steps),
        policy=steps[0][2].policy,
    )


def _stages(parts: Sequence[Part]) -> tuple[StageRun, ...]:
    """Of several chips, what each stage takes for all parts; they hold what the last part does."""
    found = []
    for i, stage in enumerate(parts[-1].runs[-1].stages):
        steps = [
            (w, run.stages[i]) for p in parts for w, run in zip(p.weights, p.runs, strict=True)
        ]
        seconds = sum(w * each.latency_s for w, each in steps)
        joules = sum(w * each.energy_j for w, each in steps)
        found.append(replace(stage, latency_s=seconds, energy_j=joules))
    return tuple(found)


def _mean_ops(part: Part) -> tuple[OpRun, ...]:
    """A part's ops averaged over its steps, each running as often as there are steps."""
    share = [w / part.steps for w in part.weights]
    return tuple(
        _mean_op(part, same, share) for same in zip(*(r.ops for r in part.runs), strict=True)
    )


def _mean_op(part: Part, same: tuple[OpRun, ...], share: list[float]) -> OpRun:
    last, name = same[-1], same[-1].name
    if len({(op.name, op.fused) for op in same}) != 1:
        raise AssertionError("ops of one model differ between contexts")

    def mean(maps: list[dict[str, float]]) -> dict[str, float]:
        keys = dict.fromkeys(k for m in maps for k in m)
        return {k: sum(s * m.get(k, 0.0) for s, m in zip(share, maps, strict=True)) for k in keys}

    times = round(part.steps) if abs(part.steps - round(part.steps)) < 1e-9 else part.steps
    return replace(
        last,
        name=f"{part.label}.{name}" if part.label else name,
        count=last.count * times,
        latency_s=sum(s * op.latency_s for s, op in zip(share, same, strict=True)),
        energy_j=sum(s * op.energy_j for s, op in zip(share, same, strict=True)),
        saves_s=mean([op.saves_s for op in same]),
        macs=round(sum(s * op.macs for s, op in zip(share, same, strict=True))),
        traffic=_mean_traffic(same, share),
        utilization=sum(s * op.utilization for s, op in zip(share, same, strict=True)),
        busy_s=mean([op.busy_s for op in same]),
        exposed_s=mean([op.exposed_s for op in same]),
        energy_by_j=mean([op.energy_by_j for op in same]),
    )


def _mean_traffic(same: tuple[OpRun, ...], share: list[float]) -> dict[str, dict[str, Traffic]]:
    total: dict[str, dict[str, Traffic]] = {}
    for s, op in zip(share, same, strict=True):
        for level, operands in op.traffic.items():
            here = total.setdefault(level, {})
            for operand, t in operands.items():
                before = here.get(operand, Traffic(0.0, 0.0))
                here[operand] = Traffic(before.read + s * t.read, before.written + s * t.written)
    return total


def _joined(a: Trust, b: Trust, of_a: float, of_b: float) -> Trust:
    """Trust of a sum whose parts rest on the same numbers: half-widths add, weighted."""
    total = of_a + of_b
    shares = {k: (a.shares[k] * of_a + b.shares[k] * of_b) / total for k in a.shares}
    width = (_width(a) * of_a + _width(b) * of_b) / total
    return Trust(shares, total * (1 - width), total * (1 + width))


def _width(trust: Trust) -> float:
    return (trust.high - trust.low) / (trust.high + trust.low)
