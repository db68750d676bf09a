"""What several families say in the same way: storage format, windows, activations.

The format is the one the checkpoint is stored in (`torch_dtype`, or `dtype` in newer files);
without either it is fp16, in which serving engines run a checkpoint of unstated precision.
Not modeled: formats per layer; windows of more than one size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from kernels_ref.formats import Format, get_format
from workloads.builders.fields import Fields
from workloads.builders.spec import ExpertsSpec, LayerKind

DTYPES = {"float16": "fp16", "bfloat16": "bf16", "float32": "fp32"}

# Activation of the configuration -> function of workloads.ops.vector. The variants of GELU differ
# in how they approximate erf; they are counted as the tanh form.
GATED = {
    "silu": "silu_mul",
    "swish": "silu_mul",
    "gelu_pytorch_tanh": "gelu_mul",
    "gelu_new": "gelu_mul",
    "gelu": "gelu_mul",
    "relu2": "squared_relu_mul",
}
PLAIN = {
    "gelu_new": "gelu",
    "gelu_pytorch_tanh": "gelu",
    "gelu": "gelu",
    "relu": "relu",
    "quick_gelu": "quick_gelu",
}

LAYER_TYPES = ("full_attention", "sliding_attention")


def storage_format(f: Fields) -> Format:
    """The format of the checkpoint; a nested configuration may leave it to the outer one."""
    outer = Fields(f.config, f.family, f.config.data, "")
    for source in (f, outer) if f.prefix else (f,):
        for key in ("torch_dtype", "dtype"):
            if source.has(key):
                name = source.choice(key, DTYPES)
                f.problems += outer.problems
                return get_format(name)
    return get_format("fp16")


class Layer(NamedTuple):
    """What a layer may have of its own."""

    window: int | None = None
    experts: ExpertsSpec | None = None


def grouped(layers: Sequence[Layer]) -> tuple[LayerKind, ...]:
    """The kinds of layers in order of first occurrence, labeled by what they differ in."""
    windows, mixed = ({bool(layer[i]) for layer in layers} for i in (0, 1))
    kinds = []
    for layer in dict.fromkeys(layers):
        label = []
        if len(windows) > 1:
            label.append("local" if layer.window else "global")
        if len(mixed) > 1:
            label.append("sparse" if layer.experts else "dense")
        kinds.append(LayerKind("_".join(label), layers.count(layer), *layer))
    return tuple(kinds)


def layer_kinds(f: Fields, sliding: Sequence[bool]) -> tuple[LayerKind, ...]:
    """The kinds of layers; `sliding` says which have the window.

    A window of null is full attention everywhere, as in transformers.
    """
    window = f.nullable_integer("sliding_window") if any(sliding) else None
    return grouped([Layer(window if slides else None) for slides in sliding])


def sliding_layers(f: Fields, pattern: Sequence[bool]) -> list[bool]:
    """Which layers slide: `layer_types` where the file has it, else the family's own pattern."""
    if not f.has("layer_types"):
        return list(pattern)
    types = f.strings("layer_types", LAYER_TYPES, len(pattern))
    return [kind == "sliding_attention" for kind in types]
