"""How fast the event simulator is: `python benchmarks/event.py [DESIGN MODEL]`.

CPU seconds and events per second of each op's program, folded and unfolded, and of whole phases.
"""

from __future__ import annotations

import sys
import time

from accel_models.read_design import read_design
from mappers import map_graph
from sim.event import run as event
from sim.event.engine import Engine
from sim.event.lower import program_of
from workloads import decode, prefill, read_model

UNFOLDED = 20_000  # firings up to which a program is also run unfolded


def main(design: str = "a100_sxm", model: str = "llama-3-8b") -> None:
    """A prompt of 2048 tokens and a decode step."""
    for phase in (prefill(1, 2048), decode(1, 2048)):
        schedule = map_graph(read_model(model).build(phase), read_design(design))
        print(f"{model} on {design}, {phase.kind}")
        for placed in schedule:
            for cost in placed.cost.stages or (placed.cost,):
                program = program_of(cost, placed.plan.path)
                firings = sum(actor.firings for actor in program.actors)
                print(f"  {placed.op.name:26} {timed(program, True)}", end="")
                print(f"; unfolded {timed(program, False)}" if firings < UNFOLDED else "")
        start = time.process_time()
        run = event.run(schedule)
        assert run.event is not None
        took = time.process_time() - start
        more = run.latency_s / run.event.analytic_latency_s - 1
        print(f"  whole phase, what-if runs included: {took:.2f} s, {more:+.1%} on the closed form")


def timed(program, fold: bool) -> str:
    start = time.process_time()
    timeline = Engine(program, fold).run()
    took = time.process_time() - start
    return f"{timeline.events:7,} events {took:6.3f} s {timeline.events / took:9,.0f}/s"


if __name__ == "__main__":
    main(*sys.argv[1:])
