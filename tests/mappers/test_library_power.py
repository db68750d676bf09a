"""Board power of library kernels: energies by hand, the limit, monotony."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from accel_models.path import Path, memory_path
from accel_models.read_design import read_design
from kernels_ref.formats import get_format
from mappers.library.machine import Machine, machine_of
from mappers.library.power import (
    BLOCKS,
    SUSTAINED,
    Energies,
    allowed_w,
    energies,
    joules,
    throttled,
    watts,
)

GPUS = ("a100_sxm", "l40s", "rtx_3090", "h100_sxm", "b200", "gb200", "rtx_pro_6000")


def path_of(name: str) -> Path:
    return memory_path(read_design(name), "sm")


def energies_of(path: Path, name: str = "bf16") -> Energies:
    number = get_format(name)
    return energies(path, path.datapath(number, number))


def machine(limit: float, static: float) -> Machine:
    return replace(machine_of(path_of("gb200")), power_w=limit - static, static_w=static)


def test_energies_of_a_blackwell_mac_by_hand() -> None:
    """A block is 32 x 16 x 16: it reads (512 + 256) * 2 B of operands at 0.03 pJ/bit, and of its
    512 sums of 4 B reads and writes each at 0.1 pJ/bit; a read of L2 serves two cores."""
    found = energies_of(path_of("gb200"))
    block = 32 * 16 * 16
    operands = (32 * 16 + 16 * 16) * 2 * 8 * 0.03
    sums = 32 * 16 * 4 * 8 * 0.1 * (2 - 1 / BLOCKS)
    own = path_of("gb200").engine.pe.formats["bf16"].energy * 1e12
    assert found.mac * 1e12 == pytest.approx(own + (operands + sums) / block)
    assert found.shared * 1e12 == pytest.approx(8 * (2 / 2 + 2 * 0.12))
    hbm = read_design("gb200").memory["hbm"].energy
    assert found.outer == pytest.approx(8 * (hbm + 2e-12))


@pytest.mark.parametrize("name", GPUS)
def test_narrow_formats_take_less(name: str) -> None:
    path = path_of(name)
    wide, narrow = energies_of(path), energies_of(path, "int8")
    assert 0 < narrow.mac < wide.mac
    assert (narrow.outer, narrow.shared) == (wide.outer, wide.shared)


def test_a_case_below_the_limit_is_left_alone() -> None:
    board = machine(1000.0, 100.0)
    seconds, energy = np.array([1.0, 2.0]), np.array([100.0, 1000.0])
    assert throttled(seconds, energy, board) == pytest.approx(seconds)
    assert watts(seconds, energy, board) == pytest.approx([200.0, 600.0])


def test_above_the_limit_energy_comes_in_at_what_is_sustained() -> None:
    board = machine(1000.0, 100.0)
    assert allowed_w(board) == pytest.approx(1000 * SUSTAINED - 100)
    seconds, energy = np.array([1.0]), np.array([2000.0])
    slow = throttled(seconds, energy, board)
    assert slow == pytest.approx(2000 / (1000 * SUSTAINED - 100))
    assert watts(seconds, energy, board) == pytest.approx(1000 * SUSTAINED)
    assert watts(slow, energy, board) == pytest.approx(1000 * SUSTAINED)
    assert throttled(slow, energy, board) == pytest.approx(slow)


def test_more_power_never_takes_longer() -> None:
    seconds, energy = np.full(50, 1e-3), np.geomspace(0.01, 10, 50)
    before = throttled(seconds, energy, machine(400.0, 50.0))
    after = throttled(seconds, energy, machine(700.0, 50.0))
    assert (after <= before).all()
    assert (np.diff(before) >= 0).all()


def test_a_long_multiplication_of_gb200_is_limited_by_power() -> None:
    """C[4097,51200], k = 8192, in bf16 took 2612 us at 1170 W (gemm_power.csv); at 0.9 of the peak
    it would be 1526. Tiles of 128 x 256, a MAC takes 2/128 + 2/256 bytes from L2."""
    path = path_of("gb200")
    macs = np.array([4097.0 * 51200 * 8192])
    moved = {
        "hbm": 2.0 * np.array([4097 * 8192 + 51200 * 8192 + 4097 * 51200.0]),
        "l2": macs * 2 * (1 / 128 + 1 / 256),
    }
    energy = joules(macs, moved, energies_of(path), path)
    full = macs / (0.9 * 1250e12)
    slow = throttled(full, energy, machine_of(path))
    assert slow[0] == pytest.approx(2612e-6, rel=0.08)
    assert watts(full, energy, machine_of(path))[0] == pytest.approx(1170, rel=0.01)
