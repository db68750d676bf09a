"""One memory, and the multiplier, of an AccelForge architecture.

Energy per bit is an action's over the bits that it moves; the rate is its throughput times them.
With the default `total_latency` reads and writes take turns; with `max(...)` over the actions each
has a port; `sum(a.n_calls ...) / X` is a rate of X actions a second. Other expressions are listed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from accel_models.memory import OPERANDS
from sim.importers.accelforge_sets import EVERYTHING, Tensors
from sim.importers.arithmetic import worked_out
from sim.importers.foreign import Block
from sim.importers.machine import FanOut, Macs, Notes, Store

_COUNTED = re.compile(r"sum\(\s*a\.n_calls\s+for\s+a\s+in\s+actions\s*\)\s*/\s*(.+)")
_TURNS = re.compile(r"sum\(\s*a\.n_calls\s*/\s*a\.throughput\s+for\s+a\s+in\s+actions\s*\)")
_PORTS = re.compile(r"max\(\s*a\.n_calls\s*/\s*a\.throughput\s+for\s+a\s+in\s+actions\s*\)")
Action = tuple[float | None, float | None, float]  # J, actions a second, bits


def store_of(node: Block, fan_out: FanOut, tensors: Tensors, notes: Notes) -> Store:
    """A memory. Its name then stands for what it keeps. Raises ForeignFileError."""
    name, numbers = str(node.need("name")), tensors.numbers()
    keeps, bypass = _kept(name, node.block("tensors"), tensors)
    actions = _actions(node, numbers)
    read, write = actions.get("read", (None, None, 1.0)), actions.get("write", (None, None, 1.0))
    rates = [_rate(action) for action in (read, write)]
    shared, counted = _ports(node, numbers, notes)
    if counted is not None:
        rates = [counted * read[2], counted * write[2]]
    node.need("size")
    size = node.number("size", names=numbers)
    if size is not None and size <= 0:
        raise node.error(f"size: must be above 0, not {size:g}", "size")
    node.get("area")
    return Store(
        name,
        node.place,
        str(node.get("component_class", default="")),
        fan_out,
        size,
        keeps,
        bypass,
        rates[0],
        rates[1],
        shared,
        _per_bit(node, read),
        _per_bit(node, write),
        read[2] if read[2] > 1 else None,
    )


def macs_of(node: Block, fan_out: FanOut, tensors: Tensors) -> tuple[Macs, float | None]:
    """The multipliers, and how often a second each works. Raises ForeignFileError."""
    compute = _actions(node, tensors.numbers()).get("compute", (None, None, 1.0))
    shared = _COUNTED.fullmatch(str(node.get("total_latency", default="")).strip())
    rate = compute[1]
    if shared and rate is None:
        rate = _inverse(node, shared[1], tensors.numbers())
    words = tensors.work.bits
    bits = (words.get("weight", 8), words.get("activation", 8), words.get("output"))
    energy = compute[0]
    if energy is None and str(node.get("component_class")).lower() == "dummy":
        energy = 0.0
    node.get("area")
    macs = Macs(str(node.need("name")), node.place, fan_out, energy, bits)
    return macs, rate if rate is not None and rate < float("inf") else None


def _kept(name: str, block: Block, tensors: Tensors) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What a memory keeps, and what of it may pass by."""
    keep, may = tensors.of(block, "keep"), tensors.of(block, "may_keep")
    back = tensors.of(block, "back") or frozenset()
    if may is None:
        may = EVERYTHING if keep is None else frozenset()
    must = (keep or frozenset()) | back
    tensors.kept[name] = must
    keeps = tuple(operand for operand in OPERANDS if operand in must | may)
    return keeps, tuple(operand for operand in keeps if operand not in must)


def _actions(node: Block, numbers: Mapping[str, float]) -> dict[str, Action]:
    """Every action of a component, its scales applied."""
    known = dict(numbers)
    energy = node.number("energy_scale", names=known)
    speed = node.number("throughput_scale", names=known)
    parallel = node.number("n_parallel_instances", names=known)
    default = node.number("bits_per_action", names=known)
    found: dict[str, Action] = {}
    for action in node.blocks("actions"):
        bits = action.number("bits_per_action", names=known) or default or 1.0
        joules = action.number("energy", names=known)
        rate = action.number("throughput", names=known)
        seconds = action.number("latency", names=known)
        if rate is None and seconds is not None:
            rate = 1 / seconds if seconds else float("inf")
        scales = [action.number(f"{what}_scale", names=known) for what in ("energy", "throughput")]
        if joules is not None:
            joules *= _one(energy) * _one(scales[0])
        if rate is not None:
            rate *= _one(speed) * _one(scales[1]) * _one(parallel)
        found[str(action.need("name"))] = (joules, rate, bits)
    return found


def _one(scale: float | None) -> float:
    return 1.0 if scale is None else scale


def _rate(action: Action) -> float | None:
    return None if action[1] is None else action[1] * action[2]


def _per_bit(node: Block, action: Action) -> float | None:
    if action[0] is None:
        return 0.0 if str(node.get("component_class")).lower() == "dummy" else None
    return action[0] / action[2]


def _ports(node: Block, numbers: Mapping[str, float], notes: Notes) -> tuple[bool, float | None]:
    """Do reads and writes take turns; and actions a second, if the expression gives them."""
    text = node.get("total_latency")
    if text is None or _TURNS.fullmatch(str(text).strip()):
        return True, None
    if _PORTS.fullmatch(str(text).strip()):
        return False, None
    counted = _COUNTED.fullmatch(str(text).strip())
    if counted:
        return True, _inverse(node, counted[1], numbers)
    what = f"{node.get('name')}: total_latency: {text}"
    notes.drop(node.at("total_latency"), what, "an expression that is not worked out here")
    return True, None


def _inverse(node: Block, rest: str, numbers: Mapping[str, float]) -> float:
    try:
        return 1 / worked_out(f"1 / {rest}", numbers)
    except (ValueError, ZeroDivisionError) as problem:
        raise node.error(f"total_latency: {problem}", "total_latency") from None
