"""What there is and what it can do: designs, models, formats, transforms as plain values."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from accel_models.area import area_mm2, area_parts
from accel_models.chunked_reads import SEQUENTIAL
from accel_models.design import Design
from accel_models.library import list_designs
from accel_models.path import memory_path
from accel_models.pes import GATE_PES
from accel_models.read_design import read_design
from kernels_ref.formats import FORMATS, get_format
from kernels_ref.kernels import KERNELS
from sim.event.policies import POLICIES
from workloads import decode, read_model
from workloads.config import shipped_models
from workloads.graph import Graph
from workloads.phase import encode
from workloads.read_model import Model
from workloads.transforms import TRANSFORMS

TEXT = 64  # tokens of an encoder's text


def design_document(name: str) -> dict[str, Any]:
    """A design's levels, peaks, ridge points, area and power. Raises UserError."""
    design = read_design(name)
    return {
        "design": design.name,
        "title": design.title,
        "node_nm": design.technology.node * 1e9,
        "clock_hz": design.clock,
        "area_mm2": area_mm2(design),
        "area_by_mm2": {
            ".".join(path): area
            for path, area in area_parts(design).items()
            if path[1:] != ("die",)
        },
        "power_limit_w": design.power.limit,
        "static_power_w": design.power.static,
        "cores": {name: _core(design, name) for name in design.cores},
        **({"backing": _backing(design)} if design.backing else {}),
        "links": {
            name: {
                "topology": link.topology,
                "bytes_per_s": link.bandwidth.bytes_per_second(design.clock),
                "latency_s": link.latency,
            }
            for name, link in design.links.items()
        },
        "notes": design.notes,
    }


def _backing(design: Design) -> dict[str, Any]:
    """Memories that no core reads; rates in chunks of one granule and of 1 MiB."""
    return {
        name: {
            "kind": memory.kind,
            "capacity_bytes": memory.capacity,
            "read_bytes_per_s": memory.read_bytes_per_s(SEQUENTIAL, design.clock),
            "read_granule_bytes_per_s": memory.read_bytes_per_s(memory.granularity, design.clock),
            "write_bytes_per_s": memory.peaks(design.clock)[1],
            "granularity_bytes": memory.granularity,
            "latency_s": memory.latency,
            "pj_per_bit": memory.energy * 1e12,
        }
        for name, memory in design.backing.items()
    }


def _core(design: Design, name: str) -> dict[str, Any]:
    """Levels outermost first, and for each format pair its peak and the ridge at every level."""
    path = memory_path(design, name)
    levels: dict[str, dict[str, Any]] = {
        level.name: {
            "instances": level.instances,
            "capacity_bytes": level.capacity,
            "read_bytes_per_s": level.read_bytes_per_s * level.instances,
            "write_bytes_per_s": level.write_bytes_per_s * level.instances,
            "latency_s": level.latency_s,
            "pj_per_bit": level.read_j_per_byte / 8 * 1e12,
            "keeps": list(level.keeps),
        }
        for level in path.memories
    }
    peaks = {}
    for key, pair in path.engine.pe.formats.items():
        bits = get_format(key.partition("*")[0]).bits
        macs = path.engine.peak(pair.macs_per_cycle, bits) * path.engine.count
        ops = 2 * macs * path.cores * path.clock_hz
        peaks[key] = {
            "peak_ops_per_s": ops,
            "pj_per_mac": pair.energy * 1e12,
            "accumulate": pair.accumulate,
            "ridge_ops_per_byte": {k: ops / v["read_bytes_per_s"] for k, v in levels.items()},
        }
    scale = path.vector.count * path.cores * path.clock_hz
    rates = path.vector.ops_per_cycle.__dict__
    sparse = path.engine.pe.sparse
    return {
        "count": path.cores,
        "clock_hz": path.clock_hz,
        "engine": f"{path.engine.count} x {path.engine.kind}",
        "levels": levels,
        "formats": peaks,
        "sparse": {key: f"{rate.speedup:g} times as fast" for key, rate in sparse.items()},
        "pe": _pe(path.engine.pe.name),
        "vector_ops_per_s": {k: v * scale for k, v in rates.items() if k != "source"},
        "launch_s": path.control.launch,
    }


