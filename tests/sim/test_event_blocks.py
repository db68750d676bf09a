"""LUT Tensor Core's published trace, and blocks of threads by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from sim.event.blocks import TiledMatmul, blocks_program
from sim.event.engine import Engine

DATA = Path(__file__).parents[1] / "data" / "lut_trace.yaml"


@pytest.fixture(scope="module")
def work() -> TiledMatmul:
    read = yaml.safe_load(DATA.read_text("utf-8"))
    return TiledMatmul(**{k: tuple(v) if isinstance(v, list) else v for k, v in read.items()})


def test_the_published_trace(work: TiledMatmul) -> None:
    """The log's L1 sector accesses to one, its cycles within 20 %."""
    timeline = Engine(blocks_program(work), record=False).run()
    assert timeline.counters["core port"].amount * work.cores == 35_831_808
    assert timeline.ticks == pytest.approx(804_234, rel=0.2)
    # 1728 / 108 blocks, 80 steps, 8 instructions of 2 fragments twice, 16 cycles each
    assert timeline.counters["engine"].total == 16 * 80 * 8 * 2 * 2 * 16


def small(work: TiledMatmul) -> TiledMatmul:
    """Two blocks of two steps on one core, hardly a launch."""
    return replace(work, problem=(64, 128, 64), cores=1, blocks_per_core=1, launch_cycles=1)


def test_one_block_after_the_other_by_hand(work: TiledMatmul) -> None:
    """A block: 256 sectors in 256 cycles and 226 of latency; fragments of 4 KiB each in 64 and 29;
    16 instructions of 16 cycles a fragment, 4 fragments; 256 cycles of stores. The second tile, 256
    later, is there before the first is done. DRAM moves A, B and C once, 40,960 bytes over six
    moves, 5 cycles each; L2's 2 end with them, so the core's port begins after 3.
    """
    block = (3 + 256 + 226) + (64 + 29) + 4 * 16 * 16 + (3 + 256)
    assert cycles(small(work)) == 1 + 2 * block


def cycles(work: TiledMatmul) -> int:
    program = blocks_program(work)
    timeline = Engine(program, fold=False).run()
    assert Engine(program).run().ticks == timeline.ticks
    return timeline.ticks


def test_two_blocks_at_once_hide_each_others_loads(work: TiledMatmul) -> None:
    alone = small(work)
    assert cycles(replace(alone, blocks_per_core=2)) < cycles(alone)
