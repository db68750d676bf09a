"""Another tool's process, and one problem by it and by ours."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peer_case import Case

from accel_models.path import Path as MemoryPath
from accel_models.path import memory_path
from kernels_ref.errors import UserError
from mappers.context import LIMITS
from mappers.mapping import Mapping
from mappers.mapping_file import mapping_on, parse_mapping
from mappers.matmul import matmul_cost
from mappers.problem import Contraction
from mappers.search.best import best_mapping
from mappers.search.found import Found, Limits
from sim.importers.imported import Imported, contraction_of, mapping_yaml

HERE = Path(__file__).parent
LIMIT_S = 120.0  # of each of our searches
Sizes = tuple[int, int, int]


class PeerError(UserError):
    """The other tool does not do it."""


@dataclass(frozen=True)
class Peer:
    """A tool's interpreter, and a folder for its files."""

    name: str
    python: Path
    folder: Path
    timeout_s: float = 300

    def run(self, *arguments: str) -> dict[str, Any]:
        """What its script prints. Raises PeerError if it fails or takes too long."""
        command = [str(self.python), str(HERE / f"peer_{self.name}.py"), *arguments]
        try:
            done = subprocess.run(
                command,
                cwd=self.folder,
                capture_output=True,
                text=True,
                timeout=self.timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise PeerError(f"{self.name}: not done after {self.timeout_s:.0f} s") from None
        if done.returncode:
            last = (done.stderr.strip() or "no message").splitlines()[-1]
            raise PeerError(f"{self.name}: failed: {last}")
        return json.loads(done.stdout.strip().splitlines()[-1])

    def file(self, name: str, text: str) -> str:
        """A file for it, by name."""
        (self.folder / name).parent.mkdir(exist_ok=True)
        (self.folder / name).write_text(text)
        return str(self.folder / name)


@dataclass(frozen=True)
class Trial:
    """One problem: how to read the machine, to search there, to carry what was found there over
    here, and ours over there (energy in J)."""

    machine: str
    sizes: Sizes
    read: Callable[[], Imported]
    search: Callable[[], dict[str, Any]]
    carried: Callable[[Imported, dict[str, Any]], Imported]
    there: Callable[[Imported, Mapping, Contraction, MemoryPath], float]


def compare(tool: str, trial: Trial) -> Case:
    """Both tools on one problem."""
    case = Case(tool, trial.machine, size_of(trial.sizes))
    try:
        found = trial.read()
        path, problem = machine(found)
        best = _ours(case, problem, path)
        result = trial.search()
    except UserError as why:
        case.notes.append(str(why).splitlines()[0])
        return case
    case.theirs, case.theirs_s = result["energy"], result["cpu_s"]
    try:
        case.theirs_here = cost_here(trial.carried(found, result), path, problem)
    except UserError as why:
        case.notes.append(f"theirs cannot be carried over: {str(why).splitlines()[0]}")
    try:
        case.ours_there = trial.there(found, best.mapping, problem, path)
    except UserError as why:
        case.notes.append(f"ours there: {str(why).splitlines()[0]}")
    return case


def machine(found: Imported) -> tuple[MemoryPath, Contraction]:
    """The imported machine with perfect factors, as a path, and the problem."""
    found.design["cores"]["core"].setdefault("mapping", {})["factors"] = "perfect"
    return memory_path(found.parsed(), "core"), contraction_of(found.workloads[0], found)


def _ours(case: Case, problem: Contraction, path: MemoryPath) -> Found:
    """Our optimum, with times of searches that compile nothing."""
    best_mapping(problem, path, "energy", LIMITS)
    quick, case.quick_s = _timed(problem, path, LIMITS)
    best, case.ours_s = _timed(problem, path, Limits(seconds=LIMIT_S))
    case.ours, case.quick, case.gap = best.cost.energy_j, quick.cost.energy_j, best.gap
    case.notes.append(f"ours costed {best.evaluated} of {best.total:.3g} mappings")
    return best


def _timed(problem: Contraction, path: MemoryPath, limits: Limits) -> tuple[Found, float]:
    started = time.process_time()
    found = best_mapping(problem, path, "energy", limits)
    if found is None:
        raise UserError("no mapping fits the imported machine")
    return found, time.process_time() - started


def cost_here(found: Imported, path: MemoryPath, problem: Contraction) -> float:
    """Energy of the imported mapping under our model. Raises UserError if it is not legal here."""
    written = parse_mapping(mapping_yaml(found.mappings[-1][1]), "their mapping")
    return matmul_cost(problem, mapping_on(written, problem, path), path).energy_j


def size_of(sizes: Sizes) -> str:
    """m, n and k in short."""
    return str(sizes[0]) if len(set(sizes)) == 1 else "x".join(map(str, sizes))
