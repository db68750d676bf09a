"""What a machine can do with a pattern of zeros in the weights of a multiplication.

Shares, with d the density, blocks of R x C (rows by k) and the engine's own of N x K:

    blocks     issued = min(1, f (1 - (1 - d)^q))
               q = ceil(N / R) ceil(K / C), blocks in one of the engine's
               f = ceil(R / N) N / R where R > N, and so along k: what the last of a block pads
    expanded   everything issued

A block that is smaller than the engine's is put in place as it enters (a shuffle per element that
is issued), like everything that is expanded; else a kept block takes one addition, of its address.
Blocks are aligned to the engine's and independent of each other: an expectation.
N:M finer than the engine's n:m runs as that (1:4 as 2:4, a shuffle for every slot); other N:M, and
such along another rank than the reduction, is expanded. What takes the fewest cycles is done.
Not modeled: vector work of places where the engine takes them; padding that compressed rows want.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from accel_models.engines.pe import Datapath
from accel_models.engines.skipping import DENSE, UNSTRUCTURED, Skip, n_of_m
from accel_models.engines.tile import Engine, EngineForm
from kernels_ref.sparsity import BlockSparse, NOfM, Pattern

EQUAL = 0.01  # share of the cycles by which ways differ that count as equally fast


@dataclass(frozen=True, slots=True)
class SparseWeights:
    """Weights as they are stored: bytes of a dense element, sparse and if it were dense;
    `along_k`: rows of the pattern lie along the reduction."""

    pattern: Pattern
    stored_bytes: float
    dense_bytes: float
    along_k: bool

    @property
    def density(self) -> float:
        """Share of the elements that is kept."""
        return float(self.pattern.density)

    @property
    def block(self) -> tuple[int, int]:
        """Columns of the product by k that are kept or not together."""
        rows, k = self.pattern.block if isinstance(self.pattern, BlockSparse) else (1, 1)
        return (rows, k) if self.along_k else (k, rows)

    def kept_bytes(self, pair: Datapath) -> float:
        """Of a kept element as the engine reads it: converted, or with its share of the scales."""
        return pair.weight.bits / 8 if pair.convert_weight else self.dense_bytes

    def read_bytes(self, pair: Datapath) -> float:
        """Of a dense element as the engine reads it where it takes the pattern as stored."""
        if not pair.convert_weight:
            return self.stored_bytes
        return float(self.pattern.bits_per_element(pair.weight.bits)) / 8


def skips(engine: Engine, pair: Datapath, weights: SparseWeights) -> list[Skip]:
    """Everything that this engine, with these formats, can do; expanding last."""
    found = [*_by_the_engine(engine, pair, weights), *_by_blocks(engine, pair, weights)]
    if engine.kind == "simd":
        found.append(_along_m(pair, weights))
    expanded = Skip(
        "expanded",
        weight_bytes=weights.kept_bytes(pair),
        kept=weights.density,
        unpacked=(("shuffle", 1.0),),
    )
    return [*(skip for skip in found if skip.speedup > 1), expanded]


def chosen(
    engine: Engine, pair: Datapath, weights: SparseWeights | None, sizes: tuple[int, int, int]
) -> Skip:
    """Of these the one that takes the fewest cycles for a multiplication of (m, n, k), and of equal
    ones the least vector work."""
    if weights is None:
        return DENSE

    def cycles(skip: Skip) -> float:
        return float(engine_form(engine, pair, skip).service(*sizes).interval)

    ways = skips(engine, pair, weights)
    fewest = min(map(cycles, ways))
    fast = [skip for skip in ways if cycles(skip) <= fewest * (1 + EQUAL)]
    return min(fast, key=lambda skip: sum(each for _, each in skip.unpacked))


def engine_form(engine: Engine, pair: Datapath, skip: Skip) -> EngineForm:
    """The engine's numbers for these formats, zeros skipped."""
    form = engine.form(pair.pair.macs_per_cycle * skip.deeper, pair.weight.bits)
    if skip.along_m:
        form = form.exchanged()
    return form if skip.issued == 1 else form.skipping(skip.issued)


def _by_the_engine(engine: Engine, pair: Datapath, weights: SparseWeights) -> Iterator[Skip]:
    """The PE's own ways, those of its `sparse`."""
    for key, rate in engine.pe.sparse.items():
        if rate.formats is not None and pair.key not in rate.formats:
            continue
        pattern = n_of_m(key)
        if key == UNSTRUCTURED:
            yield Skip(
                "zeros skipped",
                key,
                issued=max(weights.density, 1 / rate.speedup),
                done=weights.density,
                weight_bytes=weights.read_bytes(pair),
                kept=weights.density,
            )
        elif pattern and weights.along_k and _fits(weights.pattern, NOfM(*pattern)):
            runs_as = NOfM(*pattern)
            same, share = runs_as == weights.pattern, float(runs_as.density)
            places = share * runs_as.place_bits / 8
            slots = share * weights.kept_bytes(pair) + places
            yield Skip(
                f"as {key}",
                key,
                deeper=rate.speedup,
                done=share,
                weight_bytes=weights.read_bytes(pair) if same else slots,
                kept=weights.density,
                unpacked=() if same else (("shuffle", share),),
            )


def _fits(stored: Pattern, runs_as: NOfM) -> bool:
    """Do aligned groups of m hold n kept elements at most?"""
    if not isinstance(stored, NOfM):
        return False
    if stored.m % runs_as.m == 0:
        return stored.n <= runs_as.n
    return runs_as.m % stored.m == 0 and stored.n * (runs_as.m // stored.m) <= runs_as.n


def _by_blocks(engine: Engine, pair: Datapath, weights: SparseWeights) -> Iterator[Skip]:
    """The engine's blocks in which nothing is kept left out."""
    (rows, k), pattern = weights.block, weights.pattern
    _, own_rows, own_k = engine.geometry(pair.pair.macs_per_cycle)
    if isinstance(pattern, NOfM) and own_k >= pattern.m:
        return  # every group keeps something
    blocks = ceil(own_rows / rows) * ceil(own_k / k)
    some = 1 - (1 - weights.density) ** blocks
    issued = min(1.0, _padded(rows, own_rows) * _padded(k, own_k) * some)
    work = {"add": weights.density / (rows * k)} | ({"shuffle": issued} if blocks > 1 else {})
    yield Skip(
        "empty blocks skipped",
        issued=issued,
        done=issued,
        weight_bytes=issued * weights.kept_bytes(pair),
        kept=weights.density,
        unpacked=tuple(work.items()),
    )


def _padded(side: int, own: int) -> float:
    """Elements that the engine takes for each of a block that is longer than its own."""
    return ceil(side / own) * own / side if side > own else 1.0


def _along_m(pair: Datapath, weights: SparseWeights) -> Skip:
    """One kept weight after the other, times lanes of rows."""
    rows, k = weights.block
    return Skip(
        "zeros skipped along m",
        issued=weights.density,
        done=weights.density,
        along_m=True,
        weight_bytes=weights.read_bytes(pair),
        kept=weights.density,
        unpacked=(("add", weights.density / (rows * k)),),
    )
