"""Transforms: functions from a graph to a graph, with what they change as further arguments.

A new transform is a module here and a line in TRANSFORMS.
"""

from __future__ import annotations

from collections.abc import Callable

from workloads.graph import Graph
from workloads.transforms.quantize import quantize

# name, as in `--apply 'name(arg,key=value)'` -> transform.
TRANSFORMS: dict[str, Callable[..., Graph]] = {
    "quantize": quantize,
}
