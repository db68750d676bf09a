"""Measured servers on chips whose kernel library is known: iterations are the sums of their
kernels, and the closed loop of sim/measured/serving.py is iterated to its steady state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from accel_models.path import Path
from accel_models.reader import DesignError
from kernels_ref.errors import UserError
from sim.measured.cases import QUANTITY, Case, RowError
from sim.measured.iteration import Iteration, Kernel, cache_bytes, kernels_of, weight_bytes
from sim.measured.library import Answer, Predicted
from sim.measured.library_attention import attention_predictions
from sim.measured.library_comm import comm_predictions
from sim.measured.library_gemm import gemm_predictions
from sim.measured.library_moe import moe_predictions
from sim.measured.library_vector import vector_predictions
from sim.measured.served import Served, served_of
from sim.measured.serving import Needed, State, needed, state, with_waiting

PREDICT: dict[str, Callable[[Sequence[Case], Path], list[Answer]]] = {
    "gemm": gemm_predictions,
    "attention": attention_predictions,
    "vector": vector_predictions,
    "comm": comm_predictions,
    "moe": moe_predictions,
}
BLOCKS = {"gemm": "matmul", "attention": "attention", "vector": "vector", "moe": "experts"}
PASSES = 6  # of the closed loop: requests that decode change by less than one in the last
Times = dict[tuple[Served, Iteration], float | str]
Key = tuple[str, ...]


def serving_predictions(cases: Sequence[Case], path: Path) -> list[Answer]:
    """Every case, or why the design cannot do it. A case asks for the one or the other time."""
    found: list[Served | str] = []
    for case in cases:
        try:
            found.append(served_of(case))
        except RowError:
            raise
        except UserError as problem:
            found.append(str(problem).partition("\n")[0])
    ends = solved(dict.fromkeys(s for s in found if isinstance(s, Served)), path, {})
    return [
        served if isinstance(served, str) else _answer(case, served, ends[served])
        for case, served in zip(cases, found, strict=True)
    ]


def _answer(case: Case, served: Served, found: tuple[float, State] | str) -> Answer:
    if isinstance(found, str):
        return found
    fitting, end = found
    seconds = end.ttft_s if case.values[QUANTITY] == "ttft_ms" else end.tpot_s
    bound = "prompts" if end.of_prompts > 0.5 else "decodes"
    if fitting < served.requests:
        bound = "memory for caches"
    tile = f"{end.running:.0f} decode, prompts in {end.share:.0%} of iterations"
    return Predicted(seconds, bound, tile)


def solved(
    every: Iterable[Served], path: Path, times: Times
) -> dict[Served, tuple[float, State] | str]:
    """(requests that fit, steady state) of each, or why there is none; all at once. `times`: of
    iterations that are known, which grow."""
    found: dict[Served, tuple[float, State] | str] = {}
    now: dict[Served, tuple[float, float]] = {}
    for served in every:
        try:
            fitting = fitting_requests(served, path)
            now[served] = fitting, fitting
        except UserError as problem:
            found[served] = str(problem).partition("\n")[0]
    for _ in range(PASSES):
        wanted = {served: needed(served, *numbers) for served, numbers in now.items()}
        asked = [(s, i) for s, w in wanted.items() for i in (w.plain, w.mixed, w.burst)]
        times |= iteration_times([pair for pair in asked if pair not in times], path)
        found |= {served: _step(served, now[served][0], w, times) for served, w in wanted.items()}
        now = {s: (f[0], f[1].running) for s, f in found.items() if not isinstance(f, str)}
    return found


def _step(served: Served, fitting: float, need: Needed, times: Times) -> tuple[float, State] | str:
    """A pass of one of them."""
    seconds: dict[Iteration, float] = {}
    for iteration in (need.plain, need.mixed, need.burst):
        answer = times[served, iteration]
        if isinstance(answer, str):
            return answer
        seconds[iteration] = answer
    return fitting, with_waiting(served, fitting, state(served, fitting, need, seconds))


def fitting_requests(served: Served, path: Path) -> float:
    """Requests of a copy whose caches fit beside its weights, at most all. Raises DesignError where
    none does."""
    server, outer = served.server, path.design.memory[path.levels[0].name]
    assert outer.capacity
    left = server.memory * outer.capacity - weight_bytes(served)
    kept = served.prompt + served.answer / (2 if server.reserves == "prompt" else 1)
    fitting = served.copies * left / (cache_bytes(served) * kept)
    if fitting < 1:
        raise DesignError(
            f"{path.design.name}: {served.chips} chips have no room for weights and one request"
        )
    return min(float(served.requests), fitting)


def iteration_times(asked: Iterable[tuple[Served, Iteration]], path: Path) -> Times:
    """Seconds of each, or why the design cannot do it. Kernels that are alike are priced once."""
    kernels = {pair: list(kernels_of(*pair)) for pair in dict.fromkeys(asked)}
    new = {_key(kernel): kernel for every in kernels.values() for kernel in every}
    known: dict[Key, Answer] = {}
    for kind in PREDICT:
        alike = {key: kernel.case for key, kernel in new.items() if kernel.kind == kind}
        if alike:
            known |= dict(zip(alike, _predicted(kind, list(alike.values()), path), strict=True))
    return {
        pair: _sum([(kernel.times, known[_key(kernel)]) for kernel in every])
        for pair, every in kernels.items()
    }


def _predicted(kind: str, cases: list[Case], path: Path) -> list[Answer]:
    block = BLOCKS.get(kind)
    if block and getattr(path.core.kernels, block, None) is None:
        return [f"{path.design.name}: its library lacks `{block}`"] * len(cases)
    return PREDICT[kind](cases, path)


def _key(kernel: Kernel) -> Key:
    return kernel.kind, *kernel.case.values.values()


def _sum(kernels: Sequence[tuple[float, Answer]]) -> float | str:
    total = 0.0
    for times, answer in kernels:
        if isinstance(answer, str):
            return answer
        total += times * answer.seconds
    return total
