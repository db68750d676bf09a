"""Goals stand beside what is reached, and say where it falls short."""

from types import SimpleNamespace

import pytest

from sim.accuracy import FILES
from sim.accuracy_goals import EVERY, GOALS, goal_of
from sim.cli.docs_accuracy import _goal, _reaches


@pytest.mark.parametrize(
    ("op", "what", "device", "goal"),
    [
        ("gemm", "bf16", "L40S", 13),
        ("gemm", "fp16", "MI210", None),
        ("gemm", "fp8", "L40S", 13),
        ("gemm", "fp8", "H100-SXM5-80GB", 11),
        ("gemm", "fp32", "L40S", None),
        ("attention", "prefill bf16", "L40S", 9),
        ("attention", "prefill bf16, fp8 cache", "L40S", 13),
        ("attention", "decode bf16, fp8 cache", "L40S", 12),
        ("comm", "nccl 2.27.3", "L40S", 15),
        ("moe", "bf16", "L40S", None),
    ],
)
def test_a_goal_is_found_by_op_kind_and_device(op, what, device, goal):
    assert goal_of(op, what, device) == goal


def test_every_goal_is_of_an_op_that_is_judged():
    assert {op for op, _ in GOALS} <= set(FILES)
    assert all(0 < goal < 100 for goals in GOALS.values() for goal in goals.values())
    assert goal_of("vector", "any", "any") == GOALS["vector", ""][EVERY]


def group(mape, what="bf16", device="L40S"):
    return SimpleNamespace(op="gemm", what=what, device=device, mape=lambda judged: mape)


def test_a_goal_is_missed_by_what_is_printed():
    assert (_reaches(group(0.1304)), _goal(group(0.1304))) == (True, "13")  # 13.0
    assert (_reaches(group(0.1306)), _goal(group(0.1306))) == (False, "13, **missed**")
    assert (_reaches(group(None)), _goal(group(None))) == (None, "13")
    assert (_reaches(group(0.2, "fp32")), _goal(group(0.2, "fp32"))) == (None, "")
