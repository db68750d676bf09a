"""What part of a model's use is simulated.

prefill: `batch` sequences of `tokens` new tokens each, the cache empty before. decode: one new
token per sequence, whose attention sees `context` keys, its own the last of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from kernels_ref.errors import UserError


@dataclass(frozen=True, slots=True)
class Phase:
    """`kind` prefill or decode; `tokens` new ones per sequence, `context` keys seen by the last."""

    kind: str
    batch: int
    tokens: int
    context: int

    def __post_init__(self) -> None:
        for name in ("batch", "tokens", "context"):
            if getattr(self, name) < 1:
                raise UserError(
                    f"{self.kind}: {name} is {getattr(self, name)}; at least 1 is needed"
                )


def prefill(batch: int, prompt: int) -> Phase:
    """`prompt` tokens of each of `batch` sequences at once."""
    return Phase("prefill", batch, prompt, prompt)


def decode(batch: int, context: int) -> Phase:
    """One token of each of `batch` sequences, seeing `context` keys (itself included)."""
    return Phase("decode", batch, 1, context)
