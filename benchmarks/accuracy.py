"""Errors against the measured data set: `python benchmarks/accuracy.py [FOLDER]`.

FOLDER has the files of tests/data/silicon, which it is by default.
"""

from __future__ import annotations

import sys
from pathlib import Path

from sim.cli.docs_accuracy import ACCURACY_REGIONS, FOLDER

if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    for name, region in ACCURACY_REGIONS.items():
        print(f"## {name}\n\n{region(folder)}")
