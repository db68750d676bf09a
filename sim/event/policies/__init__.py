"""Policies: functions from a schedule, with what they are told, to programs that run its ops.

    policy(schedule, key=value, ...) -> stretches

A stretch is some of the schedule's ops and the program that runs them together, in place of one
program for each. A policy says who waits for whom: when something is loaded, how many places there
are, which engine takes turns with which. What is computed and moved it leaves as it is; what
changes that is a transform (`--apply`). A policy is given a schedule whose costs' latencies are
those that the ops took by events.

    policy(setting, key=value, ...) -> cooperation

A policy that places ops itself, on machines or kinds of cores that work at the same time, is given
the graph and the machine, and says what ran where (sim/event/cooperation.py). It runs alone.

Its docstring's first paragraph says what it does, `Arguments:` their units, `Source:` where it is
from. A new policy is a module here and a line in POLICIES; it is imported when it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, cast

from accel_models.calls import Grammar
from kernels_ref.errors import UserError

if TYPE_CHECKING:
    from accel_models.design import Design
    from accel_models.system import System
    from sim.event.cooperation import Cooperation
    from sim.event.program import Program
    from workloads.graph import Graph

Machine = Literal["chip", "system"]


class PolicyError(UserError):
    """A policy that does not exist, does not take these arguments, or finds nothing to run."""


@dataclass(frozen=True)
class Stretch:
    """`count` copies of the program run these ops, known by their names, all copies of them."""

    ops: tuple[str, ...]
    count: float
    program: Program


@dataclass(frozen=True)
class Setting:
    """What a policy that places ops itself is given. `memo`: a dict that keeps mappings found."""

    graph: Graph
    machine: Design | System
    objective: str = "latency"
    memo: dict[Any, Any] = field(default_factory=dict)


Stretches = Callable[..., Sequence[Stretch]]
Cooperates = Callable[..., "Cooperation"]


@dataclass(frozen=True, slots=True)
class Policy:
    """Where it is (`module:function`, or itself), and whether it takes the schedule of one chip
    (mappers.plan.Schedule) or of each stage of a system (mappers.partition.StagePlan);
    or places ops itself on one of these."""

    place: str | Stretches | Cooperates
    machine: Machine = "chip"
    places: bool = False

    @property
    def function(self) -> Stretches | Cooperates:
        if not isinstance(self.place, str):
            return self.place
        module, _, name = self.place.partition(":")
        found: Stretches = getattr(import_module(f"sim.event.policies.{module}"), name)
        return found


# name, as in `--policy 'name(key=value)'` -> where it is.
POLICIES: dict[str, Policy] = {
    "async_speculation": Policy("async_speculation:async_speculation", "system", places=True),
    "host_attention": Policy("host_attention_run:host_attention", "system", places=True),
    "neuron_clusters": Policy("neuron_clusters_run:neuron_clusters", places=True),
    "host_experts": Policy("host_experts_run:host_experts", "system", places=True),
    "layer_streaming": Policy("layer_streaming:layer_streaming"),
    "ring_memory": Policy("ring_memory:ring_memory"),
    "flash_loading": Policy("flash_loading:flash_loading"),
    "expert_streaming": Policy("expert_streaming:expert_streaming"),
    "flash_attention_pipeline": Policy("flash_attention:flash_attention_pipeline"),
    "chunked_collectives": Policy("chunked_collectives:chunked_collectives", "system"),
    "tiling_all_reduce": Policy("tiling_all_reduce:tiling_all_reduce", "system"),
}

GRAMMAR = Grammar("policy", PolicyError)


@dataclass(frozen=True, slots=True)
class Chosen:
    """A policy with its arguments."""

    text: str
    name: str
    function: Stretches | Cooperates
    positional: tuple[Any, ...]
    named: dict[str, Any]
    places: bool = False

    def stretches(self, schedule: object) -> Sequence[Stretch]:
        """Of this schedule. Raises UserError, also where there is nothing to run."""
        function = cast("Stretches", self.function)
        return function(schedule, *self.positional, **self.named)

    def cooperation(self, setting: Setting) -> Cooperation:
        """In this setting. Raises UserError, also where there is nothing to place."""
        function = cast("Cooperates", self.function)
        return function(setting, *self.positional, **self.named)


def chosen(text: str, machine: Machine) -> list[Chosen]:
    """Every policy of `name(key=value)+name(...)`. Raises PolicyError for a name or an argument
    that there is not, and for one of another kind of machine."""
    found = []
    for part, name, arguments in GRAMMAR.parts(text):
        GRAMMAR.known(name, POLICIES)
        policy = POLICIES[name]
        if policy.machine != machine:
            raise PolicyError(f"{name}: {_OTHERWISE[policy.machine]}")
        bound = GRAMMAR.bound(name, policy.function, None, arguments)
        given = bound.args[1:], bound.kwargs
        found.append(Chosen(part, name, policy.function, *given, policy.places))
    alone = next((policy for policy in found if policy.places), None)
    if alone and len(found) > 1:
        raise PolicyError(f"{alone.name} places all ops itself, and runs alone")
    return found


_OTHERWISE = {
    "chip": "a policy of one chip; name a design, not a system",
    "system": "a policy of several chips; name a system (tileloom show --designs lists them)",
}
