"""Measured layers on a machine whose kernel library is known: the sum of their kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from accel_models.path import Path
from kernels_ref.errors import UserError
from sim.measured.cases import Case, RowError
from sim.measured.layer import Part, parts_of
from sim.measured.library import Answer, Predicted
from sim.measured.library_comm import comm_predictions
from sim.measured.library_gemm import gemm_predictions
from sim.measured.library_vector import vector_predictions

PREDICT: dict[str, Callable[[Sequence[Case], Path], list[Answer]]] = {
    "gemm": gemm_predictions,
    "batched": gemm_predictions,
    "vector": vector_predictions,
    "comm": comm_predictions,
}


def layer_predictions(cases: Sequence[Case], path: Path) -> list[Answer]:
    """Every case, or why the design cannot do it."""
    kernels = path.core.kernels
    if kernels is None or kernels.matmul is None or kernels.vector is None:
        return [f"{path.design.name}: its library lacks `matmul` or `vector`"] * len(cases)
    found: list[list[Part] | str] = []
    for case in cases:
        try:
            found.append(parts_of(case))
        except RowError:
            raise
        except UserError as problem:
            found.append(str(problem).partition("\n")[0])
    every = [part for parts in found if isinstance(parts, list) for part in parts]
    answers = dict(zip(map(id, every), _predicted(every, path), strict=True))
    return [
        parts if isinstance(parts, str) else _sum([answers[id(part)] for part in parts])
        for parts in found
    ]


def _predicted(parts: Sequence[Part], path: Path) -> list[Answer]:
    """All parts of a kind at once."""
    found: list[Answer] = [""] * len(parts)
    for kind, predict in PREDICT.items():
        at = [i for i, part in enumerate(parts) if part.kind == kind]
        for i, answer in zip(at, predict([parts[i].case for i in at], path), strict=True):
            found[i] = answer
    return found


def _sum(answers: Sequence[Answer]) -> Answer:
    """One after the other; what bounds the longest."""
    kernels = [answer for answer in answers if isinstance(answer, Predicted)]
    if len(kernels) < len(answers):
        return next(answer for answer in answers if isinstance(answer, str))
    longest = max(kernels, key=lambda kernel: kernel.seconds)
    return Predicted(sum(k.seconds for k in kernels), longest.bound_by, longest.tile)
