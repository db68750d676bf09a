"""An op of the closed form with the times that its events have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sim.event.critical import NOT_RECORDED
from sim.run import OpRun


def as_it_ran(
    op: OpRun,
    seconds: float,
    exposed: Mapping[str, float],
    saves: Mapping[str, float],
    static_w: float,
) -> OpRun:
    """`exposed`: seconds of its critical path by resource. Static power flows for as long as it
    takes; dynamic energy is the op's. Utilization does not rise where others hide the op."""
    static = static_w * (seconds - op.latency_s)
    named = [name for name in exposed if name != NOT_RECORDED]
    ranked = sorted(named, key=lambda name: -exposed[name])
    return replace(
        op,
        latency_s=seconds,
        energy_j=op.energy_j + static,
        energy_by_j=op.energy_by_j | {"static": op.energy_by_j.get("static", 0.0) + static},
        utilization=op.utilization * min(1.0, op.latency_s / seconds) if seconds else 0.0,
        exposed_s=dict(exposed),
        saves_s=dict(saves),
        bound_by=ranked[0] if ranked else op.bound_by,
        next_bound=ranked[1] if len(ranked) > 1 else op.next_bound,
    )
