"""A stored tensor that is not in the chip's own memory: how much of it, and how it is fetched.

Of a tensor's copies (a layer's each) a share lives in a backing memory. An op that reads such a
copy needs `missed` of the bytes it reads brought in; of these, `early` are known one layer ahead,
so that they come while that layer computes. Whoever issues the fetches ahead brings as many bytes
as are missed, and what was guessed wrong is fetched again, late:

    ahead = missed * read   (none if early = 0)         late = (1 - early) * missed * read

Bytes that an op reads of a tensor: rows of gathered tables, active experts, computed shares of
caches; all of anything else, once however many tiles read it.
Not modeled: fetches more than a layer ahead, copies that move between the memories over time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workloads.graph import Op, Tensor


@dataclass(frozen=True, slots=True)
class Away:
    """`memory`: a design's backing memory by name; empty for its first. `held`: the share of an
    away copy that lies in the chip's memory too. `cached`: an expert cache says what is missed,
    held and known early, wherever the tensor is put before or after. `by_op`: what ops of these
    names miss, where that is not `missed`. `neurons`: the axis of a
    matrix that is read neuron by neuron; `bundled`: what the matrices of a layer that say so have
    of a neuron lies together."""

    memory: str = ""
    share: float = 1.0
    missed: float = 1.0
    early: float = 1.0
    held: float = 0.0
    cached: bool = False
    by_op: tuple[tuple[str, float], ...] = ()
    neurons: int | None = None
    bundled: bool = False

    def of(self, op: str) -> Away:
        """As the op of this name sees it."""
        return replace(self, missed=dict(self.by_op).get(op, self.missed), by_op=())

    def ahead(self, read: float) -> float:
        """Bytes fetched one layer ahead, wrong ones among them, for an op that reads so many."""
        return self.missed * read if self.early else 0.0

    def late(self, read: float) -> float:
        """Bytes fetched when the op asks for them."""
        return (1.0 - self.early) * self.missed * read


def read_of(op: Op, tensor: Tensor) -> tuple[float, float]:
    """(bytes that the op reads of its input, bytes that lie together; 0: all of them)."""
    known: Any = op
    if op.kind == "gather" and op.inputs[0] == tensor.name:
        row = tensor.bytes * known.width / tensor.elements
        return min(float(tensor.bytes), known.rows * row), row
    if op.kind == "experts":
        each = tensor.bytes / tensor.shape[0]
        return min(known.active, tensor.shape[0]) * each, each
    if op.kind == "attention":
        return tensor.bytes * known.density, 0.0
    axis = tensor.away.neurons if tensor.away else None
    return float(tensor.bytes), 0.0 if axis is None else tensor.bytes / tensor.shape[axis]


def written_by(op: Op, tensor: Tensor, moved: int) -> float:
    """Bytes of its output that the op writes: of a cache the new rows, `moved` elements."""
    if op.kind != "move":
        return float(tensor.bytes)
    return tensor.bytes * min(moved, tensor.elements) / tensor.elements
