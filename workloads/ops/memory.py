"""Ops that only move data: rows gathered from a table, and copies (the cache's new entries).

Bytes moved are those of the rows, read once and written once. MACs and vector work: none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Gather:
    """`inputs` is (table[, indices]): `rows` rows of `width` elements each, wherever they lie."""

    name: str
    inputs: tuple[str, ...]
    output: str
    rows: int
    width: int
    kind: str = "gather"

    @property
    def macs(self) -> int:
        return 0

    @property
    def vector_ops(self) -> Mapping[str, int]:
        return {}


@dataclass(frozen=True, slots=True)
class Move:
    """`inputs` is the tensors copied into `output` (a region of the cache)."""

    name: str
    inputs: tuple[str, ...]
    output: str
    run_elements: int  # contiguous elements of one write
    kind: str = "move"

    @property
    def macs(self) -> int:
        return 0

    @property
    def vector_ops(self) -> Mapping[str, int]:
        return {}
