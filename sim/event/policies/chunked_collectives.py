"""Collectives in chunks: what has arrived of a message is passed on while the rest is on its way.

    round 0 | 1 2 3 4 |          a message of a round in four pieces
    round 1   . 1 2 3 4 |        piece j follows piece j of the round before, a latency later

With s seconds of sending in each of k rounds and latency a, k (s + a) becomes k s + a where
a <= s (1 - 1 / pieces): latencies hide behind sending, as in NCCL's rings (recalled). Phases of a
collective over several directions of links wait for each other as before, and what a library
reaches was measured with its own chunks.
Not modeled: what a piece costs, so that more pieces are never worse.
"""

from __future__ import annotations

from mappers.partition import StagePlan
from sim.event.collective import Pieces, collective_program
from sim.event.exchanges import exchanges, phases_in
from sim.event.policies import PolicyError, Stretch

NAME = "chunked_collectives"


def chunked_collectives(plan: StagePlan, pieces: int = 8) -> list[Stretch]:
    """Collectives that run by themselves pass on each piece of a message as it arrives.

    Arguments: pieces, of every message, at least 2.

    Source: NCCL, chunks of rings (recalled).
    """
    if pieces < 2:
        raise PolicyError(f"{NAME}: {pieces} pieces of a message; at least 2 are needed")
    chunks = Pieces(pieces, chunked=True)
    found = [
        Stretch(
            (placed.op.name,),
            placed.count,
            collective_program(placed.cost, phases_in(plan, placed), placed.plan.path, chunks),
        )
        for placed in plan.schedule
        if exchanges(placed)
    ]
    if not found:
        raise PolicyError(f"{NAME}: nothing is exchanged; split the model over chips: --tp 8")
    return found
