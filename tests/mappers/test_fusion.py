"""Fusion: the division of a graph against trying everything, and what no group may do."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import Any
from zlib import crc32

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sketch import Sketch, planner_of
from tiny import ENGINES, design_dict, engine, memory, parse, scheduled

from accel_models.design import Design
from accel_models.read_design import read_design
from mappers import map_graph
from mappers.fusion import NOTHING, Stay, Step, Value, Way, best_division
from mappers.groups import MOST_OPS, Group, group_of, legal_groups
from mappers.wiring import Wiring
from workloads import build, decode, read_config
from workloads.graph import Graph

UNARY, BINARY = ("rope", "relu", "rmsnorm", "quantize"), ("add", "silu_mul")


@st.composite
def graphs(draw: st.DrawFn, most: int = 5) -> Graph:
    """Random graphs of a few ops, most of them chained."""
    sketch = Sketch(draw(st.sampled_from([1, 6, 64])), draw(st.sampled_from([8, 24])))
    for _ in range(draw(st.integers(2, most))):
        sketch.count = draw(st.sampled_from([sketch.count, sketch.count, sketch.count, 3]))
        source = draw(st.sampled_from(sketch.made[-3:]))
        width = sketch.tensors[source].shape[1]
        same = [t for t in sketch.made if sketch.tensors[t].shape[1] == width]
        kind = draw(st.sampled_from(["multiply", "multiply", "unary", "binary", "copy"]))
        if kind == "multiply":
            sketch.multiply(source, draw(st.sampled_from([8, 24])))
        elif kind == "copy":
            sketch.copy(source)
        elif kind == "unary":
            sketch.vector(draw(st.sampled_from(UNARY)), source)
        else:
            sketch.vector(draw(st.sampled_from(BINARY)), source, draw(st.sampled_from(same)))
    return sketch.graph()


@st.composite
def machines(draw: st.DrawFn) -> Design:
    """One or two kinds of cores around a shared memory that may hold some tensors."""

    def kind() -> dict[str, Any]:
        cores = draw(st.sampled_from([1, 3]))
        core = {"l1": memory(draw(st.sampled_from(["2 KiB", "16 KiB"])), "32 B/cycle")}
        if draw(st.booleans()):
            core["l1"]["keeps"] = ["activation", "weight"]
            core["sums"] = memory("8 KiB", "64 B/cycle", keeps=["output"])
        control = {
            "launch": draw(st.sampled_from(["1 ns", "1 us"])),
            "dispatch": draw(st.sampled_from(["dynamic", "static"])),
        }
        matrix = engine(draw(st.sampled_from(sorted(ENGINES))))
        return design_dict(chip, core, matrix, cores, **control)

    speeds = ["1 B/cycle", "16 B/cycle"]
    chip = {
        "dram": memory("1 GiB", draw(st.sampled_from(speeds)), kind="dram"),
        "l2": memory(draw(st.sampled_from(["8 KiB", "64 KiB"])), draw(st.sampled_from(speeds))),
    }
    data = kind()
    if draw(st.booleans()):
        data["cores"]["other"] = kind()["cores"]["core"]
        if draw(st.booleans()):
            data["memory"]["l2"]["serves"] = ["core"]
    return parse(data)


def total(steps: list[Step], prices: Any) -> Value:
    found = [(step.group.count, prices.price(step)) for step in steps]
    return sum(n * v[0] for n, v in found), sum(n * v[1] for n, v in found)


def everything(wiring: Wiring, prices: Any) -> Iterator[Value]:
    """The cost of every division into legal sets of ops, in every way. The first op that has not
    run comes next, in a group that is ready, or else something that its group needs."""
    whole = (1 << len(wiring.ops)) - 1
    groups = [g for mask in range(1, whole + 1) if (g := group_of(wiring, mask)) is not None]

    def ready(done: int) -> list[Group]:
        first = next((1 << i for i in range(len(wiring.ops)) if not done >> i & 1), 0)
        left = [g for g in groups if not g.mask & done]
        wanted = [g.needs & ~done or first for g in left if g.mask & first]
        return [g for g in left if not g.needs & ~done and any(g.mask & w for w in wanted)]

    def rest(done: int, here: frozenset[Stay]) -> Iterator[Value]:
        if done == whole:
            yield 0.0, 0.0
        for group in ready(done):
            after = done | group.mask
            for way in prices.ways(group, here):
                price = prices.price(Step(group, way, here))
                if price is None:
                    continue
                kept = frozenset(
                    stay
                    for stay in here | way.leaves
                    if any(not after >> i & 1 for i in wiring.readers[stay[0]])
                )
                for latency, energy in rest(after, kept):
                    yield latency + group.count * price[0], energy + group.count * price[1]

    return rest(0, NOTHING)


@given(graphs(7))
def test_every_legal_group_is_found(graph: Graph):
    """Grown from neighbors, and once each: all sets that may be groups."""
    wiring = Wiring(graph)
    found = [group.mask for group in legal_groups(wiring)]
    legal = [m for m in range(1, 1 << len(wiring.ops)) if group_of(wiring, m) is not None]
    assert sorted(found) == legal
    assert len(wiring.ops) <= MOST_OPS


class Drawn:
    """Prices from nowhere, for two kinds of cores and a memory that holds two tensors."""

    def __init__(self, wiring: Wiring, seed: int) -> None:
        self.wiring, self.seed = wiring, seed

    def _number(self, *key: Any) -> float:
        return 1.0 + crc32(repr((self.seed, *key)).encode()) % 97

    def ways(self, group: Group, here: frozenset[Stay]) -> list[Way]:
        read = {t for t, _ in here if t in group.inputs}
        leaves: list[frozenset[Stay]] = [NOTHING]
        if len(here) < 2:
            kept = [t for t in group.outputs if self.wiring.readers.get(t)]
            leaves += [frozenset({(tensor, "l2")}) for tensor in kept]
        return [Way(kind, some) for kind in ((1,) if read else (0, 1)) for some in leaves]

    def bound(self, step: Step) -> Value:
        latency, energy = self._both(step)
        share = self._number("bound", step.group.mask) / 100
        return latency * share, energy * share

    def price(self, step: Step) -> Value | None:
        return None if self._number("can", step.group.mask) < 9 else self._both(step)

    def _both(self, step: Step) -> Value:
        saved = sum(t in step.group.inputs for t, _ in step.here) + len(step.way.leaves)
        key = step.group.mask, step.way.kind
        return self._number("s", *key) / (1 + saved), self._number("j", *key) / (1 + saved)


@given(graphs(5), st.integers(0, 10**6))
def test_the_best_division_is_the_best_of_all(graph: Graph, seed: int):
    """Whatever groups cost: least latency, least energy, and every pair that no other beats."""
    wiring = Wiring(graph)
    prices = Drawn(wiring, seed)
    values = list(everything(wiring, prices))
    groups, whole = legal_groups(wiring), (1 << len(wiring.ops)) - 1
    for by in (0, 1):
        found = best_division(groups, prices, whole, by)
        assert len(found) == bool(values)
        for steps in found:
            assert total(steps, prices)[by] == pytest.approx(min(v[by] for v in values))
    front = [total(steps, prices) for steps in best_division(groups, prices, whole, None)]
    for value in values:
        assert any(a <= value[0] * (1 + 1e-6) and b <= value[1] * (1 + 1e-6) for a, b in front)


@settings(max_examples=25)
@given(graphs(4), machines(), st.sampled_from(["latency", "energy"]))
def test_the_schedule_is_the_best_of_all(graph: Graph, design: Design, objective: str):
    """With the costs of random machines: every grouping, order, kind of cores and stay."""
    planner = planner_of(graph, design, objective)
    by = ("latency", "energy").index(objective)
    least = min((value[by] for value in everything(planner.wiring, planner)), default=inf)
    assume(least < inf)
    schedule = map_graph(graph, design, objective)
    costs = [(p.count, p.cost) for p in schedule]
    found = [n * float(c.latency_s if by == 0 else c.energy_j) for n, c in costs]
    assert sum(found) == pytest.approx(least)


@settings(max_examples=25)
@given(graphs(4), machines())
def test_no_group_costs_less_than_its_bound(graph: Graph, design: Design):
    planner = planner_of(graph, design, "latency")
    for group in legal_groups(planner.wiring):
        for way in planner.ways(group, NOTHING):
            step = Step(group, way, NOTHING)
            price, bound = planner.price(step), planner.bound(step)
            if price is not None:
                assert bound[0] <= price[0] * (1 + 1e-9)
                assert bound[1] <= price[1] * (1 + 1e-9)


@given(graphs(), machines())
def test_laws_of_groups(graph: Graph, design: Design):
    """Every op once; busiest resource <= latency <= all in turn; energy adds up; fusing pays; what
    passes the border of a group and does not stay on chip passes the outermost memory."""
    schedule = scheduled(graph, design)
    run = [op.name for placed in schedule for op in (placed.op, *placed.fused)]
    assert sorted(run) == sorted(node.op.name for node in graph)
    for placed in schedule:
        cost = placed.cost
        latency = float(cost.latency_s)
        assert cost.lower_bound_s() <= latency * (1 + 1e-9) <= cost.upper_bound_s() * (1 + 2e-9)
        assert sum(map(float, cost.joules.values())) == pytest.approx(float(cost.energy_j))
        assert latency <= placed.plan.instead.get("apart", inf) * (1 + 1e-9) or placed.plan.stays
        ops = (placed.op, *placed.fused)
        made = {op.output for op in ops}
        inside = {
            t for t in made if _readers(graph, t) and _readers(graph, t) <= {o.name for o in ops}
        }
        seen = ({t for op in ops for t in op.inputs} | made) - inside - placed.plan.stays.keys()
        once = sum(graph.tensors[t].bytes for t in seen)
        moved = sum(float(r + w) for r, w in cost.work.traffic["dram"].values())
        assert moved >= once * (1 - 1e-9)
    alone = sum(n * p.cost.latency_s for n, p in _alone(graph, design))
    assert sum(p.count * p.cost.latency_s for p in schedule) <= alone * (1 + 1e-9)


def _readers(graph: Graph, tensor: str) -> set[str]:
    return {op.name for op in graph.consumers().get(tensor, [])}


def _alone(graph: Graph, design: Design) -> Iterator[tuple[int, Any]]:
    planner = planner_of(graph, design, "latency")
    return ((node.count, planner.alone(node.op)) for node in graph)


def test_a_memo_changes_nothing_but_the_time():
    """Whole graphs that differ in context are divided alike."""
    design, config = read_design("fp16_systolic"), read_config("opt-125m")
    memo: dict[Any, Any] = {}
    first, second, third = (
        map_graph(build(config, decode(1, context)), design, memo=memo) for context in (64, 256, 64)
    )
    names = [[(p.op.name, p.fused) for p in schedule] for schedule in (first, third)]
    assert names[0] == names[1]
    assert [p.op.name for p in second] == [p.op.name for p in first]
    assert [p.cost.latency_s for p in third] == [p.cost.latency_s for p in first]
