"""All-reduce beside compute and layers streamed beside compute: closed forms by hand."""

from __future__ import annotations

from math import log

import pytest

from accel_models.backing import Backing
from sim.event.engine import Engine
from sim.event.policies.layer_streaming import (
    Layers,
    chunk_bytes,
    layer_streaming,
    windowed_bytes,
)
from sim.event.policies.tiling_all_reduce import Ring, Tiles, tiling_all_reduce

RING = Ring(chips=4, bytes_per_s=10**9, latency_s=50e-9)  # a byte a tick
STEP = 1000 // 4 + 50
REDUCE = 2 * 3 * STEP


def ticks(program, fold=True) -> int:
    return Engine(program, fold=fold).run().ticks


@pytest.mark.parametrize("fold", [True, False])
def test_only_the_last_all_reduce_is_exposed(fold):
    tiles = Tiles(8, compute_s=2e-6, bytes=1000)
    assert ticks(tiling_all_reduce(tiles, RING), fold) == 8 * 2000 + REDUCE


@pytest.mark.parametrize("fold", [True, False])
def test_links_that_are_slower_are_the_bound(fold):
    tiles = Tiles(8, compute_s=1e-6, bytes=1000)
    assert ticks(tiling_all_reduce(tiles, RING), fold) == 1000 + 8 * REDUCE


@pytest.mark.parametrize("chips", [2, 3, 8])
@pytest.mark.parametrize("compute_s", [1e-6, 1e-5])
def test_chips_that_do_the_same_are_one(chips, compute_s):
    ring, tiles = Ring(chips, 10**9, 50e-9), Tiles(5, compute_s, 24 * 100)
    assert ticks(tiling_all_reduce(tiles, ring)) == ticks(tiling_all_reduce(tiles, ring, True))


@pytest.mark.parametrize("chips", [2, 4, 8, 16])
def test_a_ring_moves_two_times_n_less_one_nths(chips):
    ring = Ring(chips, 10**9, 0.0)
    timeline = Engine(tiling_all_reduce(Tiles(3, 1e-6, 16_000), ring)).run()
    assert timeline.counters["link 0"].amount == 3 * 16_000 * 2 * (chips - 1) // chips


def test_bytes_must_go_around_in_equal_parts():
    with pytest.raises(ValueError, match="10 bytes cannot go around 4 chips"):
        tiling_all_reduce(Tiles(1, 1e-6, 10), RING)


HOST_FACTS = {
    "kind": "dram",
    "capacity": "1 TB",
    "bandwidth": "10 GB/s",
    "efficiency": 1.0,
    "requests": 1000,
    "latency": "1 us",
    "granularity": "1 B",
    "energy": "1 pJ/bit",
}
HOST = Backing.model_validate(HOST_FACTS)
FLASH = {  # LLM in a flash, sec. 2: 6.1 GB/s in sequence, 1.25 in 4 KiB at random
    "kind": "flash",
    "bandwidth": "6.1 GB/s",
    "random_bandwidth": "1.25 GB/s",
    "granularity": "4 KiB",
}
M1_MAX = Backing.model_validate({**HOST_FACTS, **FLASH})
LOAD = 1_000_000 + 1000  # ns of 10 MB and one latency
COMPUTES = [0.2e-3, 1.001e-3, 3e-3]


def streamed(compute_s, buffers, passes=1, resident=0, count=6, fold=True) -> int:
    layers = Layers(count, 10e6, 10e6, compute_s, resident)
    return ticks(layer_streaming(layers, HOST, 1e9, passes, buffers), fold)


@pytest.mark.parametrize("compute_s", COMPUTES)
@pytest.mark.parametrize("buffers", [2, 3])
def test_two_buffers_leave_the_longer_of_both(compute_s, buffers):
    compute = round(compute_s * 1e9)
    assert streamed(compute_s, buffers) == LOAD + 5 * max(LOAD, compute) + compute


@pytest.mark.parametrize("compute_s", COMPUTES)
def test_one_buffer_is_one_after_the_other(compute_s):
    assert streamed(compute_s, 1) == 6 * (LOAD + round(compute_s * 1e9))


def test_resident_layers_are_not_loaded():
    """Two of six: four loads a pass; all six: none, and nothing to wait for."""
    layers = Layers(6, 10e6, 10e6, 0.2e-3, 2)
    timeline = Engine(layer_streaming(layers, HOST, 1e9, passes=3)).run()
    assert timeline.counters["backing"].busy == {"read": 3 * 4 * LOAD}
    assert timeline.counters["chip"].total == 3 * 6 * 200_000
    assert streamed(0.2e-3, 2, resident=6) == 6 * 200_000
    with pytest.raises(ValueError, match="7 resident layers of 6"):
        streamed(0.2e-3, 2, resident=7)


def test_folded_is_unfolded():
    for resident in (0, 2):
        runs = [streamed(0.7e-3, 2, 12, resident, fold=fold) for fold in (True, False)]
        assert runs[0] == runs[1]


def test_windows_and_bundles():
    """3 % active, the last five tokens' neurons kept: 2.6 % by independence, 2.4 % published.
    Chunks twice as long are read faster, and so the same bytes take less."""
    assert windowed_bytes(1.0, 0.03, 5) == pytest.approx(0.03 * 0.97**5)
    assert windowed_bytes(1.0, 0.03, 5) == pytest.approx(0.024, rel=0.1)
    assert windowed_bytes(1.0, 0.03, 0) == pytest.approx(0.03)
    token = windowed_bytes(4e9 / 32, 0.03, 5)
    times = []
    for bundled in (False, True):
        chunk = chunk_bytes(4096 * 2, bundled)
        program = layer_streaming(Layers(32, token, chunk, 0.0), M1_MAX, 1e9)
        times.append(ticks(program))
        expected = 32 * (token / M1_MAX.read_bytes_per_s(chunk, 1e9) + M1_MAX.latency)
        assert times[-1] == pytest.approx(expected * 1e9, rel=1e-6)
    exponent = log(6.1 / 1.25) / log(256)
    assert times[0] / times[1] == pytest.approx(2**exponent, rel=0.02)
