"""How times were measured, by the names in the column `method`: what a method adds, and what it
leaves in caches.

Of the device these numbers say nothing. Sources: the harnesses that the data set's README
describes (tests/data/silicon/README.md).
"""

from __future__ import annotations

from dataclasses import dataclass

from sim.measured.cases import Case


@dataclass(frozen=True, slots=True)
class Method:
    """`added_s` is in every measurement whatever runs; `cold`: inputs are gone from the caches
    when a kernel starts; `sustained`: it runs long enough for the power limit to hold."""

    added_s: float = 0.0
    cold: bool = False
    sustained: bool = True


PROFILER = "trt_layer_profiler"  # what it adds differs by machine: a kernel library says it
METHODS: dict[str, Method] = {
    "cudagraph": Method(),
    # one run, after three multiplications of 12288 squared; clocks are still those of a burst
    PROFILER: Method(cold=True, sustained=False),
    # a clock on the host around one eager op and a synchronization: LLMCompass (ISCA 2024), 20-45
    # us of launch and Python whatever the op
    "pytorch_wallclock": Method(added_s=30e-6, sustained=False),
    # a model's layers one after the other: their weights push each other out
    "kineto_kernel_sum": Method(cold=True, sustained=False),
    "xla_trace": Method(),
}


def method_of(case: Case) -> Method:
    """As the column says; a kernel in a loop of its own where there is none."""
    return METHODS.get(case.values.get("method", ""), Method())


def framework_of(case: Case) -> str:
    """Whose library ran: the column `framework`, or what stands for it in a `source` of the data
    set, `aic:<system>/<family>/<framework>/<version>`; empty where neither says."""
    if case.values.get("framework"):
        return case.values["framework"]
    parts = case.values.get("source", "").split("/")
    return parts[2] if parts[0].startswith("aic:") and len(parts) > 3 else ""
