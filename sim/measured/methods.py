"""How times were measured, by the names in the column `method`: what a method leaves in caches, and
whether it adds a host's call, which a machine's kernel library says (`host_call`).

Sources: the harnesses that the data set's README describes (tests/data/silicon/README.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from accel_models.path import Path
from sim.measured.cases import Case

# a graph of up to six kernels, three times to warm up and six to be timed (aiconfigurator's
# SGLang collector); others' loops are as long within a few times, which is worth little
LOOP = 54


@dataclass(frozen=True, slots=True)
class Method:
    """`cold`: inputs are gone from the caches when a kernel starts; `runs` of it follow each other
    without a pause, so that the power limit holds (mappers/library/machine.py), of one it does not;
    `hosts_clock`: each measurement has a call from the host and a synchronization in it."""

    cold: bool = False
    runs: float = LOOP
    hosts_clock: bool = False


PROFILER = "trt_layer_profiler"  # what it adds differs by machine: a kernel library says it
METHODS: dict[str, Method] = {
    "cudagraph": Method(),
    # one run, after three multiplications of 12288 squared; clocks are still those of a burst
    PROFILER: Method(cold=True, runs=1),
    # a clock on the host around one op and a synchronization: LLMCompass (ISCA 2024)
    "pytorch_wallclock": Method(runs=1, hosts_clock=True),
    # a model's layers one after the other: their weights push each other out
    "kineto_kernel_sum": Method(cold=True, runs=1),
    "xla_trace": Method(),
    # iterations of a server, one after the other: the same, and they go on for minutes
    "server": Method(cold=True, runs=inf),
}
# where power was read beside the time, the loop goes on for NVML to see it: a second and more
POWERED = Method(runs=inf)


def method_of(case: Case) -> Method:
    """As the column says; where there is none, a kernel in a loop of its own, which lasts if its
    power was measured."""
    usual = POWERED if case.values.get("power_w") else Method()
    return METHODS.get(case.values.get("method", ""), usual)


def host_s(case: Case, path: Path, library: str = "torch") -> float:
    """Seconds of the host's call in the case's measurement, of a kernel of this library."""
    known = path.core.kernels and path.core.kernels.vector
    return known.host_call(library) if known and method_of(case).hosts_clock else 0.0


def framework_of(case: Case) -> str:
    """Whose library ran: the column `framework`, or what stands for it in a `source` of the data
    set, `aic:<system>/<family>/<framework>/<version>`; empty where neither says."""
    if case.values.get("framework"):
        return case.values["framework"]
    parts = case.values.get("source", "").split("/")
    return parts[2] if parts[0].startswith("aic:") and len(parts) > 3 else ""
