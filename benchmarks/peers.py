"""Mappers of other tools beside ours: the same machine in their format, imported into ours.

    python benchmarks/peers.py [--only zigzag|accelforge|scalesim] [--venvs DIR] [--long]
                               [--size N ...] [--machine WORDS] [--table]

DIR holds an environment for each peer (benchmarks/README.md says how to make them); a peer that is
not there is skipped. All run in this one run, warm, on one core, without a cache of mappings: the
second search of a process, theirs and ours. For each problem:

    CPU time   theirs, and ours until the optimum is proven, in seconds of CPU; then ours with the
               limits of `tileloom simulate`
    theirs     their best under their model, and carried over by the importer under ours
    ours       our optimum under our model, and written in their words under theirs

What cannot be carried over or compared is said, not guessed. Perfect factors, as theirs have. Ends
with exit code 1 if ours is slower, worse under our model, or over 2 % worse under theirs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml
from peer_case import Case, table
from peer_machines import (
    ACCELFORGE,
    SCALESIM,
    SCALESIM_LAYOUT,
    SIZES,
    accelforge_machine,
    zigzag_layer,
    zigzag_machine,
    zigzag_spatial,
)
from peer_nests import accelforge_nodes, zigzag_entries
from peer_trial import Peer, PeerError, Sizes, Trial, compare, size_of

from accel_models.engines.tile import MatmulTile
from accel_models.path import Path as MemoryPath
from mappers.mapping import Mapping
from mappers.problem import Contraction
from sim.importers import import_files
from sim.importers.imported import Imported, add_mapping
from sim.importers.zigzag_mapping import Unrolled, shared_out, spread_of

PJ = 1e-12


def accelforge(peer: Peer, wanted: argparse.Namespace) -> Iterator[Case]:
    """Two and three levels."""
    for name, (levels, bits, usual) in ACCELFORGE.items():
        for sizes in asked(wanted, name, usual):
            spec = accelforge_machine(levels, sizes, bits)
            yield compare(peer.name, _accelforge_trial(peer, name, sizes, spec))


def _accelforge_trial(peer: Peer, name: str, sizes: Sizes, spec: str) -> Trial:
    file = peer.file("machine.yaml", spec)

    def read(with_mapping: str = file) -> Imported:
        return import_files("accelforge", [Path(with_mapping)])

    def carried(_: Imported, result: dict[str, Any]) -> Imported:
        return read(peer.file("theirs/machine.yaml", spec + _mapping(result["nodes"])))

    def there(found: Imported, mapping: Mapping, problem: Contraction, path: MemoryPath) -> float:
        nodes = accelforge_nodes(found, mapping, problem, path)
        ours = peer.file("ours/machine.yaml", spec + _mapping(nodes))
        return peer.run("evaluate", "energy", ours)["energy"]

    return Trial(name, sizes, read, lambda: peer.run("search", "energy", file), carried, there)


def _mapping(nodes: list[str]) -> str:
    return "mapping:\n  nodes:\n" + "".join(f"  - {node}\n" for node in nodes)


def zigzag(peer: Peer, wanted: argparse.Namespace) -> Iterator[Case]:
    """Two and three levels over one multiplier, and zigzag's own tpu_like."""
    shipped = next(peer.python.parents[1].glob("lib/*/site-packages/zigzag/inputs/hardware"))
    cases = [(f"{levels} levels", zigzag_machine(levels), "D1: ['K, 1']") for levels in (2, 3)]
    # transfers are rounded up to bandwidth_min there, which ours does not have
    tpu = (shipped / "tpu_like.yaml").read_text().replace("bandwidth_min: 64", "bandwidth_min: 8")
    cases.append(("tpu_like, bandwidth_min 8", tpu, "D1: ['K, 32'], D2: ['C, 32']"))
    for name, hardware, unrolled in cases:
        for sizes in asked(wanted, name, SIZES):
            yield compare(peer.name, _zigzag_trial(peer, name, sizes, (hardware, unrolled)))


def _zigzag_trial(peer: Peer, name: str, sizes: Sizes, given: tuple[str, str]) -> Trial:
    hardware, unrolled = peer.file("hardware.yaml", given[0]), given[1]
    layer = peer.file("layer.yaml", zigzag_layer(sizes))
    plain = peer.file("mapping.yaml", zigzag_spatial(unrolled))

    def run(mapping: str) -> dict[str, Any]:
        result = peer.run("energy", hardware, mapping, layer)
        return {**result, "energy": result["energy"] * PJ}

    def read() -> Imported:
        return import_files("zigzag", [Path(file) for file in (hardware, layer, plain)])

    def carried(found: Imported, result: dict[str, Any]) -> Imported:
        _carry_zigzag(found, result, unrolled)
        return found

    def there(found: Imported, mapping: Mapping, problem: Contraction, path: MemoryPath) -> float:
        entries = zigzag_entries(found, mapping, problem, path)
        return min(run(peer.file("ours.yaml", entry))["energy"] for entry in entries)

    return Trial(name, sizes, read, lambda: run(plain), carried, there)


