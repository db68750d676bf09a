"""Single ONNX nodes and small chains of them, against closed forms of their work and bytes."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_files import floats, node, written

from kernels_ref.errors import UserError
from workloads.graph import Graph

pytest.importorskip("onnx", reason="ONNX files need the extra: pip install 'tileloom[onnx]'")

from workloads.from_onnx import OnnxError, from_onnx
from workloads.from_onnx.rules import RULES


@pytest.fixture
def graph_of(tmp_path):
    """A function that writes nodes, inputs and constants as a file and reads its graph."""

    def made(nodes, inputs, constants=None, outputs=("y",), opset=20) -> Graph:
        return from_onnx(written(tmp_path, nodes, inputs, constants or {}, outputs, opset))

    return made


def ops(graph):
    return {n.op.name: n.op for n in graph}


def kinds(graph):
    return [getattr(n.op, "function", n.op.kind) for n in graph]


def macs(graph):
    return sum(n.count * n.op.macs for n in graph)


@pytest.mark.parametrize(
    ("a", "b", "sizes"),
    [
        ((5, 7), (7, 3), {"b": 1, "m": 5, "n": 3, "k": 7}),
        ((2, 5, 7), (7, 3), {"b": 1, "m": 10, "n": 3, "k": 7}),
        ((2, 4, 5, 7), (2, 4, 7, 3), {"b": 8, "m": 5, "n": 3, "k": 7}),
        ((2, 4, 5, 7), (2, 1, 7, 3), {"b": 2, "m": 20, "n": 3, "k": 7}),  # one matrix for 4 heads
        ((5, 7), (6, 7, 3), {"b": 1, "m": 5, "n": 18, "k": 7}),
        ((7,), (7, 3), {"b": 1, "m": 1, "n": 3, "k": 7}),
    ],
)
def test_matmul_of_two_activations(graph_of, a, b, sizes):
    graph = graph_of([node("MatMul", "a b", "y")], {"a": a, "b": b})
    (op,) = ops(graph).values()
    assert op.roles() == sizes
    assert graph.params == 0


@pytest.mark.parametrize(("shape", "rows"), [((5, 7), 5), ((2, 5, 7), 10)])
def test_a_constant_matrix_is_a_weight_and_an_added_row_its_bias(graph_of, shape, rows):
    nodes = [node("MatMul", "x w", "p"), node("Add", "p c", "y")]
    graph = graph_of(nodes, {"x": shape}, {"w": floats(7, 3), "c": floats(3)})
    (op,) = ops(graph).values()
    assert op.macs == rows * 3 * 7
    assert op.vector_ops == {"add": rows * 3}
    assert graph.params == 7 * 3 + 3
    assert graph.weight_bytes == 4 * graph.params
    assert graph.bytes_of(op)["y"] == 4 * rows * 3


def test_a_row_that_others_see_too_is_no_bias(graph_of):
    nodes = [
        node("MatMul", "x w", "p"),
        node("Add", "p c", "q"),
        node("Mul", "p q", "y"),
    ]
    graph = graph_of(nodes, {"x": (5, 7)}, {"w": floats(7, 3), "c": floats(3)})
    assert kinds(graph) == ["einsum", "add", "mul"]


def test_a_constant_on_the_left_is_the_weight(graph_of):
    graph = graph_of([node("MatMul", "w x", "y")], {"x": (7, 3)}, {"w": floats(5, 7)})
    (op,) = ops(graph).values()
    assert (op.inputs, op.roles()) == (("x", "w"), {"b": 1, "m": 3, "n": 5, "k": 7})


@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm_with_a_transposed_weight_and_a_bias(graph_of, transposed):
    w = floats(3, 7) if transposed else floats(7, 3)
    nodes = [node("Gemm", "x w c", "y", transB=transposed)]
    graph = graph_of(nodes, {"x": (5, 7)}, {"w": w, "c": floats(3)})
    (op,) = ops(graph).values()
    assert op.roles() == {"b": 1, "m": 5, "n": 3, "k": 7}
    assert op.vector_ops == {"add": 15}
    assert graph.tensors["w"].shape == (3, 7)


def test_einsum_with_a_weight_and_between_activations(graph_of):
    nodes = [node("Einsum", "x w", "h", equation="bte,hed->bhtd"), node("Relu", "h", "y")]
    graph = graph_of(nodes, {"x": (2, 5, 8)}, {"w": floats(4, 8, 3)})
    op = graph.nodes[0].op
    assert (op.roles(), graph.params) == ({"b": 1, "m": 10, "n": 12, "k": 8}, 96)
    nodes = [node("Einsum", "q k", "y", equation="bhqd,bhkd->bhqk")]
    (op,) = ops(graph_of(nodes, {"q": (2, 4, 5, 8), "k": (2, 4, 6, 8)})).values()
    assert op.roles() == {"b": 8, "m": 5, "n": 6, "k": 8}


@pytest.mark.parametrize(
    ("equation", "message"),
    [("...ij,jk->...ik", "names every rank"), ("ij,jk->i", "is in one operand only")],
)
def test_einsums_that_are_not_read(graph_of, equation, message):
    with pytest.raises(OnnxError, match=message):
        graph_of([node("Einsum", "a b", "y", equation=equation)], {"a": (3, 4), "b": (4, 5)})


def test_a_fused_product_is_scaled(graph_of):
    nodes = [node("ms.FusedMatMul", "q k", "y", alpha=0.5, transB=1)]
    graph = graph_of(nodes, {"q": (2, 5, 8), "k": (2, 6, 8)})
    assert kinds(graph) == ["einsum", "mul"]
    assert graph.nodes[0].op.roles() == {"b": 2, "m": 5, "n": 6, "k": 8}
    assert graph.nodes[1].op.vector_ops == {"mul": 60}


def test_a_scatter_copies_the_whole(graph_of):
    nodes = [node("ScatterND", "x i u", "y")]
    given = {"x": (9, 4), "i": ((2, 1), "INT64"), "u": (2, 4)}
    graph = graph_of(nodes, given)
    (op,) = ops(graph).values()
    assert (op.kind, op.inputs, op.run_elements) == ("move", ("x", "u"), 4)
    assert graph.tensors["y"].elements == 36


def test_gemm_adds_a_matrix_apart(graph_of):
    graph = graph_of([node("Gemm", "x w c", "y")], {"x": (5, 7), "c": (5, 3)}, {"w": floats(7, 3)})
    assert kinds(graph) == ["einsum", "add"]
    assert graph.nodes[1].op.vector_ops == {"add": 15}


@pytest.mark.parametrize(
    ("attributes", "image", "kernel", "positions"),
    [
        ({}, (2, 6, 9, 9), (4, 6, 3, 3), 7 * 7),
        ({"strides": [2, 2], "pads": [1, 1, 1, 1]}, (2, 6, 9, 9), (4, 6, 3, 3), 5 * 5),
        ({"dilations": [2, 2]}, (2, 6, 9, 9), (4, 6, 3, 3), 5 * 5),
        ({"auto_pad": "SAME_UPPER", "strides": [2, 2]}, (2, 6, 9, 9), (4, 6, 3, 3), 5 * 5),
        ({"group": 3}, (2, 6, 9, 9), (6, 2, 3, 3), 7 * 7),
        ({"strides": [2], "pads": [1, 0]}, (2, 6, 9), (4, 6, 3), 4),
    ],
)
def test_convolutions(graph_of, attributes, image, kernel, positions):
    graph = graph_of([node("Conv", "x w", "y", **attributes)], {"x": image}, {"w": floats(*kernel)})
    (op,) = ops(graph).values()
    groups = attributes.get("group", 1)
    taps = int(np.prod(kernel[1:]))
    assert op.roles() == {"b": groups, "m": 2 * positions, "n": kernel[0] // groups, "k": taps}
    assert op.window.kernel == kernel[2:]
    assert op.window.channels == 6
    assert graph.params == np.prod(kernel)
    assert graph.tensors["y"].elements == 2 * kernel[0] * positions


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_pools_do_a_tap_each(graph_of, op):
    nodes = [node(op, "x", "y", kernel_shape=[3, 3], strides=[2, 2])]
    (pool,) = ops(graph_of(nodes, {"x": (1, 4, 9, 9)})).values()
    outputs = 4 * 4 * 4
    classes = {"compare"} if op == "MaxPool" else {"add", "mul"}
    assert pool.vector_ops == dict.fromkeys(classes, 9 * outputs)


def test_a_global_pool_takes_the_whole_area(graph_of):
    (pool,) = ops(graph_of([node("GlobalAveragePool", "x", "y")], {"x": (2, 4, 9, 9)})).values()
    assert pool.vector_ops == {"add": 2 * 4 * 81, "mul": 2 * 4 * 81}


@pytest.mark.parametrize(
    ("op", "function"),
    [("Softmax", "softmax"), ("LayerNormalization", "layernorm"), ("LpNormalization", "l2norm")],
)
def test_row_functions_see_rows_of_their_axis(graph_of, op, function):
    inputs = "x s" if op == "LayerNormalization" else "x"
    nodes = [node(op, inputs, "y", axis=-1)]
    (made,) = ops(graph_of(nodes, {"x": (2, 5, 7)}, {"s": floats(7)})).values()
    assert (made.function, made.rows, made.width) == (function, 10, 7)


def test_softmax_along_another_axis(graph_of):
    (made,) = ops(graph_of([node("Softmax", "x", "y", axis=1)], {"x": (2, 5, 7)})).values()
    assert (made.rows, made.width) == (14, 5)


def test_rms_norms(graph_of):
    nodes = [node("RMSNormalization", "x s", "y", axis=-1)]
    (made,) = ops(graph_of(nodes, {"x": (2, 7)}, {"s": floats(7)}, opset=23)).values()
    assert (made.function, made.rows, made.width) == ("rmsnorm", 2, 7)


def test_a_norm_after_a_sum_gives_both(graph_of):
    nodes = [
        node("ms.SkipLayerNormalization", "x r g b", "n - - s", epsilon=1e-5),
        node("Add", "n s", "y"),
    ]
    given = {"x": (2, 5, 8), "r": (2, 5, 8)}
    graph = graph_of(nodes, given, {"g": floats(8), "b": floats(8)})
    assert kinds(graph) == ["add", "layernorm", "add"]
    assert graph.nodes[2].op.inputs == ("n", "s")


@pytest.mark.parametrize(("exponent", "work"), [(2, {"mul": 6}), (3, {"mul": 12})])
def test_small_powers_are_products(graph_of, exponent, work):
    graph = graph_of([node("Pow", "x e", "y")], {"x": (2, 3)}, {"e": np.float32(exponent)})
    (made,) = ops(graph).values()
    assert made.vector_ops == work
    assert made.inputs == ("x",)


def test_reductions_add_every_element(graph_of):
    constants = {"axes": np.array([1, 2])}
    nodes = [node("ReduceMean", "x axes", "y", keepdims=0)]
    (made,) = ops(graph_of(nodes, {"x": (2, 5, 7)}, constants)).values()
    assert made.vector_ops == {"add": 70, "mul": 2}


def test_views_are_free_and_reach_the_multiplication(graph_of):
    constants = {"s": np.array([2, 5, 4, 8]), "w": floats(2, 4, 8, 3)}
    nodes = [
        node("Reshape", "x s", "heads"),
        node("Transpose", "heads", "t", perm=[0, 2, 1, 3]),
        node("MatMul", "t w", "y"),
    ]
    (op,) = ops(graph_of(nodes, {"x": (2, 5, 32)}, constants)).values()
    assert op.inputs[0] == "x"
    assert op.macs == 2 * 4 * 5 * 8 * 3


def test_a_reshape_against_the_order_in_memory_is_a_copy(graph_of):
    nodes = [
        node("Relu", "x", "r"),
        node("Transpose", "r", "t", perm=[1, 0, 2]),
        node("Reshape", "t s", "flat"),
        node("Relu", "flat", "y"),
    ]
    graph = graph_of(nodes, {"x": (4, 5, 8)}, {"s": np.array([5, 32])})
    assert kinds(graph) == ["relu", "move", "relu"]
    assert graph.nodes[1].op.run_elements == 8


def test_a_part_is_copied_for_a_function_and_not_for_a_multiplication(graph_of):
    nodes = [
        node("Relu", "x", "r"),
        node("Split", "r", "a b", axis=1, num_outputs=2),
        node("Sigmoid", "a", "y"),
        node("MatMul", "b w", "z"),
    ]
    graph = graph_of(nodes, {"x": (4, 16)}, {"w": floats(8, 3)}, outputs=("y", "z"))
    assert kinds(graph) == ["relu", "move", "sigmoid", "einsum"]
    copy, product = graph.nodes[1].op, graph.nodes[3].op
    assert graph.tensors[copy.output].elements == 4 * 8
    assert product.inputs[0] == "r"
    assert product.macs == 4 * 8 * 3


def test_a_concatenation_copies_everything(graph_of):
    nodes = [node("Concat", "a b", "y", axis=1)]
    graph = graph_of(nodes, {"a": (3, 4), "b": (3, 6)})
    (op,) = ops(graph).values()
    assert (op.kind, op.inputs, op.run_elements) == ("move", ("a", "b"), 4)
    assert graph.tensors["y"].elements == 30


def test_repeated_elements_are_written_each_time(graph_of):
    nodes = [
        node("Unsqueeze", "x axis", "u"),
        node("Expand", "u wide", "e"),
        node("Reshape", "e flat", "r"),
        node("Relu", "r", "y"),
    ]
    constants = {"axis": np.array([1]), "wide": np.array([2, 4, 8]), "flat": np.array([8, 8])}
    graph = graph_of(nodes, {"x": (2, 8)}, constants)
    assert kinds(graph) == ["copy", "relu"]
    assert graph.nodes[0].op.vector_ops == {"shuffle": 64}


def test_an_embedding_is_gathered_and_a_tied_head_streams_it(graph_of):
    nodes = [
        node("Gather", "table ids", "e"),
        node("Transpose", "table", "t", perm=[1, 0]),
        node("MatMul", "e t", "y"),
    ]
    graph = graph_of(nodes, {"ids": ((2, 5), "INT64")}, {"table": floats(50, 8)})
    rows, head = graph.nodes[0].op, graph.nodes[1].op
    assert (rows.rows, rows.width) == (10, 8)
    assert head.inputs == ("e", "table")
    assert head.macs == 10 * 8 * 50
    assert graph.params == 400


def test_what_shapes_make_is_folded(graph_of):
    nodes = [
        node("Shape", "x", "s"),
        node("Gather", "s zero", "n"),
        node("Unsqueeze", "n zero", "n1"),
        node("Concat", "n1 rest", "to", axis=0),
        node("Reshape", "x to", "r"),
        node("Relu", "r", "y"),
    ]
    constants = {"zero": np.array([0]), "rest": np.array([-1])}
    nodes[2] = node("Reshape", "n rest", "n1")
    graph = graph_of(nodes, {"x": (3, 4, 5)}, constants)
    assert kinds(graph) == ["relu"]
    assert graph.tensors["y"].shape == (3, 20)


def test_casts_convert_and_to_the_same_type_do_nothing(graph_of):
    nodes = [node("Cast", "x", "a", to=1), node("Cast", "a", "b", to=10), node("Relu", "b", "y")]
    graph = graph_of(nodes, {"x": (3, 4)})
    assert kinds(graph) == ["convert", "relu"]
    assert graph.tensors["y"].format.name == "fp16"


def test_resize(graph_of):
    nodes = [node("Resize", "x - - sizes", "y", mode="nearest")]
    graph = graph_of(nodes, {"x": (1, 2, 4, 4)}, {"sizes": np.array([1, 2, 8, 8])})
    assert kinds(graph) == ["copy"]
    assert graph.nodes[0].op.vector_ops == {"shuffle": 128}


@pytest.mark.parametrize("halved_first", [True, False])
def test_gelu_spelled_out_is_one_function(graph_of, halved_first):
    nodes = [
        node("Div", "x root", "d"),
        node("Erf", "d", "e"),
        node("Add", "e one", "p"),
    ]
    if halved_first:
        nodes += [node("Mul", "x half", "h"), node("Mul", "h p", "y")]
    else:
        nodes += [node("Mul", "x p", "h"), node("Mul", "h half", "y")]
    constants = {"root": np.float32(2**0.5), "one": np.float32(1), "half": np.float32(0.5)}
    assert kinds(graph_of(nodes, {"x": (2, 3)}, constants)) == ["gelu"]


def test_gelu_whose_inside_others_see_is_not_folded(graph_of):
    nodes = [
        node("Div", "x root", "d"),
        node("Erf", "d", "e"),
        node("Add", "e one", "p"),
        node("Mul", "x p", "h"),
        node("Mul", "h half", "y"),
    ]
    constants = {"root": np.float32(2**0.5), "one": np.float32(1), "half": np.float32(0.5)}
    graph = graph_of(nodes, {"x": (2, 3)}, constants, outputs=("y", "e"))
    assert kinds(graph) == ["div", "erf", "add", "mul", "mul"]


NORM = {
    "e": np.float32(1e-5),
    "two": np.float32(2),
    "one": np.float32(1),
    "w": floats(8),
    "b": floats(8),
}


def rms_norm(x, ends):
    return [
        node("Pow", f"{x} two", "sq"),
        node("ReduceMean", "sq", "ms", axes=[-1]),
        node("Add", "ms e", "me"),
        node("Sqrt", "me", "root"),
        *ends,
    ]


@pytest.mark.parametrize("how", ["reciprocal", "one over", "divided"])
def test_rms_norm_spelled_out_is_one_function(graph_of, how):
    ends = {
        "reciprocal": [node("Reciprocal", "root", "r"), node("Mul", "x r", "n")],
        "one over": [node("Div", "one root", "r"), node("Mul", "r x", "n")],
        "divided": [node("Div", "x root", "n")],
    }[how]
    nodes = [*rms_norm("x", ends), node("Mul", "w n", "y")]
    graph = graph_of(nodes, {"x": (2, 8)}, NORM, opset=17)
    assert kinds(graph) == ["rmsnorm"]
    assert graph.nodes[0].op.inputs == ("x", "w")


def test_layer_norm_spelled_out_is_one_function(graph_of):
    nodes = [
        node("ReduceMean", "x", "mean", axes=[-1]),
        node("Sub", "x mean", "d"),
        *rms_norm("d", [node("Div", "d root", "n")]),
        node("Mul", "n w", "s"),
        node("Add", "s b", "y"),
    ]
    graph = graph_of(nodes, {"x": (2, 8)}, NORM, opset=17)
    assert kinds(graph) == ["layernorm"]
    assert graph.nodes[0].op.inputs == ("x", "w", "b")


def test_a_norm_whose_inside_others_see_is_not_folded(graph_of):
    nodes = [*rms_norm("x", [node("Div", "x root", "n")]), node("Mul", "n w", "y")]
    graph = graph_of(nodes, {"x": (2, 8)}, NORM, outputs=("y", "root"), opset=17)
    assert kinds(graph) == ["mul", "reduce_mean", "add", "sqrt", "div", "mul"]


def test_silu_spelled_out_is_one_function(graph_of):
    nodes = [node("Sigmoid", "x", "s"), node("Mul", "x s", "y")]
    assert kinds(graph_of(nodes, {"x": (2, 8)})) == ["silu"]


def test_attention_of_opset_23(graph_of):
    nodes = [node("Attention", "q k v", "y", q_num_heads=8, kv_num_heads=2, is_causal=1)]
    graph = graph_of(nodes, {"q": (2, 6, 64), "k": (2, 6, 16), "v": (2, 6, 16)}, opset=23)
    (op,) = ops(graph).values()
    assert (op.q_heads, op.kv_heads, op.head_dim, op.causal) == (8, 2, 8, True)
    assert op.macs == 2 * 8 * (6 * 7 // 2) * 16


def test_a_mask_is_added_to_every_score(graph_of):
    nodes = [node("Attention", "q k v mask", "y")]
    given = {"q": (2, 8, 6, 4), "k": (2, 2, 9, 4), "v": (2, 2, 9, 4), "mask": (6, 9)}
    (op,) = ops(graph_of(nodes, given, opset=23)).values()
    assert op.inputs == ("q", "k", "v", "mask")
    pairs = 2 * 8 * 6 * 9
    assert op.macs == pairs * 8
    assert op.vector_ops["add"] == 3 * pairs


def test_multi_head_attention(graph_of):
    nodes = [node("ms.MultiHeadAttention", "q k v", "y", num_heads=4)]
    graph = graph_of(nodes, {"q": (2, 6, 32), "k": (2, 9, 32), "v": (2, 9, 32)})
    (op,) = ops(graph).values()
    assert not op.causal
    assert op.macs == 2 * 4 * 6 * 9 * (8 + 8)
    assert graph.tensors["y"].shape == (2, 6, 32)


def test_packed_attention_is_a_projection_and_attention(graph_of):
    nodes = [node("ms.Attention", "x w b", "y", num_heads=4, unidirectional=1)]
    graph = graph_of(nodes, {"x": (2, 6, 32)}, {"w": floats(32, 96), "b": floats(96)})
    projection, attention = (n.op for n in graph)
    assert projection.macs == 12 * 32 * 96
    assert attention.macs == 2 * 4 * (6 * 7 // 2) * 16
    assert graph.params == 32 * 96 + 96


def test_grouped_query_attention_appends_to_its_cache(graph_of):
    cache = (1, 2, 15, 8)
    nodes = [
        node(
            "ms.GroupQueryAttention", "q k v pk pv len total", "y nk nv", num_heads=8,
            kv_num_heads=2, do_rotary=1,
        ),
    ]  # fmt: skip
    given = {"q": (1, 1, 64), "k": (1, 1, 16), "v": (1, 1, 16), "pk": cache, "pv": cache}
    constants = {"len": np.array([15], np.int32), "total": np.int32(16)}
    graph = graph_of(nodes, given, constants, outputs=("y", "nk", "nv"))
    assert kinds(graph) == ["rope", "rope", "move", "move", "attention"]
    op = graph.nodes[-1].op
    assert (op.q_len, op.kv_len) == (1, 16)
    assert op.macs == 8 * 16 * 16
    assert graph.kv_bytes == 2 * 2 * 16 * 8 * 4


def test_identical_layers_stand_once_with_a_count(graph_of):
    nodes, constants = [], {}
    source = "x"
    for i in range(5):
        constants[f"w{i}"] = floats(8, 8) + i
        nodes += [node("MatMul", f"{source} w{i}", f"p{i}"), node("Relu", f"p{i}", f"r{i}")]
        source = f"r{i}"
    nodes.append(node("Softmax", source, "y"))
    graph = graph_of(nodes, {"x": (3, 8)}, constants)
    assert [(n.op.name, n.count) for n in graph] == [
        ("matmul_p0", 5),
        ("relu_r0", 5),
        ("softmax_y", 1),
    ]
    assert graph.nodes[2].op.inputs == ("r0",)
    assert graph.params == 5 * 64
    assert macs(graph) == 5 * 3 * 64


def chain(weights, reads):
    """Three layers with these weights, and an addition of what it reads."""
    nodes, source = [], "x"
    for i, weight in enumerate(weights):
        nodes += [node("MatMul", f"{source} {weight}", f"p{i}"), node("Relu", f"p{i}", f"r{i}")]
        source = f"r{i}"
    constants = {name: floats(8, 8) + i for i, name in enumerate(dict.fromkeys(weights))}
    return [*nodes, node("Add", reads, "y")], {"x": (3, 8)}, constants


def test_a_weight_that_all_layers_share_is_stored_once(graph_of):
    graph = graph_of(*chain(["w", "w", "w"], "r2 x"))
    assert [n.count for n in graph] == [3, 3, 1]
    assert (graph.params, macs(graph)) == (64, 3 * 3 * 64)


@pytest.mark.parametrize(
    ("weights", "reads"), [(["v", "w", "w"], "r2 x"), (["u", "v", "w"], "r2 r0")]
)
def test_layers_that_are_not_alike_or_read_later_stay_apart(graph_of, weights, reads):
    graph = graph_of(*chain(weights, reads))
    assert macs(graph) == 3 * 3 * 64
    assert graph.params == 64 * len(set(weights))
    if reads == "r2 r0":
        assert [n.count for n in graph] == [1, 2, 2, 1] or {n.count for n in graph} == {1}
    assert sum(n.count for n in graph) == 7


def test_every_unknown_op_is_named_at_once(graph_of):
    nodes = [
        node("Det", "x", "a"),
        node("Relu", "a", "b"),
        node("NonZero", "b", "c"),
        node("Det", "x", "y"),
    ]
    with pytest.raises(OnnxError) as refused:
        graph_of(nodes, {"x": (3, 3)})
    lines = str(refused.value).splitlines()
    assert lines[0].endswith("model.onnx: no rule for 2 type(s) of op; nothing is left out:")
    assert lines[1:] == ["  Det: det_a, det_y", "  NonZero: nonzero_c"]


def test_open_sizes_are_asked_for_and_given(tmp_path):
    given = {"x": ("batch", 4), "z": ("batch", 4)}
    path = written(tmp_path, [node("Add", "x z", "y")], given, {}, ("y",))
    with pytest.raises(OnnxError, match=r"sizes are open: batch; give sizes .*\?batch=1"):
        from_onnx(path)
    assert from_onnx(f"{path}?batch=6").tensors["y"].shape == (6, 4)
    with pytest.raises(OnnxError, match="no open size 'batches'; did you mean 'batch'"):
        from_onnx(f"{path}?batch=2,batches=3")
    with pytest.raises(OnnxError, match="'batch=none' gives no size; write NAME=NUMBER"):
        from_onnx(f"{path}?batch=none")


def test_a_shape_that_follows_from_data_is_named(graph_of):
    nodes = [node("Reshape", "x s", "r"), node("Relu", "r", "y")]
    with pytest.raises(OnnxError, match="'r', made by reshape_r"):
        graph_of(nodes, {"x": (3, 4), "s": ((2,), "INT64")})


def test_shapes_that_disagree_are_named(graph_of):
    with pytest.raises(OnnxError, match="matmul_y: shapes disagree"):
        graph_of([node("MatMul", "a b", "y")], {"a": (3, 4), "b": (5, 6)})


def test_a_mode_that_is_not_modeled_is_refused(graph_of):
    nodes = [node("Resize", "x - - sizes", "y", mode="cubic")]
    with pytest.raises(OnnxError, match="Resize of mode 'cubic'; known: nearest, linear"):
        graph_of(nodes, {"x": (1, 2, 4, 4)}, {"sizes": np.array([1, 2, 8, 8])})


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read: No such file"), (b"\xff\xff not onnx", "is no ONNX file")],
)
def test_files_that_are_none(tmp_path, content, message):
    path = tmp_path / "bad.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        from_onnx(str(path))


def test_every_rule_is_of_an_op_that_exists():
    from onnx import defs

    known = {schema.name for schema in defs.get_all_schemas()}
    ours = {name for name in RULES if ":" not in name}
    # onnxruntime writes these into ONNX's own domain
    extra = {name for name in ours - known if "Simplified" in name or name.startswith("Skip")}
    assert ours - known == extra
