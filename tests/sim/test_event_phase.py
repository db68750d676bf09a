"""A whole phase as one program: op by op it is what its ops are, prefetched it is no slower."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import FP16, design_dict, designs, engine, memory, parse, scheduled

from accel_models.design import Design
from accel_models.read_design import read_design
from mappers import map_graph
from mappers.plan import Schedule
from sim import simulate
from sim.event import run as event
from sim.event import whole
from sim.event.chain import phase_of
from sim.event.cycles import cycles_of
from sim.event.engine import Engine
from sim.event.graph import during, phased
from sim.event.lower import program_of
from sim.event.prefetch import ahead, weights_of
from sim.event.program import Actor, Channel, Program, Resource, Run, Use
from sim.event.record import Timeline
from sim.job import PREFETCHES
from workloads import decode, prefill, read_model
from workloads.graph import Graph, Node, Tensor, check
from workloads.ops import Einsum, Vector

WIDTHS = st.lists(st.sampled_from([8, 40, 130]), min_size=1, max_size=2)


def chain(tokens: int, widths: list[int], layers: float) -> Graph:
    """Multiplications by weights, and a norm between them; all but the last in every layer."""
    tensors = {"x": Tensor("x", (tokens, widths[0]), FP16, "activation")}
    nodes, at = list[Node](), "x"
    for number, (k, n) in enumerate(zip([widths[0], *widths], [*widths, widths[0]], strict=True)):
        weight, made = f"w{number}", f"y{number}"
        tensors[weight] = Tensor(weight, (n, k), FP16, "weight")
        tensors[made] = Tensor(made, (tokens, n), FP16, "activation")
        ranks = {"m": tokens, "n": n, "k": k}
        op = Einsum(f"matmul{number}", (at, weight), made, ranks, "mk,nk->mn")
        nodes.append(Node(op, layers if number < len(widths) else 1))
        at = made
    norm = Vector("norm", (at,), "normed", "rmsnorm", tokens, widths[0])
    tensors["normed"] = Tensor("normed", (tokens, widths[0]), FP16, "activation")
    return check(Graph("chain", "prefill", 1, tokens, (*nodes, Node(norm, 1)), tensors, tokens))


def machine(**more: str) -> Design:
    """One core with a buffer for two tiles of everything."""
    memories = {"dram": memory("1 GiB", "8 B/cycle", kind="dram")}
    own = {"l1": memory("8 KiB", "64 B/cycle", buffering="double")}
    return parse(design_dict(memories, own, engine("systolic"), **more))


def op_by_op(schedule: Schedule) -> float:
    """Seconds of the ops one after the other."""
    return sum(
        placed.count * Engine(program_of(cost, placed.plan.path)).run().seconds
        for placed in schedule
        for cost in placed.cost.stages or (placed.cost,)
    )


chains = st.builds(chain, st.integers(1, 80), WIDTHS, st.sampled_from([1, 2, 3, 7]))


@settings(max_examples=6)
@given(designs(), chains)
def test_without_prefetch_it_is_the_sum_of_its_ops(design: Design, graph: Graph):
    """But for which of several uses of one tick goes first."""
    schedule = scheduled(graph, design)
    timeline = Engine(phase_of(schedule)).run()
    assert timeline.seconds == pytest.approx(op_by_op(schedule), rel=0.01)


@settings(max_examples=6)
@given(designs(), chains, st.sampled_from(PREFETCHES))
def test_prefetched_it_lies_between_its_resources_and_its_ops(
    design: Design, graph: Graph, prefetch: str
):
    """Every resource's busy time <= events <= the sum of the ops, but for stores that wait for a
    fetch which has begun; the same work is done, and every place is free again."""
    schedule = scheduled(graph, design)
    before = Engine(phase_of(schedule)).run()
    running = Engine(phase_of(schedule, prefetch))
    after = running.run()
    assert after.seconds <= before.seconds * 1.02
    for name, counters in after.counters.items():
        assert counters.total <= after.ticks
        assert counters.total == pytest.approx(before.counters[name].total, rel=1e-6), name
    for stream in running.streams:
        assert stream.tokens == stream.spec.initial, stream.spec


@settings(max_examples=6)
@given(designs(), chains, st.sampled_from([None, *PREFETCHES]))
def test_folded_it_is_the_unfolded_one(design: Design, graph: Graph, prefetch: str | None):
    program = phase_of(scheduled(graph, design), prefetch)
    folded, unfolded = Engine(program).run(), Engine(program, fold=False).run()
    assert folded.ticks == unfolded.ticks
    assert folded.fired == unfolded.fired
    assert folded.ended == unfolded.ended
    for name, parts in folded.stalls().items():
        assert parts == pytest.approx(unfolded.stalls()[name], abs=1e-15), name


def test_to_the_tick():
    """One engine, double buffers, three layers of two multiplications."""
    schedule = scheduled(chain(16, [40, 130], 3), machine())
    assert Engine(phase_of(schedule)).run().seconds == pytest.approx(op_by_op(schedule), rel=1e-12)


def ticks(program: Program) -> Timeline:
    return Engine(program).run()


def test_rates_by_phase():
    """Five firings of 3 ticks tell of the third and the fifth: two of 10 ticks wait for them."""
    source = phased(Actor("source", (Run(5, (Use("a", 3),)),)), 2, 3, 4)
    target = Actor("target", (Run(2, (Use("b", 10),)),))
    told = tuple(
        a + b for a, b in zip(during(source, 2, 3, 1), during(source, 4, 5, 1), strict=True)
    )
    program = Program(
        (source, target), (Channel("source", "target", told),), (Resource("a", 1), Resource("b", 1))
    )
    found = ticks(program)
    begins = [job.begin for job in found.jobs if job.actor == "target"]
    assert (begins, found.ticks) == ([9, 19], 29)


def test_after_all_firings():
    """A first firing waits for another's last; the second one does not wait again."""
    first, then = (
        Actor("first", (Run(3, (Use("a", 5),)),)),
        Actor("then", (Run(2, (Use("b", 4),)),)),
    )
    channel = Channel("first", "then", kind="launch", after=True)
    program = Program((first, then), (channel,), (Resource("a", 1), Resource("b", 1)))
    found = ticks(program)
    assert [job.begin for job in found.jobs if job.actor == "then"] == [15, 19]
    assert found.ended == {"first": 15, "then": 23}


