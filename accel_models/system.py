"""A system: machines (a design and how many of it) and the links that join them.

    title: Two boxes of four
    machines:
      gpu: {design: a100_sxm, count: 8}
    links:
      nvlink: {topology: switch, size: 4, bandwidth: 300 GB/s, ...}
      network: {topology: switch, bandwidth: 25 GB/s, ...}

Chips are numbered from 0 in the order of `machines`. A link joins the chips of the machines that it
`joins` (all), in groups of `size` neighbors (all); a link inside another one's groups joins fewer.
So the chips of a machine see their links as dims, innermost first (accel_models/links.py). A link
over several machines joins each chip of one to each chip of the others.
A single design is a system of one chip. Sources are given and checked as in a design.
Not modeled: the host and its own link, machines that share power, links of one machine that other
machines' traffic passes through.
"""

from __future__ import annotations

from math import prod
from typing import Annotated, Any

from pydantic import Field, PrivateAttr

from accel_models.design import Design, PathKey
from accel_models.facts import Count, Facts
from accel_models.links import Dim, SystemLink, dims
from accel_models.source import Source, parse_source, source_for


class Machine(Facts):
    """A design and how many of it there are."""

    design: str = Field(description="a shipped name, or a path to YAML beside this file")
    count: Count


class System(Facts):
    """Several chips. `name` is the file's; read it with `read_system`."""

    name: str
    title: str
    machines: Annotated[dict[str, Machine], Field(min_length=1)]
    links: dict[str, SystemLink] = Field(default_factory=dict)
    notes: str | None = None
    _designs: dict[str, Design] = PrivateAttr(default_factory=dict)
    _written: dict[str, Any] = PrivateAttr(default_factory=dict)

    @property
    def chips(self) -> int:
        """All of them."""
        return sum(machine.count for machine in self.machines.values())

    def design(self, machine: str) -> Design:
        """What the machine's chips are."""
        return self._designs[machine]

    def first_chip(self, machine: str) -> int:
        """The number of the machine's first chip."""
        names = list(self.machines)
        return sum(self.machines[name].count for name in names[: names.index(machine)])

    def dims(self, machine: str) -> tuple[Dim, ...]:
        """How the machine's chips are joined, innermost first."""
        found: list[Dim] = []
        for name, size in self.spans(machine):
            groups = size // prod(dim.size for dim in found)
            if len(self.joined(name)) > 1:
                found.append(self._whole(name).part(groups))
            else:
                found += dims(name, self.links[name], groups)
        return tuple(dim for dim in found if dim.size > 1)

    def across(self, one: str, other: str) -> Dim | None:
        """The fastest link between chips of two machines."""
        names = [name for name in self.links if {one, other} <= set(self.joined(name))]
        found = [self._whole(name) for name in names]
        return max(found, key=lambda dim: dim.wire_bytes_per_s, default=None)

    def joined(self, link: str) -> list[str]:
        """The machines that a link joins."""
        return self.links[link].joins or list(self.machines)

    def chips_joined(self, link: str) -> int:
        """Of all the machines that it joins."""
        return sum(self.machines[machine].count for machine in self.joined(link))

    def spans(self, machine: str) -> list[tuple[str, int]]:
        """(link, chips of this machine that an instance joins), innermost first. A link that goes
        on to other machines counts where none of the machine's own joins all of its chips."""
        count = self.machines[machine].count
        names = [name for name in self.links if machine in self.joined(name)]
        own = [name for name in names if len(self.joined(name)) == 1]
        whole = any((self.links[name].size or count) == count for name in own)
        found = [(name, self.links[name].size or count) for name in (own if whole else names)]
        return sorted(found, key=lambda item: item[1])

    def _whole(self, link: str) -> Dim:
        """A link between machines, over all the chips that it joins."""
        return dims(link, self.links[link], self.chips_joined(link))[0]

    def source_of(self, path: PathKey) -> Source:
        """The source of the number at this key path, e.g. ("links", "nvlink", "bandwidth")."""
        text = source_for(self._written, path)
        if text is None:
            raise KeyError(path)
        return parse_source(text)
