"""Image networks that mix convolutions with attention, and a detector with deformable convolutions.

Their files are ours; what they are like:

    conv_attention       stages of one kind each. mixer: a depthwise convolution and a
                         convolutional MLP (FastViT, Vasu et al., arXiv 2303.14189, fig. 2, as in
                         MobileCLIP, arXiv 2311.17049); mbconv: inverted bottlenecks; attention:
                         heads over all positions and an MLP, `reduce` times fewer positions along
                         either side with what is made widened again (LowFormer, Nottebaum et al.,
                         arXiv 2409.03460, sec. 3)
    deformable_detector  a ResNet, then stages of a deformable convolution (offsets and weights by a
                         convolution, samples between pixels, one multiplication; Zhu et al.,
                         arXiv 1811.11168, eq. 1) and twofold enlargement, then a map of classes,
                         sizes and offsets (CenterNet, Zhou et al., arXiv 1904.07850, sec. 4)

Not modeled: branches that training has and inference does not, suppression of neighboring boxes.
"""

from __future__ import annotations

from dataclasses import dataclass

from kernels_ref.errors import UserError
from kernels_ref.formats import Format
from workloads.builders.convnets import Block, ConvNetSpec, Step, add_block, inverted, resnet
from workloads.builders.draft import Draft, graph_of
from workloads.builders.fields import Fields, objects
from workloads.builders.images import (
    Conv,
    Image,
    activate,
    convolve,
    mean_of_all,
    normalize_batch,
)
from workloads.builders.parts import storage_format
from workloads.graph import Graph
from workloads.ops import Attention, Einsum, Vector
from workloads.phase import Phase, encode

KINDS = {"mixer": "mixer", "mbconv": "mbconv", "attention": "attention"}
TAPS = 3  # of a deformable convolution, along a side


@dataclass(frozen=True, slots=True)
class Stage:
    """`depth` blocks of a width; the first halves the image if `stride` is 2."""

    kind: str
    width: int
    depth: int
    stride: int
    expand: int
    kernel: int
    heads: int
    reduce: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvAttentionSpec:
    """A stem of two strided convolutions, stages, and a linear layer on the mean."""

    channels: int
    image: int
    stem: int
    stages: tuple[Stage, ...]
    labels: int
    format: Format


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorSpec:
    """A network without its classifier, widths of deformable stages, and maps of the result."""

    backbone: ConvNetSpec
    stages: tuple[int, ...]
    head: int
    maps: tuple[int, ...]


def conv_attention(f: Fields) -> ConvAttentionSpec:
    """Stages as the file lists them."""
    f.defaults = {"num_channels": 3, "image_size": 224}
    return ConvAttentionSpec(
        channels=f.integer("num_channels"),
        image=f.integer("image_size"),
        stem=f.integer("stem_width"),
        stages=tuple(_stage(stage) for stage in objects(f, "stages")),
        labels=f.integer("num_labels"),
        format=storage_format(f),
    )


def _stage(f: Fields) -> Stage:
    f.defaults = {"stride": 1, "expand": 4, "kernel": 3, "heads": 1, "reduce": 1}
    width, heads = f.integer("width"), f.integer("heads")
    f.multiple("width", width, "heads", heads)
    return Stage(
        f.choice("kind", KINDS),
        width,
        f.integer("depth"),
        f.integer("stride"),
        f.integer("expand"),
        f.integer("kernel"),
        heads,
        f.integer("reduce"),
    )


def deformable_detector(f: Fields) -> DetectorSpec:
    """Keys of a ResNet, and those of what stands on it."""
    classes = f.integer("num_labels")
    return DetectorSpec(
        backbone=resnet(f),
        stages=tuple(f.positive_integers("deformable_widths")),
        head=f.integer("head_width"),
        maps=(classes, 2, 2),
    )


def build_conv_attention(name: str, spec: ConvAttentionSpec, phase: Phase) -> Graph:
    """Raises UserError for a phase other than encode."""
    draft, image = _pixels(name, spec.format, spec.channels, spec.image, phase)
    stem = [Step(f"conv{i}", spec.stem, 3, 2, act="relu") for i in range(2)]
    image = add_block(draft, Block("stem", tuple(stem)), image, "")
    width = spec.stem
    for number, stage in enumerate(spec.stages):
        if stage.stride > 1 or stage.width != width:
            step = Step("down", stage.width, 3, stage.stride)
            image = add_block(draft, Block(f"stage{number}", (step,)), image, "")
            width = stage.width
        draft.count, draft.layered = stage.depth, True
        draft.prefix = f"stage{number}."
        if stage.kind == "mbconv":
            steps = inverted(width, width, stage.expand, 1, "relu6")
            image = add_block(draft, Block("mbconv", steps, adds=True), image, "")
        else:
            mix = _mix if stage.kind == "mixer" else _attend
            image = _mlp(draft, stage, mix(draft, stage, image))
        draft.count, draft.prefix, draft.layered = 1, "", False
    stream = mean_of_all(draft, "mean", image)
    draft.project("classifier", stream, spec.labels, bias=True)
    return graph_of(name, draft, encode(phase.batch), None)