def _pe(name: str | None) -> dict[str, Any] | None:
    """Gates and the native pair's energy of each part of a registered PE, as shares."""
    pe = GATE_PES.get(name or "")
    if pe is None:
        return None
    parts = list(pe.breakdown())
    energy = sum(part[2] for part in parts)
    return {
        "name": pe.name,
        "gate_equivalents": round(pe.area_ge()),
        "parts": {
            part: f"{ge:,.0f} GE ({100 * ge / pe.area_ge():.0f} %), {100 * e / energy:.0f} % of "
            "the energy"
            for part, ge, e in parts
        },
    }


def model_document(name: str) -> dict[str, Any]:
    """A model's size: parameters, bytes, work and cache of one token (of one image, of a text of
    TEXT tokens, or of one run, for a model that decodes none). Raises UserError."""
    model = read_model(name)
    if model.fixed is not None:
        return _size(model.name, model.fixed, model.fixed.kv_bytes)
    if "decode" not in model.phases:
        once = model.build(encode(1, TEXT))
        return _size(model.name, once, 0)
    short, long = model.build(decode(1, 1)), model.build(decode(1, 2))
    return _size(model.name, short, long.kv_bytes - short.kv_bytes)


def _size(name: str, short: Graph, kv_bytes: int) -> dict[str, Any]:
    return {
        "model": name,
        "params": short.params,
        "weight_bytes": short.weight_bytes,
        "macs_per_token": sum(node.count * node.op.macs for node in short),
        "kv_bytes_per_token": kv_bytes,
        "max_context": short.max_context,
        "ops": {node.op.name: f"{node.op.kind} x{node.count:g}" for node in short},
    }


def _designs() -> dict[str, Any]:
    return {name: read_design(str(path)).title for name, path in list_designs().items()}


def _models() -> dict[str, Any]:
    return {name: _params(read_model(name)) for name in shipped_models()}


def _params(model: Model) -> int:
    phase = decode(1, 1) if "decode" in model.phases else encode(1)
    return model.build(phase).params


def _formats() -> dict[str, Any]:
    return {
        name: {
            "kind": fmt.kind,
            "bits": fmt.bits,
            "bits_per_element": float(fmt.bits_per_element),
            "group": fmt.group,
        }
        for name, fmt in FORMATS.items()
    }


def _kernels() -> dict[str, Any]:
    return {
        name: {"kind": entry.kind, "summary": entry.summary, "pairs": list(entry.pairs)}
        for name, entry in KERNELS.items()
    }


def _transforms() -> dict[str, Any]:
    texts = {name: inspect.getdoc(t) or "" for name, t in TRANSFORMS.items()}
    return {name: " ".join(text.partition("\n\n")[0].split()) for name, text in texts.items()}


def _policies() -> dict[str, Any]:
    return {name: policy_document(name) for name in POLICIES}


def policy_document(name: str) -> dict[str, Any]:
    """What a policy does, its arguments with their defaults and units, its source, and the kind of
    machine that it is for."""
    policy = POLICIES[name]
    what, *others = (inspect.getdoc(policy.function) or "").split("\n\n")
    said = {
        key.lower(): text
        for key, _, text in (" ".join(part.split()).partition(": ") for part in others)
    }
    parameters = list(inspect.signature(policy.function).parameters.values())[1:]
    takes = ", ".join(str(parameter).replace("'", "") for parameter in parameters)
    return {
        "what": " ".join(what.split()),
        "takes": f"{name}({takes})",
        "arguments": said.get("arguments", ""),
        "source": said.get("source", ""),
        "machine": policy.machine,
    }


LISTS: dict[str, Callable[[], dict[str, Any]]] = {
    "designs": _designs,
    "models": _models,
    "formats": _formats,
    "kernels": _kernels,
    "transforms": _transforms,
    "policies": _policies,
}
