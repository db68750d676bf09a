"""What a rule plans a group for, and the mappings that are known already."""

from __future__ import annotations

from collections.abc import Mapping as Map
from dataclasses import dataclass, field, replace
from typing import Any

from accel_models.engines.pe import Datapath
from accel_models.path import Path
from accel_models.reader import DesignError
from kernels_ref.formats import Format
from mappers.contractions import datapath_on
from mappers.fused_tables import Tables
from mappers.legality import legal
from mappers.mapping import Mapping
from mappers.problem import Contraction
from mappers.search.cache import cached_best, open_cache
from mappers.search.found import Limits
from workloads.graph import Graph

# Mappings within half a percent of the best count as equal, and a graph's ops are many: what the
# search has found by then is what it takes. `tileloom map` proves the optimum of one op.
LIMITS = Limits(gap=0.005, evaluations=60_000)


@dataclass(frozen=True)
class Context:
    """A kind of cores, and what lies on chip.

    `stays` names the level of each of the group's tensors that lies on chip. Where something does,
    `path` has less room than the `whole` one. `found` remembers mappings of this path by problem,
    and `costed` what groups cost before anything stays, by `key` (equal for groups planned alike).
    """

    graph: Graph
    path: Path
    objective: str
    vector_macs: bool = False  # may MACs that no PE takes run on the vector engine?
    found: dict[Any, Mapping] = field(default_factory=dict)
    stays: Map[str, str] = field(default_factory=dict)
    whole: Path | None = None
    tables: Map[str, Tables] = field(default_factory=dict)  # by the tensor that they make
    costed: dict[Any, Any] = field(default_factory=dict)
    pairs: dict[Any, Any] = field(default_factory=dict)  # by the formats that they take
    key: Any = None
    sizes: dict[str, int] = field(default_factory=dict)

    def size(self, tensor: str) -> int:
        """Bytes of the tensor of this name."""
        if tensor not in self.sizes:
            self.sizes[tensor] = self.graph.tensors[tensor].bytes
        return self.sizes[tensor]


def datapath_of(context: Context, weight: Format, activation: Format) -> tuple[Path, Datapath]:
    """The engine's pair for these operands; where no PE takes them, perhaps the vector engine's.

    Raises DesignError if there is none.
    """
    key = weight.name, activation.name
    if key not in context.pairs:
        try:
            path, pair = datapath_on(context.path, weight, activation, context.vector_macs)
            context.pairs[key] = path.runs_on, pair
        except DesignError as problem:
            context.pairs[key] = problem
    known = context.pairs[key]
    if isinstance(known, DesignError):
        raise known
    runs_on, pair = known
    return (context.path if runs_on == "matrix" else context.path.on_vector_engine()), pair


def searched(problem: Contraction, path: Path, context: Context, what: str) -> Mapping:
    """The best mapping of the problem without its epilogue. Raises DesignError if no tile fits.

    With less room than the whole path has, the mapping that is best there is kept if it fits.
    """
    bare = replace(problem, epilogue_ops={}, epilogue_bytes=0.0)
    if context.whole is not None:
        whole = context.whole.on_vector_engine() if path.runs_on == "vector" else context.whole
        roomy = _known(bare, whole, context, what)
        if legal(bare, roomy, path):
            return roomy
    return _known(bare, path, context, what)


def room(path: Path) -> tuple[Any, ...]:
    """Equal for paths of one kind of cores that have the same room, and let the same stay in the
    same tiles."""
    rules = path.core.mapping.levels.items()
    stay = tuple((name, str(r.stationary), str(r.tiles)) for name, r in rules)
    return path.runs_on, path.cores, tuple(level.capacity for level in path.memories), stay


def _known(bare: Contraction, path: Path, context: Context, what: str) -> Mapping:
    key = room(path), bare.key()
    if key not in context.found:
        found = cached_best(bare, path, context.objective, LIMITS, open_cache())
        if found is None:
            raise DesignError(_no_tile(path, what))
        context.found[key] = found.mapping
    return context.found[key]


def _no_tile(path: Path, what: str) -> str:
    smallest = " x ".join(str(g) for g in path.engine.geometry(1))
    levels = ", ".join(f"{m.name} {m.capacity / 1024:.4g} KiB" for m in path.memories[1:])
    return (
        f"{path.design.name}: {path.name}: {what}: no tile fits the memories ({levels}), not "
        f"even the engine's own {smallest}; a shared one must hold the tiles of all its cores"
    )
