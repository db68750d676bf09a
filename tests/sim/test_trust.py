"""What a result rests on, and the band that follows."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt

import pytest
from tiny import design_dict, engine, matmul_graph, memory, parse

from accel_models.library import list_designs
from accel_models.source import parse_source
from kernels_ref.formats import FORMATS
from mappers import map_graph
from sim import analytic, simulate
from workloads.graph import Graph, Node, Tensor, check
from workloads.ops import Collective


def machine(dram_source: str):
    """A machine bound by its DRAM, whose only other number of weight is a datasheet's."""
    dram = memory("1 GiB", "1 B/cycle", kind="dram") | {
        "source": {"default": "datasheet ±0%: x", "bandwidth": dram_source}
    }
    data = design_dict({"dram": dram}, {"buffer": memory("1 MiB", "1 TB/s")}, engine("dot_product"))
    data["source"] = "datasheet ±0%: x"
    return parse(data)


def test_shares_and_band_by_hand():
    """All but launch and tail waits for DRAM: its bandwidth's ±30 % is nearly all there is."""
    run = analytic.run(map_graph(matmul_graph(64, 512, 64), machine("guess ±30%: y")))
    assert sum(run.latency_trust.shares.values()) == pytest.approx(1)
    exposed = {x.resource: x.exposed_s for x in run.limits}
    share = exposed["dram"] / run.latency_s
    assert run.latency_trust.shares["guessed"] == pytest.approx(share)
    assert run.latency_trust.high == pytest.approx(run.latency_s * (1 + 0.3 * share))
    assert run.latency_trust.low == pytest.approx(run.latency_s * (1 - 0.3 * share))


def test_independent_numbers_add_in_quadrature():
    design = machine("guess ±30%: y")
    written = dict(design._written)
    written["clock"] = "1 GHz"
    both = {(("memory", "dram", "bandwidth"),): 3.0, (("memory", "dram", "energy"),): 1.0}
    from sim.trust import trust

    found = trust(both, design.source_of)
    assert found.high == pytest.approx(4 * (1 + sqrt((0.75 * 0.3) ** 2)))


def test_a_collective_rests_on_its_link():
    """Waiting for a link rests on its bandwidth and latency: the less trusted of them counts."""
    data = design_dict(
        {"dram": memory("1 GiB", "1 TB/s", kind="dram")},
        {"buffer": memory("1 MiB", "1 TB/s")},
        engine("dot_product"),
    )
    source = {"latency": "calibrated: x", "bandwidth": "guess ±30%: y", "energy": "guess ±50%: z"}
    wire = {"topology": "ring", "bandwidth": "10 GB/s", "latency": "1 us", "energy": "5 pJ/bit"}
    data |= {"source": "datasheet ±0%: x", "links": {"wire": wire | {"source": source}}}
    size = 1 << 20
    graph = Graph(
        "tiny",
        "prefill",
        1,
        1,
        (Node(Collective("gather", ("x",), "y", "all_gather", size, size, 4), 1),),
        {name: Tensor(name, (1, size), FORMATS["int8"], "activation") for name in "xy"},
        1,
    )
    run = analytic.run(map_graph(check(graph), parse(data)))
    share = {x.resource: x.exposed_s for x in run.limits}["wire"] / run.latency_s
    assert share > 0.5
    assert run.latency_trust.shares["guessed"] == pytest.approx(share)
    # the latency's own calibrated figure adds its default width
    known = parse_source("calibrated: x").uncertainty
    width = sqrt((0.3 * share) ** 2 + (known * share) ** 2)
    assert run.latency_trust.high == pytest.approx(run.latency_s * (1 + width))
    joules = run.ops[0].energy_by_j["wire"] / run.energy_j
    assert run.energy_trust.shares["guessed"] == pytest.approx(joules)


def test_a_better_source_narrows_the_band():
    graph = matmul_graph(64, 512, 64)
    guess = analytic.run(map_graph(graph, machine("guess: y")))
    known = analytic.run(map_graph(graph, machine("calibrated: y")))
    assert known.latency_s == guess.latency_s
    assert known.latency_trust.high < guess.latency_trust.high
    # by the least trusted number it rests on: the bandwidth's efficiency is a datasheet's
    assert known.latency_trust.shares["datasheet"] == pytest.approx(1)
    assert guess.latency_trust.shares["guessed"] > 0.9


QUICK = ("h100_sxm", "tpu_v4", "gemmini_16x16", "mixpe_w4a16")  # the others run in CI


@pytest.mark.parametrize(
    "name",
    [
        name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
        for name in sorted(list_designs())
    ],
)
def test_every_shipped_design_runs_and_adds_up(name):
    """A small model through every design: totals, shares, exposed times, bands."""
    formats = {
        "gemmini_16x16": "w8a8",
        "systolic_128x128": "w8a8",
        "tpu_v4": "bf16",
        "tpu_v6e": "bf16",
    }
    formats |= {"int8_systolic": "w8a8", "bitfusion": "w8a8", "mixpe_w4a8": "w4a8-g128"}
    formats |= dict.fromkeys(("mixpe_w4a16", "ant_like", "olive_like", "bitmod_like"), "w4a16-g128")
    formats |= {"mxint8_mmu": "mxint8", "nvfp4_mmu": "nvfp4", "unpu_like": "w2a8"}
    run = simulate(name, "opt-125m", "prefill", prompt=32, formats=formats.get(name))
    assert run.latency_s > 0
    assert sum(o.count * o.latency_s for o in run.ops) == pytest.approx(run.latency_s)
    assert sum(x.exposed_s for x in run.limits) == pytest.approx(run.latency_s)
    for trust in (run.latency_trust, run.energy_trust):
        assert sum(trust.shares.values()) == pytest.approx(1)
        assert trust.low < trust.high
    assert run.power_w <= _limit(name) * 1.001
    assert all(o.latency_s > 0 for o in run.ops)
    assert replace(run, area_mm2=None).fits


def _limit(name: str) -> float:
    from accel_models.read_design import read_design

    return read_design(name).power.limit
