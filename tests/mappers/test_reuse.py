"""Counts of tile movements against a loop nest that is really run."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import prod

from hypothesis import assume, given
from hypothesis import strategies as st
from mapspace import by_hand, contraction, conv_dims, matmul_on
from tiny import design_dict, engine, memory, parse

from accel_models.path import Path, memory_path
from mappers.mapping import OPERANDS, LevelMapping
from mappers.problem import Contraction, Dim
from mappers.reuse import Nest, busy_steps, moved_elements

Range = tuple[int, int]
Box = dict[str, Range]


def machine(multicast: int = 1, reduction: bool = False, cores: int = 16, **control: str) -> Path:
    """DRAM, shared L2, an L1 in each core."""
    design = parse(
        design_dict(
            {
                "dram": memory("1 GiB", "8 B/cycle", kind="dram"),
                "l2": memory("1 GiB", "8 B/cycle", multicast=multicast, reduction=reduction),
            },
            {"l1": memory("1 GiB", "8 B/cycle")},
            engine("systolic"),
            cores,
            **control,
        )
    )
    return memory_path(design, "core")


@st.composite
def nests(draw: st.DrawFn, ragged: bool, conv: bool, multicast: tuple[int, ...] = (1,)) -> Nest:
    """A random aligned two-level mapping of a small problem; ragged at its edge or nowhere."""
    path = machine(draw(st.sampled_from(multicast)), draw(st.booleans()))
    extents, inner, split, outer = {"b": draw(st.integers(1, 2))}, {}, {}, {}
    for rank in ("m", "c", "p", "r") if conv else ("m", "n", "k"):
        inner[rank] = draw(st.integers(1, 3 if rank in "pr" or not conv else 2))
        split[rank] = draw(st.sampled_from((1, 1, 2)))
        outer[rank] = inner[rank] * split[rank] * draw(st.integers(1, 3))
        whole = outer[rank] * draw(st.integers(1, 2 if conv else 3))
        extents[rank] = max(outer[rank], whole - (draw(st.integers(0, 2)) if ragged else 0))
    more = {"dims": conv_dims(draw(st.integers(1, 3)), draw(st.integers(1, 2)))} if conv else {}
    problem = contraction(path, extents, **more)
    orders = st.permutations(tuple(inner))
    levels = {
        "l2": {"tile": {"b": 1} | outer, "order": draw(orders)},
        "l1": {"tile": inner, "split": split, "order": draw(orders)},
    }
    return Nest(by_hand(problem, path, levels), path, problem)


matmuls = nests(ragged=False, conv=False)
convs = nests(ragged=False, conv=True)
operands = st.sampled_from(OPERANDS)


def coordinates(dim: Dim, box: Box) -> set[int]:
    """Those of a dimension that a tile touches."""
    ranges = [[i * stride for i in range(*box[rank])] for rank, stride in dim]
    return {sum(parts) for parts in product(*ranges)}


def elements(problem: Contraction, operand: str, box: Box) -> set[tuple[int, ...]]:
    """Those of an operand that a tile touches."""
    return set(product(*(coordinates(dim, box) for dim in problem.dims[operand])))


def run(nest: Nest, operand: str, level: int) -> Iterator[list[set[tuple[int, ...]]]]:
    """Every step of a level in which it is filled: what each of its instances brings in.

    An instance that holds the tile already brings in nothing. As a window slides along the
    innermost loop, what it has not seen; a rank split over instances does not slide.
    """
    levels, problem = nest.mapping.levels, nest.problem
    relevant = problem.ranks_of(operand)
    held: dict[tuple, tuple] = {}

    def brought(place: tuple, box: Box, steps: tuple, slides: bool) -> set[tuple[int, ...]]:
        tile = {rank: box[rank] for rank in relevant}
        before, outside = held.get(place, ({}, None))
        held[place] = (tile, steps[:-1])
        if before == tile:
            return set()
        new = elements(problem, operand, box)
        if slides and outside == steps[:-1]:
            return new - elements(problem, operand, before)
        return new

    def walk(i: int, boxes: dict[tuple, Box], steps: tuple) -> Iterator[list[set]]:
        here = levels[i]
        size = {r: here.tile[r] * here.spatial[r] for r in here.order}
        loops = [r for r in here.order if levels[i - 1].tile[r] > size[r]]
        slides = bool(loops) and problem.slides(operand, loops[-1]) and here.spatial[loops[-1]] == 1
        counts = [range(-(-levels[i - 1].tile[r] // size[r])) for r in loops]
        for step in product(*counts):
            now = dict(zip(loops, step, strict=True))
            inside = dict(instances(boxes, here, {r: now.get(r, 0) * size[r] for r in size}))
            if i < level:
                yield from walk(i + 1, inside, (*steps, *step))
            else:
                at = (*steps, *step)
                yield [brought(place, box, at, slides) for place, box in inside.items()]

    whole = {rank: (0, extent) for rank, extent in problem.extents.items()}
    return walk(1, {(): whole}, ())


def instances(
    boxes: dict[tuple, Box], here: LevelMapping, base: dict[str, int]
) -> Iterator[tuple[tuple, Box]]:
    """The tile of every instance that has one, at this step."""
    ranks = list(here.order)
    for place, box in boxes.items():
        for which in product(*(range(here.spatial[r]) for r in ranks)):
            tile = {}
            for rank, index in zip(ranks, which, strict=True):
                start = box[rank][0] + base[rank] + index * here.tile[rank]
                tile[rank] = (start, min(start + here.tile[rank], box[rank][1]))
            if all(start < stop for start, stop in tile.values()):
                yield (*place, which), tile


def held_elements(nest: Nest, operand: str, level: int) -> int:
    """Loaded into all instances of a level, in all."""
    return sum(len(new) for step in run(nest, operand, level) for new in step)


def dense(nest: Nest, level: int) -> bool:
    """Does a tile's window touch every coordinate that it spans?"""
    tile = nest.mapping.levels[level].tile
    ((p, stride), (r, dilation)) = nest.problem.dims["activation"][-1]
    reach = 1 + stride * (tile[p] - 1) + dilation * (tile[r] - 1)
    return 1 in (stride, dilation) and reach <= tile[p] * tile[r]


