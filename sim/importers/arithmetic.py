"""Numbers and sets as other tools write them: `8 * 614e9`, `1024*1024*4*8`, `inf`, `~weight | A`.

Worked out from the parsed expression, node by node; nothing is executed. Known: numbers, names that
are given, + - * / // ** and parentheses, min, max, ceil, floor, round, log2; for sets ~ | & -.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

from accel_models.reader import as_yaml

LONGEST, DEEPEST = 400, 40
_TWO: dict[type, Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Pow: operator.pow,
}
_CALLS: dict[str, Callable[..., float]] = {
    "min": min,
    "max": max,
    "ceil": math.ceil,
    "floor": math.floor,
    "round": round,
    "log2": math.log2,
    "float": float,
}
_SETS: dict[type, Callable[[frozenset[str], frozenset[str]], frozenset[str]]] = {
    ast.BitOr: operator.or_,
    ast.BitAnd: operator.and_,
    ast.Sub: operator.sub,
}


def worked_out(value: object, names: Mapping[str, float]) -> float:
    """The number that `value` stands for. Raises ValueError saying why it cannot be worked out."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"must be a number, not {as_yaml(value)}")
    if not isinstance(value, str):
        return float(value)
    known = {"inf": math.inf, "INF": math.inf, "infinity": math.inf, **names}
    try:
        return float(_number(_parsed(value), known))
    except (ArithmeticError, TypeError) as problem:
        raise ValueError(f"{as_yaml(value)} cannot be worked out: {problem}") from None


def _parsed(text: str) -> ast.expr:
    if len(text) > LONGEST:
        raise ValueError(f"an expression of {len(text)} characters")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError(f"{as_yaml(text)} is not an expression that is worked out here") from None
    if _depth(tree) > DEEPEST:
        raise ValueError(f"{as_yaml(text)} is nested too deep")
    return tree


def _depth(node: ast.AST) -> int:
    return 1 + max((_depth(child) for child in ast.iter_child_nodes(node)), default=0)


def _number(node: ast.expr, names: Mapping[str, float]) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        if isinstance(node.value, bool):
            raise ValueError(f"'{node.value}' is no number")
        return float(node.value)
    if isinstance(node, ast.Constant) and node.value in ("inf", "INF"):
        return math.inf
    if isinstance(node, (ast.Name, ast.Attribute)) and ast.unparse(node) in names:
        return names[ast.unparse(node)]
    if isinstance(node, ast.IfExp) and isinstance(node.test, ast.Name):
        there = f"{node.test.id}.bits_per_value" in names  # `... if weight else 0`
        return _number(node.body if there else node.orelse, names)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_number(node.operand, names)
    if isinstance(node, ast.BinOp) and type(node.op) in _TWO:
        return _TWO[type(node.op)](_number(node.left, names), _number(node.right, names))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _CALLS:
        return _CALLS[node.func.id](*(_number(item, names) for item in node.args))
    raise ValueError(f"'{ast.unparse(node)}' is not known here; write the number")


def members(value: object, names: Mapping[str, frozenset[str]], everything: frozenset[str]) -> Any:
    """The set that `value` stands for, a subset of `everything`. Raises ValueError."""
    if isinstance(value, list):
        sets = [members(item, names, everything) for item in value]
        return frozenset().union(*sets)
    if not isinstance(value, str):
        raise ValueError(f"must be a set of tensors, not {as_yaml(value)}")
    return _set(_parsed(value), {"All": everything, "Nothing": frozenset(), **names}, everything)


def _set(
    node: ast.expr, names: Mapping[str, frozenset[str]], everything: frozenset[str]
) -> frozenset[str]:
    if isinstance(node, ast.Attribute) and node.attr == "tensors":
        return _set(node.value, names, everything)
    if isinstance(node, ast.Call) and not node.args and not node.keywords:
        return _set(node.func, names, everything)
    if isinstance(node, ast.Name) and node.id in names:
        return names[node.id]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Invert):
        return everything - _set(node.operand, names, everything)
    if isinstance(node, ast.BinOp) and type(node.op) in _SETS:
        left, right = (_set(side, names, everything) for side in (node.left, node.right))
        return _SETS[type(node.op)](left, right)
    raise ValueError(f"'{ast.unparse(node)}' is not a set of tensors that is known here")
