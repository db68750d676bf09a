"""Convolutions of AlexNet and ResNet-50 on a row-stationary and on a weight-stationary machine:
what mappings written by hand move, against formulas worked out on paper; and the search, which may
not be worse than they are."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, prod

import pytest
from conv_layers import LAYERS, Layer, eyeriss, tpu
from mapspace import by_hand

from accel_models.path import Path
from mappers.cost import Traffic
from mappers.legality import problems_of
from mappers.mapping import Mapping
from mappers.matmul import matmul_cost
from mappers.problem import Contraction
from mappers.search.best import best_mapping
from mappers.search.found import OBJECTIVES, Limits

ROW, WEIGHT = eyeriss(), tpu()


@dataclass(frozen=True)
class RowStationary:
    """A PE's `filters` filters of `channels` channels, a row of each; the array has `rows` output
    rows, `sets` times so many filters, and `deep` times so many channels; the buffer has `m`
    filters' sums and `c` channels."""

    rows: int
    filters: int
    channels: int
    m: int
    c: int
    sets: int = 1
    deep: int = 1

    def mapping(self, layer: Layer, problem: Contraction, path: Path) -> Mapping:
        pad = {"m": self.filters, "c": self.channels, "p": 1, "q": 1, "r": 1}
        split = {"p": self.rows, "r": layer.r, "m": self.sets, "c": self.deep}
        glb = {"g": 1, "b": 1, "m": self.m, "c": self.c, "p": self.rows}
        levels = {
            "glb": {"tile": glb, "order": "gbpmc"},
            path.levels[2].name: {"tile": pad, "split": split, "order": "cmq"},
        }
        return by_hand(problem, path, levels)


ROW_STATIONARY: dict[str, RowStationary] = {
    "alexnet conv1": RowStationary(11, 16, 1, m=48, c=1),
    "alexnet conv2": RowStationary(9, 16, 2, m=64, c=48, sets=2),
    "alexnet conv3": RowStationary(13, 16, 4, m=128, c=64, sets=4),
    "alexnet conv4": RowStationary(13, 16, 4, m=192, c=48, sets=4),
    "alexnet conv5": RowStationary(13, 16, 4, m=64, c=96, sets=4),
    "resnet conv1 7x7/2": RowStationary(14, 16, 1, m=16, c=1),
    "resnet conv2 1x1": RowStationary(14, 16, 4, m=32, c=16, sets=2, deep=4),
    "resnet conv2 3x3": RowStationary(14, 16, 4, m=32, c=16, sets=2),
    "resnet conv3 3x3/2": RowStationary(14, 16, 4, m=64, c=8, sets=4),
}


