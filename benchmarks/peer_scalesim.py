"""Run by SCALE-Sim's own Python: simulate one matrix multiplication, and print the result as JSON.

PYTHON peer_scalesim.py CONFIG TOPOLOGY LAYOUT
"""

import contextlib
import csv
import io
import json
import sys
import tempfile
import time
from pathlib import Path

from scalesim.scale_sim import scalesim


def main() -> None:
    """One JSON line: cycles with operands at hand, and the time it took."""
    config, topology, layout = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        started, cpu = time.perf_counter(), time.process_time()
        run = scalesim(
            save_disk_space=True,
            verbose=False,
            config=config,
            topology=topology,
            layout=layout,
            input_type_gemm=True,
        )
        run.run_scale(top_path=folder)
        seconds, cpu_s = time.perf_counter() - started, time.process_time() - cpu
        (report,) = Path(folder).glob("*/COMPUTE_REPORT.csv")
        (row,) = csv.DictReader(report.read_text().splitlines(), skipinitialspace=True)
    print(
        "\n" + json.dumps({"cycles": int(row["Total Cycles"]), "seconds": seconds, "cpu_s": cpu_s})
    )


if __name__ == "__main__":
    main()
