"""Convolutional networks: ResNet, MobileNet 1 and 2, LeNet and its branches.

Source: configuration and modeling files of Hugging Face transformers (`models/resnet/`,
`models/mobilenet_v1/`, `models/mobilenet_v2/`) for the first; LeCun et al., "Gradient-based
learning applied to document recognition", Proc. IEEE 86(11), 1998, fig. 2, and Teerapittayanon et
al., BranchyNet, arXiv 1709.01686, sec. IV, for the others, whose files are ours. Images are square;
where a file states no size they are 224 pixels wide. Statistics of batch norms are no parameters.
Not modeled: padding that differs by side, average pooling of LeNet with learned weights, how often
an exit is taken.
"""

from __future__ import annotations

from dataclasses import dataclass

from kernels_ref.errors import UserError
from kernels_ref.formats import Format
from workloads.builders.draft import Draft, graph_of
from workloads.builders.encoders import labels_of
from workloads.builders.fields import Fields
from workloads.builders.images import (
    Conv,
    Image,
    activate,
    convolve,
    mean_of_all,
    normalize_batch,
    pool,
)
from workloads.builders.parts import storage_format
from workloads.graph import Graph
from workloads.phase import Phase, encode

RELU = {"relu": "relu", "relu6": "relu6"}
BLOCKS = {"bottleneck": True, "basic": False}


@dataclass(frozen=True, slots=True)
class Step:
    """A convolution with its batch norm and activation ("" for none), or a pooling (`pool`).
    `out`, `kernel`, `stride`, `groups`; `bias` and no batch norm."""

    name: str
    out: int
    kernel: int
    stride: int = 1
    groups: int = 1
    act: str = ""
    bias: bool = False
    pool: bool = False
    padding: int | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """Steps, and what is added to their result: nothing, the input, or the input through a step of
    its own; then an activation."""

    name: str
    steps: tuple[Step, ...]
    adds: bool = False
    shortcut: Step | None = None
    act: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvNetSpec:
    """Blocks, then the mean of all positions (or all of them side by side), and linear layers of
    these widths. `exits`: after so many blocks, a branch of its own."""

    channels: int
    image: int
    blocks: tuple[Block, ...]
    flat: bool
    linear: tuple[int, ...]
    linear_act: str
    exits: tuple[tuple[int, ConvNetSpec], ...] = ()
    format: Format


def resnet(f: Fields) -> ConvNetSpec:
    """ResNet v1.5 (He et al., arXiv 1512.03385; a bottleneck strides in its 3 x 3)."""
    f.defaults = {"num_channels": 3, "embedding_size": 64, "hidden_act": "relu", "image_size": 224,
                  "layer_type": "bottleneck", "downsample_in_first_stage": False}  # fmt: skip
    act, narrow = f.choice("hidden_act", RELU), f.choice("layer_type", BLOCKS)
    widths, depths = f.positive_integers("hidden_sizes"), f.positive_integers("depths")
    if len(widths) != len(depths):
        f.complain("depths", f"has {len(depths)} stages, 'hidden_sizes' {len(widths)}")
    stem = Block(
        "embedder",
        (
            Step("convolution", f.integer("embedding_size"), 7, 2, act=act),
            Step("pooler", 0, 3, 2, pool=True, padding=1),
        ),
    )
    blocks, before = [stem], f.integer("embedding_size")
    first = f.flag("downsample_in_first_stage")
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=False)):
        for i in range(depth):
            stride = 2 if i == 0 and (stage or first) else 1
            name = f"stage{stage}.{i}"
            blocks.append(_residual(name, before, width, stride, act, narrow))
            before = width
    return _classifier(f, blocks)


def _classifier(f: Fields, blocks: list[Block]) -> ConvNetSpec:
    """The blocks, and a linear layer on the mean of what they make."""
    return ConvNetSpec(
        channels=f.integer("num_channels"),
        image=f.integer("image_size"),
        blocks=tuple(blocks),
        flat=False,
        linear=(labels_of(f),),
        linear_act="",
        format=storage_format(f),
    )


def _residual(name: str, before: int, width: int, stride: int, act: str, narrow: bool) -> Block:
    inner = width // 4 if narrow else width
    steps = (
        (
            Step("conv1", inner, 1, act=act),
            Step("conv2", inner, 3, stride, act=act),
            Step("conv3", width, 1),
        )
        if narrow
        else (Step("conv1", width, 3, stride, act=act), Step("conv2", width, 3))
    )
    changed = before != width or stride > 1
    shortcut = Step("shortcut", width, 1, stride, padding=0) if changed else None
    return Block(name, steps, adds=True, shortcut=shortcut, act=act)


def mobilenet_v1(f: Fields) -> ConvNetSpec:
    """MobileNet (Howard et al., arXiv 1704.04861, table 1)."""
    f.defaults = {"num_channels": 3, "depth_multiplier": 1.0, "min_depth": 8, "image_size": 224,
                  "hidden_act": "relu6"}  # fmt: skip
    act, scale = f.choice("hidden_act", RELU), f.positive("depth_multiplier")
    least = f.integer("min_depth")
    strides = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
    before = width = 32
    blocks = [Block("conv_stem", (Step("conv", max(least, int(width * scale)), 3, 2, act=act),))]
    for i, stride in enumerate(strides):
        width = width * 2 if stride == 2 or i == 0 else width
        taken, made = (max(least, int(size * scale)) for size in (before, width))
        depthwise = Step("depthwise", taken, 3, stride, groups=taken, act=act)
        blocks.append(Block(f"layer{i}", (depthwise, Step("pointwise", made, 1, act=act))))
        before = width
    return _classifier(f, blocks)


