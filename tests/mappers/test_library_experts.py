"""Layers of experts of a library: the closed form by hand, and what must hold of it."""

import numpy as np
import pytest

from accel_models.kernel_library.experts import ExpertKernels, ExpertsFormat
from mappers.library.experts import Layers, expert_times, tiled
from mappers.library.machine import Machine

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
