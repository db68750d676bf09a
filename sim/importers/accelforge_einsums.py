"""AccelForge's einsums that are written as one line, in the form of those that are spelled out.

    einsum: "QK[b, m, p, h] = Q[b, m, h, e] * K[b, M: p, h, e]"

An einsum's name is its output's; an index is a rank variable, or `RANK: expression`. Other keys of
the same einsum (`renames`, more about a tensor) stay as they are.
"""

from __future__ import annotations

import re
from typing import Any

from sim.importers.foreign import Block

_TENSOR = re.compile(r"\s*([A-Za-z_]\w*)\s*\[([^\[\]]*)\]\s*")
_TIMES = re.compile(r"\*(?![^\[]*\])")  # not within brackets


def einsums_of(workload: Block) -> list[Block]:
    """Every einsum, spelled out. Raises ForeignFileError."""
    given = workload.get("einsums", default=[])
    if not isinstance(given, list):
        return workload.blocks("einsums")
    found = []
    for item in given:
        if isinstance(item, str):
            item = Block(workload.at("einsums"), data={"einsum": item})
        if not isinstance(item, Block):
            raise workload.error("einsums must be mappings or 'Z[m, n] = A[m, k] * B[k, n]'")
        found.append(_spelled_out(item) if "einsum" in item.data else item)
    return found


def _spelled_out(einsum: Block) -> Block:
    """With `name` and `tensor_accesses` in place of the line. Raises ForeignFileError."""
    text = str(einsum.get("einsum"))
    left, equals, right = text.partition("=")
    inputs = [_TENSOR.fullmatch(part) for part in _TIMES.split(right)]
    output = _TENSOR.fullmatch(left)
    if not equals or output is None or None in inputs:
        raise einsum.error(f"'{text}' is not 'Z[m, n] = A[m, k] * B[k, n]'", "einsum")
    more = {str(block.need("name")): block for block in einsum.blocks("tensor_accesses")}
    tensors = [(match[1], match[2], False) for match in inputs if match]
    accesses = [
        _access(einsum, name, indices, is_output, more.get(name))
        for name, indices, is_output in [*tensors, (output[1], output[2], True)]
    ]
    einsum.data |= {"name": output[1], "tensor_accesses": accesses}
    return einsum


def _access(einsum: Block, name: str, indices: str, is_output: bool, more: Block | None) -> Block:
    """One tensor, with what else is said of it. Raises ForeignFileError."""
    projection: dict[str, Any] = {}
    for index in indices.split(","):
        rank, colon, expression = (part.strip() for part in index.partition(":"))
        if not rank or (colon and not expression):
            raise einsum.error(f"'{name}[{indices}]': an index is missing", "einsum")
        projection[rank if colon else rank.upper()] = expression or rank
    block = more if more is not None else Block(einsum.at("einsum"))
    at = dict.fromkeys(("name", "projection", "output"), einsum.at("einsum"))
    block.data |= {"name": name, "projection": Block(block.place, data=projection)}
    block.data["output"] = is_output
    block.places |= at
    return block
