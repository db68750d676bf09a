"""Every level, and every option of a level, changes what it should."""

from __future__ import annotations

from typing import Any

import pytest
from tiny import FP16, attention_graph, design_dict, engine, matmul_graph, memory, parse

from accel_models.design import Design
from accel_models.path import memory_path
from mappers import map_graph
from mappers.cost import Cost
from mappers.mapping import RANKS, LevelMapping, Mapping
from mappers.problem import Contraction
from mappers.reuse import Nest
from mappers.traffic import matmul_traffic
from workloads.graph import Graph
from workloads.ops import Attention

PREFILL = Attention("a", ("q", "k", "v"), "o", 2, 4, 2, 512, 512, 16, 16)
GRAPHS = {"attention": attention_graph(PREFILL), "matmul": matmul_graph(128, 96, 64)}
LEVELS = ("dram", "l2", "smem", "registers")


def machine(**changes: dict[str, Any]) -> Design:
    """A small GPU; `changes` by level."""
    chip = {
        "dram": memory("1 GiB", "64 B/cycle", kind="dram"),
        "l2": memory("1 MiB", "256 B/cycle"),
    }
    smem = memory("64 KiB", "64 B/cycle", buffering="multi", keeps=["activation", "weight"])
    registers = memory("16 KiB", "256 B/cycle", kind="regfile", per="engine")
    levels = {**chip, "smem": smem, "registers": registers}
    levels = {name: level | changes.get(name, {}) for name, level in levels.items()}
    core = {name: levels.pop(name) for name in ("smem", "registers")}
    data = design_dict(levels, core, engine("dot_product", count=2), 4, dispatch="dynamic")
    return parse(data)


def cost(graph: Graph, **changes: dict[str, Any]) -> Cost:
    (placed,) = map_graph(graph, machine(**changes))
    return placed.cost


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("level", LEVELS)
def test_a_level_a_thousand_times_slower_is_what_limits(name: str, level: str):
    slow = "0.064 B/cycle" if level in ("dram", "smem") else "0.256 B/cycle"
    before, after = cost(GRAPHS[name]), cost(GRAPHS[name], **{level: {"bandwidth": slow}})
    assert float(after.latency_s) > 3 * float(before.latency_s)
    assert after.bound_by == level


@pytest.mark.parametrize("name", GRAPHS)
def test_a_single_buffer_cannot_hide_its_fill(name: str):
    single = cost(GRAPHS[name], smem={"buffering": "single"})
    assert float(single.latency_s) > float(cost(GRAPHS[name]).latency_s)
    assert float(single.exposed["serial"]) > 0


@pytest.mark.parametrize("name", GRAPHS)
def test_what_a_level_does_not_keep_passes_it_by(name: str):
    traffic = cost(GRAPHS[name], l2={"keeps": ["activation"]}).work.traffic["l2"]
    assert set(traffic) <= {"activation", "output", "scores"}
    assert "weight" not in traffic


def test_multicast_reads_once_for_several_query_tiles():
    wide = {"bandwidth": "1 B/cycle"}
    alone = cost(GRAPHS["attention"], l2=wide).work.traffic["l2"]["weight"][0]
    shared = cost(GRAPHS["attention"], l2=wide | {"multicast": 4}).work.traffic["l2"]["weight"][0]
    assert shared <= alone


def test_a_fill_port_takes_fills_off_the_level():
    """Weights streamed through a shared level: as fast as DRAM allows, not half of it."""
    graph = matmul_graph(1, 512, 512)
    l2 = {"bandwidth": "64 B/cycle"}
    turns, own = cost(graph, l2=l2), cost(graph, l2=l2 | {"fill_port": True})
    assert float(own.work.busy["l2"]) == pytest.approx(float(turns.work.busy["l2"]) / 2, rel=0.1)


def test_a_shared_level_in_two_halves():
    """Half the cores each: found, legal, and no faster than one whole level."""
    for graph in GRAPHS.values():
        whole, halves = cost(graph), cost(graph, l2={"instances": 2, "capacity": "512 KiB"})
        assert float(halves.latency_s) > 0.5 * float(whole.latency_s)


def one_tile_traffic(problem: Contraction) -> dict[str, Any]:
    path = memory_path(machine(dram={"granularity": "64 B"}), "core")
    ones = dict.fromkeys(RANKS, 1)
    levels = (LevelMapping(v.name, problem.extents, ones, RANKS, v.keeps) for v in path.levels)
    return matmul_traffic(problem, Nest(Mapping(tuple(levels)), path, problem))[0]


def test_whole_rows_leave_no_gaps():
    """100 elements of 2 bytes are no multiple of 64, but the next row follows at once."""
    path = memory_path(machine(), "core")
    problem = Contraction(
        {"b": 1, "m": 7, "n": 10, "k": 100}, path.datapath(FP16, FP16), 2, 2, 2, 4
    )
    assert one_tile_traffic(problem)["dram"]["activation"] == (7 * 100 * 2, 0)


def test_slow_vector_engines_multiply_slowly():
    """A tenth of the rates takes ten times as long, also below one MAC a cycle."""
    times = []
    for rate in (1.0, 0.1):
        design = machine()
        rates = design.cores["core"].vector.ops_per_cycle.model_copy(
            update={"add": rate, "mul": rate}
        )
        vector = design.cores["core"].vector.model_copy(update={"ops_per_cycle": rates})
        core = design.cores["core"].model_copy(update={"vector": vector})
        path = memory_path(design.model_copy(update={"cores": {"core": core}}), "core")
        times.append(
            path.on_vector_engine().engine.peak(
                path.on_vector_engine().engine.pe.formats["fp32"].macs_per_cycle, 32
            )
        )
    assert times[0] == pytest.approx(10 * times[1])
