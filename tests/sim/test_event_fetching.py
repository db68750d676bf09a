"""Layers' tensors from backing memories by events."""

from __future__ import annotations

from functools import cache

import pytest

from sim import simulate
from sim.event.cycles import PIECES
from sim.run import Run

DESIGN, MODEL, LAYERS = "a100_sxm_host", "opt-125m", 12
LAYER = 2 * (12 * 768**2 + 13 * 768)  # bytes of a layer's matrices, biases and norms
FETCH = 10e-6 + LAYER / (31.5e9 * 0.8)  # PCIe 4.0 x16, as in tests/mappers/test_fetching.py


@cache
def run(apply: str | None = None, prefetch: str | None = None) -> Run:
    return simulate(DESIGN, MODEL, context=64, apply=apply, simulator="event", prefetch=prefetch)


def fetched_s(done: Run) -> float:
    """Seconds that the link is busy."""
    return done.event.stalls["host"]["busy"]


@pytest.mark.parametrize("prefetch", [None, "weights", "launches"])
@pytest.mark.parametrize("share", [1.0, 0.5, 0.3])
def test_between_the_longest_and_the_sum(share: float, prefetch: str | None):
    """max(backing, compute) <= events <= their sum; whole layers fetch, and the rest of one."""
    done = run(f"offload(weights,share={share})", prefetch)
    compute = run(prefetch=prefetch).latency_s
    assert fetched_s(done) == pytest.approx(share * LAYERS * FETCH, rel=1e-5)
    assert done.latency_s >= max(fetched_s(done), compute) * (1 - 1e-9)
    assert done.latency_s <= (fetched_s(done) + compute) * (1 + 1e-6)


def test_a_link_that_is_slower_than_layers_never_rests():
    """All layers' fetches one after the other, then the last layer and what follows it."""
    done, plain = run("offload(weights)"), run()
    last = sum(op.count * op.latency_s for op in plain.ops if op.count == LAYERS) / LAYERS
    head = sum(op.latency_s for op in plain.ops if op.name == "lm_head")
    piece = FETCH / PIECES
    assert done.latency_s == pytest.approx(LAYERS * FETCH + last + head, abs=4 * piece)


def test_late_fetches_hide_behind_nothing():
    done, plain = run("offload(weights,overlap=no)"), run()
    assert done.latency_s == pytest.approx(LAYERS * FETCH + plain.latency_s, rel=1e-3)


def test_layers_that_fetch_nothing_come_first():
    """Half of the layers are fetched while the others compute, as far as there is room."""
    done = run("offload(weights,share=0.5)")
    (section,) = done.event.sections
    fetches = [job for job in section.timeline.jobs if job.resource == "host"]
    assert fetches[0].begin == 0
    assert sum(op.count * op.latency_s for op in done.ops) == pytest.approx(done.latency_s)
