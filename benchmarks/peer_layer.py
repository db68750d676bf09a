"""A decoder layer of GPT-3 6.7B (OPT-6.7B has its sizes), with fusion, by AccelForge and by ours.

    python benchmarks/peer_layer.py [--venvs DIR] [--long]

AccelForge's example machine `tpu_v4i` and example layers with 8192 tokens (one new token, or all),
least energy; the machine is imported for ours. Ours is what `tileloom simulate` does: its limits of
a search, one layer and besides it the embedding, norms and the last layer. CPU seconds: of theirs
the first search of a process, since it takes minutes (`--long` runs it), of ours the second,
without a store.

The models of fusion differ: theirs fuses any einsums through tiles that they share; what ours does
is in docs/mapping.md. So only times are compared.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from peer_trial import Peer, PeerError

from accel_models.design import Design
from mappers import map_graph
from sim.importers import import_files
from workloads import build, decode, prefill, read_config
from workloads.phase import Phase
from workloads.transforms import quantize

TOKENS = 8192
LAYERS = {"gpt3_6.7B_kv_cache.yaml": decode(1, TOKENS), "gpt3_6.7B.yaml": prefill(1, TOKENS)}


def imported(machine: Path, layer: Path) -> Design:
    """The machine, with room for a word and its share of a scale in a multiplier's register."""
    found = import_files("accelforge", [machine, layer])
    found.design["cores"]["core"]["memory"]["Register"]["capacity"] = "2 B"
    return found.parsed()


def ours(design: Design, phase: Phase) -> tuple[float, int, int]:
    """CPU seconds of the second mapping, the ops, and the groups that they are fused into."""
    config = read_config("opt-6.7b")
    sizes = {"num_hidden_layers": 1, "max_position_embeddings": TOKENS}
    one = replace(config, data={**config.data, **sizes})
    graph = quantize(build(one, phase), "w8a8", None)
    for _ in range(2):
        started = time.process_time()
        schedule = map_graph(graph, design, "energy")
        seconds = time.process_time() - started
    return seconds, len(graph.nodes), len(schedule.placed)


def main() -> None:
    """Both phases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venvs", type=Path, default=Path("peers"))
    parser.add_argument("--long", action="store_true", help="run theirs too: minutes each")
    arguments = parser.parse_args()
    os.environ["TILELOOM_CACHE"] = ""
    python = (arguments.venvs / "accelforge" / "bin" / "python").absolute()
    try:
        examples = next(python.parents[1].glob("lib/*/site-packages/examples"))
    except StopIteration:
        raise SystemExit(f"there is no accelforge in {python.parents[1]}") from None
    machine = examples / "arches" / "tpu_v4i.yaml"
    with tempfile.TemporaryDirectory() as folder:
        peer = Peer("accelforge", python, Path(folder), timeout_s=3600)
        for name, phase in LAYERS.items():
            layer = examples / "workloads" / name
            seconds, ops, groups = ours(imported(machine, layer), phase)
            print(f"{name}: ours {seconds:.2f} s of CPU, {ops} ops in {groups} groups", flush=True)
            if not arguments.long:
                continue
            try:
                result = peer.run("once", "energy", str(machine), str(layer))
            except PeerError as why:
                print(f"  {why}")
                continue
            print(f"  theirs {result['cpu_s']:.1f} s, {result['cpu_s'] / seconds:.0f} times ours")


if __name__ == "__main__":
    main()
