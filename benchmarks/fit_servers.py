"""The host's times in sim/measured/servers.yaml, fitted to servers' measured times.

    python benchmarks/fit_servers.py [FOLDER]

Rows of all devices that have a design, without those of the judged fold: least squares of the logs
of predicted over measured TTFT and TPOT, with a loss that is linear for large errors. The kernels
and their library stay as they are. Prints the numbers; who wants them writes them into the YAML.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.optimize import least_squares

from accel_models.path import Path as MemoryPath
from accel_models.path import memory_path
from accel_models.read_design import read_design
from kernels_ref.errors import UserError
from sim.accuracy import own_designs
from sim.cli.docs_accuracy import FOLDER
from sim.measured.cases import MILLI, Case, read_cases
from sim.measured.library_serving import Times, solved
from sim.measured.served import COLUMNS, Served, served_of
from sim.measured.servers import clients, servers
from sim.measured.split import JUDGED, fold_of

Row = tuple[Case, Served, MemoryPath]
NAMES = [(name, key) for name in servers() for key in ("step", "token")]
NAMES += [(name, "front") for name in clients()]


def rows_of(folder: Path) -> Iterator[Row]:
    """Rows that have a model, of folds that are fitted."""
    cases, _ = read_cases(folder / "serving_e2e.csv")
    paths: dict[str, MemoryPath] = {}
    for name in dict.fromkeys(case.device for case in cases):
        design = read_design(own_designs()[name])
        paths[name] = memory_path(design, next(iter(design.cores)))
    for case in cases:
        try:
            served = served_of(case)
        except UserError:
            continue
        if fold_of(case, COLUMNS) != JUDGED:
            yield case, served, paths[case.device]


def errors(values: np.ndarray, rows: list[Row], times: Times) -> np.ndarray:
    """Logs of predicted over measured, both times of each row; 0 where there is none."""
    found = []
    for path in {id(path): path for *_, path in rows}.values():
        own = [(case, changed(served, values)) for case, served, at in rows if at is path]
        ends = solved(dict.fromkeys(served for _, served in own), path, times)
        for case, served in own:
            end = ends[served]
            if isinstance(end, str):
                found += [0.0, 0.0]
                continue
            found.append(np.log(end[1].ttft_s / (case.number("ttft_ms") * MILLI)))
            found.append(np.log(end[1].tpot_s / (case.number("tpot_ms") * MILLI)))
    return np.array(found)


def changed(served: Served, values: np.ndarray) -> Served:
    """With these numbers, logs of seconds, of its server and client."""
    new = dict(zip(NAMES, np.exp(values), strict=True))
    host = {key: value for (name, key), value in new.items() if name == served.backend}
    front = {"front": new[served.benchmark, "front"]}
    return replace(
        served,
        server=served.server.model_copy(update=host),
        client=served.client.model_copy(update=front),
    )


def main(folder: Path) -> None:
    rows, times = list(rows_of(folder)), Times()
    now = [getattr((servers() | clients())[name], key) for name, key in NAMES]
    fitted = least_squares(
        errors, np.log(now), args=(rows, times), loss="soft_l1", f_scale=0.1, diff_step=0.03,
        max_nfev=8,
    )  # fmt: skip
    for (name, key), value in zip(NAMES, np.exp(fitted.x), strict=True):
        print(f"{name}.{key}: {1e6 * value:.3g} us")
    print(f"{len(rows)} rows, cost {fitted.cost:.2f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
