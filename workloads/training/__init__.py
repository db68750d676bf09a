"""From the graph of a forward pass to that of a training step."""

from workloads.training.step import trained, training

__all__ = ["trained", "training"]
