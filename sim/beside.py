"""What else runs on the chip: `MODEL:PHASE[:key=value,...]`, and the graph of it.

    opt-2.7b:decode:batch=32,context=512,copies=3,priority=1

batch, prompt, context, output, formats and kv are those of `simulate`; `copies` of it run beside
each other, `repeat` times each one after the other; of what waits for a resource the lowest
`priority` goes first (that of the model that is simulated is 0).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from accel_models.explain import nearest
from kernels_ref.errors import UserError
from workloads.graph import Graph

SIZES = ("prompt", "context", "output")
COUNTS = ("batch", *SIZES, "copies", "repeat")
KEYS = (*COUNTS, "priority", "formats", "kv")
MOST = 64  # copies or repeats: each is a program of its own
FORM = "MODEL:PHASE[:key=value,...], as in opt-2.7b:decode:batch=32"


@dataclass(frozen=True, slots=True)
class Beside:
    """A model beside another, as it is asked for."""

    model: str
    phase: str
    values: Mapping[str, str]

    def count(self, name: str, usual: int) -> int:
        """Raises UserError for what is no number from 1 on."""
        text = self.values.get(name, str(usual))
        least = 0 if name == "priority" else 1
        if not text.isdigit() or int(text) < least:
            raise UserError(f"beside {self.model}: {name} is '{text}'; a number from {least} on is")
        if name in ("copies", "repeat") and int(text) > MOST:
            raise UserError(f"beside {self.model}: {name} is {text}; at most {MOST} are run")
        return int(text)

    @property
    def sizes(self) -> dict[str, int | None]:
        return {n: self.count(n, 1) if n in self.values else None for n in SIZES}


@dataclass(frozen=True, slots=True)
class Guest:
    """A graph that runs beside another on the same chip, `repeat` times."""

    name: str
    graph: Graph
    priority: int = 0
    repeat: int = 1


def read_beside(text: str) -> Beside:
    """Raises UserError for what is not of the form."""
    found = re.fullmatch(r"(?P<model>.+?):(?P<phase>[a-z]+)(:(?P<rest>[^:/]*=[^:/]*))?", text)
    if not found:
        raise UserError(f"beside '{text}': is not {FORM}")
    values = dict[str, str]()
    for part in filter(None, (found["rest"] or "").split(",")):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if name not in KEYS:
            raise UserError(f"beside '{text}': unknown key '{name}'; {nearest(name, list(KEYS))}")
        if not equals or not value or name in values:
            raise UserError(f"beside '{text}': {name} needs one value, as in {name}=1")
        values[name] = value
    return Beside(found["model"], found["phase"], values)
