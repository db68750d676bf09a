"""How long FlashAttention's stages take for one tile: from a design, or scaled from measured ones.

    qk, pv    engine.service(tile_queries x tile_keys x width) / engines
    p, gu     operations by class / rates / vector engines; one operation an element and pass
    moving    bytes / (share of the shared memory's bandwidth that is one core's), reads beside
              writes where ports are apart
    service = max(computing, moving), hidden = min

A measured stage is the service of one block, moving and computing at once, and scales as the work:
qk and pv with queries * keys * width, p with queries * keys, gu with queries * width; a share of
it that is known to be moving, as the bytes.
What is moved: keys and values, scores and sums (of `score_bytes` an element), probabilities, the
last two the format of the keys. Not modeled: set-up of transfers, reductions within a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from accel_models.path import Path
from kernels_ref.formats import get_format
from sim.event.policies.flash_pipeline import FlashMachine, FlashSizes, Stage

Passes = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class FlashWork:
    """What the kernel does: the products' format, bytes of a score and of a sum between engines,
    and operations of an element by class in softmax and in the update."""

    format: str
    score_bytes: int
    softmax: Passes
    update: Passes


@dataclass(frozen=True, slots=True)
class MeasuredStages:
    """Cycles of one block of these sizes."""

    tile_queries: int
    tile_keys: int
    width: int
    qk: float
    p: float
    pv: float
    gu: float


def flash_machine(path: Path, cores: int) -> FlashMachine:
    """The chip's own launch, hand-over and shared memory; `cores` of them at work."""
    clock, control = path.clock_hz, path.control
    shared = path.memories[path.first_core - 1]
    return FlashMachine(
        round(clock),
        cores,
        shared.read_bytes_per_s / clock,
        shared.write_bytes_per_s / clock,
        launch=control.launch * clock,
        sync=(control.sync or 0.0) * clock,
    )


def design_stages(path: Path, sizes: FlashSizes, work: FlashWork) -> dict[str, Stage]:
    """Of one tile, by the design's numbers alone."""
    computing = _computing(path, sizes, work)
    found = {}
    for name, (read, written) in _moved(sizes, work).items():
        engine = "matrix" if name in ("qk", "pv") else "vector"
        shared = path.memories[path.first_core - 1]
        moving = shared.seconds(read, written, 1 / path.cores) * path.clock_hz
        service, hidden = max(computing[name], moving), min(computing[name], moving)
        found[name] = Stage(engine, service, hidden, read, written)
    return found


def _computing(path: Path, sizes: FlashSizes, work: FlashWork) -> dict[str, float]:
    """Cycles of the engines alone."""
    rows, keys, width = sizes.tile_queries, sizes.tile_keys, sizes.width
    form = path.form(path.datapath(get_format(work.format), get_format(work.format)))
    engines, vectors = path.engine.count, path.vector.count
    softmax = {cls: n * rows * keys for cls, n in work.softmax.items()}
    update = {cls: n * rows * width for cls, n in work.update.items()}
    return {
        "qk": form.service(rows, keys, width).interval / engines,
        "p": path.vector.cycles(softmax) / vectors,
        "pv": form.service(rows, width, keys).interval / engines,
        "gu": path.vector.cycles(update) / vectors,
    }


def _moved(sizes: FlashSizes, work: FlashWork) -> dict[str, tuple[int, int]]:
    """Bytes read and written of the shared memory."""
    rows, keys, width = sizes.tile_queries, sizes.tile_keys, sizes.width
    each = get_format(work.format).bits // 8
    scores, sums = rows * keys * work.score_bytes, rows * width * work.score_bytes
    return {
        "qk": (keys * width * each, scores),
        "p": (scores, rows * keys * each),
        "pv": (rows * keys * each + keys * width * each, sums),
        "gu": (sums, 0),
    }


def measured_stages(
    measured: MeasuredStages, sizes: FlashSizes, design: dict[str, Stage]
) -> dict[str, Stage]:
    """Services scaled from measured ones; what hides behind them is the design's."""
    rows = sizes.tile_queries / measured.tile_queries
    keys = sizes.tile_keys / measured.tile_keys
    width = sizes.width / measured.width
    services = {
        "qk": measured.qk * rows * keys * width,
        "p": measured.p * rows * keys,
        "pv": measured.pv * rows * keys * width,
        "gu": measured.gu * rows * width,
    }
    return {name: replace(stage, service=services[name]) for name, stage in design.items()}


def with_bytes(stage: Stage, moving: float, before: Stage, after: Stage) -> Stage:
    """A measured stage, a share `moving` of whose time is moving, where it moves what `after` does
    instead of `before`."""
    ratio = (after.read + after.written) / (before.read + before.written)
    return replace(stage, service=stage.service * (1 - moving + moving * ratio))


def with_passes(stage: Stage, path: Path, before: Passes, after: Passes) -> Stage:
    """A measured stage of the vector engine with other operations an element."""
    ratio = path.vector.cycles(after) / path.vector.cycles(before)
    return replace(stage, service=stage.service * ratio)
