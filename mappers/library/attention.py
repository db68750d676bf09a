"""What a library's attention takes, cache append included: closed forms over arrays of cases.

    latency  = launch + append + attention + combine + beside
    attention = (compute^3 + memory^3)^(1/3)          the two overlap but for their starts and ends

Compute, of blocks that walk `steps` steps (attention_blocks.py), `resident` of them on a core:

    mma      = 2 rows keys head_dim / (MACs/cycle core, clock)      both products of a step
    exp      = rows keys / (exponentials/cycle core, clock)
    step     = max(mma, exp) + overlap min(mma, exp) + keys head_dim / transposing
               (overlap 1 where loads, multiplication and softmax are not in warps of their own)
    alone    = max(step + latency, bytes of its keys and values / fill rate of a core)
    busy     = step / issue        (decode: step; its padded rows are zeros and draw no power)
    block    = start and end + steps max(alone, blocks on the core busy)
    waves    = blocks / (cores resident)
    compute  = ceil(waves) block                                equal blocks: decode, one tile
             = max(waves block + tail longest, longest)         causal prompts;
               tail 3/4 with tiles in launch order, 1/4 with the longest first (list scheduling
               leaves at most one: Graham, 1969)

Memory, footprint F = cache, queries, results, and what is appended, found in the L2 by a share
r (mappers/library/reuse.py, of `warm` of the L2's capacity) where inputs are repeated:

    DRAM     = (1 - r) (cache + queries + results) / (dram peak)
    L2       = (blocks steps 2 keys head_dim cache_bytes + queries + results) / (l2 peak)
    memory   = max(DRAM, L2)

Append, a block for each token, threads for a token's cache elements e (at most 512):

    append   = tokens / (cores floor(threads / min(512, e))) append (1 + e / append_row)
               + bytes read and written, r of them at the L2's rate, the others at the DRAM's

where `rotates`, queries are among its elements; where `converts_cache`, a prompt's cache is read
and written once more.
Combine: a kernel, a loop over splits, and the parts (fp32, written and read) through the L2.
Sources: FlashAttention-2 (arXiv 2307.08691), FlashAttention-3 (arXiv 2407.08608), Flash-Decoding
(2023); flash-attention and FlashInfer repositories for tiles, splits and packing.
Not modeled: windows, sinks, sequences of different lengths in a batch, page size, paged lookups'
latency, power over time (long prompts run slower than short ones on boards that throttle).
"""

from __future__ import annotations

import numpy as np

from mappers.library.attention_blocks import AttentionCases, Blocks, blocks_of, ceil
from mappers.library.attention_library import AttentionLibrary
from mappers.library.reuse import found_again
from mappers.library.times import Times, Values

OVERLAP_POWER = 3.0
TAIL_LAUNCH_ORDER, TAIL_LONGEST_FIRST = 0.75, 0.25  # of the longest block
APPEND_THREADS = 512  # of an append block at most: reshape_and_cache, RoPE and append alike
PARTIAL_BYTES = 4.0


def attention_times(cases: AttentionCases, library: AttentionLibrary) -> Times:
    """Latency of each case, in seconds, and what it is made of. `choice` is how many parts the
    keys are split into."""
    blocks = blocks_of(cases, library.kernel, library.machine)
    compute = _compute(cases, blocks, library)
    moved = _bytes(cases, blocks)
    found = _found_in_l2(cases, moved, library)
    dram = (1 - found) * (moved["cache"] + moved["io"]) / library.dram_bytes_per_s
    shared = (moved["read"] + moved["io"]) / library.l2_bytes_per_s
    memory = np.maximum(dram, shared)
    overlapped = (compute**OVERLAP_POWER + memory**OVERLAP_POWER) ** (1 / OVERLAP_POWER)
    launch = np.full_like(compute, library.kernel.launch or 0.0)
    append = _append(cases, moved, found, library)
    combine = _combine(cases, blocks, library)
    parts = {"launch": launch, "append": append, "compute": compute, "dram": dram, "l2": shared}
    parts["combine"] = combine
    passed = {
        "dram": (1 - found) * (moved["cache"] + moved["io"]),
        "l2": moved["read"] + moved["io"],
    }
    passed["append"] = moved["append"]
    return Times(
        launch + append + overlapped + combine,
        parts,
        passed,
        blocks.splits,
    )


