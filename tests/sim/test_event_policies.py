"""All-reduce by tiles beside compute: closed forms by hand, and systems as a user names them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tiny import design_dict, engine, memory, parse

from accel_models.links import Dim
from accel_models.path import memory_path
from kernels_ref.errors import UserError
from kernels_ref.formats import FORMATS
from mappers.collective import collective_plan
from mappers.cost import Work, compose
from mappers.partition import StagePlan
from mappers.plan import Placed, Plan, Schedule
from sim import simulate
from sim.event.engine import Engine
from sim.event.on_system import chip_programs
from sim.event.policies.chunked_collectives import chunked_collectives
from sim.event.policies.tiling_all_reduce import _work, tiling_all_reduce
from sim.event.program import FINE
from workloads.graph import Graph, Node, Tensor
from workloads.ops import Attention, Collective, Einsum

US = FINE * 1000  # ticks, at 1 GHz
WIRE = (Dim("wire", "switch", 2, 10e9, 1e-6, 0.0),)


def stage(compute_us: float, size: int) -> StagePlan:
    """A multiplication of 64 rows, so long on the matrix engine, and the all_reduce of so many
    bytes; launches take 1 us."""
    memories = {"dram": memory("64 GiB", "1000 B/cycle", kind="dram", latency="1 ns")}
    own = {"l1": memory("64 KiB", "64 B/cycle", latency="1 ns")}
    data = design_dict(memories, own, engine("systolic"), launch="999 ns")
    data["cores"]["core"]["vector"]["ops_per_cycle"]["add"] = 1_000_000
    design = parse(data | {"power": {"limit": "1 MW", "static": "1 W"}})
    path = memory_path(design, "core")
    multiply = Einsum("o_proj", ("x", "w"), "y", {"m": 64, "n": 8, "k": 8}, "mk,nk->mn")
    reduce = Collective("sum", ("y",), "z", "all_reduce", size, size, 2, "tensor")
    cost = compose(Work({"matrix": compute_us * 1e-6}, {}, {}, {}, {}), path)
    placed = (
        Placed(multiply, 3, Plan(path, cost, "", {}, 0.0, 0.0)),
        Placed(reduce, 3, collective_plan(reduce, WIRE, path)),
    )
    tensors = {n: Tensor(n, (64, 8), FORMATS["fp16"], "activation") for n in ("x", "w", "y", "z")}
    nodes = tuple(Node(each.op, 3) for each in placed)
    graph = Graph("one", "prefill", 1, 64, nodes, tensors, 64)
    schedule = Schedule(graph, design, "latency", placed, (path,))
    return StagePlan("chip", (0, 1), {"tensor": WIRE}, (), schedule, True)


@pytest.mark.parametrize(
    ("compute_us", "kilobytes", "tiles", "expected"),
    [
        (40, 40, 4, 4 * 11 + 3),  # 1 + 10 a tile; 1 + (1 + 1) of its exchange, one-shot
        (8, 400, 4, 3 + 4 * 12),  # 1 + 2 a tile; 1 + (10 + 1)
        (40, 40, 2, 2 * 21 + 4),  # 1 + 20 a tile; 1 + (2 + 1)
    ],
)
def test_only_the_longer_of_both_is_exposed(
    compute_us: float, kilobytes: int, tiles: int, expected: int
):
    """t c + r where c is longer, c + t r where r is, to the microsecond."""
    (stretch,) = tiling_all_reduce(stage(compute_us, kilobytes * 1000), tiles, before=0)
    assert stretch.ops == ("o_proj", "sum")
    assert stretch.count == 3
    assert Engine(stretch.program).run().ticks == pytest.approx(expected * US, abs=100)


def test_the_first_tile_may_be_smaller():
    """16 of 64 rows, then 48: 1 + 10, 1 + 30 and an exchange of 30 kB, 1 + (3 + 1)."""
    (stretch,) = tiling_all_reduce(stage(40, 40_000), 2, before=0, first=1 / 3)
    assert Engine(stretch.program).run().ticks == pytest.approx((11 + 31 + 5) * US, abs=100)


def test_later_tiles_of_causal_attention_take_longer():
    """Of 8 queries that see 1 to 8 keys the first half has 10 pairs of 36; two sequences one after
    the other, half of the pairs each."""
    op = Attention("attention", ("q", "k", "v"), "o", 1, 1, 1, 8, 8, 4, 4)

    def work(op: Attention, share: float) -> float:
        return _work(Placed(op, 1, stage(1, 1000).schedule.placed[0].plan), share)

    assert work(op, 0.5) == pytest.approx(10 / 36)
    assert work(op, 1.0) == 1.0
    both = Attention("attention", ("q", "k", "v"), "o", 2, 1, 1, 8, 8, 4, 4)
    assert [work(both, share) for share in (0.25, 0.5, 1.0)] == [5 / 36, 0.5, 1.0]
    whole = Attention("attention", ("q", "k", "v"), "o", 1, 1, 1, 8, 8, 4, 4, causal=False)
    assert work(whole, 0.5) == 0.5


def test_blocks_of_a_model_end_with_an_all_reduce():
    """Attention with its projection, both halves of the MLP; everything else as it was."""
    words: dict[str, Any] = {"prompt": 512, "tp": 4, "simulator": "event"}
    alone = simulate("dgx_a100", "opt-125m", "prefill", **words)
    run = simulate("dgx_a100", "opt-125m", "prefill", **words, policy="tiling_all_reduce(tiles=2)")
    assert run.event is not None
    assert alone.event is not None
    assert run.event.policy == "tiling_all_reduce(tiles=2)"
    tiled = [section for section in run.event.sections if "tiling" in section.op]
    assert [section.count for section in tiled] == [12, 12]
    before = {op.name: op for op in alone.ops}
    for op in run.ops:
        assert op.macs == before[op.name].macs
        changed = op.latency_s != before[op.name].latency_s
        assert changed == ("cores" in op.exposed_s), op.name
    changed_ops = {op.name for op in run.ops if "cores" in op.exposed_s}
    assert {"attention", "out_proj.all_reduce"} <= changed_ops


def test_chunks_hide_latencies_of_a_ring():
    """A ring of four chips, 4 MB: 2 x 2 rounds, two of 200 us and two of 100, and 1 us after each;
    in 8 pieces only the last latency is left."""
    ring = (Dim("wire", "ring", 4, 10e9, 1e-6, 0.0),)
    plan = replace(stage(1, 4_000_000), groups={"tensor": ring})
    project, reduce = plan.schedule.placed
    assert isinstance(reduce.op, Collective)
    cost = collective_plan(replace(reduce.op, participants=4), ring, project.plan.path)
    placed = (project, replace(reduce, plan=cost))
    plan = replace(plan, schedule=replace(plan.schedule, placed=placed))
    (stretch,) = chunked_collectives(plan, 8)
    assert stretch.ops == ("sum",)
    launch, sending = 1, 2 * (200 + 100)
    whole = Engine(next(chip_programs(placed[1], plan))).run().ticks
    assert whole == pytest.approx((launch + sending + 4) * US, abs=100)
    assert Engine(stretch.program).run().ticks == pytest.approx(
        (launch + sending + 1) * US, abs=100
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"tp": 2, "policy": "tiling_all_reduce(tiles=1)"}, "1 tiles and 1 ops before; at least 2"),
        ({"tp": 2, "policy": "tiling_all_reduce(tiles=64)"}, "has 32 rows for 64 tiles"),
        ({"tp": 2, "policy": "tiling_all_reduce(first=0)"}, "first is 0; it is a positive number"),
        ({"tp": 2, "policy": "tiling_all_reduce(first=1000)"}, "for 4 tiles, the first of 1000"),
        ({"tp": 1, "policy": "tiling_all_reduce"}, "no all_reduce follows a multiplication"),
        ({"tp": 2, "policy": "chunked_collectives(pieces=1)"}, "1 pieces of a message; at least 2"),
        ({"tp": 1, "policy": "chunked_collectives"}, "nothing is exchanged; split the model"),
        ({"tp": 2, "policy": "layer_streaming"}, "a policy of one chip"),
    ],
)
def test_what_it_cannot_do_is_said(words: dict[str, Any], says: str):
    with pytest.raises(UserError, match=says):
        simulate("dgx_a100", "opt-125m", "prefill", prompt=32, simulator="event", **words)


def test_a_chip_has_no_all_reduce():
    with pytest.raises(UserError, match="a policy of several chips; name a system"):
        simulate("a100_sxm", "opt-125m", simulator="event", policy="tiling_all_reduce")
