"""Placement of shards on systems: layouts against brute force, stages, collectives, tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise, permutations
from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sharded import layer

from accel_models.collectives import collective
from accel_models.links import Dim
from accel_models.path import memory_path
from accel_models.read_design import read_design
from accel_models.read_system import parse_system, read_system, single_chip
from accel_models.reader import DesignError
from kernels_ref.formats import FORMATS
from mappers import map_graph
from mappers.assign import Amount, Costs, assign
from mappers.collective import collective_plan
from mappers.cost import exposed_by_resource
from mappers.layout import layouts
from mappers.overlap import pipelined
from mappers.partition import map_system
from workloads.graph import Graph, GraphError, Node, Tensor, check
from workloads.ops import Collective
from workloads.sharding.sharded import Sharded

ALPHA, RATE = 1e-6, 10e9
LINK = "bandwidth: 10 GB/s, efficiency: 1.0, latency: 1 us, energy: 5 pJ/bit"
MIB = 1 << 20


def system(topology: str, chips: int, design: str = "h100_sxm"):
    return parse_system(f"""\
source: "guess: for tests"
machines: {{chip: {{design: {design}, count: {chips}}}}}
links: {{wire: {{topology: {topology}, {LINK}}}}}
""")


def exchange(axes: dict[str, int], sends: int = 0, size: int = MIB) -> Graph:
    """A graph that does nothing but all_gather along each axis, and perhaps hand on."""
    names = ["x", *(f"{axis}.out" for axis in axes), "sent"]
    tensors = {n: Tensor(n, (1, size), FORMATS["int8"], "activation") for n in names}
    ops = [
        Collective(f"{axis}.all_gather", ("x",), f"{axis}.out", "all_gather", size, size, n, axis)
        for axis, n in axes.items()
    ]
    if sends:
        ops.append(Collective("send", ("x",), "sent", "send", sends, sends, 2, "stage"))
    return check(Graph("exchange", "prefill", 1, 1, tuple(Node(op, 1) for op in ops), tensors, 1))


def on_wires(found) -> float:
    """Seconds that all stages spend on links."""
    return sum(
        placed.cost.work.busy["wire"]
        for stage in found.stages
        for placed in stage.schedule
        if "wire" in placed.cost.work.busy
    )


def wires(chips: int, closed: bool, source: int, target: int) -> list[tuple[int, int]]:
    """Directed wires of the shorter way from chip to chip, upward where both are as long."""
    up = (target - source) % chips
    step = 1 if (up <= chips / 2 if closed else target > source) else -1
    found = []
    while source != target:
        found.append((source, (source + step) % chips))
        source = (source + step) % chips
    return found


def fullest(chips: int, closed: bool, pairs: list[tuple[int, int]]) -> tuple[int, int]:
    """(hops of the longest of these messages at once, messages on the fullest wire)."""
    ways = [wires(chips, closed, a, b) for a, b in pairs]
    loads = [sum(wire in way for way in ways) for wire in {w for way in ways for w in way}]
    return max(map(len, ways)), max(loads)


def gather_seconds(chips: int, kind: str, groups: list[tuple[int, ...]], size: float) -> float:
    """All_gather of every group at once, passed on from neighbor to neighbor both ways."""
    n = len(groups[0])
    if kind == "switch":
        return ALPHA + (n - 1) / n * size / RATE
    options = []
    for around in (False, True) if kind == "ring" else (False,):
        pairs = []
        for group in map(sorted, groups):
            nexts = zip(group, group[1:] + group[:1], strict=True)
            pairs += [pair for pair in nexts if around or pair[1] > pair[0]]
        up = [wires(chips, True, a, b) for a, b in pairs]
        if around and any(w[1] != (w[0] + 1) % chips for way in up for w in way):
            continue  # a group that closes the shorter way back is no ring
        far, sharing = fullest(chips, kind == "ring", pairs)
        steps = n // 2 if around else n - 1
        rate = RATE if around else RATE / 2
        options.append(steps * far * ALPHA + (n - 1) / n * size * sharing / rate)
    return min(options)


def brute_force(chips: int, kind: str, axes: dict[str, int], stages: int, sends: float) -> float:
    """The least seconds on links over every placement of every rank on any chip."""
    ranks = prod(axes.values())
    sizes = list(axes.values())

    def groups_of(stage: Sequence[int], axis: int) -> list[tuple[int, ...]]:
        inner = prod(sizes[axis + 1 :])
        starts = [r for r in range(ranks) if r // inner % sizes[axis] == 0]
        return [tuple(stage[s + i * inner] for i in range(sizes[axis])) for s in starts]

    best = float("inf")
    for places in permutations(range(chips), ranks * stages):
        rows = [places[i * ranks : (i + 1) * ranks] for i in range(stages)]
        total = 0.0
        for axis in range(len(sizes)):  # of all stages at once, as in a full pipeline
            groups = [group for row in rows for group in groups_of(row, axis)]
            total += stages * gather_seconds(chips, kind, groups, MIB)
        for here, there in pairwise(rows):
            pairs = list(zip(here, there, strict=True))
            far, sharing = fullest(chips, kind == "ring", pairs) if kind != "switch" else (1, 1)
            total += far * ALPHA + sends * sharing / (RATE if kind == "switch" else RATE / 2)
        best = min(best, total)
    return best


CASES = [
    ("ring", 4, {"a": 2, "b": 2}, 1),
    ("ring", 6, {"a": 3, "b": 2}, 1),
    ("ring", 6, {"a": 2}, 3),
    ("ring", 6, {"a": 3}, 2),
    ("mesh, shape: [4]", 4, {"a": 2, "b": 2}, 1),
    ("mesh, shape: [6]", 6, {"a": 2, "b": 3}, 1),
    ("mesh, shape: [6]", 6, {"a": 3}, 2),
    ("mesh, shape: [6]", 6, {"a": 2}, 3),
    ("switch", 6, {"a": 2, "b": 3}, 1),
    ("switch", 4, {"a": 2}, 2),
    ("ring", 6, {"a": 2}, 2),
]


@pytest.mark.parametrize("send", [MIB // 64, 4 * MIB])
@pytest.mark.parametrize(("topology", "chips", "axes", "stages"), CASES)
def test_optimum_equals_brute_force(topology, chips, axes, stages, send):
    graphs = [exchange(axes, send if i < stages - 1 else 0) for i in range(stages)]
    found = map_system(Sharded(tuple(graphs), axes), system(topology, chips))
    kind = {"mesh, shape": "line"}.get(topology.partition(":")[0], topology)
    assert found.optimal
    assert on_wires(found) == pytest.approx(brute_force(chips, kind, axes, stages, send))


@given(st.data(), st.integers(1, 4), st.integers(0, 2), st.booleans())
def test_assignment_equals_brute_force(data, stages, spare, closed):
    slots = stages + spare
    tenths = st.integers(0, 9).map(lambda i: i / 10)
    amounts = st.builds(Amount, tenths, tenths, st.integers(0, 1))
    nodes = data.draw(st.lists(st.lists(amounts, min_size=slots, max_size=slots),
                               min_size=stages, max_size=stages))  # fmt: skip
    edges = {(i, a, b): data.draw(amounts) for i in range(stages) for a in range(slots)
             for b in range(slots)}  # fmt: skip
    costs = Costs(stages, slots, lambda i, s: nodes[i][s], lambda i, a, b: edges[i, a, b], closed)
    for objective in ("latency", "energy", "edp"):
        found = assign(costs, objective, [list(range(slots))])
        best = min(costs.total(p).value(objective) for p in permutations(range(slots), stages))
        assert found.complete
        assert found.amount.value(objective) == pytest.approx(best)


@pytest.mark.parametrize("axes", [{"a": 4}, {"a": 2, "b": 4}, {"a": 2, "b": 2}])
def test_layouts_place_every_rank_once(axes):
    """Groups of chips that the layout names are those that its dims describe: one box each."""
    dims = tuple(Dim("l", kind, 4, RATE, ALPHA, 0.0) for kind in ("ring", "line"))
    for layout in layouts(dims, axes, stages=2):
        places = [layout.chips(slot) for slot in range(len(layout.slots))]
        chips = [chip for place in places for chip in place]
        assert len(set(chips)) == len(chips) <= 16
        assert sorted(layout.snake()) == list(range(len(layout.slots)))
        for axis, size in axes.items():
            assert prod(dim.size for dim in dict(layout.groups)[axis]) == size


def test_a_torus_gives_the_group_that_talks_most_its_wires():
    """64 chips, a group of 16: a plane closes to rings in both its dims; a 4 x 2 x 2 block does
    not. Its chips use two thirds of their ports, so two thirds of the bandwidth."""
    axes = {"tensor": 16, "data": 4}
    found = map_system(Sharded((exchange({"tensor": 16}, size=64 * MIB),), axes),
                       read_system("tpu_v4_64"))  # fmt: skip
    group = found.stages[0].groups["tensor"]
    assert [(dim.kind, dim.size) for dim in group] == [("ring", 4), ("ring", 4)]
    way = collective("all_gather", group, 64 * MIB)
    assert way.transfer_s == pytest.approx(15 / 16 * 64 * MIB / (270e9 * 2 / 3))
    assert len(set(found.stages[0].chips)) == 64


def test_groups_stay_inside_a_box():
    """Two boxes of four: the group that moves 64 MiB has the fast link."""
    text = f"""\
