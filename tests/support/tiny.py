"""Small designs and graphs for tests, and hypothesis strategies of random ones."""

from __future__ import annotations

from typing import Any

import yaml
from hypothesis import assume
from hypothesis import strategies as st

from accel_models.design import Design
from accel_models.read_design import parse_design, read_design
from accel_models.reader import DesignError
from kernels_ref.formats import FORMATS
from mappers import map_graph
from mappers.plan import Schedule
from workloads.graph import Graph, Node, Tensor, check
from workloads.ops import Attention, Einsum, Vector

FP16 = FORMATS["fp16"]


def without_library(name: str) -> Design:
    """The shipped design as if nothing were known of its kernels: what the mapper finds."""
    design = read_design(name)
    cores = {key: core.model_copy(update={"kernels": None}) for key, core in design.cores.items()}
    links = {key: link.model_copy(update={"library": None}) for key, link in design.links.items()}
    return design.model_copy(update={"cores": cores, "links": links})


def memory(capacity: str, bandwidth: str, **more: Any) -> dict[str, Any]:
    """A memory level; keys may be overridden."""
    return {
        "kind": "sram",
        "capacity": capacity,
        "bandwidth": bandwidth,
        "efficiency": 1.0,
        "latency": "1 ns",
        "granularity": "1 B",
        "energy": "1 pJ/bit",
    } | more


ENGINES: dict[str, dict[str, Any]] = {
    "systolic": {"rows": 4, "cols": 4, "dataflow": "ws", "weight_preload": "ideal"},
    "dot_product": {"m": 4, "n": 4, "k": 4, "issue_interval": 1, "pipeline": 1},
    "lut": {"m": 2, "n": 8, "k": 4, "issue_interval": 1, "pipeline": 1},
    "outer_product": {"m": 4, "n": 4, "pipeline": 1},
    "simd": {"lanes": 8, "pipeline": 1},
}


def engine(kind: str, count: int = 1, **more: Any) -> dict[str, Any]:
    """A matrix engine of fp16 MACs at 1 pJ."""
    pair = {"macs_per_cycle": 1, "accumulate": "fp32", "energy": "1 pJ"}
    base = {"kind": kind, "count": count, "pe": {"formats": {"fp16": pair}}}
    return base | ENGINES[kind] | more


def design_dict(
    memories: dict[str, dict[str, Any]],
    core_memories: dict[str, dict[str, Any]],
    matrix: dict[str, Any],
    cores: int = 1,
    **control: Any,
) -> dict[str, Any]:
    """A whole design at 1 GHz with one kind of cores."""
    rates = dict.fromkeys(("add", "mul", "exp", "rsqrt", "convert", "compare", "shuffle"), 4)
    vector = {"count": 1, "lanes": 4, "ops_per_cycle": rates, "energy": "1 pJ"}
    core = {
        "count": cores,
        "memory": core_memories,
        "matrix": matrix,
        "vector": vector,
        "control": {"launch": "1 us"} | control,
    }
    return {
        "title": "tiny",
        "source": "guess: made for a test",
        "technology": {"node": "7 nm"},
        "clock": "1 GHz",
        "power": {"limit": "1000 W", "static": "1 W"},
        "memory": memories,
        "cores": {"core": core},
    }


def parse(data: dict[str, Any]) -> Design:
    """The design of these plain values, through YAML text as a user would write it."""
    return parse_design(yaml.safe_dump(data, sort_keys=False), "tiny")


def one_core(kind: str = "systolic", **more: Any) -> Design:
    """DRAM of 8 B/cycle over a core with one buffer for everything."""
    return parse(
        design_dict(
            {"dram": memory("1 GiB", "8 B/cycle", kind="dram")},
            {"buffer": memory("64 KiB", "64 B/cycle")},
            engine(kind, **more),
        )
    )


