"""Generated regions of docs/accuracy.md: errors against the measured data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sim.accuracy import FILES, Group, groups, rooflines, transfers
from sim.cli.docs_regions import table
from sim.validate import scores

FOLDER = Path(__file__).resolve().parents[2] / "tests" / "data" / "silicon"


def kernels(folder: Path = FOLDER) -> str:
    """Every op, device and kind."""
    rows = [_row(group) for op in FILES for group in groups(folder, op) if group.rows]
    header = (
        "op", "rows", "device", "design", "n", "unseen n", "fitted", "unseen", "median", "in band",
    )  # fmt: skip
    return table(header, rows)


def _row(group: Group) -> tuple[str, ...]:
    judged = group.of_fold(True)
    found = scores(judged or group.rows)
    return (
        group.op,
        group.what,
        group.device,
        f"`{group.design}`",
        str(len(group.rows)),
        str(len(judged)),
        _percent(group.mape(False)),
        _percent(group.mape(True)),
        _percent(found["median_ape"]),
        _percent(found["in_band"], 0),
    )


def _percent(share: float | None, digits: int = 1) -> str:
    return "" if share is None else f"{100 * share:.{digits}f}"


def beside_rooflines(folder: Path = FOLDER) -> str:
    """Matrix multiplications: two rooflines and the model, on rows that no fit saw."""
    rows = []
    for group in groups(folder, "gemm"):
        if len(group.of_fold(True)) >= 20:
            naive, three = rooflines(group)
            rows.append(
                (
                    group.what,
                    group.device,
                    _percent(naive),
                    _percent(three),
                    _percent(group.mape(True)),
                )
            )
    return table(("dtype", "device", "naive roofline", "three parameters", "Tileloom"), rows)


def carried_over(folder: Path = FOLDER) -> str:
    """A device with the library fitted on another."""
    found = {(device, other): mape for device, other, mape in transfers(folder)}
    devices = list(dict.fromkeys(device for device, _ in found))
    rows = [(a, *(_percent(found[a, b]) for b in devices)) for a in devices]
    return table(("judged on", *(f"fitted on {d}" for d in devices)), rows)


ACCURACY_REGIONS: dict[str, Callable[..., str]] = {
    "accuracy_kernels": kernels,
    "accuracy_rooflines": beside_rooflines,
    "accuracy_transfer": carried_over,
}
