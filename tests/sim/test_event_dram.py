"""DRAM by events: channels reached, refresh, turnaround, random runs against the closed form."""

from __future__ import annotations

import pytest

from accel_models.dram import KINDS, bandwidth_share
from accel_models.read_design import read_design
from sim.event.dram import Channels, access, channels_of, resource
from sim.event.engine import Engine
from sim.event.program import Actor, Program, Run

HBM2 = KINDS["hbm2"]
STACK = Channels("hbm", HBM2, 8, 256)


def cycles(channels: Channels, *moves: tuple[int, int, str], times: int = 1) -> int:
    runs = tuple(Run(1, (access(channels, *move),)) for move in moves)  # type: ignore[arg-type]
    program = Program((Actor("move", runs, times),), (), (resource(channels),))
    timeline = Engine(program, fold=False).run()
    assert Engine(program).run().ticks == timeline.ticks
    return timeline.ticks


def test_small_accesses_reach_few_channels() -> None:
    """A channel moves 16 bytes a cycle. A chunk of 4 KiB takes its channel 256 cycles, as do eight
    chunks their eight channels; nine take 512. Of half a chunk only the bytes are moved."""
    stack = Channels("hbm", HBM2, 8, 4096)
    for chunks, expected in {1: 256, 8: 256, 9: 512, 16: 512}.items():
        assert cycles(stack, (chunks * 4096, chunks * 4096, "read")) == expected
    assert cycles(stack, (2048, 2048, "read")) == 128


def test_a_turn_costs_its_dead_time() -> None:
    """22.5 ns of a batch of writes at 1.2 GHz: 27 cycles, half of them there and half back, in
    whole cycles."""
    read, write = (8192, 8192, "read"), (8192, 8192, "write")
    alone = cycles(STACK, read, read, read)
    assert cycles(STACK, read, read, write) - alone == 14
    assert cycles(STACK, read, write, read) - alone == 28


def test_refresh_takes_its_share() -> None:
    """350 of 3900 ns are lost."""
    long = cycles(STACK, (1 << 20, 1 << 20, "read"), times=64)
    ideal = 64 * (1 << 20) / (8 * 16)
    assert long == pytest.approx(ideal / (1 - 350 / 3900), rel=0.01)


@pytest.mark.parametrize("run", [64, 256, 1024, 4096])
@pytest.mark.parametrize("kind", ["hbm2", "ddr4", "lpddr5", "gddr6"])
def test_random_runs_are_as_in_the_closed_form(kind: str, run: int) -> None:
    """One channel, many runs: bytes over what it could move in that time."""
    one = Channels("dram", KINDS[kind], 1, KINDS[kind].granularity)
    total = run * 20_000
    seconds = cycles(one, (total // 100, run, "read"), times=100) / one.clock_hz
    share = total / seconds / KINDS[kind].channel_bandwidth
    assert share == pytest.approx(bandwidth_share(KINDS[kind], run), rel=0.01)


def test_a_design_s_memory() -> None:
    """2039 GB/s of pseudo channels of 25.6 GB/s."""
    channels = channels_of("hbm", read_design("a100_sxm").memory["hbm"], KINDS["hbm2e"])
    assert channels.count == 80
    with pytest.raises(ValueError, match="l2 is sram"):
        channels_of("l2", read_design("a100_sxm").memory["l2"], HBM2)
