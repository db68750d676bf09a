"""Timeloop's architecture as a chain of elements, outermost first, whatever its version.

v3 nests `subtree` and names counts (`PE[0..167]`: instances in all); v4 lists `nodes`, each below
the one before it, and counts per parent (`spatial: {meshX: 14}`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from sim.importers.foreign import Block
from sim.importers.machine import Notes

_COUNT = re.compile(r"(.*?)\s*\[\s*(\d+)\s*(?:\.\.\s*(\d+)\s*)?\]")
COMPUTE_WORDS = ("mac", "compute", "alu", "multiplier", "arithmetic")
INHERITED = ("technology", "global_cycle_seconds", "datawidth")


@dataclass(slots=True)
class Element:
    """A memory, the multiplier, or something that only fans out. `mesh`: instances in one instance
    of the element above, in x and y; `constraints` that stand with it (v4)."""

    name: str
    class_name: str
    block: Block
    attributes: list[Block]  # its own first, then those of what contains it
    mesh: tuple[int, int] = (1, 1)
    constraints: list[Block] = field(default_factory=list)
    stores: bool = True
    beside: bool = False  # others: it has only what it is said to keep

    @property
    def computes(self) -> bool:
        words = f"{self.class_name}".lower()
        return any(word in words for word in COMPUTE_WORDS) and "buffer" not in words

    def number(self, *keys: str) -> float | None:
        """An attribute; of its containers', those that are inherited."""
        own = self.attributes[0].number(*keys)
        if own is not None or not set(keys) & set(INHERITED):
            return own
        return next((x for b in self.attributes[1:] if (x := b.number(*keys)) is not None), None)

    def text(self, key: str) -> str | None:
        """An attribute that is a word, its containers' included."""
        return next((str(v) for b in self.attributes if (v := b.get(key)) is not None), None)


def elements_of(architecture: Block, notes: Notes) -> list[Element]:
    """The chain. Raises ForeignFileError."""
    architecture.get("version")
    found: list[Element] = []
    if "nodes" in architecture.data:
        _nodes(architecture.blocks("nodes"), [architecture.block("attributes")], found, notes)
    else:
        meshes: list[tuple[int, int]] = []
        for node in architecture.blocks("subtree"):
            _subtree(node, 1, [], (found, meshes), notes)
        _per_parent(found, meshes)
    if not found:
        raise architecture.error("no 'nodes' (v4) and no 'subtree' (v3): there is nothing here")
    return found


def _subtree(
    node: Block, above: int, attributes: list[Block], chain: tuple[list, list], notes: Notes
) -> None:
    """v3: local elements, then what is below them."""
    _, here = _named(node)
    count = above * here
    inside = [node.block("attributes"), *attributes]
    for element in node.blocks("local"):
        name, own = _named(element)
        total = count * own
        block = element.block("attributes")
        x, y = block.count("meshX", "mesh-X"), block.count("meshY", "mesh-Y")
        x = x or max(1, total // (y or 1))
        chain[0].append(_element(element, name, [block, *inside]))
        chain[1].append((x, max(1, total // x)))
    branches = node.blocks("subtree")
    for branch in branches[1:]:
        notes.drop(branch.place, f"subtree {branch.get('name')}", "a second branch of the machine")
    for branch in branches[:1]:
        _subtree(branch, count, inside, chain, notes)


def _per_parent(found: list[Element], meshes: list[tuple[int, int]]) -> None:
    """Totals in x and y as instances in one instance of the element above."""
    above = (1, 1)
    for element, mesh in zip(found, meshes, strict=True):
        if mesh[0] % above[0] or mesh[1] % above[1]:
            x, y = mesh[0] * mesh[1] // (above[0] * above[1]), 1
        else:
            x, y = mesh[0] // above[0], mesh[1] // above[1]
        element.mesh, above = (max(1, x), max(1, y)), mesh


def _nodes(nodes: list[Block], attributes: list[Block], found: list[Element], notes: Notes) -> None:
    """v4: each node lies below the one before it; memories side by side keep different tensors."""
    for node in nodes:
        if node.tag in ("Hierarchical", "Parallel"):
            before = len(found)
            _nodes(node.blocks("nodes"), attributes, found, notes)
            for element in found[before:]:
                element.beside = element.beside or node.tag == "Parallel"
            continue
        if node.tag not in ("Container", "Component", "Element", ""):
            notes.drop(node.place, f"!{node.tag}", "an unknown kind of node")
            node.pass_over()
            continue
        name, count = _named(node)
        own = node.block("attributes")
        element = _element(node, name, [own, *attributes])
        element.stores = node.tag != "Container"
        spatial = node.block("spatial")
        x = spatial.count("meshX") or own.count("meshX") or count
        element.mesh = (x, spatial.count("meshY") or own.count("meshY") or 1)
        if "constraints" in node.data:
            element.constraints.append(node.block("constraints"))
        if node.tag == "Container":
            attributes = [own, *attributes]
        found.append(element)


def _element(node: Block, name: str, attributes: list[Block]) -> Element:
    words = [str(word) for key in ("class", "subclass") if (word := node.get(key)) is not None]
    return Element(name, " ".join(words), node, attributes)


def _named(node: Block) -> tuple[str, int]:
    """Name and count of `PE[0..167]`."""
    text = str(node.need("name"))
    match = _COUNT.fullmatch(text)
    if not match:
        return text, 1
    first, last = int(match[2]), int(match[3] if match[3] is not None else match[2])
    return match[1], max(1, last - first + 1)
