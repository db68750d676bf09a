"""Goals of the predictions' errors on rows of fitted devices that no fit saw (docs/accuracy.md).

They were set before the model was, from a trial of one with eight parameters a device: what a row
of the table reaches is beside its goal, and says so where it falls short. A goal is a MAPE in
percent, by op, kind of rows and device. There is none for layers of experts.
"""

from __future__ import annotations

EVERY = "every device"  # that has no goal of its own

_WIDE = {"H100-SXM5-80GB": 6, "A100-SXM4-80GB": 8, "B200-SXM-180GB": 9, "L40S": 13}
_FP8 = {EVERY: 11, "L40S": 13}
_INTEGER = {EVERY: 10}
GOALS: dict[tuple[str, str], dict[str, int]] = {
    ("gemm", "bf16"): _WIDE,
    ("gemm", "fp16"): _WIDE,
    ("gemm", "fp8"): _FP8,
    ("gemm", "fp8_static"): _FP8,
    ("gemm", "fp8_block"): {EVERY: 10, "B200-SXM-180GB": 12},
    ("gemm", "nvfp4"): {EVERY: 10},
    ("gemm", "int8_sq"): _INTEGER,
    ("gemm", "w4a16"): _INTEGER,
    ("gemm", "w8a16"): _INTEGER,
    ("attention", "prefill"): {EVERY: 9},
    ("attention", "prefill fp8"): {EVERY: 13},  # queries or cache
    ("attention", "decode"): {
        "H100-SXM5-80GB": 7, "B200-SXM-180GB": 9, "A100-SXM4-80GB": 10, "L40S": 12,
    },
    ("vector", ""): {EVERY: 12},
    ("comm", ""): {EVERY: 15},
    ("layer", ""): {EVERY: 12},
}  # fmt: skip


def goal_of(op: str, what: str, device: str) -> int | None:
    """Percent, of the rows of a kind (`sim.accuracy.Group.what`) on a device; None without one."""
    goals = GOALS.get((op, _kind(op, what)), {})
    return goals.get(device, goals.get(EVERY))


def _kind(op: str, what: str) -> str:
    """The name in GOALS: vector functions, collectives and layers have one goal each."""
    if op == "gemm":
        return what
    if op == "attention":
        phase = what.split()[0]
        return f"{phase} fp8" if phase == "prefill" and "fp8" in what else phase
    return ""