def _compute(cases: AttentionCases, blocks: Blocks, library: AttentionLibrary) -> Values:
    kernels, kernel, machine = library.kernels, library.kernel, library.machine
    step = _step(cases, blocks, library) * blocks.slowdown
    latency = 0.0 if kernel.specialized else kernels.step or 0.0
    filled = 2 * blocks.keys * cases.head_dim * cases.cache_bytes
    fill_s = filled / (kernels.fill_bytes_per_cycle * machine.clock_hz)
    alone = np.maximum(step + latency, fill_s)
    busy = np.where(cases.decode, step, step / (kernel.issue or 1.0))
    start = kernel.block or 0.0
    on_core = np.clip(ceil(blocks.count / machine.cores), 1.0, blocks.resident)
    block = start + blocks.steps * np.maximum(alone, on_core * busy)
    longest = start + blocks.most_steps * np.maximum(alone, busy)
    waves = blocks.count / (machine.cores * blocks.resident)
    tail = TAIL_LONGEST_FIRST if kernel.longest_first else TAIL_LAUNCH_ORDER
    equal = cases.decode | (blocks.tiles <= 1)
    return np.maximum(np.where(equal, ceil(waves) * block, waves * block + tail * longest), longest)


def _step(cases: AttentionCases, blocks: Blocks, library: AttentionLibrary) -> Values:
    """Both products of a step and the softmax between them, in seconds of a core."""
    kernel, machine = library.kernel, library.machine
    scores = blocks.rows * blocks.keys
    mma = 2 * scores * cases.head_dim / library.macs_per_cycle
    exp = scores / machine.vector["exp"]
    overlap = (library.kernels.overlap or 0.0) if kernel.specialized else 1.0
    cycles = np.maximum(mma, exp) + overlap * np.minimum(mma, exp)
    if kernel.transposes_values:
        cycles = cycles + blocks.keys * cases.head_dim / kernel.transposes_values
    return cycles / machine.clock_hz


def _bytes(cases: AttentionCases, blocks: Blocks) -> dict[str, Values]:
    """cache: read once; io: queries and results; fresh: elements that are appended; read: of keys
    and values by all blocks."""
    tokens = cases.batch * cases.queries
    cache = 2 * cases.batch * cases.groups * cases.keys * cases.head_dim * cases.cache_bytes
    queries = tokens * cases.heads * cases.head_dim
    each = 2 * blocks.keys * cases.head_dim * cases.cache_bytes
    again = np.where(blocks.packed, 1.0, cases.per_group)
    return {
        "cache": cache,
        "io": queries * (cases.query_bytes + cases.wide_bytes),
        "fresh": 2 * tokens * cases.groups * cases.head_dim,
        "queries": queries,
        "read": np.where(cases.decode, cache * again, blocks.count * blocks.steps * each),
        "append": 2
        * tokens
        * cases.groups
        * cases.head_dim
        * (cases.wide_bytes + cases.cache_bytes),
    }


def _found_in_l2(
    cases: AttentionCases, moved: dict[str, Values], library: AttentionLibrary
) -> Values:
    wide = moved["queries"] if library.kernel.rotates else 0.0
    footprint = moved["cache"] + moved["io"] + cases.wide_bytes * (moved["fresh"] + wide)
    found = found_again(footprint, library.machine.l2_bytes * library.warm)
    return np.where(cases.repeated, found, 0.0)


def _append(
    cases: AttentionCases, moved: dict[str, Values], found: Values, library: AttentionLibrary
) -> Values:
    kernels, kernel = library.kernels, library.kernel
    each_byte = (1 - found) / library.dram_bytes_per_s + found / library.l2_bytes_per_s
    elements, moving = cases.groups * cases.head_dim, moved["append"]
    if kernel.rotates:
        elements = elements + cases.heads * cases.head_dim
        moving = moving + moved["queries"] * (cases.wide_bytes + cases.query_bytes)
    at_once = library.machine.cores * np.floor(
        kernels.threads / np.minimum(APPEND_THREADS, elements)
    )
    longer = 1 + (elements / kernel.append_row if kernel.append_row else 0.0)
    tokens = cases.batch * cases.queries
    taken = tokens / at_once * (kernel.append or 0.0) * longer + moving * each_byte
    if kernel.converts_cache:
        stored = 2 * cases.batch * cases.keys * cases.groups * cases.head_dim
        widened = stored * (cases.cache_bytes + cases.wide_bytes)
        taken = taken + np.where(cases.decode, 0.0, widened * each_byte)
    return taken


def _combine(cases: AttentionCases, blocks: Blocks, library: AttentionLibrary) -> Values:
    """The kernels beside: joining the parts, copies of what is packed, scheduling a prompt."""
    kernel, second = library.kernel, library.kernels.second or 0.0
    rule, split = kernel.splits, blocks.splits > 1
    results = cases.batch * cases.heads * cases.head_dim
    parts = blocks.splits * results * 2 * PARTIAL_BYTES / library.l2_bytes_per_s
    joined = np.where(split, rule.per_split * blocks.splits + parts, 0.0)
    if rule.combine != "within":
        joined = joined + np.where(split | (cases.decode & (rule.combine == "always")), second, 0.0)
    if kernel.copies_packed:
        strided = cases.decode & blocks.packed & (cases.batch > 1) & (cases.groups > 1)
        joined = joined + np.where(strided, second, 0.0)
    if kernel.prepares:
        joined = joined + np.where(cases.decode, 0.0, second)
    return joined
