"""From the events of a trace to a graph with names.

An op bears the end of its module's path that tells it from the others (`q_proj`, `mlp.c_proj`);
what is not a module of its own has a role as its last part (`attention`, `rope_q`, `act_mul`,
`attn_residual`). Layers of several kinds or stacks are prefixed with the kind (`local.`) and the
stack (`encoder.`). A parameter is named after the op that reads it first, `<op>.weight`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kernels_ref.formats import Format
from workloads.graph import Graph, Node, Op, Tensor, check
from workloads.ops import OPS
from workloads.phase import Phase
from workloads.traced.elementwise import ACTIVATIONS, SCORES
from workloads.traced.events import Event, Value
from workloads.traced.fold import Kept

STORED = ("weight", "table")


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of the run: its phase, and the longest context that the model was trained for."""

    phase: Phase
    max_context: int | None


def write(
    name: str, kept: list[Kept], idle: list[Value], sizes: Sizes, number_format: Format
) -> Graph:
    """The checked graph; `idle` are parameters that the run did not read."""
    names = _names(kept)
    scopes = {event: scope.rstrip(".") for event, scope in _scopes(kept).items()}
    tensors: dict[str, Tensor] = {}
    known: dict[Value, str] = {}

    def tensor(value: Value, called: str) -> str:
        if value not in known:
            known[value] = _unused(called, tensors)
            made = Tensor(known[value], value.shape, number_format, value.kind)
            tensors[known[value]] = made
        return known[value]

    nodes = []
    for item in kept:
        event, called = item.event, names[item.event]
        inputs = tuple(tensor(v, _parameter(v, called, event)) for v in event.inputs)
        suffix = "_cache" if event.output.kind == "kv" else ""
        output = tensor(event.output, called.removesuffix("_append") + suffix)
        op = _op(event, called, inputs, output)
        nodes.append(Node(op, item.count, scopes[event], bool(item.stack)))
    tokens, context = _lengths(sizes.phase, kept)
    return check(
        Graph(
            name=name,
            phase=sizes.phase.kind,
            batch=sizes.phase.batch,
            tokens=tokens,
            nodes=tuple(nodes),
            tensors=tensors,
            context=context,
            max_context=sizes.max_context,
            copies={tensor(value, value.name): 1 for value in idle},
        )
    )


def _lengths(phase: Phase, kept: list[Kept]) -> tuple[int, int]:
    """(new tokens, context) of a sequence; an image's or a sound's are those of its encoder."""
    attended = [item.event.facts for item in kept if item.event.kind == "attention"]
    if phase.kind == "encode" and attended:
        return attended[-1]["q_len"], attended[-1]["q_len"]
    return phase.tokens, phase.context


def _op(event: Event, name: str, inputs: tuple[str, ...], output: str) -> Op:
    facts = dict(event.facts)
    if event.kind == "vector":
        facts["function"] = event.function
    op: Op = OPS[event.kind](name=name, inputs=inputs, output=output, **facts)
    return op


def _parameter(value: Value, op: str, event: Event) -> str:
    """`<op>.weight` or `<op>.bias`; what else a module owns, by its own name."""
    if value.kind not in STORED:
        return value.name or op
    _owner, _, last = value.name.rpartition(".")
    if last in ("weight", "bias"):
        return f"{op}.{last}"
    if event.kind == "experts":
        return f"{op}.bias" if last.endswith("_bias") else f"{op}.weight"
    return f"{op.removesuffix(event.role).rstrip('.')}.{last}".lstrip(".")


def _unused(name: str, taken: dict[str, Any]) -> str:
    number, free = 2, name
    while free in taken:
        free, number = f"{name}_{number}", number + 1
    return free


def _names(kept: list[Kept]) -> dict[Event, str]:
    """A name for each event, all different."""
    roles = _roles([item.event for item in kept])
    scopes = _scopes(kept)
    paths = {item.event: _path(item, roles) for item in kept}
    groups: dict[str, list[Event]] = {}
    for item in kept:
        groups.setdefault(scopes[item.event], []).append(item.event)
    names: dict[Event, str] = {}
    taken: dict[str, Any] = {}
    for scope, events in groups.items():
        short = _shortest({paths[event] for event in events})
        for event in events:
            names[event] = _unused(scope + short[paths[event]], taken)
            taken[names[event]] = None
    return names


def _path(item: Kept, roles: dict[Event, str]) -> str:
    """The path within the layer, its last part replaced by the role if there is one."""
    event = item.event
    if event not in roles:
        return item.path or event.kind
    path = item.path.removesuffix(event.role).rstrip(".") if event.role else item.path
    head, _, last = path.rpartition(".")
    if event.function in ACTIVATIONS and not event.role and "act" in last:
        path = head
    return f"{path}.{roles[event]}".lstrip(".")


