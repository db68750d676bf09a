"""`simulate`: a design, a model and a phase to a Run. The command line is a thin layer over this.

A request is a prefill of the prompt and one decode step per further output token (`sim.steps`). A
prompt in chunks is one prefill for each, all but the first of which read the cache. A graph without
phases (an ONNX file, a file of ops) is simulated as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from accel_models.design import Design
from accel_models.system import System
from kernels_ref.errors import UserError
from sim.beside import Guest, read_beside
from sim.job import Changes, Events, Job, Progress, by, machine_of
from sim.run import Run
from sim.steps import Part, in_turn, sampled
from workloads import decode, prefill, read_model
from workloads.config import ModelConfig
from workloads.graph import AS_IT_IS
from workloads.phase import TRAIN, Phase, encode, ragged, train
from workloads.read_model import Model, no_phases, of_config

DEFAULT_PHASE = "decode"
DEFAULTS = {"prompt": 2048, "context": 2048, "output": 128, "chunk": None}
SHORTER = {("encode", "prompt"): 64, ("verify", "output"): 4}  # defaults of some phases
TAKES = {
    "encode": ("prompt",),
    "prefill": ("prompt", "chunk"),
    "decode": ("context",),
    "verify": ("context", "output"),
    "request": ("prompt", "output", "chunk"),
    TRAIN: ("prompt",),
}
OF_A_SOURCE = ("decode", "verify")  # take a prompt too where it is an encoder's


def simulate(
    design: str | Design | System,
    model: str | ModelConfig | Model,
    phase: str | None = None,
    *,
    batch: int = 1,
    prompt: int | None = None,
    context: int | Sequence[int] | None = None,
    output: int | None = None,
    chunk: int | None = None,
    formats: str | None = None,
    kv: str | None = None,
    apply: str | None = None,
    tp: int | None = None,
    pp: int | None = None,
    ep: int | None = None,
    objective: str = "latency",
    cores: str | None = None,
    simulator: str = "analytic",
    prefetch: str | None = None,
    beside: Sequence[str] = (),
    policy: str | None = None,
    from_idle: bool = False,
    progress: Progress | None = None,
) -> Run:
    """Simulate one phase of a model on a design or a system. Raises UserError.

    design, model: a shipped name or a path (or what `read_design`, `read_system`, `read_model`
    return); of models also the other sources (docs/workload-sources.md). phase: TAKES has those
    there are and the sizes each takes, in tokens of a sequence (docs/workloads.md); by default
    decode, of an encoder encode. A graph that runs as it is takes none. formats, kv, apply,
    policy: as on the command line (docs/formats.md, docs/event_policies.md). tp, pp, ep: chips for
    each kind of parallelism; without any a system runs the model as is best (docs/systems.md).
    simulator: analytic or event (docs/event.md), which tells `progress` how many ops are done, may
    `prefetch` weights or launches, runs what is `beside` on the chip (docs/event_graphs.md), and
    begins `from_idle` with a board that may draw more than its limit for a while.
    """
    given = {"prompt": prompt, "context": context, "output": output, "chunk": chunk}
    changes = Changes(formats, kv, apply, {"tp": tp, "pp": pp, "ep": ep})
    job = Job(machine_of(design), opened(model), changes, objective, cores)
    guests = tuple(guest for text in beside for guest in _guests(text))
    job = by(simulator, job, progress, Events(policy, prefetch, guests, from_idle))
    if job.model.fixed is not None:
        refuse_phase(job.model, {"phase": phase, "batch": None if batch == 1 else batch, **given})
        return job.run(None)
    return _simulated(job, phase or default_phase(job.model), batch, given)


def _simulated(job: Job, kind: str, batch: int, given: Mapping[str, Any]) -> Run:
    sizes = _sizes(job.model, kind, given)
    if job.events.guests and (kind == "request" or sizes.get("chunk") is not None):
        raise UserError("beside others runs one graph, not a request or a prompt in chunks")
    heaviest = _heaviest(job.model, kind, batch, sizes)
    job = job if heaviest is None else job.split_for(heaviest)
    if kind == "request":
        return _request(job, batch, sizes)
    if kind == "prefill":
        parts = _prompt(job, batch, sizes["prompt"], sizes["chunk"])
        run = parts[0].runs[0] if len(parts) == 1 else in_turn(parts)
        tokens = batch * sizes["prompt"]
        return replace(run, tokens=sizes["prompt"], produced_tokens=tokens, ttft_s=run.latency_s)
    run = job.run(_one(kind, batch, sizes))
    if kind in ("encode", TRAIN):
        return run
    return replace(run, tpot_s=run.latency_s * run.batch / run.produced_tokens)


def _heaviest(model: Model, kind: str, batch: int, sizes: Mapping[str, Any]) -> Phase | None:
    """Of several steps the one for which a system's chips are dealt out; None for a single one."""
    if kind == "request" and sizes["output"] > 1:
        source = sizes["prompt"] if model.source == "prompt" else None
        before = 1 if model.source else sizes["prompt"]
        return decode(batch, before + sizes["output"] - 1, source)
    if kind == "request" or sizes.get("chunk") is not None:
        return prefill(batch, sizes["prompt"])
    return None


def _guests(text: str) -> Iterator[Guest]:
    """What is asked for in a word, as often as it is there. Raises UserError."""
    asked = read_beside(text)
    model = opened(asked.model)
    phase = phase_of(model, asked.phase, asked.count("batch", 1), asked.sizes)
    changes = Changes(asked.values.get("formats"), asked.values.get("kv"))
    guest = Guest(
        f"{model.name} {asked.phase}",
        changes.applied(model.build(phase)),
        asked.count("priority", 0),
        asked.count("repeat", 1),
    )
    yield from (guest,) * asked.count("copies", 1)


