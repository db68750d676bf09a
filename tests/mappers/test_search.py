"""The search against costing everything, and what it may never do."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from unittest import mock

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from mapspace import machines, problems

from mappers.legality import legal
from mappers.matmul import matmul_cost
from mappers.search import best, exhaustive
from mappers.search.best import best_mapping
from mappers.search.found import OBJECTIVES
from mappers.search.space import Space, space_of

MOST = 300  # mappings that a test costs one by one


@contextmanager
def searching(space: Space) -> Iterator[None]:
    """Search and oracle see this space."""
    with (
        mock.patch.object(best, "space_of", return_value=space),
        mock.patch.object(exhaustive, "space_of", return_value=space),
    ):
        yield


@given(st.data(), st.sampled_from(sorted(OBJECTIVES)), st.randoms(use_true_random=False))
def test_the_optimum_is_the_least_of_all(data, objective: str, rng: random.Random):
    """Over the whole space, and over parts of it, so that what is found is not always the same."""
    path = data.draw(machines())
    problem = data.draw(problems(path))
    with searching(part(space_of(problem, path), rng)):
        everything = list(islice(exhaustive.all_mappings(problem, path), MOST + 1))
        assume(len(everything) <= MOST)
        least = exhaustive.exhaustive(problem, path, objective)
        found = best_mapping(problem, path, objective)
    if found is None or least is None:
        assert found is least
        return
    keys = OBJECTIVES[objective](found.cost)
    assert keys[0] == pytest.approx(least[0], rel=1e-12)
    assert keys[1] <= least[1] * (1 + 1e-8)  # ties go to the other
    assert found.gap == 0
    assert legal(problem, found.mapping, path)
    assert found.cost == matmul_cost(problem, found.mapping, path)


def part(space: Space, rng: random.Random) -> Space:
    """All templates or some of them."""
    templates = list(zip(space.keeps, space.innermost, strict=True))
    if len(templates) > 1 and rng.random() < 0.5:
        templates = rng.sample(templates, rng.randint(1, 2))
    keeps, innermost = zip(*templates, strict=True)
    return replace(space, keeps=keeps, innermost=innermost)
