"""One problem on one machine, by another tool and by ours: its lines, its row in a table, and where
ours falls short."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

NEAR = 0.02  # of their best, that our mapping may miss under their model


@dataclass
class Case:
    """Costs are J (of SCALE-Sim cycles), times CPU seconds. What is None is not known, and `notes`
    say why."""

    tool: str
    machine: str
    size: str
    unit: str = "J"
    ours_s: float | None = None
    quick_s: float | None = None  # within the limits of `tileloom simulate`
    theirs_s: float | None = None
    ours: float | None = None
    quick: float | None = None
    theirs: float | None = None  # theirs under its own model
    theirs_here: float | None = None  # and under ours
    ours_there: float | None = None  # ours under theirs
    gap: float = 0.0  # that is not proven of ours
    notes: list[str] = field(default_factory=list)

    def text(self) -> str:
        """For a terminal, with ours over theirs."""
        lines = [f"  {self.machine}, {self.size}"]
        speed = f"   theirs/ours {self.speed:.3g}" if self.speed else ""
        lines.append(_line("CPU time to prove", self.theirs_s, self.ours_s, "s", speed))
        if self.quick and self.ours:
            more = f"   {self.quick / self.ours - 1:+.2%} over the optimum"
            lines.append(_line("with simulate's limits", None, self.quick_s, "s", more))
        for what, theirs, ours in (
            ("each under its own model", self.theirs, self.ours),
            ("both under our model", self.theirs_here, self.ours),
            ("both under their model", self.theirs, self.ours_there),
        ):
            if (theirs is None or ours is None) and not what.startswith("each"):
                continue
            ratio = f"   ours/theirs {ours / theirs:.4f}" if theirs and ours else ""
            lines.append(_line(what, theirs, ours, self.unit, ratio))
        return "\n".join([*lines, *(f"    {note}" for note in (*self.notes, *self.missed()))])

    @property
    def speed(self) -> float | None:
        """Their time over ours."""
        return self.theirs_s / self.ours_s if self.theirs_s and self.ours_s else None

    def missed(self) -> Iterator[str]:
        """Where ours is worse than it should be."""
        if self.speed and self.speed < 1:
            yield f"MISSED: ours takes {1 / self.speed:.2g} times as long"
        if self.ours and self.theirs_here and self.ours > self.theirs_here * (1 + 1e-9):
            yield f"MISSED: theirs is better under our model: {self.theirs_here / self.ours:.6f}"
        if self.ours_there and self.theirs and self.ours_there > self.theirs * (1 + NEAR):
            yield f"MISSED: under their model ours is {self.ours_there / self.theirs - 1:.1%} worse"
        if self.gap:
            yield f"MISSED: our optimum is not proven, gap {self.gap:.2%}"

    def row(self) -> str:
        """A row of the table."""
        quick = f"{self.quick / self.ours - 1:+.2%}" if self.quick and self.ours else ""
        cells = (
            self.tool,
            self.machine,
            self.size,
            _short(self.theirs_s),
            _short(self.ours_s),
            _short(self.speed),
            f"{_short(self.quick_s)}, {quick}" if quick else "-",
            _ratio(self.ours, self.theirs_here),
            _ratio(self.ours_there, self.theirs),
        )
        return "| " + " | ".join(cells) + " |"


COLUMNS = ("tool", "machine", "m = n = k", "theirs, s", "ours, s", "times faster")
COLUMNS += ("ours in short, s", "our model", "their model")


def table(cases: list[Case]) -> str:
    """All cases in Markdown."""
    head = ["| " + " | ".join(row) + " |" for row in (COLUMNS, ["---"] * len(COLUMNS))]
    return "\n".join([*head, *(case.row() for case in cases)])


def _line(what: str, theirs: float | None, ours: float | None, unit: str, more: str) -> str:
    values = ["-" if v is None else f"{v:.6g}" for v in (theirs, ours)]
    return f"    {what:<26} theirs {values[0]:>12}  ours {values[1]:>12} {unit:<6}{more}"


def _short(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.2g}"


def _ratio(ours: float | None, theirs: float | None) -> str:
    return f"{ours / theirs:.4f}" if ours and theirs else "-"
