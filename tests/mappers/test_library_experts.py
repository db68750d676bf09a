"""Layers of experts of a library: the closed form by hand, and what must hold of it."""

import numpy as np
import pytest

from accel_models.kernel_library.experts import ExpertKernels, ExpertsFormat
from accel_models.path import memory_path
from accel_models.read_design import read_design
from mappers import map_graph
from mappers.library.experts import Layers, expert_times, tiled
from mappers.library.machine import Machine, machine_of
from workloads.builders import build
from workloads.phase import decode, prefill
from workloads.read_model import read_config

MACHINE = Machine(10, 1e9, 1e12, 1e6, 4e12, 1e5, {"add": 128.0}, 300.0, 50.0)
KERNELS = ExpertKernels(
    setup="30 us", dram=0.8, rows=0.4, issue=0.5, formats={"fp8": {"issue": 0.25}}
)


def layers(*loads, tokens=64.0, gates=2.0) -> Layers:
    """1024 hidden and 512 inner elements of 2 bytes, 10^14 MACs a second."""
    ones = np.ones(len(loads))
    arrays = tuple(np.array(load, float) for load in loads)
    return Layers(tokens * ones, 1024 * ones, 512 * ones, gates * ones, arrays, 2.0, 2.0, 1e14)


def test_rows_come_in_tiles():
    assert tiled(np.array([1.0, 16, 17, 64, 65, 129])).tolist() == [16, 16, 32, 64, 128, 256]


def test_a_layer_by_hand():
    times = expert_times(layers([100.0, 28.0]), MACHINE, KERNELS)
    total, padded = 30e-6, 128 + 32
    for n, k in ((1024, 1024), (1024, 512)):
        memory = (2 * n * k * 2 + 128 * (k + n) * 2) / 0.8e12
        matrix = padded * n * k / 0.5e14
        total += (memory**3 + matrix**3) ** (1 / 3)
    dealt = 2 * 64 * 1024 * 2 + 128 * (1024 * 4 + 512 * (4 + 2))
    assert times.latency_s == pytest.approx([total + dealt / 0.4e12])
    assert times.bound_by == ["launch"]


def test_fewer_experts_read_fewer_weights():
    one, many = expert_times(layers([64.0], [8.0] * 8), MACHINE, KERNELS).latency_s
    assert one < many


def test_without_a_gate_there_is_less_to_do():
    (gate,) = expert_times(layers([64.0]), MACHINE, KERNELS).latency_s
    (none,) = expert_times(layers([64.0], gates=1.0), MACHINE, KERNELS).latency_s
    assert none < gate


def test_a_format_differs_where_it_says():
    assert KERNELS.of("fp8").issue == 0.25
    assert KERNELS.of("fp8").setup == KERNELS.setup
    assert KERNELS.of("nvfp4", "bf16") is KERNELS
    assert ExpertsFormat().issue is None


@pytest.mark.parametrize("phase", [decode(1, 64), decode(64, 64), prefill(1, 1024)], ids=str)
@pytest.mark.parametrize("design", ["a100_sxm", "h100_sxm"])
def test_a_planned_layer_takes_what_the_closed_form_says(design, phase):
    """Its multiplications, and the kernels that deal, activate and collect."""
    machine, graph = read_design(design), build(read_config("mixtral-8x7b"), phase)
    path = memory_path(machine, "sm")
    placed = map_graph(graph, machine)
    ours = [p for p in placed if "experts." in p.op.name]
    (up,) = (p.op for p in ours if p.op.name.endswith("gate_up_proj"))
    tokens = graph.batch * graph.tokens
    loads = np.concatenate([np.full(count, float(rows)) for count, rows in up.loads])
    layer = Layers(
        np.array([float(tokens)]),
        np.array([float(up.k)]),
        np.array([up.n / 2.0]),
        np.array([2.0]),
        (loads,),
        2.0,
        2.0,
        156e12 if design == "a100_sxm" else 495e12,
    )
    expected = expert_times(layer, machine_of(path), path.core.kernels.experts).latency_s[0]
    assert sum(p.cost.latency_s for p in ours) == pytest.approx(expected, rel=0.15)


def test_a_planned_multiplication_rests_on_the_library():
    graph, machine = build(read_config("mixtral-8x7b"), decode(4, 64)), read_design("a100_sxm")
    (up,) = (p for p in map_graph(graph, machine) if p.op.name.endswith("gate_up_proj"))
    block = ("cores", "sm", "kernels", "experts")
    assert up.plan.rests_on["hbm"] == ((*block, "dram"), (*block, "rows"))
    assert up.plan.rests_on["matrix"][-1] == (*block, "issue")
    cost = up.cost
    assert cost.lower_bound_s() <= cost.latency_s <= cost.upper_bound_s() * (1 + 1e-9)
    assert sum(cost.exposed.values()) == pytest.approx(cost.latency_s)
