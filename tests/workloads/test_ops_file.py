"""Files of ops: what they become, and the exact words with which each mistake is refused."""

from __future__ import annotations

import json

import jsonschema
import pytest
import yaml

from accel_models.reader import DesignError
from kernels_ref.errors import UserError
from workloads.ops_file import OpsError, parse_ops, read_ops
from workloads.ops_text import OP_KINDS, file_schema
from workloads.transforms import quantize

BLOCK = """\
name: my block
tensors:
  x: {shape: [128, 4096]}
  w: {shape: [4096, 4096], format: int4-g128, kind: weight}
ops:
- {name: proj, einsum: "mk,nk->mn", inputs: [x, w], output: y, count: 32}
- {name: act, vector: silu, inputs: [y], count: 32}
"""

EVERY_KIND = """\
format: bf16
tensors:
  table: {shape: [1000, 64], kind: table}
  b: {shape: [64], kind: weight}
  w: {shape: [64, 64], kind: weight}
  q: {shape: [2, 8, 5, 16]}
  k: {shape: [2, 2, 7, 16]}
  v: {shape: [2, 2, 7, 24]}
  cache: {shape: [2, 2, 7, 16], kind: kv}
  image: {shape: [1, 6, 9, 9], format: int8}
  filters: {shape: [4, 3, 3, 3], format: int8, kind: weight}
  pooled: {shape: [1, 4, 2, 2]}
ops:
- {name: embed, gather: 10, inputs: [table]}
- {name: proj, einsum: "mk,nk->mn", inputs: [embed, w, b]}
- {name: keep, move: 112, inputs: [k], output: cache}
- {name: attention, attention: {causal: false}, inputs: [q, cache, v], output: o}
- {name: conv, conv: {stride: 2, padding: [1, 1], groups: 2}, inputs: [image, filters]}
- {name: pool, vector: max_pool, inputs: [conv], output: pooled, taps: 4}
"""


def test_a_block_is_its_graph():
    graph = parse_ops(BLOCK)
    proj, act = graph.nodes
    assert (graph.name, graph.phase, graph.batch, graph.tokens) == ("my block", "ops", 1, 1)
    assert (proj.count, proj.op.macs) == (32, 128 * 4096 * 4096)
    assert graph.tensors["y"].shape == (128, 4096)
    assert graph.tensors["y"].format.name == "fp16"
    assert graph.params == 32 * 4096 * 4096
    bits = 4096 * 4096 * 4 + 4096 * 32 * (16 + 4)  # codes; a scale and a zero-point for 128
    assert graph.weight_bytes == 32 * bits // 8
    assert (act.op.rows, act.op.width, act.op.output) == (128, 4096, "act")


def test_every_kind_of_op():
    graph = parse_ops(EVERY_KIND)
    ops = {node.op.name: node.op for node in graph}
    assert ops["embed"].rows == 10
    assert ops["proj"].vector_ops == {"add": 10 * 64}
    assert ops["attention"].macs == 2 * 8 * 5 * 7 * (16 + 24)
    assert graph.tensors["o"].shape == (2, 8, 5, 24)
    assert graph.kv_bytes == 2 * 2 * 7 * 16 * 2
    conv = ops["conv"]
    assert conv.roles() == {"b": 2, "m": 5 * 5, "n": 2, "k": 27}
    assert graph.tensors["conv"].shape == (1, 4, 5, 5)
    assert ops["pool"].vector_ops == {"compare": 16 * 4}
    assert {type(op).__name__.lower() for op in ops.values()} >= {"einsum", "vector", "move"}
    kinds = {key for line in yaml.safe_load(EVERY_KIND)["ops"] for key in line if key in OP_KINDS}
    assert kinds == set(OP_KINDS)


def test_a_causal_mask_and_a_window():
    text = """\
tensors:
  q: {shape: [1, 2, 4, 8]}
  k: {shape: [1, 2, 6, 8]}
ops:
- {name: a, attention: {window: 3}, inputs: [q, k, k]}
"""
    (node,) = parse_ops(text).nodes
    assert node.op.visible_pairs == 4 * 3


def test_a_gate_beside_its_other_half():
    text = """\
tensors: {both: {shape: [4, 6]}}
ops:
- {name: act, vector: silu_mul, inputs: [both]}
"""
    graph = parse_ops(text)
    assert graph.tensors["act"].shape == (4, 3)
    with pytest.raises(OpsError, match="gate and up are no halves"):
        parse_ops(text.replace("6", "7"))