def test_rates_of_other_runs_are_refused():
    actor = Actor("one", (Run(2), Run(1)))
    with pytest.raises(ValueError, match="one: 3 rates of 2 runs"):
        Engine(Program((actor, Actor("two", (Run(1),))), (Channel("one", "two", (1, 1, 1)),), ()))


@cache
def llama(phase: str) -> Schedule:
    asked = decode(1, 512) if phase == "decode" else prefill(1, 64)
    return map_graph(read_model("llama-3.2-1b").build(asked), read_design("a100_sxm"))


@pytest.mark.parametrize("phase", ["decode", "prefill"])
def test_ops_take_what_they_take_alone(phase: str):
    """The path of the whole, divided among the ops, is each op's own, but for which of several uses
    of one tick goes first; layers are leapt over."""
    alone, together = event.run(llama(phase)), whole.run(llama(phase))
    assert together.latency_s == pytest.approx(alone.latency_s, rel=0.005)
    for one, other in zip(alone.ops, together.ops, strict=True):
        assert other.latency_s == pytest.approx(one.latency_s, rel=0.03), one.name
        assert other.energy_j == pytest.approx(one.energy_j, rel=0.03), one.name
    (section,) = together.event.sections
    assert max(fold.times for fold in section.timeline.folds) >= 8


def test_memory_stays_flat_as_layers_grow():
    kept = []
    for layers in (10, 1000):
        program = phase_of(scheduled(chain(64, [40, 200], layers), machine()), "weights")
        timeline = Engine(program).run()
        kept.append((len(timeline.jobs), timeline.events))
    assert all(many <= 2 * few for few, many in zip(*kept, strict=True))


def test_a_count_that_is_not_whole_is_an_expectation():
    """Half a layer takes half as long as one, but for rounding."""
    seconds = {
        layers: Engine(phase_of(scheduled(chain(64, [40, 200], layers), machine()))).run().seconds
        for layers in (2, 2.5, 3)
    }
    assert seconds[2.5] == pytest.approx((seconds[2] + seconds[3]) / 2, rel=1e-5)


def test_weights_are_known_before_and_inputs_are_not():
    """Bytes of a multiplication on the DRAM: so much of its loads is weights."""
    schedule = scheduled(chain(16, [40, 200], 1), machine())
    first = schedule.placed[0]
    reads = {o: read for o, (read, _) in first.cost.work.traffic["dram"].items() if o != "output"}
    share = weights_of(first, schedule.graph)
    assert share["dram"] == pytest.approx(reads["weight"] / sum(reads.values()))
    (cycle, *_) = cycles_of(schedule)
    (load,) = (a for a in cycle.units[0].program.actors if a.name == "load")
    apart = ahead(cycle.units[0], schedule.graph).unit.program.actors
    halves = [a.cycle[0].uses for a in apart if a.name in ("fetch", "load")]
    for use in load.cycle[0].uses:
        parts = [one.amount for uses in halves for one in uses if one.resource == use.resource]
        assert sum(parts) == use.amount


def test_keys_and_values_are_no_weights():
    placed = next(p for p in llama("decode") if p.op.kind == "attention")
    assert weights_of(placed, llama("decode").graph) == {}


def test_prefetch_hides_a_launch_only_if_asked():
    runs = {p: whole.run(llama("decode"), p) for p in (None, *PREFETCHES)}
    assert runs["launches"].latency_s < runs["weights"].latency_s < runs[None].latency_s
    busy = {p: run.event.stalls["launch"]["busy"] for p, run in runs.items()}
    assert busy["launches"] == pytest.approx(busy[None])
    for run in runs.values():
        assert sum(op.count * op.latency_s for op in run.ops) == pytest.approx(run.latency_s)
        for name, parts in run.event.stalls.items():
            assert sum(parts.values()) == pytest.approx(run.latency_s), name


def test_several_kinds_of_cores_have_their_own_engines():
    run = simulate(
        "snapdragon_8_gen_3", "opt-125m", context=64, simulator="event", prefetch="weights"
    )
    engines = {name for name in run.event.stalls if name.partition(".")[0] == "matrix"}
    assert len(engines) > 1
    assert all("." in name for name in engines)
