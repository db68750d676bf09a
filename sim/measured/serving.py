"""A server of fixed concurrency in its steady state: mean times to the first and the next tokens.

c clients each send a request when their last has ended (a closed loop). Of a copy of the model, c
requests of s prompt and a answer tokens on average, of which n <= c fit into memory beside the
weights. t(d, p) is an iteration with d decodes and p tokens of prompts. With b requests decoding:

    starts    = b / a                              requests an iteration, in the steady state
    p         = min(C - b, max(1, starts) s)       tokens of prompts in an iteration that has some
    share     = starts s / p                       of iterations that have some, at most 1
    T mixed   = (1 - share) t(b, 0) + share t(b, p)
    T first   = t(b, 0) + share t(0, p)            prompts have iterations of their own
    TPOT      = T
    queue     = r / (2 (1 - r)) t(., p), r = starts s / (C - b)     other prompts (M/D/1)
    TTFT      = front + T + queue + max(1, s / p) t(., p)

T in TTFT: a client's next request comes when an iteration has ended and the next has begun. To
every t the host adds step + token * (tokens made). All requests of the first of R rounds come at
once, k = n s / p of iterations full of prompts, which take (k + 1) / 2 of them on average until
their first token, and wait for (k - 1) / 2 after it:

    TTFT = (1 - 1/R) steady + (1/R) (front + (k + 1)/2 t(0, p))
    TPOT = T + (1/R) (k - 1)/2 t(0, p) / a

Where prompts go first and all lengths are equal, requests that came at once end at once: every
round is like the first (R = 1, T = t(n, 0)). By Little's law n = X (TTFT + a TPOT) with X requests
a second, so b = n a TPOT / (TTFT + a TPOT), which is iterated; what does not fit waits outside:
TTFT = c / X - a TPOT.

Source: continuous batching: Yu et al., Orca (OSDI 2022); mixed iterations: Agrawal et al.,
Sarathi-Serve (OSDI 2024), sec. 4; M/D/1, Little: Kleinrock, Queueing Systems I (1975).
Not modeled: preemption, prefix caches, limits on requests, the rate at which a host can stream
tokens (it bounds small models over many chips), launches of prompts' kernels without a graph, how
far requests of fixed lengths stay together where prompts are mixed in, warm-up, drafts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sim.measured.iteration import Iteration
from sim.measured.served import Served

MOST = 0.95  # of the prompts' part of iterations: a closed loop does not go beyond 1


@dataclass(frozen=True, slots=True)
class Needed:
    """Iterations whose times a state needs: with decodes alone, with prompts, and of a round that
    comes at once."""

    plain: Iteration
    mixed: Iteration
    burst: Iteration


@dataclass(frozen=True, slots=True)
class State:
    """Seconds; `running` requests that decode; the share of iterations that have prompts, and of
    TPOT that is theirs."""

    ttft_s: float
    tpot_s: float
    running: float
    share: float
    of_prompts: float


def bunched(served: Served) -> bool:
    """Do requests that came at once stay together?"""
    return served.server.prefill == "first" and served.client.shortest == 1


def needed(served: Served, fitting: float, running: float) -> Needed:
    """With `running` of `fitting` requests decoding."""
    context = round(served.prompt + served.answer / 2)
    decodes = max(1, round(fitting if bunched(served) else running))
    beside = decodes if served.server.prefill == "mixed" else 0
    return Needed(
        Iteration(decodes, context, 0),
        Iteration(beside, context, _prompts(served, decodes)),
        Iteration(0, context, round(min(served.server.tokens, fitting * served.prompt))),
    )


def _room(served: Served, decodes: int) -> int:
    """For prompts, in an iteration."""
    taken = decodes if served.server.prefill == "mixed" else 0
    return max(1, served.server.tokens - taken)


def _prompts(served: Served, decodes: int) -> int:
    starts = decodes / served.answer
    return round(min(_room(served, decodes), max(1.0, starts) * served.prompt))


def state(served: Served, fitting: float, found: Needed, seconds: dict[Iteration, float]) -> State:
    """From the times of the iterations that are needed."""
    plain, mixed, burst = (
        _hosted(served, i, seconds[i]) for i in (found.plain, found.mixed, found.burst)
    )
    front, rounds = served.client.front, served.client.rounds
    starts = found.plain.decodes / served.answer
    share = min(1.0, starts * served.prompt / found.mixed.tokens)
    added = mixed - plain if served.server.prefill == "mixed" else mixed
    every = plain + share * added
    load = min(MOST, starts * served.prompt / _room(served, found.plain.decodes))
    queue = load / (2 * (1 - load)) * mixed
    steady = front + every + queue + max(1.0, served.prompt / found.mixed.tokens) * mixed
    if bunched(served):
        rounds, every = 1, plain
    full = fitting * served.prompt / found.burst.tokens
    ttft = (1 - 1 / rounds) * steady + (front + (full + 1) / 2 * burst) / rounds
    tpot = every + (full - 1) / 2 * burst / served.answer / rounds
    running = fitting * served.answer * tpot / (ttft + served.answer * tpot)
    return State(ttft, tpot, running, share, 1 - plain / tpot)


def _hosted(served: Served, iteration: Iteration, seconds: float) -> float:
    """An iteration with what the host has to do for it."""
    server = served.server
    ends = iteration.decodes + iteration.tokens / served.prompt
    return seconds + server.step + server.token * ends


def with_waiting(served: Served, fitting: float, found: State) -> State:
    """With the time outside of those that do not fit."""
    answer_s = served.answer * found.tpot_s
    rate = fitting / (found.ttft_s + answer_s)
    ttft = max(found.ttft_s, served.requests / rate - answer_s)
    return replace(found, ttft_s=ttft)
