"""Collective ops of a stage of a system: which they are, and their rounds."""

from __future__ import annotations

from accel_models.collective_phases import Phases, handed_on, phases
from mappers.arrangement import STAGE
from mappers.partition import StagePlan
from mappers.plan import Placed
from workloads.ops import Collective


def exchanges(placed: Placed) -> bool:
    """Is it a collective by itself, with something to send?"""
    return isinstance(placed.op, Collective) and placed.plan.variant != "none"


def sends_on(placed: Placed) -> bool:
    """Is it a message to the next stage?"""
    return isinstance(placed.op, Collective) and placed.op.group == STAGE


def phases_in(plan: StagePlan, placed: Placed) -> Phases:
    """Of a collective by the algorithm that the mapper chose, among the chips of its group; of a
    message to the next stage over the stage's route."""
    op = placed.op
    assert isinstance(op, Collective)
    if sends_on(placed):
        return handed_on(plan.route, op.bytes)
    return phases(op.function, plan.groups.get(op.group, ()), op.bytes, placed.plan.variant)
