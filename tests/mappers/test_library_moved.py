"""Bytes and energy of ops that a library runs: those that its times are reckoned with."""

import numpy as np
import pytest
from tiny import without_library

from accel_models.path import memory_path
from accel_models.read_design import read_design
from mappers import map_graph
from mappers.cost import Work, memory_joules
from mappers.library.machine import machine_of
from mappers.library.matmul import Gemms, matmul_times
from mappers.library.moved import as_moved, rescaled
from workloads.builders import build
from workloads.phase import decode, prefill
from workloads.read_model import read_config

PATH = memory_path(read_design("a100_sxm"), "sm")
KINDS = ("einsum", "attention", "experts")
OPS = [
    (design, model, phase)
    for design in ("a100_sxm", "h100_sxm")
    for model, phase in (
        ("llama-3.2-1b", decode(3, 700)),
        ("llama-3.2-1b", prefill(1, 300)),
        ("olmoe-1b-7b", decode(7, 65)),
    )
]


def tiled() -> Work:
    """As a mapping has it: the activation three times, the weight once."""
    outer = {"activation": (300.0, 0.0), "weight": (50.0, 0.0), "output": (5.0, 25.0)}
    shared = {"activation": (600.0, 300.0), "weight": (200.0, 50.0), "output": (30.0, 30.0)}
    return Work({}, {}, {}, {"matrix": 1.0}, {"hbm": outer, "l2": shared})


def test_what_is_read_again_by_hand():
    once = {"activation": 100.0, "weight": 50.0, "output": 20.0}
    work = as_moved(tiled(), {"dram": 200.0, "l2": 400.0, "sums": 16.0}, once, PATH)
    # 30 bytes more than once each, which the tiling reads of the activation alone
    assert work.traffic["hbm"] == {
        "activation": (130.0, 0.0), "weight": (50.0, 0.0), "output": (0.0, 20.0)
    }  # fmt: skip
    assert work.traffic["l2"] == {
        "activation": (300.0, 130.0), "weight": (100.0, 50.0), "output": (28.0, 28.0)
    }  # fmt: skip
    assert work.joules == {"matrix": 1.0} | memory_joules(work.traffic, PATH)


def test_less_than_once_is_once():
    once = {"activation": 100.0, "weight": 50.0, "output": 20.0}
    work = as_moved(tiled(), {"dram": 1.0}, once, PATH)
    assert sum(map(sum, work.traffic["hbm"].values())) == 170
    assert work.traffic["l2"] == tiled().traffic["l2"]


def test_an_operand_on_chip_is_as_the_tiling_has_it():
    work = as_moved(tiled(), {"dram": 70.0, "l2": 80.0}, {"weight": 50.0, "output": 20.0}, PATH)
    assert work.traffic["hbm"]["activation"] == tiled().traffic["hbm"]["activation"]
    assert work.traffic["l2"]["weight"] == (80.0, 50.0)


def test_parts_of_a_tiling_are_the_same_parts_of_the_library_s():
    new = {"hbm": {"activation": (100.0, 0.0)}, "l2": {"activation": (300.0, 100.0)}}
    flow = {"hbm": (150.0, 0.0), "l2": (0.0, 150.0)}
    assert rescaled(flow, "activation", tiled().traffic, new) == {
        "hbm": (50.0, 0.0), "l2": (0.0, 50.0)
    }  # fmt: skip


@pytest.mark.parametrize(("design", "model", "phase"), OPS)
def test_no_operand_moves_less_than_once_and_energy_follows(design, model, phase):
    graph, machine = build(read_config(model), phase), read_design(design)
    for placed in map_graph(graph, machine):
        work, path = placed.cost.work, placed.plan.path
        for level, joules in memory_joules(work.traffic, path).items():
            assert work.joules[level] == pytest.approx(joules)
        if placed.op.kind not in KINDS:
            continue
        operands = work.traffic[path.levels[0].name]
        read, written = (sum(part) for part in zip(*operands.values(), strict=True))
        assert read >= least_read(placed, graph) * (1 - 1e-9)
        seconds = (read + written) / machine_of(path).dram_bytes_per_s
        assert seconds <= placed.cost.latency_s


def least_read(placed, graph) -> float:
    """Weights of the op (of active experts) and the cache."""
    op, stays = placed.op, placed.plan.stays
    ops = [o for o in (op, *placed.fused) if o.kind == "einsum"] or [op]
    if op.kind == "experts":
        weight = graph.tensors[op.inputs[1]]
        return weight.bytes * op.active / weight.shape[0]
    names = {t for o in ops for t in o.inputs[1:] if t not in stays}
    if op.kind == "attention":
        seen = op.batch * op.kv_len * op.kv_heads * op.head_dim
        return sum(seen * graph.tensors[t].bytes / graph.tensors[t].elements for t in names)
    return sum(graph.tensors[t].bytes for t in names)


def test_a_multiplication_moves_what_its_time_is_reckoned_with():
    graph = build(read_config("llama-3.2-1b"), prefill(1, 256))
    placed = next(p for p in map_graph(graph, read_design("a100_sxm")) if p.op.name == "lm_head")
    sizes = (np.array([float(placed.op.ranks[rank])]) for rank in "mnk")
    case = Gemms(np.ones(1), *sizes, 2.0, 2.0, 2.0, 156e12, np.array([np.inf]))
    library = PATH.core.kernels.matmul.of("bf16")
    moved = matmul_times(case, machine_of(PATH), library).moved
    traffic = placed.cost.work.traffic
    own = {o: parts for o, parts in traffic["hbm"].items() if o != "epilogue"}
    assert sum(map(sum, own.values())) == pytest.approx(moved["dram"][0], rel=0.02)
    inputs = sum(traffic["l2"][o][0] for o in ("activation", "weight"))
    assert inputs == pytest.approx(moved["l2"][0] - moved["sums"][0], rel=0.02)
    other = without_library("a100_sxm")
    free = next(p for p in map_graph(graph, other) if p.op.name == "lm_head")
    assert free.cost.work.traffic != traffic
