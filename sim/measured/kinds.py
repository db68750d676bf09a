"""Kinds of measured ops: which columns say what was measured, and the graph that it was.

A kind is a module with a function from a case to the graphs of its kernels, one after the other,
and a line in OPS. What a kernel's formats were is said by the column dtype (DTYPES).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from accel_models.explain import nearest
from accel_models.path import Path
from kernels_ref.errors import UserError
from sim.measured.attention import attention_graphs
from sim.measured.cases import Case
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
from sim.measured.library_vector import vector_predictions
from sim.measured.moe import COLUMNS as MOE_COLUMNS
from sim.measured.moe import moe_graphs
from sim.measured.power import power_graphs
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
    """`columns` that must be there, beside device and latency_us; those of `shown` say which row it
    is."""

    columns: tuple[str, ...]
    graphs: Callable[[Case], list[Graph]]
    shown: tuple[str, ...]
    library: Library | None = None
    measured: str = "latency_us"  # the column that is judged: this, or power_w


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
        measured="power_w",
    ),
    "layer": Kind(
        LAYER_COLUMNS,
        layer_graphs,
        ("model", "tp", "batch", "q_len", "kv_len", "op"),
        Library("matmul", layer_predictions),
    ),
}
ALWAYS = ("device", "latency_us")


def kind_of(file: str, columns: tuple[str, ...], asked: str | None) -> str:
    """Which kind of op a file with these columns has. Raises UserError if it has not the columns of
    the one asked for, or of none."""
    if asked is not None:
        if asked not in OPS:
            raise UserError(f"--op '{asked}': {nearest(asked, list(OPS))}")
        if missing := _missing(asked, columns):
            raise UserError(f"{file}: no column {', '.join(missing)}, which rows of {asked} need")
        return asked
    found = [name for name in OPS if not _missing(name, columns)]
    if not found:
        wanted = "; ".join(f"{name}: {', '.join(kind.columns)}" for name, kind in OPS.items())
        raise UserError(
            f"{file}: its columns are those of no kind of op. All need {', '.join(ALWAYS)}; "
            f"beside them {wanted}"
        )
    return found[0]


def _missing(name: str, columns: tuple[str, ...]) -> list[str]:
    return [column for column in (*ALWAYS, *OPS[name].columns) if column not in columns]
