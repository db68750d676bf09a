"""`quantize(w4a8-g128,kv=int8)+other(3)`: transforms by name, left to right.

Arguments are words or numbers; `key=value` by name. Nothing is evaluated.
"""

from __future__ import annotations

from accel_models.calls import Grammar
from kernels_ref.errors import UserError
from workloads.graph import Graph
from workloads.transforms import TRANSFORMS
from workloads.transforms.edit import PhaseError
from workloads.transforms.parallel import AXES


class TransformError(UserError):
    """A transform that does not exist, or does not take these arguments."""


GRAMMAR = Grammar("transform", TransformError)


def apply(graph: Graph, text: str, partly: set[str] | None = None) -> Graph:
    """The graph after every transform named in `text`; with `partly`, those that change nothing in
    its phase are left out and added to it. Raises TransformError."""
    for part, name, arguments in GRAMMAR.parts(text):
        GRAMMAR.known(name, TRANSFORMS)
        _check_order(graph, name)
        bound = GRAMMAR.bound(name, TRANSFORMS[name], graph, arguments)
        try:
            graph = TRANSFORMS[name](*bound.args, **bound.kwargs)
        except PhaseError:
            if partly is None:
                raise
            partly.add(part)
    return graph


def _check_order(graph: Graph, name: str) -> None:
    """Raises TransformError for what would change the forward pass of a training step, and leave
    its gradients, moments and saved activations as they were."""
    if graph.state_bytes and name != "training" and TRANSFORMS[name] not in AXES:
        raise TransformError(
            f"{name}: {graph.name} is a training step already; training() goes last, after what "
            "changes its forward pass"
        )
