"""What the vector engine does to operands on their way to the engine.

An operand that the PE cannot take is converted each time it enters the level that feeds the engine.
One scale per channel or token goes to the finished sums; one per group is applied where the PE
says: to every weight that enters (and its zero-point with it), or to the sums of each group. Of
sparse weights the kept ones are converted and scaled; what brings them into the engine's form is in
their `Skip`.
Not modeled: scales of the keys and values in attention; packing and unpacking of narrow words.
"""

from __future__ import annotations

from accel_models.engines.tile import ceil_div
from accel_models.path import Path
from kernels_ref.formats import Format
from mappers.problem import Contraction

Work = dict[str, float]  # operations by class


def conversions(problem: Contraction, path: Path) -> tuple[Work, dict[str, Work]]:
    """Work that no mapping changes, and work per element that enters, by operand."""
    constant: Work = {}
    pair = problem.datapath
    entering: dict[str, Work] = {"activation": {}, "weight": dict(pair.skip.unpacked)}
    converted = {"activation": pair.convert_activation, "weight": pair.convert_weight}
    for operand, work in entering.items():
        kept = pair.skip.kept if operand == "weight" else 1.0
        stored: Format | None = getattr(problem, operand)
        if converted[operand]:
            _add(work, "convert", kept)
        if stored is None or not stored.scale_bits:
            continue
        classes = ("mul", "add") if stored.zero_bits else ("mul",)
        by_group = stored.group is not None and path.engine.pe.dequantize != "after_group"
        groups = 1 if stored.group is None else ceil_div(problem.length("k"), stored.group)
        for cls in classes:
            if by_group:
                _add(work, cls, kept)
            else:
                _add(constant, cls, float(problem.outputs * groups))
    return constant, entering


def _add(work: Work, cls: str, more: float) -> None:
    work[cls] = work.get(cls, 0.0) + more
