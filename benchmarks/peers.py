"""Mappers of other tools beside ours: the same machine in their format, imported into ours.

    python benchmarks/peers.py [--only zigzag|accelforge|scalesim] [--venvs DIR] [--long]
                               [--size N ...] [--machine WORDS]

DIR holds an environment for each peer (`DIR/zigzag/bin/python` with zigzag-dse and six,
`DIR/accelforge/bin/python` with accelforge, Python 3.12, `DIR/scalesim/bin/python` with scalesim
and numpy < 2); a peer that is not there is skipped. All run in this one run, warm, on one core:
the second search of a process, theirs and ours. For each problem:

    time       seconds: CPU time of theirs, ours by the clock, and their ratio
    theirs     their best under their model, and carried over by the importer under ours
    ours       our optimum under our model, and written in their words under theirs

What cannot be carried over or compared is said, not guessed. Perfect factors, as theirs have.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import yaml
from peer_machines import (
    SCALESIM,
    SCALESIM_LAYOUT,
    SIZES,
    accelforge_machine,
    zigzag_layer,
    zigzag_machine,
    zigzag_spatial,
)
from peer_nests import accelforge_nodes, zigzag_entries

from accel_models.engines.tile import MatmulTile
from accel_models.path import Path as MemoryPath
from accel_models.path import memory_path
from kernels_ref.errors import UserError
from mappers.mapping_file import mapping_on, parse_mapping
from mappers.matmul import matmul_cost
from mappers.problem import Contraction
from mappers.search.best import best_mapping
from mappers.search.found import Found, Limits
from sim.importers import import_files
from sim.importers.imported import Imported, add_mapping, contraction_of, mapping_yaml
from sim.importers.zigzag_mapping import Unrolled, shared_out, spread_of

HERE = Path(__file__).parent
TIMEOUT_S, LIMIT_S = 300, 60.0  # of theirs and of each of our searches
PJ = 1e-12


@dataclass(frozen=True)
class Peer:
    """A tool's interpreter, and a folder for its files."""

    name: str
    python: Path
    folder: Path

    def run(self, *arguments: str) -> dict | None:
        """What its script prints; None if it fails or takes too long, which is said."""
        script = HERE / f"peer_{self.name}.py"
        command = [str(self.python), str(script), *arguments]
        try:
            done = subprocess.run(
                command,
                cwd=self.folder,
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            print(f"    {self.name}: not done after {TIMEOUT_S} s")
            return None
        if done.returncode:
            last = (done.stderr.strip() or "no message").splitlines()[-1]
            print(f"    {self.name}: failed: {last}")
            return None
        return json.loads(done.stdout.strip().splitlines()[-1])

    def file(self, name: str, text: str) -> str:
        """A file for it, by name."""
        (self.folder / name).parent.mkdir(exist_ok=True)
        (self.folder / name).write_text(text)
        return str(self.folder / name)


def machine(found: Imported) -> tuple[MemoryPath, Contraction]:
    """The imported machine with perfect factors, as a path, and the problem."""
    found.design["cores"]["core"].setdefault("mapping", {})["factors"] = "perfect"
    return memory_path(found.parsed(), "core"), contraction_of(found.workloads[0], found)


def searched(problem: Contraction, path: MemoryPath, objective: str) -> tuple[Found, float]:
    """Our optimum, and the seconds of the second search."""
    limits = Limits(seconds=LIMIT_S)
    best_mapping(problem, path, objective, limits)
    started = time.perf_counter()
    found = best_mapping(problem, path, objective, limits)
    if found is None:
        raise UserError("no mapping fits the imported machine")
    return found, time.perf_counter() - started


def carried_over(found: Imported, path: MemoryPath, problem: Contraction) -> float | None:
    """Energy of the imported mapping under our model; None, said, if it is not legal here."""
    written = parse_mapping(mapping_yaml(found.mappings[-1][1]), "their mapping")
    try:
        mapping = mapping_on(written, problem, path)
    except UserError as why:
        print(f"    theirs cannot be carried over: {str(why).splitlines()[0]}")
        return None
    return matmul_cost(problem, mapping, path).energy_j


def row(what: str, theirs: float | None, ours: float | None, unit: str) -> None:
    """One comparison, with ours over theirs."""
    values = ["-" if v is None else f"{v:.6g}" for v in (theirs, ours)]
    ratio = f"{ours / theirs:.4f}" if theirs and ours else "-"
    print(
        f"    {what:<34} theirs {values[0]:>12}  ours {values[1]:>12} {unit:<3} ours/theirs {ratio}"
    )


def compare(
    result: dict, best: Found, seconds: float, carried: float | None, there: float | None
) -> None:
    """The lines of one problem; energies in J."""
    cpu, first = result["cpu_s"], result["cpu_first_s"]
    print(
        f"    {'time':<34} theirs {cpu:>12.2f}  ours {seconds:>12.4f} s   theirs/ours "
        f"{cpu / seconds:.0f} (theirs at first {first:.2f} s, by the clock {result['seconds']:.2f} "
        f"s); ours costed {best.evaluated} of {best.total:.3g} mappings, gap {best.gap:.2g}"
    )
    row("each under its own model", result["energy"], best.cost.energy_j, "J")
    row("both under our model", carried, best.cost.energy_j, "J")
    row("both under their model", result["energy"], there, "J")


def accelforge(peer: Peer, wanted: argparse.Namespace) -> None:
    """Two and three levels, energy."""
    for levels in (2, 3):
        for sizes in asked(wanted, f"{levels} levels"):
            print(f"  {levels} levels, {'x'.join(map(str, sizes))}, energy")
            spec = accelforge_machine(levels, sizes)
            file = peer.file("machine.yaml", spec)
            result = peer.run("search", "energy", file)
            found = import_files("accelforge", [Path(file)])
            path, problem = machine(found)
            best, seconds = searched(problem, path, "energy")
            if result is None:
                print(f"    ours: {seconds:.4f} s, {best.cost.energy_j:.6g} J")
                continue
            theirs = peer.file("theirs/machine.yaml", spec + _mapping(result["nodes"]))
            carried = carried_over(import_files("accelforge", [Path(theirs)]), path, problem)
            nodes = accelforge_nodes(found, best.mapping, problem, path)
            there = peer.run(
                "evaluate", "energy", peer.file("ours/machine.yaml", spec + _mapping(nodes))
            )
            compare(result, best, seconds, carried, there["energy"] if there else None)


def _mapping(nodes: list[str]) -> str:
    return "mapping:\n  nodes:\n" + "".join(f"  - {node}\n" for node in nodes)


def zigzag(peer: Peer, wanted: argparse.Namespace) -> None:
    """Two and three levels over one multiplier, and zigzag's own tpu_like, energy."""
    shipped = next(peer.python.parents[1].glob("lib/*/site-packages/zigzag/inputs/hardware"))
    cases = [(f"{levels} levels", zigzag_machine(levels), "D1: ['K, 1']") for levels in (2, 3)]
    # transfers are rounded up to bandwidth_min there, which ours does not have
    tpu = (shipped / "tpu_like.yaml").read_text().replace("bandwidth_min: 64", "bandwidth_min: 8")
    cases.append(("tpu_like, bandwidth_min 8", tpu, "D1: ['K, 32'], D2: ['C, 32']"))
    for name, hardware, unrolled in cases:
        for sizes in asked(wanted, name):
            print(f"  {name}, {'x'.join(map(str, sizes))}, energy")
            files = [
                peer.file("hardware.yaml", hardware),
                peer.file("layer.yaml", zigzag_layer(sizes)),
            ]
            plain = peer.file("mapping.yaml", zigzag_spatial(unrolled))
            result = peer.run("energy", files[0], plain, files[1])
            found = import_files("zigzag", [Path(f) for f in (*files, plain)])
            path, problem = machine(found)
            best, seconds = searched(problem, path, "energy")
            if result is None:
                print(f"    ours: {seconds:.4f} s, {best.cost.energy_j:.6g} J")
                continue
            result["energy"] *= PJ
            _carry_zigzag(found, result, unrolled)
            carried = carried_over(found, path, problem)
            ours = [
                peer.run("energy", files[0], peer.file("ours.yaml", entry), files[1])
                for entry in zigzag_entries(found, best.mapping, problem, path)
            ]
            there = min((run["energy"] * PJ for run in ours if run), default=None)
            compare(result, best, seconds, carried, there)


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


def scalesim(peer: Peer, wanted: argparse.Namespace) -> None:
    """Cycles of a 32 x 32 array; it has no mapper."""
    for m, n, k in asked(wanted, "32 x 32"):
        print(f"  32 x 32 weight-stationary, {m}x{n}x{k}, cycles with operands at hand")
        config = peer.file("array.cfg", SCALESIM)
        topology = peer.file("layer.csv", f"Layer, M, N, K,\nmatmul, {m}, {n}, {k},\n")
        found = import_files("scalesim", [Path(config), Path(topology)])
        engine = found.parsed().cores["core"].engine
        started = time.perf_counter()
        ours = engine.service(MatmulTile(m, n, k)).latency
        seconds = time.perf_counter() - started
        if m * n * k > 512**3 and not wanted.long:
            print(
                f"    ours {ours:.0f}; theirs takes minutes at 1024, hours beyond: --long runs it"
            )
            continue
        result = peer.run(config, topology, peer.file("layout.csv", SCALESIM_LAYOUT))
        if result:
            print(
                f"    time theirs {result['seconds']:.2f} s, ours {seconds:.2g} s; cycles theirs "
                f"{result['cycles']} (counted from 0), ours {ours:.0f}"
            )


PEERS = {"accelforge": accelforge, "zigzag": zigzag, "scalesim": scalesim}


def asked(wanted: argparse.Namespace, machine_name: str) -> list[tuple[int, int, int]]:
    """Sizes to run on this machine."""
    if wanted.machine and wanted.machine not in machine_name:
        return []
    return [(n, n, n) for n in wanted.size or SIZES]


def main() -> None:
    """Every peer that is installed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=PEERS)
    parser.add_argument(
        "--venvs", type=Path, default=Path("peers"), help="a folder of environments"
    )
    parser.add_argument("--long", action="store_true", help="also what takes more than a minute")
    parser.add_argument("--size", type=int, action="append", help="N for NxNxN [512 1024 4096]")
    parser.add_argument("--machine", help="only machines with these words: '3 levels', tpu_like")
    arguments = parser.parse_args()
    for name in PEERS:
        if arguments.only not in (None, name):
            continue
        python = (arguments.venvs / name / "bin" / "python").absolute()
        if not python.exists():
            print(f"{name}: skipped: there is no {python}")
            continue
        print(name)
        with tempfile.TemporaryDirectory() as folder:
            PEERS[name](Peer(name, python, Path(folder)), arguments)


if __name__ == "__main__":
    main()