def default_phase(model: Model) -> str:
    """decode, where the model has it."""
    return DEFAULT_PHASE if DEFAULT_PHASE in model.phases else model.phases[0]


def phase_of(model: Model, kind: str | None, batch: int, given: Mapping[str, Any]) -> Phase:
    """The one graph of a phase other than a request. Raises UserError."""
    kind = kind or default_phase(model)
    if kind == "request":
        raise UserError("a request is many steps; name one: prefill or decode")
    return _one(kind, batch, _sizes(model, kind, given))


def _one(kind: str, batch: int, sizes: Mapping[str, Any]) -> Phase:
    """A prompt, an input of an encoder, or a step, for sequences of one length or several."""
    if kind == "encode":
        return encode(batch, sizes["prompt"])
    if kind == "prefill":
        return prefill(batch, sizes["prompt"])
    if kind == TRAIN:
        return train(batch, sizes["prompt"])
    context, tokens = sizes["context"], sizes["output"] if kind == "verify" else 1
    if isinstance(context, int):
        return Phase(kind, batch, tokens, context, sizes.get("prompt"))
    if batch not in (1, len(context)):
        raise UserError(f"{len(context)} contexts are those of as many sequences, not of {batch}")
    return replace(ragged(context, tokens), source=sizes.get("prompt"))


def _prompt(
    job: Job, batch: int, prompt: int, chunk: int | None, partly: set[str] | None = None
) -> list[Part]:
    """The prefill as a whole, or chunk by chunk: the first, those behind it, and what is left."""
    if chunk is None or chunk >= prompt:
        return [Part("", [job.run(prefill(batch, prompt), partly)], [1.0])]
    if chunk < 1:
        raise UserError(f"chunk is {chunk}; at least 1 is needed")

    def later(context: int) -> Run:
        return job.run(Phase("prefill", batch, chunk, context), partly)

    parts = [Part("first_chunk", [job.run(prefill(batch, chunk), partly)], [1.0])]
    whole = prompt // chunk * chunk
    if whole > chunk:
        parts.append(sampled("chunk", 2 * chunk, whole, chunk, later))
    if prompt > whole:
        rest = Phase("prefill", batch, prompt - whole, prompt)
        parts.append(Part("last_chunk", [job.run(rest, partly)], [1.0]))
    return parts


def opened(model: str | ModelConfig | Model) -> Model:
    """The model itself, of whatever says which."""
    if isinstance(model, str):
        return read_model(model)
    return of_config(model) if isinstance(model, ModelConfig) else model


def refuse_phase(model: Model, given: Mapping[str, object]) -> None:
    """Raises UserError for the first that is given and does not go with a graph as it is."""
    for name, value in given.items():
        if value is not None and (name, value) != ("phase", AS_IT_IS):
            raise UserError(no_phases(model.name, name))


def _sizes(model: Model, phase: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """What the phase takes, with its defaults. Raises UserError."""
    known = [name for name in TAKES if name in model.phases or name == "request"]
    if "decode" not in model.phases:
        known.remove("request")
    if phase not in known:
        raise UserError(f"unknown phase '{phase}' of {model.name}; known: {', '.join(known)}")
    told = model.source == "prompt" and phase in OF_A_SOURCE
    takes = TAKES[phase] + (("prompt",) if told else ())
    for name, value in given.items():
        if value is not None and name not in takes:
            raise UserError(f"phase {phase} has no {name}; it takes {' and '.join(takes)}")
    sizes = {name: given.get(name) for name in takes}
    usual = {name: SHORTER.get((phase, name), DEFAULTS[name]) for name in takes}
    if told:
        usual["prompt"] = None
    return {name: usual[name] if size is None else size for name, size in sizes.items()}


def _request(job: Job, batch: int, sizes: Mapping[str, Any]) -> Run:
    """Time to first token, then output - 1 steps whose context grows by one each."""
    prompt, output = sizes["prompt"], sizes["output"]
    if output < 1:
        raise UserError(f"request: output is {output}; at least 1 is needed")
    idle: tuple[set[str], set[str]] = (set(), set())  # transforms of the prompt's, of the steps'
    first = _prompt(job, batch, prompt, sizes["chunk"], idle[0])
    first = [replace(p, label=f"prefill.{p.label}" if p.label else "prefill") for p in first]
    source = prompt if job.model.source == "prompt" else None
    before = 1 if job.model.source else prompt  # an encoder's prompt is not the decoder's
    steps, parts, yields = output - 1, list(first), 1.0
    if steps:

        def step(context: int) -> Run:
            return job.run(decode(batch, context, source), idle[1])

        decoded = sampled("decode", before + 1, before + steps, 1, step)
        if nowhere := idle[0] & idle[1]:
            raise UserError(f"{', '.join(sorted(nowhere))} changes nothing in this request")
        yields = decoded.runs[-1].produced_tokens / batch
        decoded = replace(decoded, weights=[w / yields for w in decoded.weights])
        parts.append(decoded)
    ttft = sum(part.latency_s for part in first)
    whole = in_turn(parts)
    return replace(
        whole,
        phase="request",
        tokens=output,
        produced_tokens=batch * output,
        ttft_s=ttft,
        tpot_s=(whole.latency_s - ttft) / steps if steps else None,
    )
