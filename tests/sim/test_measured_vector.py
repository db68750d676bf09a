"""Measured vector rows as kernels of a library."""

import numpy as np
import pytest

from accel_models.path import memory_path
from accel_models.read_design import read_design
from kernels_ref.errors import UserError
from mappers.library.machine import machine_of
from sim.measured.cases import Case
from sim.measured.vector_times import HOST_S, vector_seconds


def case(op: str, dtype: str, d0: int, d1: int, method: str = "cudagraph") -> Case:
    values = {"device": "X", "op": op, "dtype": dtype, "d0": str(d0), "d1": str(d1)}
    return Case("rows.csv", 2, values | {"method": method, "latency_us": "1"})


def seconds(design: str, *cases: Case) -> np.ndarray:
    machine = read_design(design)
    (name,) = machine.cores
    kernels = machine.cores[name].kernels
    return vector_seconds(cases, machine_of(memory_path(machine, name)), kernels.vector)


def test_a_hosts_clock_adds_its_call():
    wall, device = seconds(
        "a100_sxm",
        case("softmax", "fp16", 512, 4096, "pytorch_wallclock"),
        case("softmax", "fp16", 512, 4096),
    )
    assert wall - device == pytest.approx(HOST_S["torch"])


def test_a_scale_of_the_datas_own_adds_kernels():
    given, found = seconds(
        "h100_sxm",
        case("quant_fp8_static", "bf16->fp8", 4096, 8192),
        case("computescale_fp8_delta", "bf16->fp8", 4096, 8192),
    )
    assert found > 7e-6
    assert given < found


def test_a_library_that_says_nothing_predicts_nothing():
    assert np.isnan(seconds("a100_sxm", case("computescale_fp8_delta", "bf16->fp8", 8, 8))).all()


def test_unknown_names_are_errors():
    with pytest.raises(UserError, match="op: no kernel 'gelo'; did you mean 'gelu'"):
        seconds("a100_sxm", case("gelo", "fp16", 8, 8))
    with pytest.raises(UserError, match="dtype: 'fp17'"):
        seconds("a100_sxm", case("gelu", "fp17", 8, 8))


def test_amds_kernels_are_their_own():
    (slow,) = seconds("mi210", case("gelu", "fp16", 1 << 24, 1))
    (fast,) = seconds("a100_sxm", case("gelu", "fp16", 1 << 24, 1))
    assert slow > 2 * fast
