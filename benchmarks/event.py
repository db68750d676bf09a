"""How fast the event simulator is: `python benchmarks/event.py [DESIGN MODEL]`.

CPU seconds and events per second of each op's program, folded and unfolded, and of whole phases;
`python benchmarks/event.py systems`: phases of systems, and what waiting adds to the closed form.
"""

from __future__ import annotations

import sys
import time

from accel_models.read_design import read_design
from accel_models.read_system import read_system
from mappers import map_graph
from mappers.parallelism import best_parallelism
from mappers.partition import map_system
from sim.event import on_system, whole
from sim.event import run as event
from sim.event.chain import phase_of
from sim.event.engine import Engine
from sim.event.lower import program_of
from sim.job import PREFETCHES
from workloads import decode, prefill, read_model
from workloads.sharding.sharded import shard
from workloads.transforms.apply import apply

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
        for prefetch in (None, *PREFETCHES):
            start = time.process_time()
            run = whole.run(schedule, prefetch)
            took = time.process_time() - start
            program = timed(phase_of(schedule, prefetch), True)
            print(
                f"  as one program, prefetch {prefetch or 'none'}: {run.latency_s * 1e3:.3f} ms, ",
                end="",
            )
            print(f"{program}, what-if runs included {took:.2f} s")


SYSTEMS = (
    ("dgx_a100", "llama-3-70b", ""),
    ("dgx_a100", "llama-3-70b", "pipeline_parallel(8)"),
    ("dgx_h100", "llama-3-70b", ""),
    ("ascend_910b_8", "llama-3-8b", ""),
    ("tpu_v4_64", "llama-3-70b", "tensor_parallel(16)+stream_parallel(4)"),
)


def systems() -> None:
    """A decode step of as many sequences as there are chips, and a prompt of 2048 tokens."""
    for name, model, text in SYSTEMS:
        system = read_system(name)
        for phase in (decode(system.chips, 2048), prefill(1, 2048)):
            graph = read_model(model).build(phase)
            graph = apply(graph, text) if text else best_parallelism(graph, system)[0]
            found = map_system(shard(graph), system)
            start = time.process_time()
            run = on_system.run(graph, found)
            took = time.process_time() - start
            assert run.event is not None
            more = run.latency_s / run.event.analytic_latency_s - 1
            every = f", every {run.interval_s:.4g} s" if run.interval_s else ""
            what = f"{name:13} {model:11} {phase.kind:7} {run.parallel}"
            print(
                f"{what}: {run.latency_s:.4g} s{every}, {more:+.1%} on the closed form, "
                f"{took:.2f} s for {run.event.events:,} events"
            )


def timed(program, fold: bool) -> str:
    start = time.process_time()
    timeline = Engine(program, fold).run()
    took = time.process_time() - start
    return f"{timeline.events:7,} events {took:6.3f} s {timeline.events / took:9,.0f}/s"


if __name__ == "__main__":
    if sys.argv[1:] == ["systems"]:
        systems()
    else:
        main(*sys.argv[1:])
