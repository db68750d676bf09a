"""The gradients of attention, in one pass that computes the scores anew.

Source: Dao, FlashAttention-2, arXiv 2307.08691, sec. 3.1.2 and algorithm 2. From queries, keys,
values, the gradient dO of the output, each row's log-sum-exp L and D = rowsum(dO * O):

    S = Q K^T, P = exp(S - L), dV = P^T dO, dP = dO V^T, dS = P * (dP - D), dQ = dS K, dK = dS^T Q

Five multiplications where the forward pass has two: 3 d + 2 dv MACs for d + dv, 2.5 times as many
where both are alike. Not modeled: dropout; gradients of biases of scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from workloads.ops.attention import Attention


@dataclass(frozen=True, slots=True)
class AttentionBackward:
    """`inputs` is (q, k, v, gradient of the output, log-sum-exps, D); `output` has the gradients of
    queries, keys and values side by side. `forward` is the op whose gradients these are."""

    name: str
    inputs: tuple[str, ...]
    output: str
    forward: Attention
    kind: str = "attention_backward"

    @property
    def scores(self) -> int:
        """Query-key pairs of all heads that are computed."""
        return self.forward.macs // (self.forward.head_dim + self.forward.v_head_dim)

    @property
    def macs(self) -> int:
        return self.scores * (3 * self.forward.head_dim + 2 * self.forward.v_head_dim)

    @property
    def vector_ops(self) -> Mapping[str, float]:
        return self.score_ops(self.scores)

    def score_ops(self, scores: float) -> dict[str, float]:
        """Vector work on so many scores: scale, less L, exp, dP less D, times P and the scale; P
        and dS converted. A softcap is computed anew, and its slope 1 - tanh^2 multiplied in."""
        work = {"mul": 3 * scores, "add": 2 * scores, "exp": scores, "convert": 2 * scores}
        if self.forward.softcap:
            work["mul"] += 4 * scores
            work["exp"] += scores
            work["add"] += 2 * scores
            work["rsqrt"] = scores
        return work
