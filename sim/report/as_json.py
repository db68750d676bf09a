"""A Run as the JSON document of the command-line contract. Bump SCHEMA_VERSION on a breaking change.

SI units in keys; per-op figures are of one instance, of which `count` run. `provenance` is the share of
the latency that rests on each kind of number (the energy's and the area's stand beside it).
"""

from __future__ import annotations

from typing import Any

from sim.run import OpRun, Run, Trust

SCHEMA_VERSION = 1


def run_document(run: Run) -> dict[str, Any]:
    """Plain values; floats rounded to 9 significant digits so that documents compare."""
    document: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "design": run.design,
        "workload": run.workload,
        "phase": run.phase,
        "simulator": run.simulator,
        "objective": run.objective,
        "formats": run.formats,
        "batch": run.batch,
        "tokens": run.tokens,
        "context": run.context,
        "latency_s": run.latency_s,
        "energy_j": run.energy_j,
        "power_w": run.power_w,
        "area_mm2": run.area_mm2,
        "tokens_per_s": run.tokens_per_s,
        "ttft_s": run.ttft_s,
        "tpot_s": run.tpot_s,
        "energy_per_token_j": run.energy_per_token_j,
        "weight_bytes": run.weight_bytes,
        "kv_bytes": run.kv_bytes,
        "memory_bytes": run.memory_bytes,
        "fits": run.fits,
        "params": run.params,
        "provenance": run.latency_trust.shares,
        "latency_band_s": _band(run.latency_trust),
        "energy_provenance": run.energy_trust.shares,
        "energy_band_j": _band(run.energy_trust),
        "limits": [
            {"resource": x.resource, "exposed_s": x.exposed_s, "saves_s": x.saves_s}
            for x in run.limits
        ],
        "warnings": list(run.warnings),
        "ops": [_op(op) for op in run.ops],
    }
    if run.area_trust:
        document["area_provenance"] = run.area_trust.shares
        document["area_band_mm2"] = _band(run.area_trust)
    if run.cost_usd is not None:
        document["cost_usd"] = run.cost_usd
    return _rounded(document)


def _band(trust: Trust) -> list[float]:
    return [trust.low, trust.high]


def _op(op: OpRun) -> dict[str, Any]:
    return {
        "name": op.name,
        "kind": op.kind,
        "count": op.count,
        "latency_s": op.latency_s,
        "energy_j": op.energy_j,
        "bound_by": op.bound_by,
        "next_bound": op.next_bound,
        "saves_s": op.saves_s,
        "macs": op.macs,
        "traffic_bytes": op.traffic_bytes,
        "traffic_by_operand": {
            level: {o: {"read": t.read, "written": t.written} for o, t in operands.items()}
            for level, operands in op.traffic.items()
        },
        "utilization": op.utilization,
        "cores": op.cores,
        "variant": op.variant or None,
        "instead_s": op.instead_s,
        "fused": list(op.fused),
        "busy_s": op.busy_s,
        "exposed_s": op.exposed_s,
        "energy_by_j": op.energy_by_j,
        "tile": op.tile,
        "mapping": op.mapping,
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.9g}")
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_rounded(v) for v in value]
    return value