def _pixels(
    name: str, number: Format, channels: int, side: int, phase: Phase
) -> tuple[Draft, Image]:
    if phase.kind != "encode":
        raise UserError(f"{name} takes images: its phase is encode, not {phase.kind}")
    draft = Draft(number)
    shape = (phase.batch * side * side, channels)
    return draft, Image(
        draft.tensor("pixel_values", shape, "activation"), phase.batch, (side, side)
    )


def _mix(draft: Draft, stage: Stage, image: Image) -> Image:
    """A depthwise convolution that is added to its input."""
    mixed = convolve(draft, "mixer", image, Conv(stage.width, stage.kernel, groups=stage.width))
    mixed = normalize_batch(draft, "mixer.normalization", mixed)
    return activate(draft, "mixer.add", "add", mixed, image.tensor)


def _attend(draft: Draft, stage: Stage, image: Image) -> Image:
    """Attention over all positions, or over fewer."""
    width, source = stage.width, normalize_batch(draft, "attention.norm", image)
    if stage.reduce > 1:
        source = convolve(
            draft, "attention.reduce", source, Conv(width, 3, stage.reduce, groups=width)
        )
    q, k, v = (draft.project(f"attention.{part}", source.tensor, width) for part in "qkv")
    name = f"{draft.prefix}attention"
    output = draft.tensor(name, draft.tensors[q].shape, "activation")
    each = width // stage.heads
    op = Attention(
        name, (q, k, v), output, batch=image.batch, q_heads=stage.heads, kv_heads=stage.heads,
        q_len=source.positions, kv_len=source.positions, head_dim=each, v_head_dim=each,
        causal=False,
    )  # fmt: skip
    rows = draft.project("attention.out", draft.add(op), width, bias=True)
    made = Image(rows, image.batch, source.size)
    if stage.reduce > 1:
        made = _enlarged(draft, "attention.enlarge", made, image.size)
    return activate(draft, "attention.add", "add", made, image.tensor)


def _mlp(draft: Draft, stage: Stage, image: Image) -> Image:
    """Two convolutions of one position each, widened between; of a mixer a depthwise one first."""
    source, width = image, stage.width
    if stage.kind == "mixer":
        source = convolve(draft, "mlp.depthwise", source, Conv(width, 7, groups=width))
    source = normalize_batch(draft, "mlp.norm", source)
    wide = draft.project("mlp.fc1", source.tensor, width * stage.expand, bias=True)
    made = draft.vector("mlp.act", "gelu", (wide,))
    narrow = Image(draft.project("mlp.fc2", made, width, bias=True), image.batch, image.size)
    return activate(draft, "mlp.add", "add", narrow, image.tensor)


def _enlarged(draft: Draft, name: str, image: Image, size: tuple[int, ...]) -> Image:
    """Between pixels."""
    grown = Image("", image.batch, size)
    rows, width = image.batch * grown.positions, draft.tensors[image.tensor].shape[1]
    full = draft.prefix + name
    output = draft.tensor(full, (rows, width), "activation")
    draft.add(Vector(full, (image.tensor,), output, "bilinear", rows, width))
    return Image(output, image.batch, size)


def build_detector(name: str, spec: DetectorSpec, phase: Phase) -> Graph:
    """Raises UserError for a phase other than encode."""
    net = spec.backbone
    draft, image = _pixels(name, net.format, net.channels, net.image, phase)
    for block in net.blocks:
        image = add_block(draft, block, image, "backbone.")
    for number, width in enumerate(spec.stages):
        draft.prefix = f"deformable{number}."
        image = _deformable(draft, image, width)
        image = _enlarged(draft, "enlarge", image, tuple(2 * side for side in image.size))
        draft.prefix = ""
    for number, width in enumerate(spec.maps):
        steps = (
            Step("conv", spec.head, 3, act="relu", bias=True),
            Step("out", width, 1, bias=True),
        )
        add_block(draft, Block(f"head{number}", steps), image, "")
    return graph_of(name, draft, encode(phase.batch), None)


def _deformable(draft: Draft, image: Image, width: int) -> Image:
    """Two offsets and a weight for every tap of every position, samples there, their product."""
    taps, taken = TAPS**2, draft.tensors[image.tensor].shape[1]
    offsets = convolve(draft, "offsets", image, Conv(3 * taps, TAPS, bias=True))
    rows, full = image.batch * image.positions, f"{draft.prefix}samples"
    samples = draft.tensor(full, (rows, taps * taken), "activation")
    inputs = (image.tensor, offsets.tensor)
    draft.add(Vector(full, inputs, samples, "bilinear", rows, taps * taken))
    full = f"{draft.prefix}conv"
    weight = draft.tensor(f"{full}.weight", (width, taps * taken), "weight")
    output = draft.tensor(full, (rows, width), "activation")
    ranks = {"m": rows, "n": width, "k": taps * taken}
    draft.add(Einsum(full, (samples, weight), output, ranks, "mk,nk->mn"))
    made = normalize_batch(draft, "normalization", Image(output, image.batch, image.size))
    return activate(draft, "act", "relu", made)
