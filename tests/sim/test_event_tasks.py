"""Tasks that wait for tasks: timelines by hand."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.event.engine import Engine
from sim.event.tasks import Task, tasks_program

NS = 1e-9


def ticks(*tasks: Task) -> int:
    return Engine(tasks_program(tasks)).run().ticks


def test_a_task_waits_for_the_last_and_its_latency():
    a = Task("a", {"x": 5 * NS}, latency_s=2 * NS)
    b = Task("b", {"y": 9 * NS})
    assert ticks(a, b, Task("c", {"x": 3 * NS}, ("a", "b"))) == 12
    assert ticks(a, b, Task("c", {"x": 3 * NS}, ("a",))) == 10


def test_one_resource_serves_in_order_of_asking():
    first, second = Task("b", {"x": 4 * NS}), Task("c", {"y": 1 * NS})
    assert ticks(first, second, Task("a", {"x": 2 * NS}, ("c",)), Task("z", {}, ("a", "b"))) == 6


def test_pieces_take_turns():
    """A memory shared by a short task and a long one: whole, the short one waits for all of it."""
    memory = {"memory": 100 * NS}

    def program(pieces: int):
        long = Task("long", memory, pieces=pieces)
        short = Task("short", {"memory": 10 * NS}, ("go",), pieces=pieces)
        return tasks_program([long, Task("go", {"y": 1 * NS}), short])

    def end(pieces: int) -> int:
        jobs = Engine(program(pieces)).run().jobs
        return max(job.end for job in jobs if job.actor == "short")

    assert end(1) == 110
    assert end(10) == 10 + 10 * (1 + 10) - 10  # after a piece of the other's each


def test_a_task_waits_for_all_pieces_of_another():
    tasks = [Task("a", {"x": 40 * NS}, pieces=4), Task("b", {"y": 8 * NS}, ("a",), pieces=2)]
    assert ticks(*tasks) == 48


def test_names_are_there_once():
    with pytest.raises(KeyError, match="c"):
        tasks_program([Task("a", {"x": NS}, ("c",))])
    with pytest.raises(ValueError, match="two actors"):
        ticks(Task("a", {"x": NS}), Task("a", {"x": NS}))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.sampled_from("xyz"), st.sets(st.integers(0, 9))),
        min_size=1,
        max_size=10,
    )
)
def test_between_the_busiest_and_one_after_the_other(drawn):
    tasks = [
        Task(str(i), {name: ns * NS}, [str(n) for n in waits if n < i])
        for i, (ns, name, waits) in enumerate(drawn)
    ]
    timeline = Engine(tasks_program(tasks)).run()
    busy = [counters.total for counters in timeline.counters.values()]
    assert max(busy) <= timeline.ticks <= sum(busy)
    assert sum(busy) == sum(ns for ns, *_ in drawn)