def _shortest(paths: set[str]) -> dict[str, str]:
    """Of each path the shortest end, in whole parts, that no other path has; experts are told from
    other MLPs by name."""
    found = {}
    for path in paths:
        parts = path.split(".")
        whole = next((i for i, part in enumerate(parts) if "expert" in part), len(parts) - 1)
        ends = (".".join(parts[i:]) for i in range(min(whole, len(parts) - 1), -1, -1))
        others = paths - {path}
        found[path] = next(
            (end for end in ends if not any(_ends(other, end) for other in others)), path
        )
    return found


def _ends(path: str, end: str) -> bool:
    return path == end or path.endswith(f".{end}")


def _scopes(kept: list[Kept]) -> dict[Event, str]:
    """What precedes a name: the stack where there are several, the kind where there are."""
    parents = {item.stack.rpartition(".")[0] for item in kept if item.stack}
    words = {parent: f"{_word(parent, parents)}." for parent in parents} if len(parents) > 1 else {}
    scopes = {}
    for item in kept:
        parent = item.stack.rpartition(".")[0]
        if not item.stack:
            inside = [p for p in words if p and item.event.path.startswith(f"{p}.")]
            parent = max(inside, key=len, default="")
        label = f"{item.label}." if item.label else ""
        scopes[item.event] = (words.get(parent, "") if parent in words else "") + label
    return scopes


def _word(parent: str, parents: set[str]) -> str:
    """The first part of a stack's path that tells it from the others: encoder, text_model."""
    parts = parent.split(".")
    for part in parts:
        if sum(part in other.split(".") for other in parents) == 1:
            return part
    return parts[-1]


def _roles(events: list[Event]) -> dict[Event, str]:
    """Names for what is no module of its own, after what it does."""
    makers = {event.output: event for event in events}
    roles = {}
    for event in events:
        if event.role in ("softmax", "product", "copy"):
            roles[event] = event.role
        if event.role == "softcap":
            roles[event] = "final_softcap"
        if event.kind != "vector":
            continue
        if event.function in SCORES and _routes(event):
            roles[event] = "router_scores"
        elif event.function in ACTIVATIONS and not event.role:
            roles[event] = "act"
        elif event.function == "add" and len(event.inputs) == 2:
            roles[event] = _addition(event, makers)
        elif event.function == "mul" and _follows_gather(event, makers):
            roles[event] = "embed_scale"
    return roles


def _follows_gather(event: Event, makers: dict[Value, Event]) -> bool:
    return len(event.inputs) == 1 and _gathered(makers.get(event.inputs[0]))


def _routes(event: Event) -> bool:
    return event.module.rpartition(".")[2] in ("gate", "router")


def _data(event: Event) -> list[Value]:
    return [value for value in event.inputs if value.kind == "activation"]


def _addition(event: Event, makers: dict[Value, Event]) -> str:
    """position_add and token_type_add by the table; attn_residual if the branch that was made last
    comes from attention, else mlp_residual."""
    tables = " ".join(
        value.name or (makers[value].module if _gathered(makers.get(value)) else "")
        for value in event.inputs
    )
    for word in ("token_type", "position", "wpe"):
        if word in tables.rpartition(" ")[2] or word in tables.partition(" ")[0]:
            return "token_type_add" if word == "token_type" else "position_add"
    if len(_data(event)) < 2:
        return "add"
    last = _latest(event, makers)
    if _mixed(makers, *event.inputs) and not _made_by(makers, last, "weighted_sum"):
        return "experts.add"  # of the routed experts and the shared one
    maker = makers.get(last)
    while maker is not None and maker.kind == "vector":
        if maker.function in ("add", "weighted_sum"):
            mixed = maker.function == "weighted_sum" or _mixed(makers, *maker.inputs)
            return "mlp_residual" if mixed else "add"
        maker = makers.get(maker.inputs[0])
    source = makers.get(maker.inputs[0]) if maker is not None else None
    return "attn_residual" if source is not None and source.kind == "attention" else "mlp_residual"


def _mixed(makers: dict[Value, Event], *values: Value) -> bool:
    return any(_made_by(makers, value, "weighted_sum") for value in values)


def _made_by(makers: dict[Value, Event], value: Value, function: str) -> bool:
    return value in makers and makers[value].function == function


def _gathered(event: Event | None) -> bool:
    return event is not None and event.kind == "gather"


def _latest(event: Event, makers: dict[Value, Event]) -> Value:
    """Of an addition's operands the one that was made last."""
    order = {maker: i for i, maker in enumerate(makers.values())}
    return max(_data(event), key=lambda v: order[makers[v]] if v in makers else -1)
