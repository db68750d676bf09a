"""Attention planned by the machine's kernel library, where it has a kernel for the op.

Time and bytes of shared memories are the library's (mappers/library/attention.py) with nothing
found in L2, bytes within cores those of the best tile (mappers/flash.py). A library's measured
times include the kernel that appends to the cache; here that is an op of its own, so its part and
the launch of a small kernel are taken off.
Not by the library: windows, sparse masks, latent heads, prompts that see all of themselves, and a
few tokens on a long cache (chunks, drafts to verify), which its prompts' kernels would not split.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from accel_models.path import Path
from accel_models.reader import DesignError
from mappers.cost import Cost, compose, overlapped
from mappers.flash_problem import Flash
from mappers.library.attention import OVERLAP_POWER, attention_times
from mappers.library.attention_blocks import AttentionCases
from mappers.library.attention_library import AttentionLibrary, attention_library
from mappers.library.moved import as_moved
from mappers.library.times import Times

LONGER = 4  # times its queries: the keys of what is still priced as a prompt


def by_library(flash: Flash, cost: Cost, path: Path, formats: tuple[str, str]) -> Cost | None:
    """The cost with the time of the library's kernel for (queries, cache) in these formats; None
    where it has none for the op."""
    library = _library(flash, path, formats)
    if library is None or cost.work.launches == 0:
        return None
    times = attention_times(_case(flash), library)
    parts = {name: float(values[0]) for name, values in times.parts.items()}
    outer, shared = path.levels[0].name, path.levels[path.first_core - 1].name
    busy = dict.fromkeys(cost.work.busy, 0.0)
    busy |= {"matrix": parts["compute"], outer: parts["dram"], shared: parts["l2"]}
    body = _body(times)
    norm = overlapped(busy, OVERLAP_POWER)
    work = replace(
        cost.work,
        busy={name: seconds * body / norm for name, seconds in busy.items()},
        head={},
        tail={},
        serial={},
        sync_s=parts["combine"],
        launches=1,
        launch_s=max(parts["launch"] - _append_launch(path), 0.0),
        norm=OVERLAP_POWER,
        steps=replace(cost.work.steps, once=True),
    )
    return compose(as_moved(work, *_bytes(flash, times), path), path)


def _library(flash: Flash, path: Path, formats: tuple[str, str]) -> AttentionLibrary | None:
    op = flash.op
    whole = op.window is None and op.density == 1.0 and not op.latent
    seen = op.q_len == 1 or (op.causal and op.kv_len < LONGER * op.q_len)
    if path.runs_on != "matrix" or path.first_core < 2 or not (whole and seen):
        return None
    if op.head_dim != op.v_head_dim:
        return None
    try:
        found = attention_library(path, *formats)
    except DesignError:
        return None
    if found is None or max(tile.head for tile in found.kernel.prefill) < op.head_dim:
        return None
    return found


def _case(flash: Flash) -> AttentionCases:
    op = flash.op
    sizes = (op.batch, op.q_heads, op.kv_heads, op.head_dim, op.q_len, op.kv_len)
    batch, heads, groups, head_dim, queries, keys = (np.array([float(n)]) for n in sizes)
    return AttentionCases(
        np.array([op.q_len == 1]),
        batch,
        heads,
        groups,
        head_dim,
        queries,
        keys,
        np.array([flash.q_bytes]),
        np.array([flash.k_bytes]),
        np.array([False]),
        flash.o_bytes,
    )


def _bytes(flash: Flash, times: Times) -> tuple[dict[str, float], dict[str, float]]:
    """What the kernel moves, without its append kernel; what of it passes the outermost memory."""
    op, stays = flash.op, flash.stays
    tokens, seen = op.batch * op.q_len * op.q_heads, op.batch * op.kv_len * op.kv_heads
    once = {
        "activation": tokens * op.head_dim * flash.q_bytes,
        "weight": seen * op.head_dim * (flash.k_bytes + flash.v_bytes),
        "output": tokens * op.v_head_dim * flash.o_bytes,
    }
    fetched = float(times.moved["l2"][0]) - once["output"]
    parts = {"activation": "q", "output": "o"}
    far = {o: s for o, s in once.items() if parts.get(o) not in stays}
    if {"k", "v"} & set(stays):
        del far["weight"]
    return {"dram": sum(far.values()), "l2": fetched}, far


def _body(times: Times) -> float:
    """What is neither launch, append nor combine."""
    beside = sum(float(times.parts[name][0]) for name in ("launch", "append", "combine"))
    return float(times.latency_s[0]) - beside


def _append_launch(path: Path) -> float:
    vector = path.core.kernels and path.core.kernels.vector
    return vector.floor if vector else 0.0


def library_facts(path: Path) -> dict[str, tuple[tuple[str, ...], ...]]:
    """Key paths of the library's numbers, by resource."""
    block = ("cores", path.name, "kernels", "attention")
    return {"launch": ((*block, "launch"),), "sync": ((*block, "launch"),)}
