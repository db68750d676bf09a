"""`--policy` on the command line."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from sim.event.policies import POLICIES

SIM = ("simulate", "a100_sxm_host", "opt-125m", "--context", "64", "--apply", "offload")
EVENT = (*SIM, "--sim", "event")


def test_a_policy_is_named_in_what_is_printed(run: Any) -> None:
    document = run(*EVENT, "--policy", "ring_memory(sections=3)", "--json").document
    assert document["policy"] == "ring_memory(sections=3)"
    latency = sum(op["count"] * op["latency_s"] for op in document["ops"])
    assert latency == pytest.approx(document["latency_s"], rel=1e-7)
    done = run(*EVENT, "--policy", "ring_memory(sections=3)")
    assert "who waits by ring_memory(sections=3)" in done.out
    assert "policy" not in run(*EVENT, "--json").document


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((*EVENT, "--policy", "ring_memry"), "unknown policy 'ring_memry'; did you mean 'ring_"),
        ((*EVENT, "--policy", "ring_memory(section=3)"), "unexpected keyword argument 'section'"),
        ((*EVENT, "--policy", "ring_memory(sections=x)"), "'x' is not a whole number"),
        ((*EVENT, "--policy", "ring_memory(sections=13)"), "but there are 12 layers to go around"),
        ((*SIM, "--policy", "ring_memory"), "--policy: this is run by --sim event; add it"),
        (
            ("simulate", "dgx_a100", "opt-125m", "--sim", "event", "--policy", "ring_memory"),
            "a policy of one chip; name a design, not a system",
        ),
    ],
)
def test_wrong_policies(words: Any, message: str, run: Any) -> None:
    done = run(*words)
    assert (done.code, done.out) == (1, "")
    assert message in done.err


def test_every_policy_says_what_it_takes(run: Any) -> None:
    shown = run("show", "--policies", "--json").document["policies"]
    assert shown.keys() == POLICIES.keys()
    for name, said in shown.items():
        assert said["takes"].startswith(f"{name}("), name
        assert said["what"].endswith("."), name
        assert said["machine"] in ("chip", "system"), name
        assert said["source"], name
        for parameter in said["takes"].removesuffix(")").partition("(")[2].split(", "):
            assert parameter.partition(":")[0] in said["arguments"], (name, parameter)


PLUGIN = '''
from sim.event.policies import Policy, Stretch
from sim.event.program import Actor, Program, Resource, Run, Use


def a_second(schedule, seconds: int = 1):
    """The first op takes so long.

    Arguments: seconds, of it.

    Source: none.
    """
    run = Run(1, (Use("clock", seconds),))
    program = Program((Actor("wait", (run,)),), (), (Resource("clock", 1),))
    return [Stretch((schedule.placed[0].op.name,), schedule.placed[0].count, program)]


def register(parts):
    parts.add("policies", "a_second", Policy(a_second))
'''


def test_a_policy_of_ones_own(run: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its op takes what its program takes; the others what they take alone."""
    (tmp_path / "my_policy.py").write_text(PLUGIN)
    monkeypatch.chdir(tmp_path)
    words = ("simulate", "a100_sxm", "opt-125m", "--context", "64", "--sim", "event", "--json")
    try:
        done = run(*words, "--plugin", "my_policy", "--policy", "a_second(seconds=3)").document
    finally:
        POLICIES.pop("a_second", None)
        sys.modules.pop("my_policy", None)
    alone = run(*words).document
    assert done["ops"][0]["latency_s"] == 3.0
    assert [op["latency_s"] for op in done["ops"][1:]] == [
        op["latency_s"] for op in alone["ops"][1:]
    ]
    assert done["ops"][0]["traffic_bytes"] == alone["ops"][0]["traffic_bytes"]
