"""What part of a model's use is simulated.

encode: `batch` inputs of an encoder at once. prefill: `batch` sequences of `tokens` new tokens
each, the cache empty before. decode: one new token per sequence, whose attention sees `context`
keys, its own the last of them. verify: several new tokens per sequence, as a draft proposed them.
train: a forward pass over `batch` whole sequences, every token scored and nothing cached, which
`workloads.training` makes a training step of.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from kernels_ref.errors import UserError

TRAIN = "train"  # a forward pass over whole sequences, of which a training step is made
STEPS = ("decode", "verify")  # that read what came before from a cache
WHOLE = ("encode", TRAIN)  # every token at once, nothing kept for later


class PhaseError(UserError):
    """A transform changes nothing in this phase of the model; it may in another."""


@dataclass(frozen=True, slots=True)
class Phase:
    """`kind` encode, prefill, decode, verify or train; `tokens` new ones per sequence, `context`
    keys seen by the last. `source`: tokens that the encoder of an encoder-decoder had; None: as it
    likes.
    `contexts`: of every sequence, where they differ; `context` is then the longest."""

    kind: str
    batch: int
    tokens: int
    context: int
    source: int | None = None
    contexts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("batch", "tokens", "context", "source"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{self.kind}: {name} is {value}; at least 1 is needed")

    def lengths(self, window: int | None = None) -> tuple[tuple[int, int], ...]:
        """(sequences, keys that the last token of each may see), the shortest first; at most those
        of a window that slides over the new tokens."""
        contexts = self.contexts or (self.context,) * self.batch
        most = self.context if window is None else window - 1 + self.tokens
        counts = Counter(min(length, most) for length in contexts)
        return tuple((counts[keys], keys) for keys in sorted(counts))


def train(batch: int, tokens: int) -> Phase:
    """`batch` sequences of `tokens` tokens, to be learned from."""
    return Phase(TRAIN, batch, tokens, tokens)


def encode(batch: int, tokens: int = 1) -> Phase:
    """`batch` inputs at once; `tokens` of each, where they are texts."""
    return Phase("encode", batch, tokens, tokens)


def prefill(batch: int, prompt: int) -> Phase:
    """`prompt` tokens of each of `batch` sequences at once."""
    return Phase("prefill", batch, prompt, prompt)


def decode(batch: int, context: int, source: int | None = None) -> Phase:
    """One token of each of `batch` sequences, seeing `context` keys (itself included)."""
    return Phase("decode", batch, 1, context, source)


def ragged(contexts: Sequence[int], tokens: int = 1) -> Phase:
    """A step of sequences of different lengths: one token each, or several to be verified.

    Raises UserError for a context below the number of tokens."""
    short = min(contexts, default=0)
    if short < tokens:
        raise UserError(f"a context of {short} does not hold {tokens} new tokens")
    kind = "decode" if tokens == 1 else "verify"
    whole = (len(contexts), tokens, max(contexts))
    return Phase(kind, *whole, contexts=tuple(contexts) if len(set(contexts)) > 1 else ())


def verify(batch: int, tokens: int, context: int) -> Phase:
    """`tokens` proposed ones of each of `batch` sequences; the last sees `context` keys."""
    return Phase("verify", batch, tokens, context)
