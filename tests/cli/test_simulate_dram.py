"""What the command says of DRAM whose kind the design names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from accel_models.dram import KINDS

WORDS = ("simulate", "a100_sxm", "gpt2", "--phase", "prefill", "--prompt", "256", "--sim", "event")


def test_the_command_says_what_refresh_takes(run: Callable[..., Any]) -> None:
    document = run(*WORDS, "--json").document
    causes = document["stalls"]["hbm"]["by_cause_s"]
    timing = KINDS["hbm2e"].timing
    share = timing.rfc / timing.refi
    busy = document["stalls"]["hbm"]["busy_s"]
    assert causes["refresh"] == pytest.approx(busy * share / (1 - share), rel=1e-3)
    assert causes["turnaround"] > 0
    assert "for refresh" in run(*WORDS).out
