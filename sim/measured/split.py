"""Which measured rows are fitted and which are judged: by a hash of what was measured.

A row belongs to one of FOLDS folds whatever file it stands in and in what order, so that a fit and
its judge never share rows. Rows of fold JUDGED are left out of the fits of shipped designs.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from sim.measured.cases import Case

FOLDS, JUDGED = 5, 0


def fold_of(case: Case, columns: Sequence[str]) -> int:
    """From its device and what its columns say was measured."""
    said = "|".join(case.values.get(name, "") for name in ("device", *columns))
    return int.from_bytes(sha256(said.encode()).digest()[:8], "big") % FOLDS
