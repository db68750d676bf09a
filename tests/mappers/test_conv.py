"""Convolutions of AlexNet and ResNet-50 on a row-stationary and on a weight-stationary machine:
what mappings written by hand move, against formulas worked out on paper; and the search, which may
not be worse than they are."""

from __future__ import annotations

from dataclasses import replace
from math import ceil, prod

import pytest
from conv_layers import (
    LAYERS,
    ROW_STATIONARY,
    WEIGHT_STATIONARY,
    Layer,
    RowStationary,
    WeightStationary,
    eyeriss,
    tpu,
)

from mappers.cost import Traffic
from mappers.legality import problems_of
from mappers.matmul import matmul_cost
from mappers.search.best import best_mapping
from mappers.search.found import OBJECTIVES, Limits

ROW, WEIGHT = eyeriss(), tpu()


def row_stationary_traffic(it: Layer, by: RowStationary, network: bool = True) -> Traffic:
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
    Without a network that multicasts and adds, all of these are moved for each PE by itself.
    PE: every MAC reads a weight, an input, a sum (which is 0 where a PE begins one) and writes a
        sum; one that the buffer has goes on in one PE, what it is added to begins there.
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
    alone = 1 if network else by.rows
    if not network:
        buffer_words, sums = pe_words, pe_sums
    taken_up = sums - outputs
    words: Traffic = {
        "dram": {
            "activation": (strip_words * again, 0),
            "weight": (weights * it.b * strips * alone, 0),
            "output": (0, outputs),
        },
        "glb": {
            "activation": (buffer_words, strip_words * again),
            "output": (outputs + sums - outputs, sums),  # to DRAM, and back into PEs
        },
        "filter": {"weight": (macs, weights * it.b * strips * by.rows)},
        "ifmap": {"activation": (macs, pe_words)},
        "psum": {"output": (macs - (pe_sums - taken_up) + pe_sums, macs + taken_up)},
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


@pytest.mark.parametrize("name", LAYERS)
def test_row_stationary_traffic_without_a_network(name: str):
    layer, by, path = LAYERS[name], ROW_STATIONARY[name], eyeriss(network=False)
    problem = layer.on(path, "fp16", 2, 2)
    cost = matmul_cost(problem, by.mapping(layer, problem, path), path)
    assert cost.work.traffic == row_stationary_traffic(layer, by, network=False)


def row_stationary_seconds(it: Layer, by: RowStationary) -> float:
    """A MAC a cycle at 1 GHz; all PEs have as much to do, and one cycle fills the pipeline."""
    at_work = by.rows * it.r * by.sets * by.deep
    return (prod(it.extents.values()) / at_work + 1) * 1e-9


def weight_stationary_traffic(it: Layer, by: WeightStationary) -> Traffic:
    """What moves, in bytes: 1 of an operand, 4 of a sum.

    DRAM to buffer: every input row once per image: strips follow each other, so that the rows of
        the window that two share are there already. Where strips of other images come between, each
        strip's rows, the last strip's being fewer.
    DRAM to FIFO to array: every weight once per strip and image; but if all of a layer's are one
        block, they stay in the FIFO.
    Buffer to array: no im2col. Every tap of every output is read where it lies, once per block of
        256 filters.
    Array to accumulators: a sum of every output for every block of (c, r, s), read back all but the
        first time; they leave as bytes, through the buffer.
    """
    outputs = it.g * it.b * it.m * it.p * it.q
    strips = len(by.strips(it))
    weights = it.g * it.m * it.c * it.r * it.s
    rows = it.rows(it.p) if by.order == "gbp" else sum(map(it.rows, by.strips(it)))
    image = it.g * it.b * it.c * rows * it.width
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


@pytest.mark.parametrize("order", ["gbp", "gpb"])
@pytest.mark.parametrize("name", LAYERS)
def test_weight_stationary_traffic(name: str, order: str):
    layer, by = LAYERS[name], replace(WEIGHT_STATIONARY[name], order=order)
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
    strips = by.strips(it)
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
SEARCHED = [("weight", *some) for some in zip(LAYERS, 3 * list(OBJECTIVES), strict=True)]
SEARCHED += [("row", "resnet conv2 1x1", "edp")]
SLOW = [pytest.param(*some, marks=pytest.mark.slow) for some in SEARCHED[::2]]


@pytest.mark.parametrize(("machine", "name", "objective"), [*SLOW, *SEARCHED[1::2]])
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


UNFINISHED = pytest.mark.xfail(
    strict=True,
    reason="more chains than a million bounds: only powers of two are searched, and those not to "
    "the end; what is found is worse than by hand, and a gap is stated",
)
IN_LATENCY = ["alexnet conv3", "alexnet conv4", "alexnet conv2"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [*IN_LATENCY, pytest.param("resnet conv3 3x3/2", marks=UNFINISHED)]
)
def test_nor_in_latency_with_eight_ranks_on_an_array(name: str):
    found, hand = found_and_by_hand("row", name, "latency", 10 * ENOUGH)
    assert found[0] <= hand[0] * (1 + 1e-9)
