"""Scaled dot-product attention kept whole, so that the mapper may run it fused or in three steps.

For each sequence and query head: S = Q K^T / sqrt(d) (masked), P = softmax(S), O = P V.
Grouped queries (GQA, MQA): q_heads / kv_heads query heads share one K and V.
MACs count the pairs that the mask leaves visible, twice head_dim each (Vaswani 2017, eq. 1).
Not modeled here: dropout, arbitrary masks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Attention:
    """`inputs` is (q, k cache, v cache), and perhaps a small table that is read once: biases of
    scores, or sinks. Query i of q_len sees keys up to kv_len - q_len + i. Where the sequences
    differ in length, `kv_len` is the longest."""

    name: str
    inputs: tuple[str, ...]
    output: str
    batch: int
    q_heads: int
    kv_heads: int
    q_len: int
    kv_len: int
    head_dim: int
    v_head_dim: int
    causal: bool = True
    window: int | None = None  # a query sees at most this many keys, itself included
    softcap: bool = False  # logits through cap * tanh(x / cap), as Gemma 2
    bias: bool = False  # added to every score, as T5
    lengths: tuple[tuple[int, int], ...] = ()  # (sequences, keys) where they differ
    density: float = 1.0  # of the pairs that the mask leaves, the share that is computed
    latent: bool = False  # a value is the first elements of its key: stored and read once
    kind: str = "attention"

    @property
    def operands(self) -> tuple[str, str, str]:
        """Names of queries, keys and values."""
        q, k, v = self.inputs[:3]
        return q, k, v

    @property
    def group(self) -> int:
        """Query heads that share one key and value head."""
        return self.q_heads // self.kv_heads

    def parts(self) -> tuple[Attention, ...]:
        """The op for sequences of each length; itself where they are all alike."""
        if not self.lengths:
            return (self,)
        return tuple(
            replace(self, batch=count, kv_len=keys, lengths=()) for count, keys in self.lengths
        )

    def visible_keys(self, query: int) -> int:
        """How many keys query `query` (0-based) of a sequence sees."""
        seen = self.kv_len - self.q_len + query + 1 if self.causal else self.kv_len
        return min(seen, self.window) if self.window else seen

    @property
    def visible_pairs(self) -> int:
        """Query-key pairs of one head that the mask leaves, in closed form."""
        if not self.causal:
            return self.q_len * self.visible_keys(0)
        first, last = self.kv_len - self.q_len + 1, self.kv_len
        if not self.window or last <= self.window:
            return (first + last) * self.q_len // 2
        ramp = max(0, self.window - first)  # queries that see less than a window
        return (first + self.window - 1) * ramp // 2 + (self.q_len - ramp) * self.window

    @property
    def macs(self) -> int:
        return self.q_heads * self._scores * (self.head_dim + self.v_head_dim)

    @property
    def vector_ops(self) -> Mapping[str, float]:
        return self.score_ops(self.q_heads * self._scores)

    @property
    def _scores(self) -> int:
        """Of one query head in all sequences."""
        whole = sum(part.batch * part.visible_pairs for part in self.parts())
        return round(whole * self.density)

    def score_ops(self, scores: float) -> dict[str, float]:
        """Vector work on so many scores: scale, running maximum, subtract, exp, sum, convert.

        A softcap's tanh is an exp, a reciprocal and three multiply-adds more.
        """
        work = {
            "mul": scores,
            "compare": scores,
            "add": (3 if self.bias else 2) * scores,
            "exp": scores,
            "convert": scores,
        }
        if self.softcap:
            work["mul"] += 2 * scores
            work["exp"] += scores
            work["add"] += scores
            work["rsqrt"] = scores
        return work
