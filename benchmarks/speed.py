"""How long Tileloom itself takes: imports, whole models, the command line cold and warm.

python benchmarks/speed.py [--repeat 3]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from functools import partial

from timing import best

COMMAND = [
    sys.executable, "-m", "sim.cli.main", "simulate", "a100_sxm", "llama-3-8b",
    "--phase", "decode", "--batch", "1", "--context", "2048", "--json",
]  # fmt: skip
CASES = [
    ("a100_sxm", "llama-3-70b", {"phase": "decode", "context": 2048}),
    ("a100_sxm", "llama-3-70b", {"phase": "prefill", "prompt": 2048}),
    ("a100_sxm", "llama-3-8b", {"phase": "request", "prompt": 512, "output": 256}),
    ("h100_sxm", "gemma-2-9b", {"phase": "prefill", "prompt": 4096}),
    ("tpu_v4", "llama-3-70b", {"phase": "prefill", "prompt": 2048}),
    ("systolic_128x128", "llama-3-8b", {"phase": "decode", "formats": "w8a8"}),
    ("m2_ultra", "llama-3-8b", {"phase": "decode", "formats": "fp16"}),
]


def wall(extra: dict[str, str]) -> float:
    """Seconds of the whole command in a process of its own."""
    start = time.perf_counter()
    subprocess.run(COMMAND, check=True, stdout=subprocess.DEVNULL, env=os.environ | extra)
    return time.perf_counter() - start


def main() -> None:
    """Print every measurement."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeat", type=int, default=3)
    repeat = parser.parse_args().repeat
    importing = [sys.executable, "-c", "import sim.cli.main, sim.api"]
    importing_s = best(repeat, partial(subprocess.run, importing, check=True))
    print(f"import sim.cli.main, sim.api: {importing_s:.2f} s")
    with tempfile.TemporaryDirectory() as nowhere:
        cold = wall({"PYTHONPYCACHEPREFIX": nowhere})
    print(f"tileloom simulate, no byte code cached: {cold:.2f} s")
    print(f"tileloom simulate, warm: {min(wall({}) for _ in range(repeat)):.2f} s")
    from sim import simulate

    for design, model, arguments in CASES:
        seconds = best(repeat, partial(simulate, design, model, **arguments))
        words = " ".join(f"{key}={value}" for key, value in arguments.items())
        print(f"simulate {design} {model} {words}: {seconds:.2f} s")


if __name__ == "__main__":
    main()
