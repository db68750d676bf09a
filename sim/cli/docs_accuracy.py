"""Generated regions of docs/accuracy.md: errors against the measured data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from sim.accuracy import KERNELS, Group, groups, rooflines, transfers
from sim.accuracy_goals import goal_of
from sim.cli.docs_regions import table
from sim.validate import scores

FOLDER = Path(__file__).resolve().parents[2] / "tests" / "data" / "silicon"


def kernels(folder: Path = FOLDER) -> str:
    """Every op, device and kind, and how many reach their goals."""
    found = [group for op in KERNELS for group in groups(folder, op) if group.rows]
    header = (
        "op", "rows", "device", "design", "n", "unseen n", "fitted", "unseen", "goal", "median",
        "in band",
    )  # fmt: skip
    reached = [reaches for group in found if (reaches := _reaches(group)) is not None]
    counted = f"Goals reached: {sum(reached)} of {len(reached)}.\n"
    return table(header, map(_row, found)) + "\n" + counted


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
        _goal(group),
        _percent(found["median_ape"]),
        _percent(found["in_band"], 0),
    )


def _reaches(group: Group) -> bool | None:
    """Is the error of the unseen rows, as it is printed, within the goal? None without either."""
    goal, mape = goal_of(group.op, group.what, group.device), group.mape(True)
    return None if goal is None or mape is None else float(_percent(mape)) <= goal


def _goal(group: Group) -> str:
    """The goal, marked where it is missed."""
    goal = goal_of(group.op, group.what, group.device)
    if goal is None:
        return ""
    return f"{goal}, **missed**" if _reaches(group) is False else str(goal)


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
                    _goal(group),
                )
            )
    header = ("dtype", "device", "naive roofline", "three parameters", "Tileloom", "goal")
    return table(header, rows)


def carried_over(folder: Path = FOLDER) -> str:
    """A device with the library fitted on another."""
    found = {(device, other): mape for device, other, mape in transfers(folder)}
    devices = list(dict.fromkeys(device for device, _ in found))
    rows = [(a, *(_percent(found[a, b]) for b in devices)) for a in devices]
    return table(("judged on", *(f"fitted on {d}" for d in devices)), rows)


def served(folder: Path = FOLDER) -> str:
    """Servers by device, model, format and program: both times."""
    header = (
        "model", "format", "server", "device", "n", "none", "TPOT", "median", "ratio", "TTFT",
        "median", "ratio",
    )  # fmt: skip
    found = list(groups(folder, "serving"))
    rows = [_served_row(_names(group), [group]) for group in found if group.rows]
    for device in dict.fromkeys(group.device for group in found):
        alike = [group for group in found if group.device == device]
        rows.append(_served_row(("all", "", "", device), alike))
        rows.append(_served_row(("unseen fold", "", "", device), alike, judged=True))
    return table(header, rows)


def _names(group: Group) -> tuple[str, ...]:
    """Model, format, server, device: of the columns that split the rows."""
    *model, mode, backend = group.what.split(" ")
    return " ".join(model), mode or "16 bits", backend, group.device


def _served_row(
    names: Sequence[str], found: Sequence[Group], judged: bool = False
) -> tuple[str, ...]:
    cells = []
    for column in ("tpot_ms", "ttft_ms"):
        own = [group.about(column) for group in found]
        rows = [r for g in own for r in (g.of_fold(True) if judged else g.rows)]
        values = scores(rows)
        cells += [_percent(values["mape"]), _percent(values["median_ape"])]
        ratio = values["geomean_ratio"]
        cells.append("" if ratio is None else f"{ratio:.2f}")
    without = "" if judged else str(sum(group.unsupported for group in found) // 2)
    return (*names, str(len(rows)), without, *cells)


ACCURACY_REGIONS: dict[str, Callable[..., str]] = {
    "accuracy_kernels": kernels,
    "accuracy_rooflines": beside_rooflines,
    "accuracy_transfer": carried_over,
    "accuracy_serving": served,
}
