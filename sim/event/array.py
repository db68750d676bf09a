"""Folds of a matrix on one systolic array, as a program: what is loaded, streamed, shifted out.

A fold is a block that fills the array; its stream takes what `engine.service` says of one fold with
ideal loads, (latency, interval), in whole cycles. The block that stays comes in over its own port,
`rows` cycles a block (none for output-stationary, whose sums are shifted out in as many instead):

    ideal     loads take no time                 a fold every n cycles
    shadow    a spare register: two blocks       a fold every max(n, rows)
    none      one block at a time, the array     a fold every rows + latency
              held until the last result

Dequantization of groups of g elements along the reduction is a second pipelined server, a lane per
column: each streamed row of a fold of depth k has k / g scalings, rate 1/g of the steps.
Sources: Kung 1982, "Why systolic architectures?"; SCALE-Sim (Samajdar 2018) for `none`; ONNXim
(Ham et al., IEEE CAL 2024) and Gemmini (Genc et al., DAC 2021) for `shadow`.
Not modeled: that blocks which do not fill the array could load faster (nor in the closed form).
"""

from __future__ import annotations

from math import ceil

from accel_models.engines.systolic import Systolic
from accel_models.engines.tile import MatmulTile
from sim.event.program import Actor, Channel, Program, Resource, Run, Use

PLACES = {"shadow": 2, "none": 1}  # blocks held: the one at work, and with `shadow` the next


def folds_of(engine: Systolic, tile: MatmulTile) -> tuple[int, MatmulTile]:
    """How many, and one of them: as large as the array, streaming the tile's rank."""
    m, n, k = engine.geometry(tile.rate)
    if engine.dataflow == "ws":
        count, fold = ceil(tile.n / n) * ceil(tile.k / k), (tile.m, n, k)
    elif engine.dataflow == "is":
        count, fold = ceil(tile.m / m) * ceil(tile.k / k), (m, tile.n, k)
    else:
        count, fold = ceil(tile.m / m) * ceil(tile.n / n), (m, n, tile.k)
    return count, MatmulTile(*fold, tile.rate, tile.weight_bits)


def array_program(
    engine: Systolic, tile: MatmulTile, clock_hz: int = 10**9, group: int = 0
) -> Program:
    """C[m,n] += A[m,k] B[k,n] on one array. `group`: elements of k per scale (0: no scales)."""
    count, fold = folds_of(engine, tile)
    service = engine.model_copy(update={"weight_preload": "ideal"}).service(fold)
    interval, latency = ceil(service.interval), ceil(service.latency)
    places = PLACES.get(engine.weight_preload)
    load = 0 if engine.dataflow == "os" else engine.rows
    held, on_the_way = interval, 2 + ceil((latency - interval) / interval)
    if places == 1:  # nothing overlaps: the array is held but for the load
        held = latency = ceil(engine.service(fold).interval) - load
    actors = [Actor("stream", (Run(count, (Use("array", held),), latency - held),))]
    channels, resources = list[Channel](), [Resource("array", clock_hz)]
    if places and load:
        actors.append(Actor("load", (Run(count, (Use("port", load),)),)))
        channels.append(Channel("load", "stream", capacity=places))
    elif places == 2:
        actors.append(Actor("shift", (Run(count, (Use("port", engine.rows),)),)))
        channels.append(Channel("stream", "shift", capacity=on_the_way))
    if len(actors) > 1:
        resources.append(Resource("port", clock_hz))
    if group:
        scalings = ceil(interval * fold.k / group)
        actors.append(Actor("dequantize", (Run(count, (Use("scales", scalings),)),)))
        channels.append(Channel("stream", "dequantize", capacity=on_the_way))
        resources.append(Resource("scales", clock_hz))
    return Program(tuple(actors), tuple(channels), tuple(resources))
