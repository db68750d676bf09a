"""The optimum of a two-level machine against values derived in closed form.

DRAM at 100 pJ and a buffer at 1 pJ for every bit accessed, MACs of 1 pJ, 8-bit words. The values
are those that AccelForge (Accelergy-Project/accelforge) finds too. With static power far below
the last digit, energy is that of accesses and MACs alone.
"""

from __future__ import annotations

from itertools import product
from math import inf, prod

import pytest
from tiny import design_dict, engine, memory, parse

from accel_models.path import Path, memory_path
from kernels_ref.formats import FORMATS
from mappers.mapping import OPERANDS
from mappers.problem import Contraction
from mappers.search.best import best_mapping

INT8 = FORMATS["int8"]
OWN = {"activation": "mk", "weight": "kn", "output": "mn"}


def two_levels(buffer: str) -> Path:
    """DRAM and a buffer of this size, which any operand may pass by; perfect factors."""
    mac = {"formats": {"int8": {"macs_per_cycle": 1, "accumulate": "int32", "energy": "1 pJ"}}}
    design = design_dict(
        {"dram": memory("1 TiB", "1 B/cycle", kind="dram", energy="100 pJ/bit")},
        {"buffer": memory(buffer, "1 B/cycle", buffering="single", bypass=list(OPERANDS))},
        engine("dot_product", m=1, n=1, k=1, pe=mac),
    )
    design["power"] = {"limit": "1000 W", "static": "1e-30 W"}
    design["cores"]["core"]["mapping"] = {"factors": "perfect"}
    return memory_path(parse(design), "core")


def words(path: Path, m: int, n: int, k: int) -> Contraction:
    """A multiplication of words of a byte; sums too."""
    extents = {"b": 1, "m": m, "n": n, "k": k}
    return Contraction(extents, path.datapath(INT8, INT8), 1.0, 1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("size", "bits", "picojoules"),
    [
        (64, None, 18_546_688),
        (64, 8_192, 31_784_960),
        (4096, 8 * 2**20, 2_443_836_391_424),
    ],
)
def test_optimum_of_two_levels(size: int, bits: int | None, picojoules: int):
    path = two_levels("1 TiB" if bits is None else f"{bits // 8} B")
    found = best_mapping(words(path, size, size, size), path, "energy")
    assert round(found.cost.energy_j * 1e12) == picojoules
    assert found.gap == 0


@pytest.mark.parametrize(
    ("m", "n", "k", "capacity"),
    [
        (12, 12, 12, 40),
        (12, 12, 12, 64),
        (16, 12, 8, 50),
        (30, 1, 30, 33),
        (7, 30, 1, 20),
        (1, 1, 9, 2),
    ],
)
def test_optimum_of_two_levels_by_trying_all(m: int, n: int, k: int, capacity: int):
    path = two_levels(f"{capacity} B")
    found = best_mapping(words(path, m, n, k), path, "energy")
    assert round(found.cost.energy_j * 1e12) == least_energy({"m": m, "n": n, "k": k}, capacity)


def least_energy(size: dict[str, int], capacity: int, outer: int = 800, inner: int = 8) -> float:
    """Over every tile, order and choice of what the buffer keeps: a kept operand is moved
    `size * refetch` words in, outputs out and, but for the first time, back in; each such word is
    an access at both levels. MACs read A and B, write C, and read C but for the first time, at
    the buffer or past it. 800 and 8 pJ a word, 1 pJ a MAC."""
    macs, least = prod(size.values()), inf
    mac_words = {o: macs * (2 if o == "output" else 1) for o in OWN}
    mac_words["output"] -= size["m"] * size["n"]
    divisors = ([d for d in range(1, size[r] + 1) if size[r] % d == 0] for r in "mnk")
    for tiles in product(*divisors):
        tile = dict(zip("mnk", tiles, strict=True))
        trips = {r: size[r] // tile[r] for r in "mnk"}
        for innermost, *keeps in product("mnk", *[(False, True)] * 3):
            kept = [o for o, keep in zip(OWN, keeps, strict=True) if keep]
            if sum(prod(tile[r] for r in OWN[o]) for o in kept) > capacity:
                continue
            energy = macs + sum(mac_words[o] * (inner if o in kept else outer) for o in OWN)
            for o in kept:
                (other,) = set("mnk") - set(OWN[o])
                stays = other == innermost or all(trips[r] == 1 for r in OWN[o])
                times = 1 if stays else trips[other]
                moved = prod(size[r] for r in OWN[o]) * (2 * times - 1 if o == "output" else times)
                energy += moved * (outer + inner)
            least = min(least, energy)
    return least