def row_stationary_traffic(it: Layer, by: RowStationary) -> Traffic:
    """What moves, in words of 2 bytes, sums too.

    A strip of outputs is `rows` high; P / rows strips, which overlap in the input.
    DRAM to buffer: per image and group all channels of a strip's input rows, once, or once per
        block of m filters if channels come and go within it (c innermost, so that sums stay).
    DRAM to PE: every weight once per strip and image; the PEs of a row of the array (one for each
        output row) get the same, and one read serves them.
    Buffer to PE: the PE of filter row r and output row p gets input row p * stride + r, whole, the
        window sliding along it, for every block of its filters: P * R rows of W words, C channels,
        M / filters times. The PEs on a diagonal, and all sets, are served by one read: a strip's
        input rows once, M / (filters * sets) times.
    PE to buffer: an output gets sums of R filter rows and C / channels blocks of channels; those of
        the R PEs of a column, and `deep` of them, are added up on the way.
    PE: every MAC reads a weight, an input, a sum (the first is 0) and writes a sum.
    """
    outputs = it.g * it.b * it.m * it.p * it.q
    macs = outputs * it.c * it.r * it.s
    weights = it.g * it.m * it.c * it.r * it.s
    images, strips = it.g * it.b * it.c, it.p // by.rows
    strip_words = images * strips * it.rows(by.rows) * it.width
    again = it.m // by.m if it.c > by.c else 1
    pe_words = images * it.p * it.r * it.width * (it.m // by.filters)
    buffer_words = strip_words * (it.m // (by.filters * by.sets))
    pe_sums = outputs * it.r * (it.c // by.channels)
    sums = outputs * (it.c // (by.channels * by.deep))
    words: Traffic = {
        "dram": {
            "activation": (strip_words * again, 0),
            "weight": (weights * it.b * strips, 0),
            "output": (0, outputs),
        },
        "glb": {
            "activation": (buffer_words, strip_words * again),
            "output": (outputs + sums - outputs, sums),  # to DRAM, and back into PEs
        },
        "filter": {"weight": (macs, weights * it.b * strips * by.rows)},
        "ifmap": {"activation": (macs, pe_words)},
        "psum": {"output": (pe_sums + macs - outputs, pe_sums - outputs + macs)},
    }
    return in_bytes(words, {"activation": 2, "weight": 2, "output": 2})


def in_bytes(words: Traffic, width: dict[str, int]) -> Traffic:
    return {
        level: {o: (read * width[o], written * width[o]) for o, (read, written) in moved.items()}
        for level, moved in words.items()
    }


@pytest.mark.parametrize("name", LAYERS)
def test_row_stationary_traffic(name: str):
    layer, by = LAYERS[name], ROW_STATIONARY[name]
    problem = layer.on(ROW, "fp16", 2, 2)
    mapping = by.mapping(layer, problem, ROW)
    assert list(problems_of(problem, mapping, ROW)) == []
    cost = matmul_cost(problem, mapping, ROW)
    assert cost.work.traffic == row_stationary_traffic(layer, by)
    assert cost.work.busy["matrix"] == pytest.approx(row_stationary_seconds(layer, by))


def row_stationary_seconds(it: Layer, by: RowStationary) -> float:
    """A MAC a cycle at 1 GHz; all PEs have as much to do, and one cycle fills the pipeline."""
    at_work = by.rows * it.r * by.sets * by.deep
    return (prod(it.extents.values()) / at_work + 1) * 1e-9


@dataclass(frozen=True)
class WeightStationary:
    """`rows` rows of outputs at a time in the accumulators; blocks of (c, r, s) in the array."""

    rows: int
    block: tuple[int, int, int]

    def blocks(self, layer: Layer) -> int:
        """How many there are."""
        c, r, s = self.block
        return ceil(layer.c / c) * ceil(layer.r / r) * ceil(layer.s / s)

    def mapping(self, layer: Layer, problem: Contraction, path: Path) -> Mapping:
        c, r, s = self.block
        tile = {"m": min(256, layer.m), "c": c, "r": r, "s": s}
        levels = {
            "unified": {"tile": {"g": 1, "b": 1, "p": self.rows}, "order": "gbp"},
            "fifo": {"tile": tile, "order": "mcrs"},
        }
        return by_hand(problem, path, levels)


WEIGHT_STATIONARY: dict[str, WeightStationary] = {
    "alexnet conv1": WeightStationary(55, (3, 7, 11)),  # the last has 4 rows of taps
    "alexnet conv2": WeightStationary(27, (48, 1, 5)),
    "alexnet conv3": WeightStationary(13, (256, 1, 1)),
    "alexnet conv4": WeightStationary(13, (192, 1, 1)),
    "alexnet conv5": WeightStationary(5, (64, 1, 3)),  # strips of 5, 5 and 3 rows
    "resnet conv1 7x7/2": WeightStationary(30, (3, 7, 7)),  # 30, 30, 30 and 22 rows
    "resnet conv2 1x1": WeightStationary(56, (64, 1, 1)),
    "resnet conv2 3x3": WeightStationary(28, (64, 1, 3)),
    "resnet conv3 3x3/2": WeightStationary(28, (128, 1, 1)),
}


def weight_stationary_traffic(it: Layer, by: WeightStationary) -> Traffic:
    """What moves, in bytes: 1 of an operand, 4 of a sum.

    DRAM to buffer: every input row once per image: strips follow each other, so that the rows of
        the window that two share are there already.
    DRAM to FIFO to array: every weight once per strip and image; but if all of a layer's are one
        block, they stay in the FIFO.
    Buffer to array: no im2col. Every tap of every output is read where it lies, once per block of
        256 filters.
    Array to accumulators: a sum of every output for every block of (c, r, s), read back all but the
        first time; they leave as bytes, through the buffer.
    """
    outputs = it.g * it.b * it.m * it.p * it.q
    strips = ceil(it.p / by.rows)
    weights = it.g * it.m * it.c * it.r * it.s
    image = it.g * it.b * it.c * it.rows(it.p) * it.width
    taps = it.g * it.b * it.p * it.q * it.c * it.r * it.s
    blocks = prod(
        ceil(whole / part) for whole, part in zip((it.c, it.r, it.s), by.block, strict=True)
    )
    used = weights * it.b * strips
    loaded = weights if it.g * ceil(it.m / 256) * blocks == 1 else used
    return {
        "dram": {"activation": (image, 0), "weight": (loaded, 0), "output": (0, outputs)},
        "unified": {
            "activation": (taps * ceil(it.m / 256), image),
            "output": (outputs, outputs),
        },
        "fifo": {"weight": (used, loaded)},
        "accumulators": {
            "output": (4 * outputs + 4 * outputs * (blocks - 1), 4 * outputs * blocks)
        },
    }


@pytest.mark.parametrize("name", LAYERS)
def test_weight_stationary_traffic(name: str):
    layer, by = LAYERS[name], WEIGHT_STATIONARY[name]
    problem = layer.on(WEIGHT, "int8", 1, 4)
    mapping = by.mapping(layer, problem, WEIGHT)
    assert list(problems_of(problem, mapping, WEIGHT)) == []
    cost = matmul_cost(problem, mapping, WEIGHT)
    assert cost.work.traffic == weight_stationary_traffic(layer, by)
    assert cost.work.busy["matrix"] == pytest.approx(weight_stationary_seconds(layer, by))


def weight_stationary_seconds(it: Layer, by: WeightStationary) -> float:
    """Every block of weights streams a strip's outputs, and takes 256 cycles at least, in which the
    next block is brought in; the array's 510 cycles of fill come once (and what the last block's
    stream lacks of 256)."""
    blocks = prod(
        ceil(whole / part) for whole, part in zip((it.c, it.r, it.s), by.block, strict=True)
    )
    strips = [by.rows] * (it.p // by.rows) + ([it.p % by.rows] if it.p % by.rows else [])
    streams = [max(256, rows * it.q) for rows in strips]
    fill = max(0, 510 + strips[-1] * it.q - streams[-1])
    return (it.g * it.b * ceil(it.m / 256) * blocks * sum(streams) + fill) * 1e-9


@pytest.mark.xfail(
    strict=True,
    reason="a window slides only along a loop of its own level: where the pads of a PE are listed "
    "with another first, the loop over columns is that one's, and every step loads a whole window",
)
def test_the_order_in_which_pads_are_listed_does_not_matter():
    layer, by = LAYERS["alexnet conv3"], ROW_STATIONARY["alexnet conv3"]
    moved = []
    for order in (("ifmap", "filter", "psum"), ("filter", "ifmap", "psum")):
        path = eyeriss(order)
        problem = layer.on(path, "fp16", 2, 2)
        moved.append(matmul_cost(problem, by.mapping(layer, problem, path), path).work.traffic)
    assert moved[0] == moved[1]


def found_and_by_hand(
    machine: str, name: str, objective: str, bounds: int
) -> tuple[tuple[float, float], tuple[float, float]]:
    """The objective of what the search finds within so many bounds, which must be legal and cost
    what is said; and of the mapping by hand."""
    layer = LAYERS[name]
    if machine == "row":
        path, problem, by = ROW, layer.on(ROW, "fp16", 2, 2), ROW_STATIONARY[name]
    else:
        path, problem, by = WEIGHT, layer.on(WEIGHT, "int8", 1, 4), WEIGHT_STATIONARY[name]
    found = best_mapping(problem, path, objective, Limits(evaluations=bounds))
    assert found is not None
    assert list(problems_of(problem, found.mapping, path)) == []
    assert found.cost == matmul_cost(problem, found.mapping, path)
    by_hand_cost = matmul_cost(problem, by.mapping(layer, problem, path), path)
    return OBJECTIVES[objective](found.cost), OBJECTIVES[objective](by_hand_cost)


ENOUGH = 100_000  # bounds
QUICK = list(zip(9 * ["weight"], LAYERS, 3 * list(OBJECTIVES), strict=True))
QUICK += [("row", f"resnet conv2 {taps}", "edp") for taps in ("1x1", "3x3")]
QUICK += [("row", "alexnet conv2", "latency")]


@pytest.mark.parametrize(("machine", "name", "objective"), QUICK)
def test_the_search_is_not_worse_than_what_is_written_by_hand(
    machine: str, name: str, objective: str
):
    found, hand = found_and_by_hand(machine, name, objective, ENOUGH)
    assert found[0] <= hand[0] * (1 + 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYERS)
def test_nor_in_energy_with_eight_ranks_on_an_array(name: str):
    found, hand = found_and_by_hand("row", name, "energy", 10 * ENOUGH)
    assert found[0] <= hand[0] * (1 + 1e-9)


@pytest.mark.slow
@pytest.mark.xfail(
    strict=True,
    reason="a million bounds do not get past powers of two, among which splits of 7 and 14 are not",
)
@pytest.mark.parametrize(
    "name", ["alexnet conv3", "alexnet conv4", "resnet conv1 7x7/2", "resnet conv3 3x3/2"]
)
def test_nor_in_latency_with_eight_ranks_on_an_array(name: str):
    found, hand = found_and_by_hand("row", name, "latency", 10 * ENOUGH)
    assert found[0] <= hand[0] * (1 + 1e-9)
