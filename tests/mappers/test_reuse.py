"""Counts of tile movements against a loop nest that is really run."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tiny import design_dict, engine, memory, parse

from accel_models.path import Path, memory_path
from mappers.mapping import OPERAND_RANKS, RANKS, LevelMapping, Mapping
from mappers.reuse import Nest, busy_steps, moved_elements

ORDERS = list(itertools.permutations(("m", "n", "k")))


def machine(multicast: int, reduction: bool, cores: int) -> Path:
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
        )
    )
    return memory_path(design, "core")


@st.composite
def nests(draw: st.DrawFn, ragged: bool) -> Nest:
    """A random aligned two-level mapping of a small problem; ragged at its edge or nowhere."""
    extents, levels = {"b": draw(st.integers(1, 2))}, []
    inner, split, outer = {"b": 1}, {"b": 1}, {"b": 1}
    for rank in "mnk":
        inner[rank] = draw(st.integers(1, 3))
        split[rank] = draw(st.integers(1, 2))
        outer[rank] = inner[rank] * split[rank] * draw(st.integers(1, 3))
        whole = outer[rank] * draw(st.integers(1, 3))
        extents[rank] = max(outer[rank], whole - (draw(st.integers(0, 2)) if ragged else 0))
    keeps = ("activation", "weight", "output")
    ones = dict.fromkeys(RANKS, 1)
    one, two = draw(st.sampled_from(ORDERS)), draw(st.sampled_from(ORDERS))
    levels = (
        LevelMapping("dram", extents, ones, RANKS, keeps),
        LevelMapping("l2", outer, ones, ("b", *one), keeps),
        LevelMapping("l1", inner, split, ("b", *two), keeps),
        LevelMapping("engine", inner, ones, RANKS, ()),
    )
    multicast, reduction = draw(st.sampled_from([1, 2, 8])), draw(st.booleans())
    return Nest(Mapping(levels), machine(multicast, reduction, 8), extents)


def run_nest(nest: Nest, operand: str, level: int) -> int:
    """Elements loaded into all instances of `level`, every loop run and every tile remembered."""
    levels, relevant = nest.mapping.levels, OPERAND_RANKS[operand]
    held: dict[tuple, tuple] = {}
    loaded = 0

    def walk(i: int, start: dict[str, int], stop: dict[str, int], place: tuple) -> None:
        nonlocal loaded
        if i > level:
            key = tuple((start[r], stop[r]) for r in relevant)
            if held.get(place) != key:
                held[place] = key
                loaded += int(np.prod([stop[r] - start[r] for r in relevant]))
            return
        here = levels[i]
        steps = list(here.order)
        step = {r: here.tile[r] * here.spatial[r] for r in RANKS}
        spans = [range(start[r], stop[r], step[r]) for r in steps]
        for corner in itertools.product(*spans):
            base = dict(zip(steps, corner, strict=True))
            parts = [range(here.spatial[r]) for r in RANKS]
            for which in itertools.product(*parts):
                a = {r: base[r] + s * here.tile[r] for r, s in zip(RANKS, which, strict=True)}
                z = {r: min(a[r] + here.tile[r], stop[r]) for r in RANKS}
                if all(a[r] < stop[r] for r in RANKS):
                    walk(i + 1, a, z, (*place, which))

    walk(1, dict.fromkeys(RANKS, 0), dict(nest.extents), ())
    return loaded


@given(nests(ragged=False), st.sampled_from(sorted(OPERAND_RANKS)), st.sampled_from([1, 2]))
def test_counts_equal_a_nest_that_is_run(nest: Nest, operand: str, level: int):
    assert moved_elements(nest, operand, level, merged=False) == run_nest(nest, operand, level)


@given(nests(ragged=True), st.sampled_from(sorted(OPERAND_RANKS)), st.sampled_from([1, 2]))
def test_ragged_edges_are_never_undercounted(nest: Nest, operand: str, level: int):
    counted, run = (
        moved_elements(nest, operand, level, merged=False),
        run_nest(nest, operand, level),
    )
    assert counted >= run
    assert counted <= 2 * run


@given(nests(ragged=True), st.sampled_from(sorted(OPERAND_RANKS)))
def test_merging_only_saves_and_never_below_once(nest: Nest, operand: str):
    apart = moved_elements(nest, operand, 2, merged=False)
    merged = moved_elements(nest, operand, 2, merged=True)
    once = np.prod([nest.extents[r] for r in OPERAND_RANKS[operand]])
    assert once <= merged <= apart


@given(nests(ragged=True), st.sampled_from(RANKS))
def test_the_busiest_instance_covers_its_share(nest: Nest, rank: str):
    """Steps times their sizes reach at least the extent over the instances, and at most all."""
    full, tile, last = busy_steps(nest, rank, nest.extents[rank], 1, 2)
    covered = full * tile + last
    instances = nest.mapping.levels[2].spatial[rank]
    assert nest.extents[rank] <= covered * instances
    assert covered <= nest.extents[rank]


def test_by_hand():
    """C[100,96] in tiles of 64 x 32 over K = 8, k innermost: A once per column of tiles."""
    extents = {"b": 1, "m": 100, "n": 96, "k": 8}
    ones = dict.fromkeys(RANKS, 1)
    keeps = ("activation", "weight", "output")
    tile = {"b": 1, "m": 64, "n": 32, "k": 4}
    levels = (
        LevelMapping("dram", extents, ones, RANKS, keeps),
        LevelMapping("l2", tile, ones, ("b", "m", "n", "k"), keeps),
        LevelMapping("l1", tile, ones, RANKS, keeps),
        LevelMapping("engine", tile, ones, RANKS, ()),
    )
    nest = Nest(Mapping(levels), machine(1, False, 1), extents)
    assert moved_elements(nest, "activation", 1, False) == 100 * 8 * 3
    assert moved_elements(nest, "weight", 1, False) == 8 * 96 * 2
    assert moved_elements(nest, "output", 1, False) == 100 * 96