@given(matmuls, operands, st.sampled_from([1, 2]))
def test_counts_equal_a_nest_that_is_run(nest: Nest, operand: str, level: int):
    assert moved_elements(nest, operand, level) == held_elements(nest, operand, level)


@given(convs, operands, st.sampled_from([1, 2]))
def test_counts_with_halos_equal_a_nest_that_is_run(nest: Nest, operand: str, level: int):
    counted, real = moved_elements(nest, operand, level), held_elements(nest, operand, level)
    assert counted == real if dense(nest, level) else counted >= real


@given(nests(ragged=False, conv=True, multicast=(16,)), operands)
def test_reads_of_a_multicast_equal_those_of_a_nest_that_is_run(nest: Nest, operand: str):
    """What several instances want at once is read once; sums of one output are written once, if
    they are added up on the way. Instances side by side that slide each read for themselves."""
    assume(dense(nest, 2))
    if operand == "output" and not nest.path.levels[1].reduction:
        assert moved_elements(nest, operand, 2, 1) == moved_elements(nest, operand, 2)
        return
    real = sum(len(set().union(*step)) for step in run(nest, operand, 2))
    counted = moved_elements(nest, operand, 2, 1)
    if sum(nest.mapping.levels[2].spatial[rank] > 1 for rank in "pr") == 1:  # one may slide
        assert real <= counted <= moved_elements(nest, operand, 2)
    else:
        assert counted == real


@given(st.booleans().flatmap(lambda conv: nests(ragged=True, conv=conv)), operands)
def test_ragged_edges_are_never_undercounted(nest: Nest, operand: str):
    for level in (1, 2):
        counted, real = moved_elements(nest, operand, level), held_elements(nest, operand, level)
        assert real <= counted <= 4 * real


@given(nests(ragged=True, conv=False, multicast=(1, 2, 16)), operands)
def test_merging_only_saves_and_never_below_once(nest: Nest, operand: str):
    once = prod(nest.problem.extents[r] for r in nest.problem.ranks_of(operand))
    assert once <= moved_elements(nest, operand, 2, 1) <= moved_elements(nest, operand, 2)


@given(nests(ragged=True, conv=False), st.sampled_from("bmnk"))
def test_the_busiest_instance_covers_its_share(nest: Nest, rank: str):
    """Steps times their sizes reach at least the extent over the instances, and at most all."""
    extent = nest.problem.extents[rank]
    full, tile, last = busy_steps(nest, rank, extent, 1, 2)
    covered = full * tile + last
    assert extent <= covered * nest.mapping.levels[2].spatial[rank]
    assert covered <= extent


def test_by_hand():
    """C[100,96] in tiles of 64 x 32 over K = 8, k innermost: A once per column of tiles."""
    path = machine()
    problem = matmul_on(path, 100, 96, 8)
    tile = {"m": 64, "n": 32, "k": 4}
    nest = Nest(by_hand(problem, path, {"l2": {"tile": tile, "order": "mnk"}}), path, problem)
    assert moved_elements(nest, "activation", 1) == 100 * 8 * 3
    assert moved_elements(nest, "weight", 1) == 8 * 96 * 2
    assert moved_elements(nest, "output", 1) == 100 * 96
