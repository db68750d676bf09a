"""One request to a language model: when it comes, what it brings, what it asks for."""

from __future__ import annotations

from dataclasses import dataclass

from kernels_ref.errors import UserError


class RequestsError(UserError):
    """A mix of requests or a trace that cannot be used; the message names file and line."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """The first `tokens` of a prompt are what other requests with this `id` begin with too."""

    id: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Request:
    """`prompt` tokens in, `output` tokens out, at least one each. `arrival_s` from the first moment
    on; None in a closed loop, where a user's next request follows the last answer (and the time to
    think). `session`: the conversation that it is of; in a closed loop the user."""

    arrival_s: float | None
    prompt: int
    output: int
    prefix: Prefix | None = None
    session: str | None = None
