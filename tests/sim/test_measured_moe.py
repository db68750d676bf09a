"""Measured layers of experts: who gets rows, the graph, the library's prediction."""

import pytest

from accel_models.path import memory_path
from accel_models.read_design import read_design
from kernels_ref.errors import UserError
from mappers import map_graph
from sim.measured.cases import Case, RowError
from sim.measured.library import Predicted
from sim.measured.library_moe import moe_predictions
from sim.measured.moe import moe_graphs
from sim.measured.routing import fullest


def case(**more) -> Case:
    values = {"device": "X", "dtype": "bf16", "num_tokens": 64, "hidden": 1024, "inter": 512,
              "topk": 2, "num_experts": 8, "moe_tp": 1, "moe_ep": 1, "distribution": "balanced",
              "kernel": "moe_torch_flow", "latency_us": 1}  # fmt: skip
    return Case("rows.csv", 2, {name: str(value) for name, value in (values | more).items()})


def test_balanced_experts_get_the_same():
    assert fullest("balanced", 64, 2, 8, 1).tolist() == [16] * 8
    assert fullest("balanced", 64, 2, 8, 4).tolist() == [16] * 2
    assert fullest("balanced", 3, 1, 8, 1).tolist() == [1] * 3  # as far as there are rows


@pytest.mark.parametrize("power", ["1.01", "1.2"])
@pytest.mark.parametrize(("tokens", "picked", "experts"), [(1, 8, 256), (7, 2, 8), (4096, 8, 128)])
def test_a_power_law_deals_every_row(power, tokens, picked, experts):
    rows = fullest(f"power_law_{power}", tokens, picked, experts, 1)
    assert rows.sum() == tokens * picked
    assert rows.max() <= tokens
    assert fullest(f"power_law_{power}", tokens, picked, experts, 4).max() == rows.max()


@pytest.mark.parametrize(("tokens", "picked", "experts"), [(1, 8, 256), (16, 4, 128), (64, 8, 64)])
def test_tokens_that_pick_at_random_leave_experts_out(tokens, picked, experts):
    rows = fullest("random", tokens, picked, experts, 1)
    assert rows.sum() == tokens * picked
    assert len(rows) == pytest.approx(experts * (1 - (1 - picked / experts) ** tokens), abs=1)
    assert fullest("random", 3, 2, 2, 1).tolist() == [3, 3]  # all pick both


def test_a_steeper_law_is_less_even():
    flat, steep = (fullest(f"power_law_{p}", 4096, 8, 128, 1).max() for p in ("1.01", "1.6"))
    assert flat <= steep


def test_an_unknown_distribution_is_an_error():
    for name in ("zipf", "power_law_x", "power_law_1"):
        with pytest.raises(UserError, match="distribution: "):
            fullest(name, 8, 2, 8, 1)


def test_the_graph_is_the_layer():
    graphs = moe_graphs(case(moe_tp=2, moe_ep=2))
    kinds = [node.op.kind for graph in graphs for node in graph]
    assert kinds == ["gather", "experts", "vector", "experts", "vector"]
    up, down = (graphs[i].nodes[0].op for i in (1, 3))
    assert (up.n, up.k, up.active, up.rows) == (2 * 256, 1024, 4, 64)
    assert (down.n, down.k) == (1024, 256)
    (ungated,) = moe_graphs(case(kernel="moe_torch_flow_nongated"))[1].nodes
    assert ungated.op.n == 512
    placed = [p for graph in graphs for p in map_graph(graph, read_design("tpu_v4"))]
    assert all(float(p.cost.latency_s) > 0 for p in placed)


def test_widths_divide():
    with pytest.raises(RowError, match=r"rows\.csv:2: inter: 512 is not divided by moe_tp 3"):
        moe_graphs(case(moe_tp=3))


def test_a_library_predicts_or_says_why():
    path = memory_path(read_design("b200"), "sm")
    few = moe_predictions([case(dtype="nvfp4", kernel=k) for k in ("cutlass", "min_latency")], path)
    assert all(isinstance(answer, Predicted) for answer in few)
    assert few[1].seconds < few[0].seconds  # kernels for few rows start sooner
    (why,) = moe_predictions([case(distribution="zipf")], path)
    assert why.startswith("distribution: 'zipf'")