source: "guess: for tests"
machines: {{gpu: {{design: a100_sxm, count: 8}}}}
links:
  nvlink: {{topology: switch, size: 4, {LINK.replace("10 GB/s", "300 GB/s")}}}
  network: {{topology: switch, {LINK}}}
"""
    axes = {"data": 2, "tensor": 4}
    graph = exchange({"tensor": 4}, size=64 * MIB)
    (stage,) = map_system(Sharded((graph,), axes), parse_system(text)).stages
    assert [dim.link for dim in stage.groups["tensor"]] == ["nvlink"]
    assert [dim.link for dim in stage.groups["data"]] == ["network"]
    assert stage.chips == (0, 1, 2, 3, 4, 5, 6, 7)


def test_the_heavier_stage_gets_the_faster_chip():
    """One layer and eight, a GPU beside a board of a tenth of its speed; 128 KiB in between."""
    pair = parse_system(f"""\
source: "guess: for tests"
machines:
  edge: {{design: jetson_agx_orin, count: 1}}
  gpu: {{design: h100_sxm, count: 1}}
links: {{network: {{topology: point_to_point, {LINK}}}}}
""")
    for first, second, machines in ((1, 8, ["edge", "gpu"]), (8, 1, ["gpu", "edge"])):
        graphs = (layer(16, 1, first, hand_on=True), layer(16, 1, second))
        found = map_system(Sharded(graphs, {}), pair)
        assert [stage.machine for stage in found.stages] == machines
        assert sorted(stage.chips for stage in found.stages) == [(0,), (1,)]
        assert found.latency_s == pytest.approx(sum(stage.latency_s for stage in found.stages))
        assert found.interval_s == max(stage.latency_s for stage in found.stages)
        send = found.stages[0].schedule.placed[-1]
        assert send.cost.work.busy["network"] == pytest.approx(ALPHA + 16 * 4096 * 2 / RATE)


def test_what_does_not_fit_goes_elsewhere_however_slow():
    """Twenty layers of 0.44 GB are too much for a board of 8 GiB, one is not."""
    pair = parse_system(f"""\
