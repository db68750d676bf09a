"""Attention in one pass: the op with its widths, and a choice of tiles."""

from __future__ import annotations

from collections.abc import Mapping as Map
from dataclasses import dataclass, field

from accel_models.engines.pe import Datapath
from accel_models.path import Level, Path
from workloads.ops.attention import Attention


@dataclass(frozen=True)
class Flash:
    """An attention op with the widths of its operands in bytes and the engine's pairs.

    `mask` is where it comes from: `index` (compared with positions), `tile` (cut from a small
    matrix on chip), `whole` (queries by keys, read from memory). `stays`: the level where q, k, v
    or the output lies on chip.
    """

    op: Attention
    q_bytes: float
    k_bytes: float
    v_bytes: float
    o_bytes: float
    partial_bytes: float
    qk: Datapath
    pv: Datapath
    mask: str = "index"
    stays: Map[str, str] = field(default_factory=dict)

    @property
    def kv_row_bytes(self) -> float:
        """A key and its value, of one head; of a latent one the value is part of the key."""
        value = 0.0 if self.op.latent else self.op.v_head_dim * self.v_bytes
        return self.op.head_dim * self.k_bytes + value


@dataclass(frozen=True, slots=True)
class FlashTile:
    """Query rows, keys per step of the matrix engine, shares of the keys, engines of a core along
    the rows, and steps per hand-over to the vector engine and back (two levels of tiles if > 1)."""

    tm: int
    ts: int
    splits: int
    grid: int
    steps: int = 1

    @property
    def block(self) -> int:
        """Keys that are loaded, and whose scores are handed over, together."""
        return self.ts * self.steps

    def describe(self) -> dict[str, int]:
        """Plain values for JSON."""
        found = {"query_rows": self.tm, "keys": self.ts, "key_splits": self.splits}
        return found | ({"keys_per_block": self.block} if self.steps > 1 else {})


def own_keepers(operand: str, path: Path) -> list[Level]:
    """The levels of a core that keep the operand, outermost first."""
    return [m for m in path.memories[path.first_core :] if operand in m.keeps]


def home(operand: str, path: Path) -> Level:
    """Where a tile stays: a core's largest memory for sums, its first for inputs, else a shared
    one."""
    own = own_keepers(operand, path)
    if own and operand == "output":
        return max(own, key=lambda m: m.capacity * m.instances)
    return own[0] if own else exchange(path, operand)


def exchange(path: Path, operand: str = "output") -> Level:
    """The innermost shared memory that keeps the operand: where cores meet."""
    return [m for m in path.memories[: path.first_core] if operand in m.keeps][-1]
