"""What an importer hands back: a design, mappings, what was computed there, and what was lost."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import yaml

from accel_models.design import Design
from accel_models.path import ENGINE, memory_path
from accel_models.read_design import parse_design
from accel_models.reader import DesignError
from kernels_ref.errors import UserError
from kernels_ref.formats import FORMATS
from mappers.mapping_file import mapping_on, parse_mapping
from mappers.problem import Contraction
from sim.importers.chain import Chain, chain_of
from sim.importers.foreign import ForeignFileError
from sim.importers.machine import Machine, Notes, named
from sim.importers.nest import Nest, levels_of
from sim.importers.ranks import MATMUL, Workload
from sim.importers.write import design_of


@dataclass(slots=True)
class Imported:
    """`design` and `mappings` are plain values, ready to be written as YAML; `mappings` pairs each
    with the name of what it maps."""

    machine: Machine
    design: dict[str, Any]
    names: dict[str, str]  # of memories, theirs to ours
    notes: Notes
    mappings: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    workloads: list[Workload] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Of the design: letters, digits and underscores."""
        return named(self.machine.name, {})

    def design_yaml(self) -> str:
        """The design file."""
        return _yaml(self.design, 120)

    def parsed(self) -> Design:
        """The design, as `read_design` would read the file."""
        return parse_design(self.design_yaml(), self.name)

    def document(self) -> dict[str, Any]:
        """Everything as plain values for JSON."""
        return {
            "design": self.design,
            "mapping": [{"of": name, **mapping} for name, mapping in self.mappings],
            "workload": [work.document() for work in self.workloads],
            **{key: [asdict(note) for note in notes] for key, notes in self._notes().items()},
        }

    def _notes(self) -> dict[str, Any]:
        notes = self.notes
        return {
            "carried": notes.carried,
            "assumed": notes.assumed,
            "not_carried": notes.not_carried,
        }


def imported(machine: Machine, workloads: list[Workload], notes: Notes) -> Imported:
    """The machine as a design that reads. Raises ForeignFileError if it cannot be one."""
    names: dict[str, str] = {}
    found = Imported(machine, design_of(machine, names, notes), names, notes, [], workloads)
    try:
        found.parsed()
    except DesignError as problem:
        raise ForeignFileError(
            f"{machine.macs.place}: the machine cannot be written as a design: {problem}"
        ) from None
    return found


def add_mapping(found: Imported, work: Workload, nest: Nest, where: str) -> None:
    """The nest, with their names of memories, as a mapping of the design; what is wrong with it is
    listed."""
    chain = chain_of(found.machine)
    theirs = [*(store.name for store in found.machine.stores[1:]), ENGINE]
    levels = levels_of(nest, theirs, block_ranks(chain, work), work)
    for problem in levels.problems:
        found.notes.drop(where, f"mapping of {work.name}", problem)
    sizes = {"matmul": work.matmul} if work.matmul else {"ranks": dict(work.ranks)}
    mapping = {"design": found.name, "cores": "core", **sizes, "levels": levels.levels}
    for level in levels.levels:
        level["level"] = found.names.get(level["level"], level["level"])
    found.mappings.append((work.name, mapping))
    found.notes.carry(where, f"mapping of {work.name}", f"{len(levels.levels)} levels")
    try:
        path = memory_path(found.parsed(), "core")
        written = parse_mapping(_yaml(mapping), f"{found.name}.{work.name}.mapping.yaml")
        mapping_on(written, contraction_of(work, found), path)
    except UserError as problem:
        wrong = "; ".join(str(problem).splitlines())
        found.notes.drop(where, f"mapping of {work.name}", f"not legal here: {wrong}")


def block_ranks(chain: Chain, work: Workload) -> dict[str, int]:
    """What an engine does at once, by rank; on a role that several ranks share, nothing is said."""
    return {r: n for r, n in zip("mnk", chain.block, strict=True) if n > 1 and r in work.ranks}


def contraction_of(work: Workload, found: Imported) -> Contraction:
    """The problem for the mapper: words as wide as the multiplier's, unless the layer says more."""
    path = memory_path(found.parsed(), "core")
    pair = next(iter(path.engine.pe.formats))
    weight, _, activation = pair.partition("*")
    dims = MATMUL.dims if work.matmul else work.dims
    extents = dict.fromkeys("bmnk", 1) | dict(work.ranks) if work.matmul else dict(work.ranks)
    of_weight, of_activation, of_sums = found.machine.macs.bits
    words = {"activation": of_activation, "weight": of_weight, "output": of_sums or of_activation}
    bits = words | dict(work.bits)
    return Contraction(
        extents,
        path.datapath(FORMATS[weight], FORMATS[activation or weight]),
        bits["activation"] / 8,
        bits["weight"] / 8,
        bits["output"] / 8,
        work.bits.get("partial", bits["output"]) / 8,
        dims=dims,
    )


def mapping_yaml(mapping: dict[str, Any]) -> str:
    """A mapping file."""
    return _yaml(mapping)


class _Lines(dict[str, str]):
    """Sources: a line for each."""


class _Dumper(yaml.SafeDumper):
    """Short mappings on one line, sources on several."""


_Dumper.add_representer(
    _Lines,
    lambda dumper, data: dumper.represent_mapping("tag:yaml.org,2002:map", data.items(), False),
)


def _yaml(values: dict[str, Any], width: int = 1000) -> str:
    return yaml.dump(
        _lined(values), Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=width
    )


def _lined(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return (_Lines if key == "source" else dict)((k, _lined(v, k)) for k, v in value.items())
    return [_lined(item) for item in value] if isinstance(value, list) else value
