"""Quantized ONNX files: formats of the tensors, work that remains, bytes by closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_files import floats, node, written

from sim import simulate
from workloads.from_onnx import OnnxError, from_onnx

pytest.importorskip("onnx", reason="ONNX files need the extra: pip install 'tileloom[onnx]'")

X, K, N = 6, 32, 16


def kinds(graph):
    return [getattr(n.op, "function", n.op.kind) for n in graph]


def qdq(weight_axis=None, zero=True):
    """Nodes x -> q -> dq, and w -> dq, a product of both, and its q -> dq; with the constants."""
    per_channel = weight_axis is not None
    shape = (N,) if per_channel else ()
    more = {"axis": weight_axis} if per_channel else {}
    nodes = [
        node("QuantizeLinear", "x s z", "xq"),
        node("DequantizeLinear", "xq s z", "xd"),
        node("DequantizeLinear", "w ws wz", "wd", **more),
        node("MatMul", "xd wd", "p"),
        node("QuantizeLinear", "p s z", "pq"),
        node("DequantizeLinear", "pq s z", "pd"),
    ]
    constants = {
        "s": np.float32(0.1),
        "z": np.int8(3 if zero else 0),
        "w": np.ones((K, N), np.int8),
        "ws": np.full(shape, 0.1, np.float32),
        "wz": np.zeros(shape, np.int8),
    }
    return nodes, constants


@pytest.mark.parametrize(("axis", "scales"), [(None, 1), (1, N)])
def test_a_folded_pair_leaves_formats_and_no_work(tmp_path, axis, scales):
    nodes, constants = qdq(axis)
    nodes[-1] = node("DequantizeLinear", "pq s z", "y")
    graph = from_onnx(written(tmp_path, nodes, {"x": (X, K)}, constants, ("y",)))
    assert kinds(graph) == ["requantize", "einsum", "dequantize"]  # of the graph's input and output
    op = graph.nodes[1].op
    activation, weight, product = (graph.tensors[t] for t in (*op.inputs, op.output))
    assert (activation.format.element, activation.format.zero_bits) == ("int8", 8)
    assert (weight.format.element, weight.format.zero_bits) == ("int8", 0)
    assert weight.shape == (N, K)
    assert graph.weight_bytes == N * K + 4 * scales
    assert product.bytes == X * N + 4 + 1  # codes, a scale and a zero-point
    assert op.macs == X * N * K


def test_a_chain_of_multiplications_passes_codes(tmp_path):
    nodes, constants = qdq()
    constants["v"] = np.ones((N, 8), np.int8)
    nodes += [
        node("DequantizeLinear", "v ws wz", "vd"),
        node("MatMul", "pd vd", "y"),
    ]
    graph = from_onnx(written(tmp_path, nodes, {"x": (X, K)}, constants, ("y",)))
    assert kinds(graph) == ["requantize", "einsum", "einsum"]
    assert graph.tensors[graph.nodes[2].op.inputs[0]].format.element == "int8"
    assert graph.tensors["y"].format.name == "fp32"


def test_functions_read_numbers(tmp_path):
    nodes, constants = qdq()
    nodes.append(node("Softmax", "pd", "y"))
    graph = from_onnx(written(tmp_path, nodes, {"x": (X, K)}, constants, ("y",)))
    assert kinds(graph) == ["requantize", "einsum", "dequantize", "softmax"]
    assert graph.nodes[2].op.vector_ops == {"convert": X * N, "add": X * N, "mul": X * N}


def test_numbers_that_others_read_too_are_quantized_apart(tmp_path):
    nodes, constants = qdq()
    nodes.append(node("Add", "pd p", "y"))
    graph = from_onnx(written(tmp_path, nodes, {"x": (X, K)}, constants, ("y",)))
    assert kinds(graph) == ["requantize", "einsum", "requantize", "dequantize", "add"]
    assert graph.tensors["p"].format.name == "fp32"


def test_a_weight_alone_is_dequantized_by_the_engine(tmp_path):
    _, constants = qdq()
    nodes = [node("DequantizeLinear", "w ws wz", "wd"), node("MatMul", "x wd", "y")]
    graph = from_onnx(written(tmp_path, nodes, {"x": (X, K)}, constants, ("y",)))
    assert kinds(graph) == ["einsum"]
    assert [graph.tensors[t].format.element for t in ("x", "w")] == ["fp32", "int8"]


def test_an_activation_alone_is_turned_into_numbers(tmp_path):
    nodes, constants = qdq()
    nodes = [*nodes[:2], node("MatMul", "xd f", "y")]
    constants["f"] = floats(K, N)
    graph = from_onnx(written(tmp_path, nodes, {"x": (X, K)}, constants, ("y",)))
    assert kinds(graph) == ["requantize", "dequantize", "einsum"]


def test_blocks_of_codes_have_a_scale_each(tmp_path):
    constants = {
        "w": np.ones((K, N), np.int8),
        "ws": np.full((K // 16, N), 0.1, np.float32),
        "wz": np.zeros((K // 16, N), np.int8),
    }
    nodes = [
        node("DequantizeLinear", "w ws wz", "wd", axis=0, block_size=16),
        node("MatMul", "x wd", "y"),
    ]
    graph = from_onnx(written(tmp_path, nodes, {"x": (X, K)}, constants, ("y",), opset=21))
    assert graph.tensors["w"].format.group == 16
    assert graph.weight_bytes == N * K + 4 * N * K // 16


@pytest.mark.parametrize("zeros", [False, True])
def test_packed_groups_of_four_bits(tmp_path, zeros):
    group, blocks = 16, K // 16
    constants = {
        "w": np.ones((N, blocks, group // 2), np.uint8),
        "s": np.ones(N * blocks, np.float32),
        "z": np.ones(N * blocks // 2, np.uint8),
    }
    names = "x w s z" if zeros else "x w s"
    nodes = [node("ms.MatMulNBits", names, "y", K=K, N=N, bits=4, block_size=group)]
    graph = from_onnx(written(tmp_path, nodes, {"x": (2, 3, K)}, constants, ("y",)))
    (op,) = (n.op for n in graph)
    assert op.macs == 6 * N * K
    bits = 4 * N * K + N * blocks * (32 + (4 if zeros else 0))
    assert graph.weight_bytes == bits // 8
    assert graph.params == N * K


def test_integer_multiplications_and_dynamic_scales(tmp_path):
    nodes = [
        node("DynamicQuantizeLinear", "x", "q s z"),
        node("MatMulInteger", "q w z wz", "sums"),
        node("Cast", "sums", "f", to=1),
        node("Mul", "f s", "y"),
    ]
    constants = {"w": np.ones((K, N), np.int8), "wz": np.int8(0)}
    graph = from_onnx(written(tmp_path, nodes, {"x": (X, K)}, constants, ("y",)))
    assert kinds(graph) == ["quantize", "einsum", "convert", "mul"]
    op = graph.nodes[1].op
    assert [graph.tensors[t].format.element for t in (*op.inputs, op.output)] == [
        "int8",
        "int8",
        "int32",
    ]


def test_operators_on_codes(tmp_path):
    nodes = [
        node("QuantizeLinear", "x s z", "xq"),
        node("QLinearMatMul", "xq s z w s wz s z", "p"),
        node("ms.QLinearAdd", "p s z r s z s z", "t"),
        node("DequantizeLinear", "t s z", "y"),
    ]
    constants = {
        "s": np.float32(0.1),
        "z": np.uint8(128),
        "w": np.ones((K, N), np.int8),
        "wz": np.int8(0),
    }
    given = {"x": (X, K), "r": ((X, N), "UINT8")}
    graph = from_onnx(written(tmp_path, nodes, given, constants, ("y",)))
    numbers = ["dequantize"] * 3  # of both operands, and of the result
    assert sorted(kinds(graph)) == ["add", *numbers, "einsum", "requantize"]
    assert graph.tensors["p"].format.element == "int8"
    assert graph.tensors["t"].bytes == X * N + 4 + 1


def test_a_convolution_on_codes_with_a_bias_of_32_bits(tmp_path):
    nodes = [
        node("QLinearConv", "x s z w s wz s z b", "p", pads=[1, 1, 1, 1]),
        node("DequantizeLinear", "p s z", "y"),
    ]
    constants = {
        "s": np.float32(0.1),
        "z": np.uint8(128),
        "w": np.ones((8, 4, 3, 3), np.int8),
        "wz": np.int8(0),
        "b": np.ones(8, np.int32),
    }
    graph = from_onnx(written(tmp_path, nodes, {"x": ((1, 4, 9, 9), "UINT8")}, constants, ("y",)))
    op = graph.nodes[0].op
    assert op.macs == 81 * 8 * 4 * 9
    assert graph.weight_bytes == 8 * 4 * 9 + 4 + 8 * 4


def test_maximum_pools_pass_codes(tmp_path):
    nodes = [
        node("QuantizeLinear", "x s z", "xq"),
        node("DequantizeLinear", "xq s z", "xd"),
        node("MaxPool", "xd", "m", kernel_shape=[2, 2], strides=[2, 2]),
        node("QuantizeLinear", "m s z", "mq"),
        node("DequantizeLinear", "mq s z", "y"),
    ]
    constants = {"s": np.float32(0.1), "z": np.int8(0)}
    graph = from_onnx(written(tmp_path, nodes, {"x": (1, 2, 4, 4)}, constants, ("y",)))
    assert kinds(graph) == ["requantize", "max_pool", "dequantize"]


def test_codes_of_a_kind_without_a_format_are_refused(tmp_path):
    nodes = [node("DequantizeLinear", "w s z", "wd"), node("MatMul", "x wd", "y")]
    constants = {"w": np.ones((K, N), np.int16), "s": np.float32(1), "z": np.int16(0)}
    with pytest.raises(OnnxError, match="codes of type INT16 with scales of FLOAT are not known"):
        from_onnx(written(tmp_path, nodes, {"x": (X, K)}, constants, ("y",), opset=21))


@pytest.fixture(scope="module")
def quantized(tmp_path_factory):
    """A convolution and two layers, and what the quantizer of onnxruntime makes of them."""
    quantization = pytest.importorskip(
        "onnxruntime.quantization", reason="its quantizer makes the files: pip install onnxruntime"
    )
    folder = tmp_path_factory.mktemp("quantized")
    nodes = [
        node("Conv", "x k", "c", pads=[1, 1, 1, 1]),
        node("Relu", "c", "r"),
        node("Flatten", "r", "f"),
        node("MatMul", "f w", "p"),
        node("Relu", "p", "h"),
        node("MatMul", "h v", "y"),
    ]
    constants = {"k": floats(4, 3, 3, 3), "w": floats(4 * 64, N), "v": floats(N, 10)}
    from onnx import TensorProto, helper, load, save

    plain = written(folder, nodes, {"x": (1, 3, 8, 8)}, constants, ("y",), opset=17)
    model = load(plain)
    model.ir_version = 8
    shape = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 10])
    model.graph.output[0].CopyFrom(shape)
    save(model, plain)

    class Samples(quantization.CalibrationDataReader):
        def __init__(self):
            self.left = iter([{"x": floats(1, 3, 8, 8)}])

        def get_next(self):
            return next(self.left, None)

    found = {"plain": plain}
    for form in ("QDQ", "QOperator"):
        path = str(folder / f"{form}.onnx")
        form = quantization.QuantFormat[form]
        quantization.quantize_static(plain, path, Samples(), form, per_channel=True)
        found[form.name] = path
    found["dynamic"] = str(folder / "dynamic.onnx")
    quantization.quantize_dynamic(plain, found["dynamic"])
    return found


@pytest.mark.parametrize("form", ["QDQ", "QOperator", "dynamic"])
def test_files_of_the_quantizer_do_the_same_multiplications_on_codes(quantized, form):
    plain, graph = from_onnx(quantized["plain"]), from_onnx(quantized[form])
    products = [n.op for n in graph if n.op.macs]
    assert [op.macs for op in products] == [n.op.macs for n in plain if n.op.macs]
    for op in products:
        assert [graph.tensors[t].format.element for t in op.inputs[:2]] == ["int8", "int8"]
    assert graph.weight_bytes < plain.weight_bytes / 3


def test_a_quantized_file_runs_on_an_integer_machine(quantized):
    run = simulate("a100_sxm", f"onnx:{quantized['QDQ']}")
    assert run.phase == "ops"
    assert run.latency_s > 0
    assert not any("vector engine" in warning for warning in run.warnings)
