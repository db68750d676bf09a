"""The optimizer's step: parameters that share a format, their gradients and states, in one pass.

Per parameter (g the gradient, w the master copy; bias corrections fold into the step size):

    sgd       w -= lr g
    momentum  u = mu u + g; w -= lr u
    adam      m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2; w -= lr m / (sqrt(v) + eps) + decay w
              (Kingma and Ba, arXiv 1412.6980, algorithm 1; decoupled decay: arXiv 1711.05101)

Gradients are read, states (moments and a master copy, fp32) read and written, and the weights
rounded to their own format and written. Not modeled: clipping by the norm of all gradients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from accel_models.explain import nearest
from workloads.graph import GraphError

# optimizer -> moments of a parameter, and vector work on it; both without master copy and rounding
OPTIMIZERS: dict[str, tuple[int, Mapping[str, int]]] = {
    "adam": (2, {"mul": 9, "add": 6, "rsqrt": 2}),
    "momentum": (1, {"mul": 2, "add": 2}),
    "sgd": (0, {"mul": 1, "add": 1}),
}


@dataclass(frozen=True, slots=True)
class Update:
    """`inputs` is the gradients, and then the states; `output` the weights, written over. Raises
    GraphError for an unknown function."""

    name: str
    inputs: tuple[str, ...]
    output: str
    function: str
    elements: int
    states: int  # of the inputs, the last so many: read and written
    kind: str = "update"

    def __post_init__(self) -> None:
        if self.function not in OPTIMIZERS:
            hint = nearest(self.function, list(OPTIMIZERS))
            raise GraphError(f"{self.name}: no optimizer '{self.function}'; {hint}")

    @property
    def macs(self) -> int:
        return 0

    @property
    def vector_ops(self) -> Mapping[str, int]:
        work = {cls: n * self.elements for cls, n in OPTIMIZERS[self.function][1].items()}
        return work | {"convert": self.elements}