def _carry_zigzag(found: Imported, result: dict, unrolled: str) -> None:
    """Their loops, with the memory that holds them, as a mapping of the imported machine."""
    work = found.workloads[0]
    factors = {
        dim: tuple((t.split(",")[0], int(t.split(",")[1])) for t in texts)
        for dim, texts in yaml.safe_load(f"{{{unrolled}}}").items()
    }
    spread = spread_of(Unrolled({}, factors), work, found.machine, dict(work.ranks))
    held, loops = {}, []
    for letter, levels in result["loops"].items():
        inside = 0
        for memory, level in zip(result["memories"][letter], levels, strict=True):
            inside += len(level)
            held[memory, work.tensors[letter]] = inside
        loops = [(work.names[dim], size) for level in levels for dim, size in level]
    outermost = found.machine.stores[0].name
    held = {key: count for key, count in held.items() if key[0] != outermost}
    add_mapping(found, work, shared_out(loops, spread, work, found.machine, held), "zigzag")


def scalesim(peer: Peer, wanted: argparse.Namespace) -> Iterator[Case]:
    """Cycles of a 32 x 32 array with its operands at hand; it has no mapper, so nothing else."""
    for sizes in asked(wanted, "32 x 32 weight-stationary", SIZES):
        m, n, k = sizes
        case = Case(peer.name, "32 x 32 weight-stationary", size_of(sizes), "cycles")
        config = peer.file("array.cfg", SCALESIM)
        topology = peer.file("layer.csv", f"Layer, M, N, K,\nmatmul, {m}, {n}, {k},\n")
        engine = import_files("scalesim", [Path(config), Path(topology)]).parsed().cores["core"]
        started = time.process_time()
        case.ours = float(engine.engine.service(MatmulTile(m, n, k)).latency)
        case.ours_s = time.process_time() - started
        if m * n * k > 512**3 and not wanted.long:
            case.notes.append("theirs takes minutes at 1024, hours beyond: --long runs it")
            yield case
            continue
        try:
            result = peer.run(config, topology, peer.file("layout.csv", SCALESIM_LAYOUT))
            case.theirs, case.theirs_s = result["cycles"] + 1.0, result["cpu_s"]  # counted from 0
        except PeerError as why:
            case.notes.append(str(why))
        yield case


PEERS: dict[str, Callable[[Peer, argparse.Namespace], Iterator[Case]]] = {
    "accelforge": accelforge,
    "zigzag": zigzag,
    "scalesim": scalesim,
}


def asked(wanted: argparse.Namespace, machine_name: str, usual: tuple[int, ...]) -> list[Sizes]:
    """Sizes to run on this machine."""
    if wanted.machine and wanted.machine not in machine_name:
        return []
    return [(n, n, n) for n in wanted.size or usual]


def main() -> int:
    """Every peer that is installed; 1 if ours falls short somewhere."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=PEERS)
    parser.add_argument(
        "--venvs", type=Path, default=Path("peers"), help="a folder of environments"
    )
    parser.add_argument("--long", action="store_true", help="also what takes more than a minute")
    parser.add_argument("--size", type=int, action="append", help="N for NxNxN [512 1024 4096]")
    parser.add_argument("--machine", help="only machines with these words: '3 levels', tpu_like")
    parser.add_argument("--table", action="store_true", help="at the end, all as a Markdown table")
    arguments = parser.parse_args()
    cases: list[Case] = []
    for name in PEERS:
        if arguments.only not in (None, name):
            continue
        python = (arguments.venvs / name / "bin" / "python").absolute()
        if not python.exists():
            print(f"{name}: skipped: there is no {python}")
            continue
        print(name)
        with tempfile.TemporaryDirectory() as folder:
            for case in PEERS[name](Peer(name, python, Path(folder)), arguments):
                print(case.text(), flush=True)
                cases.append(case)
    if arguments.table:
        print(table(cases))
    return int(any(any(case.missed()) for case in cases))


if __name__ == "__main__":
    sys.exit(main())
