"""What a library's kernels take, for arrays of cases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

Values = np.ndarray  # floats of shape (cases,)


@dataclass(frozen=True)
class Times:
    """`latency_s` of each case. `parts` are the seconds that each resource is busy (or that pass
    while nothing overlaps: launch, split, store); `moved` the bytes through each memory, outermost
    and shared one (`sums`: of the latter, parts of results); `choice` which candidate was taken."""

    latency_s: Values
    parts: Mapping[str, Values]
    moved: Mapping[str, Values]
    choice: np.ndarray

    @property
    def bound_by(self) -> list[str]:
        """The part that is largest, of each case."""
        names = list(self.parts)
        largest = np.argmax(np.stack([self.parts[name] for name in names]), axis=0)
        return [names[i] for i in largest]
