"""Measured vector rows as kernels of a library."""

import pytest

from accel_models.path import memory_path
from accel_models.read_design import read_design
from sim.measured.cases import Case
from sim.measured.library import Answer
from sim.measured.library_gemm import gemm_predictions
from sim.measured.library_vector import vector_predictions


def case(op: str, dtype: str, d0: int, d1: int, method: str = "cudagraph") -> Case:
    values = {"device": "X", "op": op, "dtype": dtype, "d0": str(d0), "d1": str(d1)}
    return Case("rows.csv", 2, values | {"method": method, "latency_us": "1"})


def answers(design: str, *cases: Case) -> list[Answer]:
    machine = read_design(design)
    (name,) = machine.cores
    return vector_predictions(cases, memory_path(machine, name))


def seconds(design: str, *cases: Case) -> list[float]:
    return [answer.seconds for answer in answers(design, *cases)]


def test_a_hosts_clock_adds_its_call():
    wall, device = seconds(
        "a100_sxm",
        case("softmax", "fp16", 512, 4096, "pytorch_wallclock"),
        case("softmax", "fp16", 512, 4096),
    )
    kernels = read_design("a100_sxm").cores["sm"].kernels
    assert wall - device == pytest.approx(kernels.vector.libraries["torch"].host_call)


def test_one_host_call_whatever_torch_calls():
    """A multiplication by a host's clock has the same call in it as a softmax."""
    path = memory_path(read_design("a100_sxm"), "sm")
    sizes = {"M": "64", "N": "64", "K": "64", "dtype": "fp16", "latency_us": "1", "device": "X"}
    wall, device = (
        gemm_predictions([Case("rows.csv", 2, sizes | {"method": method})], path)[0].seconds
        for method in ("pytorch_wallclock", "kineto_kernel_sum")
    )
    assert wall - device == pytest.approx(path.core.kernels.vector.host_call("torch"), rel=0.05)


def test_a_scale_of_the_datas_own_adds_kernels():
    given, found = seconds(
        "h100_sxm",
        case("quant_fp8_static", "bf16->fp8", 4096, 8192),
        case("computescale_fp8_delta", "bf16->fp8", 4096, 8192),
    )
    assert found > 7e-6
    assert given < found


def test_what_the_library_does_not_say_is_said():
    (why,) = answers("a100_sxm", case("computescale_fp8_delta", "bf16->fp8", 8, 8))
    assert why == "a100_sxm: its vector kernels have no `maximum`"
    (why,) = answers("a100_sxm", case("gelo", "fp16", 8, 8))
    assert why.startswith("op: no function 'gelo'; did you mean 'gelu'")
    (why,) = answers("a100_sxm", case("gelu", "fp17", 8, 8))
    assert why.startswith("dtype: 'fp17'")


def test_amds_kernels_are_their_own():
    (slow,) = seconds("mi210", case("gelu", "fp16", 1 << 24, 1))
    (fast,) = seconds("a100_sxm", case("gelu", "fp16", 1 << 24, 1))
    assert slow > 2 * fast
