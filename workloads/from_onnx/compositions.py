"""Functions that exporters spell out in several nodes, as the one node that they are.

Builders from configurations and traced models know these functions whole; an export of the same
model should cost the same.
"""

from __future__ import annotations

from collections.abc import Callable

from workloads.from_onnx.draft import Draft
from workloads.from_onnx.exported import OnnxNode
from workloads.from_onnx.facts import Facts
from workloads.from_onnx.gelu import Found, gelu
from workloads.from_onnx.norms import norm, silu

# The type of a node that every spelling has -> what finds the rest around it.
FINDERS: dict[str, Callable[[Draft, OnnxNode], Found | None]] = {
    "Erf": gelu,
    "Tanh": gelu,
    "Sigmoid": silu,
    "ReduceMean": norm,
}


def with_compositions(facts: Facts) -> Facts:
    """The facts with each of these as one node, at the place of its last."""
    draft = Draft(facts)
    order = {id(node): i for i, node in enumerate(facts.nodes)}
    instead: dict[int, OnnxNode | None] = {}  # None: gone
    for core in facts.nodes:
        found = FINDERS[core.op](draft, core) if core.op in FINDERS else None
        if found is None or any(id(node) in instead or id(node) not in order for node in found[1]):
            continue
        whole, nodes = found
        instead |= {id(node): None for node in nodes}
        instead[id(max(nodes, key=lambda node: order[id(node)]))] = whole
    left = [instead.get(id(node), node) for node in facts.nodes]
    facts.nodes = [node for node in left if node is not None]
    facts.makers.update({node.outputs[0]: node for node in facts.nodes})
    return facts
