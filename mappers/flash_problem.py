"""Attention in one pass: the op with its widths, and a choice of tiles."""

from __future__ import annotations

from dataclasses import dataclass

from accel_models.engines.pe import Datapath
from workloads.ops.attention import Attention


@dataclass(frozen=True)
class Flash:
    """An attention op with the widths of its operands in bytes and the engine's pairs."""

    op: Attention
    q_bytes: float
    k_bytes: float
    v_bytes: float
    o_bytes: float
    partial_bytes: float
    qk: Datapath
    pv: Datapath

    @property
    def kv_row_bytes(self) -> float:
        """A key and its value, of one head."""
        return self.op.head_dim * self.k_bytes + self.op.v_head_dim * self.v_bytes


@dataclass(frozen=True, slots=True)
class FlashTile:
    """Query rows, keys per step, shares of the keys, engines of a core along the rows."""

    tm: int
    ts: int
    splits: int
    grid: int

    def describe(self) -> dict[str, int]:
        """Plain values for JSON."""
        return {"query_rows": self.tm, "keys": self.ts, "key_splits": self.splits}