def mobilenet_v2(f: Fields) -> ConvNetSpec:
    """MobileNetV2 (Sandler et al., arXiv 1801.04381, table 2)."""
    f.defaults = {"num_channels": 3, "depth_multiplier": 1.0, "depth_divisible_by": 8,
                  "min_depth": 8, "expand_ratio": 6, "image_size": 224, "hidden_act": "relu6",
                  "finegrained_output": True}  # fmt: skip
    act, scale = f.choice("hidden_act", RELU), f.positive("depth_multiplier")
    granule, least = f.integer("depth_divisible_by"), f.integer("min_depth")
    expand, last = f.integer("expand_ratio"), 1280

    def width(size: int) -> int:
        rounded = max(least, int(size * scale + granule / 2) // granule * granule)
        return rounded + granule if rounded < 0.9 * size * scale else rounded

    first = width(32)
    taken = (Step("first_conv", first, 3, 2, act=act), *inverted(first, width(16), 1, 1, act))
    stem = Block("conv_stem", taken)
    blocks, before = [stem], width(16)
    stages = ((24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))
    for size, depth, begins in stages:
        for i in range(depth):
            stride, made = begins if i == 0 else 1, width(size)
            steps = inverted(before, made, expand, stride, act)
            adds = stride == 1 and made == before
            blocks.append(Block(f"layer{len(blocks) - 1}", steps, adds=adds))
            before = made
    head = last if f.flag("finegrained_output") and scale < 1 else width(last)
    blocks.append(Block("conv_1x1", (Step("conv", head, 1, act=act),)))
    return _classifier(f, blocks)


def inverted(taken: int, made: int, expand: int, stride: int, act: str) -> tuple[Step, ...]:
    """Wide, depthwise, narrow again."""
    inner = taken * expand
    widen = (Step("expand_1x1", inner, 1, act=act),) if expand > 1 else ()
    depthwise = Step("conv_3x3", inner, 3, stride, groups=inner, act=act)
    return (*widen, depthwise, Step("reduce_1x1", made, 1))


def lenet(f: Fields) -> ConvNetSpec:
    """LeNet-5: two convolutions of 5 x 5 with pooling between, three linear layers."""
    f.defaults = {"num_channels": 1, "image_size": 32, "num_labels": 10, "num_exits": 0}
    number, labels = storage_format(f), f.integer("num_labels")
    halve = Step("pool", 0, 2, 2, pool=True)
    exits: tuple[tuple[int, ConvNetSpec], ...] = ()
    if f.natural("num_exits"):
        branch = ConvNetSpec(
            channels=0,
            image=0,
            blocks=(Block("branch", (Step("conv", 10, 3, act="relu", bias=True), halve)),),
            flat=True,
            linear=(labels,),
            linear_act="",
            format=number,
        )
        exits = ((1, branch),)
    blocks = tuple(
        Block(name, (Step("conv", width, 5, act="relu", bias=True, padding=0), halve))
        for name, width in (("c1", 6), ("c3", 16))
    )
    return ConvNetSpec(
        channels=f.integer("num_channels"),
        image=f.integer("image_size"),
        blocks=blocks,
        flat=True,
        linear=(120, 84, labels),
        linear_act="relu",
        exits=exits,
        format=number,
    )


def build_convnet(name: str, spec: ConvNetSpec, phase: Phase) -> Graph:
    """Raises UserError for a phase other than encode."""
    if phase.kind != "encode":
        raise UserError(f"{name} takes images: its phase is encode, not {phase.kind}")
    draft, side = Draft(spec.format), spec.image
    pixels = draft.tensor("pixel_values", (phase.batch * side * side, spec.channels), "activation")
    _add_blocks(draft, spec, Image(pixels, phase.batch, (side, side)), "")
    return graph_of(name, draft, encode(phase.batch), None)


def _add_blocks(draft: Draft, spec: ConvNetSpec, image: Image, prefix: str) -> None:
    exits = dict(spec.exits)
    for i, block in enumerate(spec.blocks):
        image = add_block(draft, block, image, prefix)
        if i + 1 in exits:
            _add_blocks(draft, exits[i + 1], image, f"{prefix}exit{i + 1}.")
    if spec.flat:
        stream = draft.grouped_rows(f"{prefix}flat", image.tensor, image.positions)
    else:
        stream = mean_of_all(draft, f"{prefix}mean", image)
    for i, width in enumerate(spec.linear):
        stream = draft.project(f"{prefix}linear{i}", stream, width, bias=True)
        if spec.linear_act and i + 1 < len(spec.linear):
            stream = draft.vector(f"{prefix}linear{i}.act", spec.linear_act, (stream,))


def add_block(draft: Draft, block: Block, image: Image, prefix: str) -> Image:
    """A block's steps, what it adds, its activation."""
    name, taken = prefix + block.name, image
    for step in block.steps:
        image = _add_step(draft, f"{name}.{step.name}", step, image)
    if block.adds:
        other = taken
        if block.shortcut:
            other = _add_step(draft, f"{name}.shortcut", block.shortcut, taken)
        image = activate(draft, f"{name}.add", "add", image, other.tensor)
    return activate(draft, f"{name}.act", block.act, image) if block.act else image


def _add_step(draft: Draft, name: str, step: Step, image: Image) -> Image:
    if step.pool:
        return pool(draft, name, image, Conv(0, step.kernel, step.stride, step.padding or 0))
    conv = Conv(step.out, step.kernel, step.stride, step.padding, step.groups, step.bias)
    image = convolve(draft, name, image, conv)
    if not step.bias:
        image = normalize_batch(draft, f"{name}.normalization", image)
    return activate(draft, f"{name}.act", step.act, image) if step.act else image
