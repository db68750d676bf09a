"""Measured layers: their parts, and the sum of what those take."""

import pytest

from accel_models.path import memory_path
from accel_models.read_design import read_design
from kernels_ref.errors import UserError
from sim.measured.cases import Case, RowError
from sim.measured.gemm import COPIES
from sim.measured.layer import layer_graphs, parts_of
from sim.measured.library import Predicted
from sim.measured.library_layer import layer_predictions

LLAMA, GPT = "meta-llama/Meta-Llama-3-8B", "GPT-3-175B layer"
SUM = "SUM(attn_pre_proj+attn_rope+mlp_act)"


def case(model: str, op: str, **more) -> Case:
    values = {"device": "X", "model": model, "n_gpus": 4, "tp": 4, "batch": 8, "q_len": 1,
              "kv_len": 3072, "dtype": "fp16", "op": op, "latency_us": 1}  # fmt: skip
    values["source"] = "vidur:x"
    return Case("rows.csv", 2, {name: str(value) for name, value in (values | more).items()})


def shapes(*parts) -> list[tuple[str, ...]]:
    keys = {
        "gemm": "MNK",
        "batched": (COPIES, *"MNK"),
        "vector": ("op", "d0", "d1"),
        "comm": ("op", "bytes"),
    }
    return [tuple(p.case.values[key] for key in keys[p.kind]) for p in parts]


def test_a_chip_has_its_share():
    """8 of 32 query heads, 2 of 8 key heads, 14336 / 4 of the inner width."""
    found = shapes(*parts_of(case(LLAMA, SUM, batch="", q_len=16)))
    qkv = (8 + 2 * 2) * 128
    assert found == [
        ("16", str(qkv), "4096"),
        ("rope", "16", str((8 + 2) * 128)),
        ("silu_mul", "16", "3584"),
    ]


def test_a_gpt_layer_has_attention_without_flash():
    heads, tokens = 8 * 96 // 4, 8
    found = shapes(*parts_of(case(GPT, "Q_mul_K")), *parts_of(case(GPT, "Softmax")))
    assert found == [(str(heads), "1", "3072", "128"), ("softmax", str(heads), "3072")]
    assert shapes(*parts_of(case(GPT, "AllReduce_MHA"))) == [
        ("all_reduce", str(tokens * 12288 * 2))
    ]
    every = parts_of(case(GPT, "TOTAL_LAYER(sum)"))
    assert len(every) == 3 + 11  # queries, keys and values by themselves; two norms, two sums


def test_a_sum_is_the_sum_of_its_parts():
    path = memory_path(read_design("a100_sxm"), "sm")
    names = ("attn_pre_proj", "attn_rope", "mlp_act")
    whole, *parts = layer_predictions(
        [case(LLAMA, SUM), *(case(LLAMA, f"SUM({name})") for name in names)], path
    )
    assert whole.seconds == pytest.approx(sum(part.seconds for part in parts))


def test_every_part_is_predicted_by_library_and_by_graph():
    path = memory_path(read_design("a100_sxm"), "sm")
    (total,) = layer_predictions([case(GPT, "TOTAL_LAYER(sum)", source="llmcompass:x")], path)
    assert isinstance(total, Predicted)
    kinds = {node.op.kind for g in layer_graphs(case(GPT, "TOTAL_LAYER(sum)")) for node in g}
    assert kinds == {"einsum", "vector", "collective"}


def test_what_is_unknown_is_said():
    with pytest.raises(UserError, match="model: no layer 'GPT-4 layer'"):
        parts_of(case("GPT-4 layer", "GeLU"))
    with pytest.raises(UserError, match="op: no part 'GeLUU' of a layer; did you mean 'GeLU'"):
        parts_of(case(GPT, "GeLUU"))
    with pytest.raises(RowError, match=r"rows\.csv:2: tp: 96 is not divided by 5"):
        parts_of(case(GPT, "Q_mul_K", tp=5))
    path = memory_path(read_design("a100_sxm"), "sm")
    (why,) = layer_predictions([case("GPT-4 layer", "GeLU")], path)
    assert why.startswith("model: no layer")
    path = memory_path(read_design("tpu_v4"), "tensorcore")
    (why,) = layer_predictions([case(LLAMA, SUM)], path)
    assert why == "tpu_v4: its library lacks `matmul` or `vector`"
