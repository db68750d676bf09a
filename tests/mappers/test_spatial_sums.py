"""Sums that a split over k adds up on the way: what each instance writes and reads."""

from __future__ import annotations

from tiny import FP16, design_dict, engine, memory, parse

from accel_models.path import memory_path
from mappers.mapping_file import mapping_on, parse_mapping
from mappers.matmul import matmul_cost
from mappers.problem import Contraction

M, N, K, SPLIT, SUM = 4, 4, 16, 4, 4  # SUM: bytes of a sum


def sums():
    """(read, written) bytes of the outputs, at the buffer and at the registers."""
    design = parse(
        design_dict(
            {"dram": memory("1 GiB", "8 B/cycle", kind="dram")},
            {
                "buffer": memory("64 KiB", "64 B/cycle", reduction=True),
                "regs": memory("1 KiB", "64 B/cycle", kind="regfile", per="engine"),
            },
            engine("dot_product", count=SPLIT, m=1, n=1, k=1),
        )
    )
    path = memory_path(design, "core")
    pair = path.datapath(FP16, FP16)
    problem = Contraction({"b": 1, "m": M, "n": N, "k": K}, pair, 2, 2, SUM, SUM)
    text = f"""
levels:
- {{level: buffer, tile: {{m: {M}, n: {N}, k: {K}}}}}
- {{level: regs, tile: {{m: {M}, n: {N}, k: {K // SPLIT}}}, spatial: {{k: {SPLIT}}}}}
- {{level: engine, tile: {{m: 1, n: 1, k: 1}}}}
"""
    cost = matmul_cost(problem, mapping_on(parse_mapping(text), problem, path), path)
    return {level: cost.work.traffic[level]["output"] for level in ("buffer", "regs")}


def test_the_buffer_takes_each_sum_once():
    """Added up on the way, the four partial sums of an output arrive as one; it then leaves."""
    assert sums()["buffer"] == (M * N * SUM, M * N * SUM)


def test_instances_begin_their_own_sums():
    """Each instance starts at zero, writes a sum a MAC, reads it again for all but the first, and
    hands it over once: nothing comes down, since the additions are on the way up."""
    macs, own = M * N * K, M * N * SPLIT
    assert sums()["regs"] == ((macs - own + own) * SUM, macs * SUM)
