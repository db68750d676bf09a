"""Fronts over latency, energy and bytes held, against all mappings of small spaces."""

from __future__ import annotations

import random

import pytest
from mapspace import a_machine, a_problem
from tiny import design_dict, engine, memory, parse

from accel_models.path import Path, memory_path
from mappers.legality import legal
from mappers.matmul import matmul_cost
from mappers.problem import Contraction
from mappers.search.best import best_mapping
from mappers.search.exhaustive import all_mappings
from mappers.search.found import Limits
from mappers.search.pareto import bytes_held, pareto_front

Three = tuple[float, float, float]


def everything(problem: Contraction, path: Path, most: int) -> list[Three] | None:
    """Latency, energy and bytes of every mapping; None if there are more than so many."""
    found: list[Three] = []
    for mapping in all_mappings(problem, path):
        if len(found) == most:
            return None
        cost = matmul_cost(problem, mapping, path)
        held = bytes_held(problem, mapping, path)
        found.append((float(cost.latency_s), float(cost.energy_j), held))
    return found


@pytest.mark.slow
def test_nothing_beats_a_front_in_two_of_three_at_the_third():
    rng, seen, larger = random.Random(1), 0, 0
    while seen < 25:
        path = a_machine(lambda *values: rng.choice(values))
        problem = a_problem(lambda *values: rng.choice(values), path)
        every = everything(problem, path, 200)
        if not every:
            continue
        front = [(p.latency_s, p.energy_j, p.held_bytes) for p in pareto_front(problem, path)]
        seen, larger = seen + 1, larger + (len(front) > 1)
        assert min(point[0] for point in front) == pytest.approx(min(e[0] for e in every))
        assert min(point[1] for point in front) == pytest.approx(min(e[1] for e in every))
        for latency, energy, held in front:
            within = [e for e in every if e[2] <= held * (1 + 1e-9)]
            assert not any(
                e[0] < latency * (1 - 1e-8) and e[1] < energy * (1 - 1e-8) for e in within
            )
    assert larger > 5


def test_points_are_legal_and_beat_each_other_in_something():
    chip = {"dram": memory("1 GiB", "8 B/cycle", kind="dram"), "l2": memory("64 KiB", "64 B/cycle")}
    design = parse(design_dict(chip, {"l1": memory("8 KiB", "64 B/cycle")}, engine("systolic"), 4))
    path = memory_path(design, "core")
    from kernels_ref.formats import FORMATS

    fp16 = FORMATS["fp16"]
    extents = {"b": 1, "m": 96, "n": 80, "k": 64}
    problem = Contraction(extents, path.datapath(fp16, fp16), 2.0, 2.0, 2.0, 4.0)
    front = pareto_front(problem, path)
    assert len(front) > 3
    for point in front:
        assert legal(problem, point.found.mapping, path)
        assert point.held_bytes == bytes_held(problem, point.found.mapping, path)
        for other in front:
            if other is not point:
                assert (
                    point.latency_s < other.latency_s
                    or point.energy_j < other.energy_j
                    or point.held_bytes < other.held_bytes
                )
    half = max(point.held_bytes for point in front) / 2
    small = best_mapping(problem, path, "latency", Limits(held_bytes=half))
    assert small is not None
    assert bytes_held(problem, small.mapping, path) <= half
    assert best_mapping(problem, path, "latency", Limits(held_bytes=1.0)) is None