def test_weights_take_other_formats_by_the_transform():
    text = BLOCK.replace(", format: int4-g128", "")
    graph = quantize(parse_ops(text), "w4a16-g128")
    assert graph.weight_bytes == parse_ops(BLOCK).weight_bytes


@pytest.mark.parametrize("text", [BLOCK, EVERY_KIND])
def test_the_schema_takes_what_is_read(text):
    jsonschema.validate(yaml.safe_load(text), file_schema())


def test_the_schema_refuses_an_op_of_no_kind():
    data = yaml.safe_load(BLOCK)
    del data["ops"][0]["einsum"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(json.loads(json.dumps(data)), file_schema())


# what is replaced in BLOCK -> by what -> the message.
BROKEN = {
    "unknown tensor": (
        "[x, w]",
        "[x, v]",
        "f.yaml:6: proj.inputs: no tensor 'v'; known: x, w",
    ),
    "unknown function": (
        "silu",
        "siluu",
        "f.yaml:7: act.vector: no function 'siluu'; did you mean 'silu'?",
    ),
    "unknown format": (
        "int4-g128",
        "int4g128",
        "f.yaml:4: tensors.w.format: unknown number format 'int4g128'; did you mean",
    ),
    "unknown kind of tensor": (
        "kind: weight",
        "kind: wieght",
        "f.yaml:4: tensors.w.kind: must be 'weight', 'table', 'activation' or 'kv', "
        "not 'wieght'; did you mean 'weight'?",
    ),
    "unknown op": (
        "vector: silu",
        "vectr: silu",
        "f.yaml:7: act: what does it do? One key of einsum, vector, attention, conv, gather, move "
        "is needed; did you mean 'vector'?",
    ),
    "two ops in one": (
        "vector: silu",
        "vector: silu, gather: 3",
        "f.yaml:7: act.gather: an op is one of einsum, vector, attention, conv, gather, move, not "
        "vector and gather",
    ),
    "unknown key": (
        "count: 32}\n- {name: act",
        "cuont: 32}\n- {name: act",
        "f.yaml:6: proj.cuont: unknown key 'cuont'; did you mean 'count'?",
    ),
    "no inputs": (
        "inputs: [y]",
        "inputs: []",
        "f.yaml:7: act.inputs: needs at least one entry",
    ),
    "two producers": (
        "silu, inputs: [y]",
        "silu, output: y, inputs: [x]",
        "f.yaml:7: act.output: 'y' is made by proj already",
    ),
    "a weight that is made": (
        "output: y",
        "output: w",
        "f.yaml:6: proj.output: 'w' is a weight, which no op makes",
    ),
    "repeated name": (
        "name: act",
        "name: proj",
        "f.yaml:7: proj.name: op 1 has this name too",
    ),
    "a name with a colon": (
        "name: act,",
        "name: 'a:b',",
        "f.yaml:7: a:b.name: 'a:b' is no name: it has no spaces and no colons",
    ),
    "read before made": (
        "[x, w]",
        "[act, w]",
        "f.yaml:6: proj.inputs: reads 'act' in a circle: act needs it first",
    ),
    "made by itself": (
        "inputs: [y]",
        "inputs: [act]",
        "f.yaml:7: act.inputs: reads 'act' in a circle: it makes it itself",
    ),
    "extents that contradict": (
        "[4096, 4096]",
        "[4096, 4097]",
        "f.yaml:6: proj.inputs: rank k is 4096 in x and 4097 in w",
    ),
    "a spec of other ranks": (
        "mk,nk->mn",
        "bmk,nk->bmn",
        "f.yaml:6: proj.einsum: 'bmk' has 3 ranks, and x is [128, 4096]",
    ),
    "no spec": (
        "mk,nk->mn",
        "mk;nk->mn",
        "f.yaml:6: proj.einsum: 'mk;nk->mn' is no spec; write one such as 'mk,nk->mn'",
    ),
    "a diagonal": (
        "mk,nk->mn",
        "mm,nk->mn",
        "f.yaml:6: proj.einsum: 'mm' of 'mm,nk->mn' has a rank twice",
    ),
    "an output of nowhere": (
        "mk,nk->mn",
        "mk,nk->mj",
        "f.yaml:6: proj.einsum: rank 'j' of the output is in no input",
    ),
    "a rank of one operand": (
        "mk,nk->mn",
        "mk,nj->mn",
        "f.yaml:6: proj.einsum: rank 'k' of 'mk,nj->mn' is in one operand only",
    ),
    "a declared output of another shape": (
        "  x: {",
        "  y: {shape: [128, 5]}\n  x: {",
        "f.yaml:7: proj: 'y' is declared as [128, 5], and proj makes [128, 4096]",
    ),
    "a tensor that nobody wants": (
        "  x: {",
        "  z: {shape: [3]}\n  x: {",
        "f.yaml:3: tensors.z: no op reads or makes it; remove it",
    ),
    "no count": (
        "[128, 4096]",
        "[0, 4096]",
        "f.yaml:3: tensors.x.shape.0: must be greater than 0, not 0",
    ),
    "no tensor's shape": ("{shape: [128, 4096]}", "{}", "f.yaml:3: tensors.x: missing key 'shape'"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_every_mistake_has_its_line(what):
    old, new, message = BROKEN[what]
    assert old in BLOCK
    with pytest.raises(OpsError) as refused:
        parse_ops(BLOCK.replace(old, new, 1), "f.yaml")
    assert message in str(refused.value)


def test_an_order_that_can_be_mended():
    first, second = BLOCK.splitlines()[-2:]
    text = BLOCK.replace(first + "\n" + second, second + "\n" + first)
    with pytest.raises(OpsError) as refused:
        parse_ops(text, "f.yaml")
    assert str(refused.value) == (
        "f.yaml:6: act.inputs: reads 'y', which proj makes later; list that op first"
    )


def test_all_problems_at_once():
    text = BLOCK.replace("silu, inputs", "silu, input").replace("[128, 4096]", "[128, no]")
    with pytest.raises(OpsError) as refused:
        parse_ops(text, "f.yaml")
    lines = str(refused.value).splitlines()
    assert [line.partition(": ")[0] for line in lines] == ["f.yaml:3", "f.yaml:7", "f.yaml:7"]


# what is replaced in EVERY_KIND -> by what -> the message.
BROKEN_KINDS = {
    "bias": ("b: {shape: [64]", "b: {shape: [65]", "the bias b is [65], not the last axes"),
    "table": ("[1000, 64]", "[10, 1000, 64]", "a table is [rows, width]"),
    "heads": ("v: {shape: [2, 2, 7", "v: {shape: [2, 3, 7", "heads of k and v must be one number"),
    "copy": ("k: {shape: [2, 2, 7", "k: {shape: [2, 3, 7", "672 elements are copied into [2, 2, 7"),
    "axes": ("[2, 8, 5, 16]", "[2, 8, 80]", "[batch, heads, length, width] is needed"),
    "channels": ("[1, 6, 9, 9]", "[1, 5, 9, 9]", "5 channels and a weight of (4, 3, 3, 3) do not"),
    "kernel": ("[4, 3, 3, 3]", "[4, 3, 30, 3]", "does not fit an input of (9, 9)"),
    "stride": ("stride: 2", "stride: [2]", "stride has 1 numbers for 2 axes"),
    "taps": (", output: pooled", "", "with 'taps' the output is smaller: declare its shape"),
    "operands": ("inputs: [embed, w, b]", "inputs: [embed]", "takes two tensors and perhaps"),
    "spread": ("  b: {", "  b: {shape: [7]}\n  c: {", "the bias b is [7]"),
    "run": ("move: 112", "move: 100000", "a run of 100000 elements in 448"),
}


@pytest.mark.parametrize("what", BROKEN_KINDS)
def test_shapes_that_do_not_go_together(what):
    old, new, message = BROKEN_KINDS[what]
    assert old in EVERY_KIND
    with pytest.raises(OpsError) as refused:
        parse_ops(EVERY_KIND.replace(old, new, 1), "f.yaml")
    assert message in str(refused.value)


def test_functions_of_inputs_that_do_not_spread():
    text = """\
tensors:
  a: {shape: [4, 6]}
  b: {shape: [4, 5]}
ops:
- {name: sum, vector: add, inputs: [a, b]}
"""
    with pytest.raises(OpsError, match=r"b is \[4, 5\], which does not spread over the output"):
        parse_ops(text)
    graph = parse_ops(text.replace("[4, 5]", "[4, 1]"))
    assert graph.nodes[0].op.vector_ops == {"add": 24}


def test_a_file_is_named_after_itself(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(BLOCK.partition("\n")[2])
    assert read_ops(str(path)).name == "mine"
    with pytest.raises(DesignError, match="cannot be read"):
        read_ops(str(tmp_path / "other.yaml"))
    assert issubclass(OpsError, UserError)
