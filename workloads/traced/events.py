"""What a trace is made of: values, and the events that make them.

A value is data at one point of the run, whatever views of it the program takes: views, slices,
transposes and expansions share memory and cost nothing. What is known before the model runs (token
ids, positions, masks, rotary tables: anything that depends neither on a parameter nor on an input
of floating point) has no value and costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any

from kernels_ref.errors import UserError


class TraceError(UserError):
    """The model does something that the trace has no rule for; the message names it."""


@dataclass(eq=False, slots=True)
class Value:
    """`shape` is [rows, width], of a parameter its own; `name` is a parameter's or an input's."""

    shape: tuple[int, ...]
    kind: str = "activation"
    name: str = ""

    @property
    def elements(self) -> int:
        return prod(self.shape)


@dataclass(eq=False, slots=True)
class Event:
    """`kind` is a key of workloads.ops.OPS, or `aten` for an elementwise operation that is not
    fused yet; `function` then is its name. `facts` are fields of the op's dataclass."""

    kind: str
    function: str
    module: str
    inputs: list[Value]
    output: Value
    role: str = ""  # the name's last part, where the module's own path does not say it
    facts: dict[str, Any] = field(default_factory=dict)
    shapes: tuple[tuple[int, ...], ...] = ()  # as the program saw them, for messages

    @property
    def path(self) -> str:
        """The op's full name: its module's, with the role."""
        return ".".join(part for part in (self.module, self.role) if part)
