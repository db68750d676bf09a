"""Networks of a design: loads of links by hand, the closed form, events of cores apart."""

from __future__ import annotations

from typing import Any

import pytest
from event_law import TICK, check_law, costs
from hypothesis import given
from hypothesis import strategies as st
from tiny import design_dict, designs, engine, graphs, matmul_graph, memory, parse, scheduled

from accel_models.design import Design
from accel_models.network import Network
from accel_models.path import memory_path
from mappers.plan import Placed
from sim.event.engine import Engine
from sim.event.lower import program_of
from workloads.graph import Graph


def network(kind: str, width: int, height: int = 1, ports: tuple[int, ...] = (0,)) -> Network:
    words = {"kind": kind, "width": width, "height": height, "ports": ports}
    return Network.model_validate(words | {"link": "4 B/cycle", "hop": "2 ns"})


@pytest.mark.parametrize(
    ("on", "into", "out", "hops"),
    [
        (network("mesh", 2, 2), {"0>1": 2, "0>2": 1, "1>3": 1}, {"1>0": 1, "2>0": 2, "3>2": 1}, 2),
        (network("ring", 4), {"0>1": 2, "1>2": 1, "0>3": 1}, {"1>0": 1, "2>3": 1, "3>0": 2}, 2),
        (network("bus", 2), {"bus": 2}, {"bus": 2}, 1),
        (
            network("crossbar", 2, ports=(0, 1)),
            {"port 0>": 1, "port 1>": 1, ">0": 1, ">1": 1},
            {">port 0": 1, ">port 1": 1, "0>": 1, "1>": 1},
            1,
        ),
        (network("ring", 2, ports=(0, 1)), {"0>1": 0.5, "1>0": 0.5}, {"0>1": 0.5, "1>0": 0.5}, 1),
    ],
)
def test_loads_of_links(
    on: Network, into: dict[str, float], out: dict[str, float], hops: int
) -> None:
    """Bytes of every link when each core reads one, and when each writes one."""
    assert on.loads() == into
    assert on.loads(out=True) == out
    assert on.latency_s() == pytest.approx(hops * 2e-9)


def test_seconds_of_the_busiest_link() -> None:
    """40 bytes to four cores, 10 each, 20 over the first link of 4 bytes a cycle; a bus has all."""
    mesh = network("mesh", 2, 2).seconds(40, 20, 1e9)
    assert mesh == {"network": pytest.approx(5e-9), "network_out": pytest.approx(2.5e-9)}
    assert network("bus", 2).seconds(40, 20, 1e9) == {"network": pytest.approx(15e-9)}


def through(design: Design, on: Network) -> Design:
    """The design with this network before its cores."""
    name = list(design.memory)[-1]
    level = design.memory[name].model_copy(update={"network": on})
    return design.model_copy(update={"memory": design.memory | {name: level}})


def four_cores(**more: Any) -> Design:
    dram = memory("1 GiB", "64 B/cycle", kind="dram") | more
    return parse(
        design_dict(
            {"dram": dram}, {"l1": memory("64 KiB", "64 B/cycle")}, engine("systolic"), cores=4
        )
    )


def placed_on(kind: str, width: int, height: int = 1) -> tuple[Placed, Network]:
    on = network(kind, width, height)
    (placed,) = scheduled(matmul_graph(128, 128, 128), through(four_cores(), on))
    return placed, on


def test_a_network_binds_the_closed_form() -> None:
    """All that DRAM gives goes through the mesh's first link, half of it; and hops are latency."""
    placed, on = placed_on("mesh", 2, 2)
    read = sum(r for r, _ in placed.cost.work.traffic["dram"].values())
    assert placed.cost.work.busy["network"] == pytest.approx(read / 4 * 2 / 4e9)
    assert placed.cost.bound_by == "network"
    (plain,) = scheduled(matmul_graph(128, 128, 128), four_cores())
    assert float(plain.cost.latency_s) < float(placed.cost.latency_s)
    far = memory_path(through(four_cores(), on), "core").levels[0].latency_s
    assert far == pytest.approx(plain.plan.path.levels[0].latency_s + 4e-9)


@pytest.mark.parametrize(("kind", "width", "height"), [("mesh", 2, 2), ("ring", 4, 1)])
def test_cores_apart_load_the_links_of_their_ways(kind: str, width: int, height: int) -> None:
    placed, on = placed_on(kind, width, height)
    path, busy = placed.plan.path, placed.cost.work.busy
    together = Engine(program_of(placed.cost, path)).run()
    apart = Engine(program_of(placed.cost, path, 4)).run()
    assert apart.seconds == pytest.approx(together.seconds, rel=0.02)
    most = max(on.loads().values())
    steps = placed.cost.work.steps.total
    for link, load in on.loads().items():
        moved = apart.stalls()[f"network {link}"]["busy"]
        assert moved == pytest.approx(busy["network"] * load / most, abs=9 * TICK * steps)


@given(designs(), graphs(), st.sampled_from(["bus", "crossbar", "ring", "mesh"]))
def test_the_law_holds_through_networks(design: Design, graph: Graph, kind: str) -> None:
    """analytic <= event <= sum of parts."""
    cores = design.cores["core"].count
    wide = 2 if kind == "mesh" and cores % 2 == 0 else cores
    on = network(kind, wide, cores // wide if kind == "mesh" else 1)
    (placed,) = scheduled(graph, through(design, on))
    for cost in costs(placed):
        check_law(cost, placed.plan.path)
