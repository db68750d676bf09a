"""The space that is searched: what every rank may choose, what is kept where, which loop is
innermost.

Tiles: the engine's is any integer (along a rank that an operand is contiguous along in granules
of more than an element, any that needs the least memory, cycles or engine blocks for its number
of tiles, or whole granules); each memory's is the smallest multiple of the spread tile inside it
that gives its number of tiles (larger ones fill the memory for nothing), so that the rank is cut
evenly; levels of the same instances that keep different operands hold the same tile, and so does
the engine its innermost memory's, apart from the split. Splits: the smallest that gives its
number of rounds. Kept: every subset that the design allows to pass by. Loop orders: for each
level which loop is innermost; with it, inside of all others, go the loops of the same operand's
other missing ranks (any other order brings some operand in more often and none less, because
every rank but a batch is missing in one operand only). Design rules narrow all of these. Not in
the space: tiles of different sizes for different operands at one level; tiles cut unevenly (of
10 rows over 2 tiles, 7 and 3 instead of 5 and 5)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import ceil, inf, prod

from accel_models.path import ENGINE, Path
from accel_models.reader import DesignError
from mappers.legality import rules_of
from mappers.mapping import OPERANDS
from mappers.problem import Contraction


@dataclass(frozen=True)
class RankSpace:
    """What one rank may choose, by path level (index 0 is the outermost, which holds all).

    `granule`: elements along it that fill a memory's granule, where an operand is contiguous along
    it.
    """

    loops: tuple[bool, ...]
    menus: tuple[tuple[int, ...], ...]
    multiples: tuple[int, ...]
    most: tuple[int, ...]
    axes: tuple[bool, bool]
    largest: tuple[float, ...]
    granule: int


@dataclass(frozen=True)
class Space:
    """Everything to choose from for a problem on a path."""

    problem: Contraction
    path: Path
    ranks: dict[str, RankSpace]
    keeps: tuple[tuple[tuple[str, ...], ...], ...]  # one per template: operands kept by level
    innermost: tuple[tuple[str, ...], ...]  # one per template: rank by level
    axis_level: int
    axis_sizes: tuple[int, int]


def space_of(problem: Contraction, path: Path) -> Space:
    """The space of a problem on a path."""
    axis_level, sizes = _axes(path)
    ranks = {rank: _rank_space(problem, path, rank, axis_level) for rank in problem.extents}
    keeps = list(product(*(_keep_choices(path, i) for i in range(len(path.levels)))))
    inner = list(product(*(_innermost(problem, path, i) for i in range(len(path.levels)))))
    pairs = list(product(keeps, inner))
    return Space(
        problem,
        path,
        ranks,
        tuple(keep for keep, _ in pairs),
        tuple(order for _, order in pairs),
        axis_level,
        sizes,
    )


def has_loops(path: Path, index: int) -> bool:
    """May tiles of this level be stepped through inside its parent's tile?"""
    level, first = path.levels[index], path.first_core
    if index == 1 and level.name != ENGINE:
        return True
    if level.name == ENGINE:
        return index == 1
    if index <= first:
        return True
    beside = index - 1
    kept: set[str] = set()
    while beside >= first and path.levels[beside].instances == level.instances:
        kept |= set(path.levels[beside].keeps)
        if not has_loops(path, beside):
            beside -= 1
            continue
        break
    same = path.levels[index - 1].instances == level.instances
    return not same or bool(kept & set(level.keeps))


def order_of(problem: Contraction, path: Path, index: int, innermost: str) -> tuple[str, ...]:
    """All ranks, outermost first, with this one innermost and the ranks that the same operand lacks
    next to it; loops over dealt tiles outside of all."""
    roles, first = problem.roles, path.first_core
    dynamic = path.control.dispatch == "dynamic" and index == first
    group = {"m": "m", "n": "n", "k": "k"}.get(roles[innermost])

    def outside(rank: str) -> tuple[bool, bool, bool]:
        dealt = dynamic and roles[rank] != "k"
        return (not dealt, roles[rank] == group, rank == innermost)

    return tuple(sorted(problem.extents, key=outside))


