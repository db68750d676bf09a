"""Kinds of measured ops: which columns say what was measured, and the graph that it was.

A kind is a module with a function from a case to the graphs of its kernels, one after the other,
and a line in OPS. What a kernel's formats were is said by the column dtype (DTYPES).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from accel_models.explain import nearest
from accel_models.path import Path
from kernels_ref.errors import UserError
from sim.measured.attention import attention_graphs
from sim.measured.cases import QUANTITY, Case
from sim.measured.comm import comm_graphs
from sim.measured.gemm import gemm_graphs
from sim.measured.layer import COLUMNS as LAYER_COLUMNS
from sim.measured.layer import layer_graphs
from sim.measured.library import Answer
from sim.measured.library_attention import attention_predictions
from sim.measured.library_comm import comm_predictions
from sim.measured.library_gemm import gemm_predictions
from sim.measured.library_layer import layer_predictions
from sim.measured.library_moe import moe_predictions
from sim.measured.library_serving import serving_predictions
from sim.measured.library_vector import vector_predictions
from sim.measured.moe import COLUMNS as MOE_COLUMNS
from sim.measured.moe import moe_graphs
from sim.measured.power import power_graphs
from sim.measured.served import COLUMNS as SERVING_COLUMNS
from sim.measured.served import serving_graphs
from sim.measured.vector import vector_graphs
from workloads.graph import Graph

LINKS = "links"  # a block that is no cores': a link says what libraries reach over it


@dataclass(frozen=True)
class Library:
    """How cases of a kind are predicted where the cores' kernel library has `block` of it, or for
    LINKS where a link has a library."""

    block: str
    predict: Callable[[Sequence[Case], Path], list[Answer]]


@dataclass(frozen=True)
class Kind:
    """`columns` that must be there, beside device and those of `needs`; those of `shown` say which
    row it is. Each of `measured` is judged; they have one unit."""

    columns: tuple[str, ...]
    graphs: Callable[[Case], list[Graph]]
    shown: tuple[str, ...]
    library: Library | None = None
    measured: tuple[str, ...] = ("latency_us",)
    needs: tuple[str, ...] = ("latency_us",)


OPS: dict[str, Kind] = {
    "gemm": Kind(
        ("dtype", "M", "N", "K"),
        gemm_graphs,
        ("dtype", "M", "N", "K"),
        Library("matmul", gemm_predictions),
    ),
    "attention": Kind(
        ("phase", "batch", "q_heads", "kv_heads", "head_dim", "seq_len", "q_dtype", "kv_dtype"),
        attention_graphs,
        ("phase", "batch", "q_heads", "kv_heads", "head_dim", "seq_len", "kv_dtype"),
        Library("attention", attention_predictions),
    ),
    "vector": Kind(
        ("op", "dtype", "d0", "d1"),
        vector_graphs,
        ("op", "dtype", "d0", "d1"),
        Library("vector", vector_predictions),
    ),
    "comm": Kind(
        ("n_gpus", "bytes", "dtype", "op"),
        comm_graphs,
        ("op", "n_gpus", "bytes"),
        Library(LINKS, comm_predictions),
    ),
    "moe": Kind(
        MOE_COLUMNS,
        moe_graphs,
        ("dtype", "num_tokens", "hidden", "inter", "num_experts", "moe_ep", "distribution"),
        Library("experts", moe_predictions),
    ),
    "power": Kind(
        ("dtype", "M", "N", "K", "power_w"),
        power_graphs,
        ("dtype", "M", "N", "K"),
        measured=("power_w",),
    ),
    "layer": Kind(
        LAYER_COLUMNS,
        layer_graphs,
        ("model", "tp", "batch", "q_len", "kv_len", "op"),
        Library("matmul", layer_predictions),
    ),
    "serving": Kind(
        SERVING_COLUMNS,
        serving_graphs,
        (QUANTITY, "backend", "model", "gemm_quant_mode", "isl", "osl", "batch_size", "tp_size"),
        Library("matmul", serving_predictions),
        measured=("ttft_ms", "tpot_ms"),
        needs=("ttft_ms", "tpot_ms"),
    ),
}


def about(cases: Iterable[Case], kind: Kind) -> Iterator[Case]:
    """Every case; where several columns are judged, a case for each that says which."""
    for case in cases:
        if len(kind.measured) == 1 or QUANTITY in case.values:
            yield case
        else:
            for name in kind.measured:
                yield replace(case, values={**case.values, QUANTITY: name})


def judged_column(case: Case, kind: Kind) -> str:
    """Which of `kind.measured` the case is about."""
    return case.values.get(QUANTITY, kind.measured[0])


def kind_of(file: str, columns: tuple[str, ...], asked: str | None) -> str:
    """Which kind of op a file with these columns has. Raises UserError if it has not the columns of
    the one asked for, or of none."""
    if asked is not None:
        if asked not in OPS:
            raise UserError(f"--op '{asked}': {nearest(asked, list(OPS))}")
        if _missing(asked, columns):
            raise UserError(_incomplete(file, columns, asked))
        return asked
    found = [name for name in OPS if not _missing(name, columns)]
    if found:
        return found[0]
    shares = {n: sum(c in columns for c in k.columns) / len(k.columns) for n, k in OPS.items()}
    closest = max(shares, key=shares.__getitem__)
    if shares[closest] >= 0.5:
        raise UserError(_incomplete(file, columns, closest))
    wanted = "".join(
        f"\n  {name}: {', '.join((*kind.needs, *kind.columns))}" for name, kind in OPS.items()
    )
    raise UserError(
        f"{file}:1: its columns are those of no kind of op: {', '.join(columns)}. All need "
        f"device; beside it{wanted}"
    )


def _missing(name: str, columns: tuple[str, ...]) -> list[str]:
    kind = OPS[name]
    return [c for c in ("device", *kind.needs, *kind.columns) if c not in columns]


def _incomplete(file: str, columns: tuple[str, ...], op: str) -> str:
    """Which columns of an op's are not there, and which of the others may be meant."""
    missing = _missing(op, columns)
    needed = {"device", *OPS[op].needs, *OPS[op].columns}
    others = {column.lower(): column for column in columns if column not in needed}
    near = {c: get_close_matches(c.lower(), list(others), n=1, cutoff=0.8) for c in missing}
    meant = [f"'{others[close[0]]}' to {name}" for name, close in near.items() if close]
    unit = " (microseconds)" if near.get("latency_us") else ""
    fix = f"; rename {', '.join(meant)}{unit}" if meant else ""
    return f"{file}:1: no column {', '.join(missing)}, which rows of {op} need{fix}"
