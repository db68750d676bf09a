"""What groups cost on every kind of cores, each planned once: the prices that fusion goes by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from accel_models.reader import DesignError
from mappers.bounds import bound
from mappers.context import Context
from mappers.cost_rules import rule_of
from mappers.fused_matmul import Costed
from mappers.fusion import NOTHING, Stay, Step, Value, Way
from mappers.groups import Group, group_of
from mappers.plan import Plan
from mappers.search.found import OBJECTIVES
from mappers.staying import beside, choices, reach
from mappers.wiring import Wiring
from workloads.graph import Op


class Planner:
    """Plans by group, kind of cores, and what stays on chip; `plans` may outlive it."""

    def __init__(
        self,
        wiring: Wiring,
        contexts: Sequence[Context],
        objective: str,
        plans: dict[Any, Plan | DesignError],
    ) -> None:
        self.wiring, self.contexts, self.plans = wiring, contexts, plans
        self.value = OBJECTIVES[objective]
        self._bounds: dict[tuple[Any, ...], Value] = {}
        self._ways: dict[tuple[int, frozenset[Stay]], tuple[Way, ...]] = {}
        self._signatures: dict[int, tuple[Any, ...]] = {}

    def alone(self, op: Op) -> Plan:
        """The best plan of one op over the kinds of cores, nothing on chip. Raises DesignError if
        none can do it."""
        group = group_of(self.wiring, 1 << self.wiring.maker[op.output])
        assert group is not None
        best: Plan | None = None
        problems: list[str] = []
        steps = [Step(group, Way(kind), NOTHING) for kind in range(len(self.contexts))]
        for step in sorted(steps, key=self.bound):
            seconds, joules = self.bound(step)
            if best and seconds > best.cost.latency_s and joules > best.cost.energy_j:
                continue
            plan = self._plan(step)
            if isinstance(plan, DesignError):
                problems.append(str(plan))
            elif best is None or self._objective(plan) < self._objective(best):
                best = plan
        if best is None:
            raise DesignError("\n".join(dict.fromkeys(problems)))
        return best

    def _objective(self, plan: Plan) -> tuple[float, float]:
        a, b = self.value(plan.cost)
        return float(a), float(b)

    def ways(self, group: Group, here: frozenset[Stay]) -> tuple[Way, ...]:
        """Kinds of cores that reach what the group reads, and what it may leave where."""
        key = group.mask, here
        if key not in self._ways:
            self._ways[key] = tuple(self._found_ways(group, here))
        return self._ways[key]

    def _found_ways(self, group: Group, here: frozenset[Stay]) -> Iterator[Way]:
        read = {level for tensor, level in here if tensor in group.inputs}
        for kind, context in enumerate(self.contexts):
            levels = reach(group, context.path)
            if read <= levels.keys() and not (here and group.form == "pair"):
                for leaves in choices(group, levels, here, self.wiring):
                    yield Way(kind, leaves)

    def bound(self, step: Step) -> Value:
        """A lower bound of the step's price, better once the group has been mapped."""
        stays = self.stays(step)
        key = step.group.mask, step.way.kind, *stays
        if key not in self._bounds:
            self._bounds[key] = bound(step.group, self.contexts[step.way.kind], stays)
        latency, energy = self._bounds[key]
        known = self.contexts[step.way.kind].costed.get(self._key(step)[:2])
        if isinstance(known, Costed):
            return max(latency, known.floor[0]), max(energy, known.floor[1])
        return latency, energy

    def price(self, step: Step) -> Value | None:
        """Latency and energy of one instance; None where the cores cannot do it."""
        plan = self._plan(step)
        if isinstance(plan, DesignError):
            return None
        return float(plan.cost.latency_s), float(plan.cost.energy_j)

    def plan(self, step: Step) -> Plan:
        """How the step runs. Raises DesignError where the cores cannot do it."""
        plan = self._plan(step)
        if isinstance(plan, DesignError):
            raise plan
        return plan

    def stays(self, step: Step) -> dict[str, str]:
        """The group's tensors that lie on chip, and where, in a fixed order."""
        read = {stay for stay in step.here if stay[0] in step.group.inputs}
        return dict(sorted(read | step.way.leaves))

    def _plan(self, step: Step) -> Plan | DesignError:
        group, context = step.group, self.contexts[step.way.kind]
        alike, shared, lying = self._key(step)
        key = alike, lying, context.path.name, context.vector_macs, shared
        if key not in self.plans:
            context = replace(context, key=(alike, shared), stays=self.stays(step))
            if shared:
                context = replace(context, path=beside(context.path, shared), whole=context.path)
            try:
                self.plans[key] = rule_of(group)(group, context)
            except DesignError as problem:
                self.plans[key] = problem
        return self.plans[key]

    def _key(self, step: Step) -> tuple[Any, tuple[str, ...], tuple[Any, ...]]:
        """What makes steps alike: the group, memories in which something stays, and which of its
        tensors do."""
        group, path = step.group, self.contexts[step.way.kind].path
        shared = {name for _, name in step.here | step.way.leaves if name in path.by_name}
        order = {t: i for i, t in enumerate((*group.inputs, *group.outputs))}
        lying = sorted((order[t], name) for t, name in self.stays(step).items())
        return self._signature(group), tuple(sorted(shared)), tuple(lying)

    def _signature(self, group: Group) -> tuple[Any, ...]:
        """Equal for groups that any rule plans alike: names aside, the same sizes, formats, work
        and wiring."""
        if group.mask not in self._signatures:
            self._signatures[group.mask] = tuple(self._described(group))
        return self._signatures[group.mask]

    def _described(self, group: Group) -> Iterator[tuple[Any, ...]]:
        tensors, tables = self.wiring.graph.tensors, self.contexts[0].tables
        sizes = self.wiring.sizes
        numbers: dict[str, int] = {}
        yield group.form, tuple(op in group.prologue for op in group.ops)
        for op in group.ops:
            for name in op.__dataclass_fields__:  # type: ignore[attr-defined]
                value = getattr(op, name)
                if name not in ("name", "inputs", "output"):
                    yield name, tuple(value.items()) if isinstance(value, dict) else value
            for t in (*op.inputs, op.output):
                number = numbers.setdefault(t, len(numbers))
                source = tables[t].inputs[0] if t in tables else t
                facts = (sizes[t], tensors[source].elements, tensors[source].format.name)
                stored = tensors[t].kind, tensors[t].sparsity
                yield number, *facts, *stored, t in group.outputs
