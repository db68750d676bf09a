"""The kinds of operation. A new kind is a dataclass here, one line below, and a cost rule in
`mappers/cost_rules.py`; an op without a cost rule is an error, never free."""

from workloads.ops.attention import Attention
from workloads.ops.attention_backward import AttentionBackward
from workloads.ops.collective import Collective
from workloads.ops.einsum import Einsum, Window
from workloads.ops.experts import Experts
from workloads.ops.memory import Gather, Move
from workloads.ops.update import Update
from workloads.ops.vector import Vector

OPS: dict[str, type] = {
    "einsum": Einsum,
    "experts": Experts,
    "attention": Attention,
    "vector": Vector,
    "gather": Gather,
    "move": Move,
    "collective": Collective,
    "attention_backward": AttentionBackward,
    "update": Update,
}

__all__ = [
    "OPS",
    "Attention",
    "AttentionBackward",
    "Collective",
    "Einsum",
    "Experts",
    "Gather",
    "Move",
    "Update",
    "Vector",
    "Window",
]