source: "guess: for tests"
machines:
  small: {{design: raspberry_pi_4, count: 1}}
  large: {{design: jetson_agx_orin, count: 1}}
links: {{network: {{topology: point_to_point, {LINK}}}}}
""")
    graphs = (layer(1, 1, 20, hand_on=True), layer(1, 1, 1))
    found = map_system(Sharded(graphs, {}), pair)
    assert [(stage.machine, stage.fits) for stage in found.stages] == [
        ("large", True),
        ("small", True),
    ]


def test_too_large_a_stage_is_said_not_to_fit():
    """160 layers of 218 M weights are 70 GB in bf16: too much for 32 GiB, a fourth of it is not."""
    found = map_system(Sharded((layer(1, 1, layers=160),), {}), read_system("tpu_v4_64"))
    assert not found.stages[0].fits
    assert map_system(Sharded((layer(1, 4, layers=160),), {"tensor": 4}),
                      read_system("tpu_v4_64")).stages[0].fits  # fmt: skip


def test_one_chip_is_the_schedule_of_the_chip():
    """Without others a system is its design, and a collective of one costs nothing."""
    design = read_design("a100_sxm")
    graph = layer(64, 1)
    found = map_system(Sharded((graph,), {"tensor": 1}), single_chip(design))
    alone = map_graph(graph, design)
    assert found.latency_s == pytest.approx(sum(p.count * p.cost.latency_s for p in alone))
    assert sum(p.cost.latency_s for p in alone if p.op.kind == "collective") == 0


def test_tensor_parallel_layer():
    """Eight GPUs, 2048 tokens: two all_reduces of 16 MiB a layer, beside their producers."""
    (stage,) = map_system(Sharded((layer(2048, 8),), {"tensor": 8}), read_system("dgx_a100")).stages
    tiled = [p for p in stage.schedule if p.plan.variant == "tiled"]
    assert [p.op.name for p in tiled] == ["o_proj", "down_proj"]
    for placed in tiled:
        assert [op.function for op in placed.fused] == ["all_reduce"]
        assert placed.cost.latency_s < placed.plan.instead["sequential"]
        assert placed.cost.lower_bound_s() <= placed.cost.latency_s <= placed.cost.upper_bound_s()
        exposed = exposed_by_resource(placed.cost)
        assert sum(exposed.values()) == pytest.approx(placed.cost.latency_s)
        assert min(exposed.values()) >= -1e-12


def test_a_token_is_not_worth_tiling():
    """8 KiB take the link no time; a second launch takes 3 us."""
    (stage,) = map_system(Sharded((layer(1, 8),), {"tensor": 8}), read_system("dgx_a100")).stages
    assert all(p.plan.variant != "tiled" for p in stage.schedule)
    assert [p.op.name for p in stage.schedule if p.op.kind == "collective"] == [
        "o_proj.all_reduce",
        "down_proj.all_reduce",
    ]


@pytest.mark.slow
def test_no_better_tiling_is_left_out(monkeypatch):
    """The bound that saves mapping tiles: without it the same is found."""
    sizes = {"hidden": 2048, "heads": 16, "inner": 4096}
    args = Sharded((layer(1024, 8, **sizes),), {"tensor": 8}), read_system("dgx_a100")
    found = map_system(*args)
    assert any(p.plan.variant == "tiled" for p in found.stages[0].schedule)
    monkeypatch.setattr("mappers.overlap._at_least", lambda pair, times: 0.0)
    assert map_system(*args).latency_s == found.latency_s


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["latency", "edp"])
def test_faster_links_never_make_it_worse(objective):
    def value(link: str) -> float:
        text = f"""\
