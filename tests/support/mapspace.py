"""Machines and contractions so small that their whole mapping space can be costed, and mappings
written by hand."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping as Map
from itertools import permutations
from typing import Any

from hypothesis import strategies as st
from tiny import ENGINES, FP16, design_dict, engine, memory, parse

from accel_models.path import Path, memory_path
from accel_models.read_design import read_design
from kernels_ref.formats import FORMATS
from mappers.mapping import LevelMapping, Mapping
from mappers.problem import Contraction, Dim

NUMBERS = {
    "a100_sxm": "fp16",
    "tpu_v4": "bf16",
    "gemmini_16x16": "int8",
    "systolic_128x128": "int8",
}
"""What the shipped designs of these tests multiply."""


def contraction(path: Path, extents: dict[str, int], **more: Any) -> Contraction:
    """An fp16 contraction with fp32 sums; a matrix multiplication unless `dims` says otherwise."""
    return Contraction(extents, path.datapath(FP16, FP16), 2.0, 2.0, 2.0, 4.0, **more)


def matmul_on(path: Path, m: int, n: int, k: int, b: int = 1) -> Contraction:
    """b fp16 multiplications."""
    return contraction(path, {"b": b, "m": m, "n": n, "k": k})


def on_shipped(design: str, m: int, n: int, k: int) -> tuple[Contraction, Path]:
    """A multiplication on a shipped design."""
    read = read_design(design)
    path = memory_path(read, next(iter(read.cores)))
    number = FORMATS[NUMBERS[design]]
    width = number.bits / 8
    extents = {"b": 1, "m": m, "n": n, "k": k}
    pair = path.datapath(number, number)
    return Contraction(extents, pair, width, width, width, 4.0), path


def one(*ranks: str) -> tuple[Dim, ...]:
    """Dimensions of a rank each."""
    return tuple(((rank, 1),) for rank in ranks)


def conv_dims(stride: int = 1, dilation: int = 1) -> dict[str, tuple[Dim, ...]]:
    """A convolution of one spatial dimension: rows p * stride + r * dilation of the input."""
    window: Dim = (("p", stride), ("r", dilation))
    return {
        "activation": (*one("b", "c"), window),
        "weight": one("m", "c", "r"),
        "output": one("b", "m", "p"),
    }


def conv2d_dims(stride: int = 1) -> dict[str, tuple[Dim, ...]]:
    """A grouped convolution: g groups, b images, m filters, c channels, p x q outputs, r x s
    taps."""
    rows: Dim = (("p", stride), ("r", 1))
    cols: Dim = (("q", stride), ("s", 1))
    return {
        "activation": (*one("g", "b", "c"), rows, cols),
        "weight": one("g", "m", "c", "r", "s"),
        "output": one("g", "b", "m", "p", "q"),
    }


def by_hand(problem: Contraction, path: Path, levels: Map[str, Map[str, Any]]) -> Mapping:
    """A mapping from what each level changes: `tile` (of these ranks; else the parent's, shared out
    over the split), `split`, `order` (these ranks innermost, in this order), `keeps` (else all)."""
    tile, rows = dict(problem.extents), []
    for level in path.levels:
        said = levels.get(level.name, {})
        split = dict.fromkeys(tile, 1) | said.get("split", {})
        tile = {r: -(-tile[r] // split[r]) for r in tile} | said.get("tile", {})
        inner = tuple(said.get("order", ()))
        order = (*(rank for rank in tile if rank not in inner), *inner)
        rows.append(LevelMapping(level.name, tile, split, order, said.get("keeps", level.keeps)))
    assert set(levels) <= set(path.by_name)
    return Mapping(tuple(rows))


RULES: list[dict[str, Any]] = [
    {"tiles": {"m": [1, 2, 4], "n": [2, 3]}},
    {"tiles": {"k": [3]}},
    {"multiples": {"m": 2, "k": 3}},
    {"split": ["m"]},
    {"split": []},
    {"axes": {"rows": {"size": 2, "ranks": ["m", "k"]}, "cols": {"size": 3, "ranks": ["n", "m"]}}},
    {"axes": {"rows": {"size": 2, "ranks": ["m", "p", "k"]}}},
    {"stationary": ["output"]},
    {"stationary": ["weight", "activation"]},
]


Pick = Callable[..., Any]  # one of its arguments


@st.composite
def machines(draw: st.DrawFn) -> Path:
    """Those of `a_machine`."""
    return a_machine(lambda *values: draw(st.sampled_from(values)))


@st.composite
def problems(draw: st.DrawFn, path: Path) -> Contraction:
    """Those of `a_problem`."""
    return a_problem(lambda *values: draw(st.sampled_from(values)), path)


def a_machine(pick: Pick) -> Path:
    """2 to 4 memories of tens to hundreds of bytes; every engine, both dispatches, every option of
    a level."""
    speed, grain = pick("4 B/cycle", "32 B/cycle"), pick("1 B", "8 B")
    chip = {"dram": memory("1 GiB", speed, kind="dram", granularity=grain)}
    if pick(False, True):
        chip["l2"] = memory(
            pick("64 B", "256 B", "2 KiB"),
            "16 B/cycle",
            multicast=pick(1, 2),
            reduction=pick(False, True),
            buffering=pick("double", "single"),
            fill_port=pick(False, True),
            bypass=pick([], ["weight"], ["activation", "output"]),
        )
    core = {"l1": memory(pick("64 B", "128 B", "512 B"), "32 B/cycle")}
    core["l1"]["buffering"] = pick("double", "single", "multi")
    inside = pick("nothing", "sums", "registers")
    if inside == "sums":
        core["l1"]["keeps"] = ["activation", "weight"]
        core["sums"] = memory(pick("16 B", "64 B", "256 B"), "16 B/cycle", keeps=["output"])
    elif inside == "registers":
        core["regs"] = memory(pick("64 B", "128 B"), "64 B/cycle", kind="regfile", per="engine")
    core["l1"]["bypass"] = pick([], ["weight"])
    control = {"launch": "10 ns", "dispatch": pick("static", "dynamic")}
    matrix = engine(pick(*sorted(ENGINES)), count=pick(1, 2, 6))
    data = design_dict(
        chip, core, matrix, pick(1, 2, 3, 6), **control, overlap_engines=pick(True, False)
    )
    rules = some_rules(pick, [*list(chip)[1:], *core, "engine"])
    data["cores"]["core"]["mapping"] = {"factors": pick("any", "any", "perfect"), "levels": rules}
    return memory_path(parse(data), "core")


def some_rules(pick: Pick, levels: list[str]) -> dict[str, dict[str, Any]]:
    """Rules of none, one or two levels; one of them at most is an array, as the search wants."""
    rules: dict[str, dict[str, Any]] = {}
    for _ in range(pick(0, 0, 1, 2)):
        level, rule = pick(*levels), pick(*RULES)
        if "axes" not in rule or not any("axes" in other for other in rules.values()):
            rules[level] = rule
    return rules


def a_problem(pick: Pick, path: Path) -> Contraction:
    """Matrix multiplications, batches of them, and convolutions with and without overlap."""

    def upto(most: int) -> int:
        return pick(*range(1, most + 1))

    if pick("matmul", "matmul", "conv") == "conv":
        extents = {"b": 1, "m": upto(2), "c": upto(2), "p": upto(3), "r": upto(2)}
        dims = conv_dims(upto(2), upto(2))
        more: dict[str, Any] = {"dims": dims, "weight_run": "r"}
    else:
        m, n, k = pick(*permutations([upto(7), upto(4), upto(2)]))
        extents = {"b": pick(1, 1, 2), "m": m, "n": n, "k": k}
        more = {"weight_run": pick("n", "k")}
    more["epilogue_ops"] = pick({}, {"mul": 10.0})
    return contraction(path, extents, shared_weight=pick(False, True), **more)
