"""`simulate`: a design, a model and a phase to a Run. The command line is a thin layer over this.

A request is a prefill of the prompt and one decode step per further output token. Decode steps are
simulated at up to SAMPLES contexts, evenly spaced from the first to the last, and interpolated
linearly between them (attention's cost is close to linear in the context, everything else
constant). A graph without phases (an ONNX file, a file of ops) is simulated as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from accel_models.design import Design
from accel_models.read_design import read_design
from kernels_ref.errors import UserError
from mappers import map_graph
from sim import analytic
from sim.run import OpRun, Run, Traffic, Trust
from workloads import decode, prefill, read_model
from workloads.config import ModelConfig
from workloads.graph import AS_IT_IS
from workloads.phase import Phase
from workloads.read_model import Model, no_phases, of_config
from workloads.transforms import quantize
from workloads.transforms.apply import apply

SAMPLES = 9
PHASES = ("prefill", "decode", "request")
DEFAULT_PHASE = "decode"
DEFAULTS = {"prompt": 2048, "context": 2048, "output": 128}
_TAKES = {"prefill": ("prompt",), "decode": ("context",), "request": ("prompt", "output")}


@dataclass(frozen=True, slots=True)
class _Job:
    """What stays the same from one simulated phase to the next."""

    design: Design
    model: Model
    formats: str | None
    kv: str | None
    transforms: str | None
    objective: str
    cores: str | None
    memo: dict[Any, Any] = field(default_factory=dict)

    def run(self, phase: Phase | None) -> Run:
        graph = self.model.build(phase)
        if self.formats or self.kv:
            graph = quantize(graph, self.formats, self.kv)
        graph = apply(graph, self.transforms) if self.transforms else graph
        done = analytic.run(map_graph(graph, self.design, self.objective, self.cores, self.memo))
        parts = [self.formats or "model's own"]
        parts += [f"kv {self.kv}"] if self.kv else []
        parts += [self.transforms] if self.transforms else []
        return replace(done, formats=", ".join(parts))


def simulate(
    design: str | Design,
    model: str | ModelConfig | Model,
    phase: str | None = None,
    *,
    batch: int = 1,
    prompt: int | None = None,
    context: int | None = None,
    output: int | None = None,
    formats: str | None = None,
    kv: str | None = None,
    apply: str | None = None,
    objective: str = "latency",
    cores: str | None = None,
) -> Run:
    """Simulate one phase of a model on a design.

    design, model: a shipped name or a path (or what `read_design`, `read_model` return); of models
    also the other sources (docs/workload-sources.md). phase: prefill (takes prompt), decode
    (context, the default) or request (prompt, output); token counts per sequence, defaults 2048,
    2048 and 128; a graph that runs as it is takes none of these. formats, kv, apply: as on the
    command line (docs/formats.md). objective: latency, energy or edp. cores: only this kind of
    cores. Raises UserError for anything that is not right.
    """
    given = {"prompt": prompt, "context": context, "output": output}
    job = _Job(
        read_design(design) if isinstance(design, str) else design,
        opened(model),
        formats,
        kv,
        apply,
        objective,
        cores,
    )
    if job.model.fixed is not None:
        refuse_phase(job.model, {"phase": phase, "batch": None if batch == 1 else batch, **given})
        return job.run(None)
    phase = phase or DEFAULT_PHASE
    return _phase(job, phase, batch, _sizes(phase, given))


def _phase(job: _Job, phase: str, batch: int, sizes: Mapping[str, int]) -> Run:
    if phase == "prefill":
        first = job.run(prefill(batch, sizes["prompt"]))
        return replace(first, ttft_s=first.latency_s)
    if phase == "decode":
        step = job.run(decode(batch, sizes["context"]))
        return replace(step, tpot_s=step.latency_s)
    return _request(job, batch, sizes["prompt"], sizes["output"])


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


def _sizes(phase: str, given: dict[str, int | None]) -> dict[str, int]:
    if phase not in PHASES:
        raise UserError(f"unknown phase '{phase}'; known: {', '.join(PHASES)}")
    takes = _TAKES[phase]
    for name, value in given.items():
        if value is not None and name not in takes:
            raise UserError(f"phase {phase} has no {name}; it takes {' and '.join(takes)}")
    sizes = {name: given[name] for name in takes}
    return {name: DEFAULTS[name] if size is None else size for name, size in sizes.items()}


def _request(job: _Job, batch: int, prompt: int, output: int) -> Run:
    """Time to first token, then output - 1 steps whose context grows by one each."""
    if output < 1:
        raise UserError(f"request: output is {output}; at least 1 is needed")
    first = job.run(prefill(batch, prompt))
    steps = output - 1
    if not steps:
        return replace(first, phase="request", ttft_s=first.latency_s, produced_tokens=batch)
    contexts = np.unique(
        np.linspace(prompt + 1, prompt + steps, min(SAMPLES, steps)).round().astype(int)
    )
    runs = [job.run(decode(batch, int(c))) for c in contexts]
    weights = step_weights(contexts, np.arange(prompt + 1, prompt + steps + 1))
    decoded = sum(w * r.latency_s for w, r in zip(weights, runs, strict=True))
    energy = sum(w * r.energy_j for w, r in zip(weights, runs, strict=True))
    ops = tuple(replace(op, name=f"prefill.{op.name}") for op in first.ops) + _mean_ops(
        runs, weights, steps
    )
    last = runs[-1]
    return replace(
        last,
        phase="request",
        tokens=output,
        latency_s=first.latency_s + decoded,
        energy_j=first.energy_j + energy,
        produced_tokens=batch * output,
        ops=ops,
        limits=analytic.limits(ops),
        latency_trust=_joined(first.latency_trust, last.latency_trust, first.latency_s, decoded),
        energy_trust=_joined(first.energy_trust, last.energy_trust, first.energy_j, energy),
        ttft_s=first.latency_s,
        tpot_s=decoded / steps,
        facts=first.facts,
        warnings=tuple(dict.fromkeys(first.warnings + last.warnings)),
    )


def step_weights(contexts: np.ndarray, wanted: np.ndarray) -> list[float]:
    """How often each sampled context counts, so that sum(weight * value) is the interpolated
    sum."""
    basis = np.eye(len(contexts))
    return [float(np.interp(wanted, contexts, row).sum()) for row in basis]


def _mean_ops(runs: list[Run], weights: list[float], steps: int) -> tuple[OpRun, ...]:
    """Decode ops averaged over the steps, each running `steps` times as often."""
    share = [w / steps for w in weights]
    found = []
    for same in zip(*(r.ops for r in runs), strict=True):
        last = same[-1]
        if len({(op.name, op.fused) for op in same}) != 1:
            raise AssertionError("ops of one model differ between contexts")

        def mean(maps: list[dict[str, float]]) -> dict[str, float]:
            keys = dict.fromkeys(k for m in maps for k in m)
            return {
                k: sum(s * m.get(k, 0.0) for s, m in zip(share, maps, strict=True)) for k in keys
            }

        found.append(
            replace(
                last,
                name=f"decode.{last.name}",
                count=last.count * steps,
                latency_s=sum(s * op.latency_s for s, op in zip(share, same, strict=True)),
                energy_j=sum(s * op.energy_j for s, op in zip(share, same, strict=True)),
                saves_s=mean([op.saves_s for op in same]),
                macs=round(sum(s * op.macs for s, op in zip(share, same, strict=True))),
                traffic=_mean_traffic(same, share),
                utilization=sum(s * op.utilization for s, op in zip(share, same, strict=True)),
                busy_s=mean([op.busy_s for op in same]),
                exposed_s=mean([op.exposed_s for op in same]),
                energy_by_j=mean([op.energy_by_j for op in same]),
            )
        )
    return tuple(found)


def _mean_traffic(same: tuple[OpRun, ...], share: list[float]) -> dict[str, dict[str, Traffic]]:
    total: dict[str, dict[str, Traffic]] = {}
    for s, op in zip(share, same, strict=True):
        for level, operands in op.traffic.items():
            here = total.setdefault(level, {})
            for operand, t in operands.items():
                before = here.get(operand, Traffic(0.0, 0.0))
                here[operand] = Traffic(before.read + s * t.read, before.written + s * t.written)
    return total


def _joined(a: Trust, b: Trust, of_a: float, of_b: float) -> Trust:
    """Trust of a sum whose parts rest on the same numbers: half-widths add, weighted."""
    total = of_a + of_b
    shares = {k: (a.shares[k] * of_a + b.shares[k] * of_b) / total for k in a.shares}
    width = (_width(a) * of_a + _width(b) * of_b) / total
    return Trust(shares, total * (1 - width), total * (1 + width))


def _width(trust: Trust) -> float:
    return (trust.high - trust.low) / (trust.high + trust.low)
