"""The trace that LUT Tensor Core replayed on an A100 with doubled arrays, by events.

    python benchmarks/lut_trace.py

Prints L1 sector accesses and cycles beside the published log's, nothing fitted:
tests/data/lut_trace.yaml has the run's parameters, sim/event/blocks.py the program.
"""

from __future__ import annotations

from pathlib import Path

import yaml

from sim.event.blocks import TiledMatmul, all_sectors, blocks_program
from sim.event.engine import Engine

DATA = Path(__file__).parents[1] / "tests" / "data" / "lut_trace.yaml"
SECTORS, CYCLES = 35_831_808, 804_234  # the log's L1D accesses and gpu_sim_cycle


def main() -> None:
    """A line each, and where the core's time goes."""
    read = yaml.safe_load(DATA.read_text("utf-8"))
    work = TiledMatmul(**{k: tuple(v) if isinstance(v, list) else v for k, v in read.items()})
    timeline = Engine(blocks_program(work), record=False).run()
    print(f"sectors  {all_sectors(work):>12,}  log {SECTORS:>12,}")
    ratio = timeline.ticks / CYCLES
    print(f"cycles   {timeline.ticks:>12,}  log {CYCLES:>12,}  ratio {ratio:.3f}")
    for name, counters in timeline.counters.items():
        print(f"busy     {name:>12}  {counters.total / timeline.ticks:6.1%}")
    print(f"events   {timeline.events:>12,}")


if __name__ == "__main__":
    main()
