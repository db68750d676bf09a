"""Measured collectives as a library's over a design's own links."""

import pytest

from accel_models.path import memory_path
from accel_models.read_design import read_design
from accel_models.reader import DesignError
from kernels_ref.errors import UserError
from sim.measured.cases import Case
from sim.measured.library import Answer
from sim.measured.library_comm import WAIT_S, comm_predictions, transfer_of


def case(op: str, chips: int, size: int, lib: str = "nccl 2.27.3") -> Case:
    values = {"device": "X", "op": op, "n_gpus": str(chips), "bytes": str(size), "lib": lib}
    return Case("rows.csv", 2, values | {"latency_us": "1"})


def seconds(design: str, *cases: Case) -> list[float]:
    return [answer.seconds for answer in answers(design, *cases)]


def answers(design: str, *cases: Case) -> list[Answer]:
    return comm_predictions(cases, memory_path(read_design(design), "sm"))


def test_only_inference_libraries_have_shots():
    h100 = read_design("h100_sxm")
    own, ncclx = (
        transfer_of(case("all_reduce", 8, 4096, lib), h100)[1].algorithm
        for lib in ("trtllm custom allreduce 1.0", "nccl 2.27.3")
    )
    assert (own, ncclx) == ("one_shot", "ring LL128")


def test_a_kernels_duration_includes_waiting():
    vidur = "torch nccl (vidur), devices_per_node=2"
    small, large, sent = seconds(
        "a100_sxm",
        case("all_reduce", 2, 4096, vidur),
        case("all_reduce", 2, 1 << 28, vidur),
        case("send_recv", 2, 4096, vidur),
    )
    assert small == WAIT_S
    assert large > WAIT_S > sent


def test_between_nodes_nothing_is_predicted():
    a100 = read_design("a100_sxm")
    across = case("all_reduce", 4, 4096, "torch nccl (vidur), devices_per_node=2")
    for why in answers("a100_sxm", across, case("send_recv_internode", 2, 4096)):
        assert "chips of several nodes" in why
    with pytest.raises(DesignError, match="several nodes"):
        transfer_of(across, a100)


def test_an_unknown_op_is_an_error():
    with pytest.raises(UserError, match="did you mean 'all_reduce'"):
        transfer_of(case("all_reduc", 2, 8), read_design("a100_sxm"))


def test_a_host_is_shared():
    two, four = seconds("l40s", *(case("all_gather", n, 1 << 28) for n in (2, 4)))
    assert four > 4 * two