source: "guess: for tests"
machines: {{gpu: {{design: a100_sxm, count: 4}}}}
links: {{nvlink: {{topology: switch, {link}}}}}
"""
        graph = layer(8, 4, hidden=256, heads=4, kv_heads=4, inner=512)
        found = map_system(Sharded((graph,), {"tensor": 4}), parse_system(text), objective)
        amount = Amount(found.latency_s, found.energy_j)
        return amount.value(objective)[1]

    values = [value(LINK), value(LINK.replace("10 GB/s", "40 GB/s")),
              value(LINK.replace("10 GB/s", "40 GB/s").replace("1 us", "500 ns"))]  # fmt: skip
    assert values == sorted(values, reverse=True)


def moved(size: int):
    """An all_reduce of so much over eight GPUs."""
    path = memory_path(read_design("a100_sxm"), "sm")
    op = Collective("r", ("x",), "y", "all_reduce", size, size // 2, 8)
    return collective_plan(op, read_system("dgx_a100").dims("gpu"), path).cost


def test_pipeline_of_tiles_by_hand():
    """Computing 10, 10, 10 and moving 4 each: the last 4 are exposed; moving 16 each: the first 10
    are, and then 48 follow. What both need adds up: 3 * (9 + 8) of memory are more than either."""
    base = moved(MIB)

    def cost(latency: float, memory: float):
        work = replace(base.work, busy={"hbm": memory}, joules={"hbm": 1.0}, head={}, tail={})
        exposed = dict.fromkeys(base.exposed, 0.0) | {"launch": 1.0, "body": latency - 1}
        joules = {"hbm": 1.0, "static": 54 * latency}
        return replace(base, latency_s=latency, work=work, exposed=exposed, joules=joules)

    def latency(compute, move):
        return pipelined([(cost(*compute), cost(*move))] * 3).latency_s

    assert latency((10, 0), (4, 0)) == pytest.approx(34)
    assert latency((10, 0), (16, 0)) == pytest.approx(58)
    assert latency((10, 9), (10, 8)) == pytest.approx(51)
    whole = pipelined([(cost(10, 0), cost(4, 0))] * 3)
    assert whole.energy_j == pytest.approx(6 * 1.0 + 54 * 34)
    assert whole.exposed["launch"] == 4  # of three multiplications and the last all_reduce
    assert sum(whole.exposed.values()) == pytest.approx(34)


@pytest.mark.parametrize("function", ["all_reduce", "all_gather", "broadcast", "all_to_all"])
def test_bytes_of_a_collective_pass_memory_and_links(function):
    """A chip reads what it sends and what it adds to, writes what it receives."""
    path = memory_path(read_design("a100_sxm"), "sm")
    op = Collective("r", ("x",), "y", function, MIB, MIB // 2, 8)
    dims = read_system("dgx_a100").dims("gpu")
    way, cost = collective(function, dims, MIB), collective_plan(op, dims, path).cost
    read, written = map(sum, zip(*cost.work.traffic["hbm"].values(), strict=True))
    assert read == pytest.approx(way.sent_bytes + way.added_bytes)
    assert written == pytest.approx(way.received_bytes)
    assert cost.joules["nvlink"] == pytest.approx(way.joules)
    assert cost.latency_s >= way.seconds + path.control.launch


def test_a_design_alone_runs_collectives_over_its_own_links():
    graph = layer(64, 8)
    placed = {p.op.name: p for p in map_graph(graph, read_design("h100_sxm"))}
    plan = placed["o_proj.all_reduce"].plan
    assert plan.mapping["links"] == ["nvlink"]
    assert plan.rests_on["nvlink"][0] == ("links", "nvlink", "bandwidth")
    with pytest.raises(DesignError, match=r"no link joins 8 chips; the design has no links"):
        map_graph(graph, read_design("jetson_agx_orin"))


def test_mistakes_are_named():
    graph = layer(16, 4)
    box = read_system("dgx_a100")
    with pytest.raises(GraphError, match=r"o_proj.all_reduce: no axis 'tensor'; did you mean"):
        map_system(Sharded((graph,), {"tensors": 4}), box)
    with pytest.raises(GraphError, match=r"4 participants, but axis 'tensor' has 8 ranks"):
        map_system(Sharded((graph,), {"tensor": 8}), box)
    with pytest.raises(GraphError, match=r"0 stages, axes none: at least 1 of each"):
        map_system(Sharded((), {}), box)
    with pytest.raises(DesignError, match=r"dgx_a100: the stages need 3 x 4 chips \(tensor 4\)"):
        map_system(Sharded((graph,) * 3, {"tensor": 4}), box)
    with pytest.raises(
        GraphError, match=r"r: no collective 'allreduce'; did you mean 'all_reduce'"
    ):
        Collective("r", ("x",), "y", "allreduce", 1, 1, 2)


def test_pipelined_stages_go_along_the_wires():
    """Sixteen stages on a torus: each next to the one before it, one hop of 1 us."""
    graphs = tuple(exchange({}, MIB) for _ in range(16))
    found = map_system(Sharded(graphs, {}), read_system("tpu_v4_64"))
    hops = [p.cost.work.busy for stage in found.stages[:-1] for p in stage.schedule]
    assert [busy["ici"] for busy in hops] == pytest.approx([1e-6 + MIB / 45e9] * 15)