def _axes(path: Path) -> tuple[int, tuple[int, int]]:
    """Index of the level whose instances form an array, and its two sizes. Raises DesignError for
    more than one array, or more than two axes."""
    found, sizes = 0, (1, 1)
    for i in range(1, len(path.levels)):
        axes = list(rules_of(path, i).axes.values())
        if axes and (found or len(axes) > 2):
            raise DesignError(
                f"{path.design.name}: cores.{path.name}.mapping.levels.{path.levels[i].name}.axes: "
                "the search takes one level with axes, two at most"
            )
        if axes:
            found, sizes = i, (axes[0].size, axes[1].size if len(axes) > 1 else 1)
    return found, sizes


def _rank_space(problem: Contraction, path: Path, rank: str, axis_level: int) -> RankSpace:
    levels = range(len(path.levels))
    rules = [rules_of(path, i) for i in levels]
    axes = [rank in axis.ranks for axis in rules[axis_level].axes.values()] if axis_level else []
    axes += [False] * (2 - len(axes))
    return RankSpace(
        tuple(i > 0 and has_loops(path, i) for i in levels),
        tuple(tuple(rule.tiles.get(rank, ())) for rule in rules),
        tuple(rule.multiples.get(rank, 1) for rule in rules),
        tuple(_most(problem, path, rank, i) for i in levels),
        (axes[0], axes[1]),
        tuple(_largest(problem, path, rank, i) for i in levels),
        _granule(problem, path, rank),
    )


def _granule(problem: Contraction, path: Path, rank: str) -> int:
    """Elements of the largest granule of memory that runs along the rank fill; 1 where none do."""
    widths = [
        problem.bytes_per_element(operand)
        for operand in OPERANDS
        if problem.run_rank(operand) == rank and not (operand == "weight" and problem.shared_weight)
    ]
    largest = max(level.granularity for level in path.memories)
    return max((ceil(largest / width) for width in widths), default=1)


def _most(problem: Contraction, path: Path, rank: str, index: int) -> int:
    """Largest split of the rank over the instances of a level."""
    if index == 0:
        return 1
    rules = rules_of(path, index)
    if rules.split is not None and rank not in rules.split:
        return 1
    dynamic = path.control.dispatch == "dynamic" and index == path.first_core
    if dynamic and problem.roles[rank] != "k":
        return 1
    if rules.axes:
        return prod(axis.size for axis in rules.axes.values() if rank in axis.ranks)
    return path.levels[index].instances // path.levels[index - 1].instances


def _largest(problem: Contraction, path: Path, rank: str, index: int) -> float:
    """A larger tile of this rank alone does not fit the level."""
    level, largest = path.levels[index], inf
    if index == 0 or level.name == ENGINE:
        return inf
    for operand in OPERANDS:
        must = operand in level.keeps and operand not in level.bypass
        if must and rank in problem.ranks_of(operand) and not problem.slides(operand, rank):
            width = problem.bytes_per_element(operand)
            if operand == "output":
                width = problem.partial_bytes if index >= path.first_core else width
            else:
                width = min(width, problem.engine_bytes(operand))
            largest = min(largest, level.capacity / width)
    return largest


def _keep_choices(path: Path, index: int) -> list[tuple[str, ...]]:
    """Every set of operands that the level may hold, all of them first."""
    level = path.levels[index]
    options = [(True, False) if operand in level.bypass else (True,) for operand in level.keeps]
    return [
        tuple(operand for operand, kept in zip(level.keeps, chosen, strict=True) if kept)
        for chosen in product(*options)
    ]


def _innermost(problem: Contraction, path: Path, index: int) -> list[str]:
    """Ranks that may be innermost at a level: one for each operand that may stay, and each along
    which a window may slide."""
    ranks = list(problem.extents)
    if index == 0 or not has_loops(path, index) or path.levels[index].name == ENGINE:
        return ranks[-1:]
    rules, found = rules_of(path, index), []
    operands: set[str] = set()
    dynamic = path.control.dispatch == "dynamic" and index == path.first_core
    for rank in ranks:
        if problem.extents[rank] == 1 or problem.roles[rank] == "b":
            continue
        if dynamic and problem.roles[rank] != "k":
            continue
        lacks = [o for o in OPERANDS if rank not in problem.ranks_of(o)]
        if rules.stationary is not None and not set(lacks) & set(rules.stationary):
            continue
        slides = any(problem.slides(o, rank) for o in OPERANDS)
        if slides or not set(lacks) <= operands:
            found.append(rank)
            operands |= set(lacks) if not slides else set()
    if not found and rules.stationary is not None:
        found = [r for r in ranks if any(r not in problem.ranks_of(o) for o in rules.stationary)][
            :1
        ]
    return found or ranks[-1:]