@st.composite
def designs(draw: st.DrawFn) -> Design:
    """Random machines: 2 to 4 levels, 1 to 12 cores, every engine kind, both dispatches."""
    size = st.sampled_from(["4 KiB", "16 KiB", "64 KiB", "1 MiB"])
    speed = st.sampled_from(["2 B/cycle", "16 B/cycle", "100 B/cycle"])
    buffering = st.sampled_from(["single", "double", "multi"])

    def level(**more: Any) -> dict[str, Any]:
        return memory(draw(size), draw(speed), buffering=draw(buffering), **more)

    cores = draw(st.sampled_from([1, 2, 5, 12]))
    chip = {"dram": memory("64 GiB", draw(speed), kind="dram", granularity="32 B")}
    if device := draw(st.sampled_from([None, "ddr4", "hbm2e"])):
        chip["dram"] |= {"device": device, "efficiency": draw(st.sampled_from([0.8, 0.93, 1.0]))}
    if draw(st.booleans()):
        chip["l2"] = level(multicast=draw(st.sampled_from([1, 4])), reduction=draw(st.booleans()))
        if cores % 2 == 0:
            chip["l2"]["instances"] = draw(st.sampled_from([1, 2]))
    kind = draw(st.sampled_from(sorted(ENGINES)))
    count = draw(st.sampled_from([1, 2, 4]))
    core: dict[str, Any] = {"l1": level()}
    if draw(st.booleans()):
        core["l1"]["keeps"] = ["activation", "weight"]
        core["sums"] = level(keeps=["output"])
        core["sums"]["capacity"] = "64 KiB"
    elif draw(st.booleans()):
        core["registers"] = memory("16 KiB", draw(speed), kind="regfile", per="engine")
    data = design_dict(
        chip,
        core,
        engine(kind, count),
        cores,
        dispatch=draw(st.sampled_from(["dynamic", "static"])),
        overlap_engines=draw(st.booleans()),
    )
    return parse(data)


def matmul_graph(m: int, n: int, k: int) -> Graph:
    """One fp16 matrix multiplication."""
    op = Einsum("matmul", ("a", "w"), "c", {"m": m, "n": n, "k": k}, "mk,nk->mn")
    tensors = {
        "a": Tensor("a", (m, k), FP16, "activation"),
        "w": Tensor("w", (n, k), FP16, "weight"),
        "c": Tensor("c", (m, n), FP16, "activation"),
    }
    return check(Graph("tiny", "prefill", 1, m, (Node(op, 1),), tensors, m))


def attention_graph(op: Attention) -> Graph:
    """One attention op over fp16 tensors named q, k, v, o."""
    heads = op.batch * op.kv_heads
    tensors = {
        "q": Tensor("q", (op.batch * op.q_len, op.q_heads * op.head_dim), FP16, "activation"),
        "k": Tensor("k", (heads * op.kv_len, op.head_dim), FP16, "kv"),
        "v": Tensor("v", (heads * op.kv_len, op.v_head_dim), FP16, "kv"),
        "o": Tensor("o", (op.batch * op.q_len, op.q_heads * op.v_head_dim), FP16, "activation"),
    }
    return check(Graph("tiny", "decode", op.batch, op.q_len, (Node(op, 1),), tensors, op.kv_len))


def vector_graph(function: str, rows: int, width: int) -> Graph:
    """One vector function of fp16 rows."""
    op = Vector("vector", ("x",), "y", function, rows, width)
    tensors = {name: Tensor(name, (rows, width), FP16, "activation") for name in ("x", "y")}
    return check(Graph("tiny", "prefill", 1, rows, (Node(op, 1),), tensors, rows))


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Random single-op graphs of the kinds that compute."""
    kind = draw(st.sampled_from(["matmul", "attention", "vector"]))
    small = st.integers(1, 300)
    if kind == "matmul":
        return matmul_graph(draw(small), draw(small), draw(small))
    if kind == "vector":
        function = draw(st.sampled_from(["rmsnorm", "silu_mul", "rope", "layernorm"]))
        return vector_graph(function, draw(small), draw(small))
    kv_heads, group = draw(st.sampled_from([(1, 1), (2, 1), (2, 4)]))
    kv_len = draw(small)
    q_len = draw(st.sampled_from([1, kv_len]))
    dim = draw(st.sampled_from([8, 20]))
    window = draw(st.sampled_from([None, 16]))
    return attention_graph(
        Attention(
            "attention", ("q", "k", "v"), "o", draw(st.integers(1, 3)), kv_heads * group, kv_heads,
            q_len, kv_len, dim, dim, True, window,
        )
    )  # fmt: skip


def scheduled(graph: Graph, design: Design) -> Schedule:
    """The graph on the design; machines whose memories cannot hold a single block are passed
    over."""
    try:
        return map_graph(graph, design)
    except DesignError as problem:
        if "no tile fits" not in str(problem):
            raise
    assume(False)
    raise AssertionError
