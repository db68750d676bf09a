"""The keys of a file of ops, for people without a model's configuration.

    name: my block
    tensors:
      x: {shape: [128, 4096]}
      w: {shape: [4096, 4096], format: int4-g128, kind: weight}
    ops:
    - {name: proj, einsum: "mk,nk->mn", inputs: [x, w], output: y, count: 32}
    - {name: act, vector: silu, inputs: [y]}

Ops stand in the order in which they run. `workloads.ops_file` makes the graph of it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

from accel_models.facts import Count, Switch

Sizes = Annotated[list[Count], Field(min_length=1, max_length=8)]
Pad = Annotated[int, Field(ge=0, le=10**6, strict=True)]


def _word(text: str) -> str:
    if not text or ":" in text or text.split() != [text]:
        raise ValueError(f"'{text}' is no name: it has no spaces and no colons")
    return text


Word = Annotated[
    str,
    AfterValidator(_word),
    WithJsonSchema({"type": "string", "pattern": r"^[^\s:]+$"}),
]


class _Block(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TensorText(_Block):
    """A tensor that no op makes, or one whose format or shape is not to be inferred."""

    shape: Sizes = Field(description="outermost first; scales are shared along the last axis")
    format: str | None = Field(
        default=None, description="a name, or <element>-<per>, such as int4-g128 (the file's)"
    )
    kind: Literal["weight", "table", "activation", "kv"] = Field(
        default="activation", description="what it is to the machine"
    )


class _Op(_Block):
    name: Word = Field(description="unique in the file, without spaces and colons")
    inputs: Annotated[list[str], Field(min_length=1)] = Field(description="names of tensors")
    output: str | None = Field(default=None, description="a tensor's name (the op's)")
    count: Count = Field(default=1, description="identical copies that run")


class EinsumText(_Op):
    """A sum of products; a third input is a bias, of the output's last axes."""

    einsum: str = Field(description='ranks of both inputs and the output, such as "mk,nk->mn"')


class VectorText(_Op):
    """An elementwise or row-wise function; a row is the output's last axis. `silu_mul` and its kind
    take two tensors, or one with the gate before the other half."""

    vector: str = Field(description="a function of `workloads.ops.vector`, such as silu")
    taps: Count = Field(
        default=1, description="elements of the input for each of the output, in a pool"
    )


class Masking(_Block):
    """Which keys a query sees."""

    causal: Switch = Field(default=True, description="its own and those before it")
    window: Count | None = Field(default=None, description="at most so many")


class AttentionText(_Op):
    """inputs [q, k, v]: [batch, heads, length, width] each, k and v maybe of fewer heads."""

    attention: Masking = Field(description="{} for a causal mask")


class Window(_Block):
    """A number for every spatial axis, or a list of one for each."""

    stride: Count | Sizes = 1
    padding: Pad | list[Pad] = Field(default=0, description="at both ends of an axis")
    dilation: Count | Sizes = 1
    groups: Count = 1


class ConvText(_Op):
    """inputs [x, w] and maybe a bias: [batch, channels, *size], [filters, channels / groups,
    *kernel], [filters]."""

    conv: Window = Field(description="how it slides; {} for stride 1 without padding")


class GatherText(_Op):
    """inputs [table]: rows of a two-dimensional tensor, wherever they lie."""

    gather: Count = Field(description="how many rows")


class MoveText(_Op):
    """A copy of all inputs into the output, which is declared where it differs from the first."""

    move: Count = Field(description="contiguous elements of one write")


# The key that makes an op what it is -> its keys.
OP_KINDS: dict[str, type[_Op]] = {
    "einsum": EinsumText,
    "vector": VectorText,
    "attention": AttentionText,
    "conv": ConvText,
    "gather": GatherText,
    "move": MoveText,
}
OpText = EinsumText | VectorText | AttentionText | ConvText | GatherText | MoveText


class FileText(_Block):
    """A file of ops."""

    name: str | None = Field(default=None, description="of the whole (the file's)")
    format: str = Field(default="fp16", description="of tensors that state none")
    tensors: dict[Word, TensorText] = Field(default_factory=dict)
    ops: Annotated[list[OpText], Field(min_length=1)] = Field(
        description="in the order in which they run"
    )


class RawFile(FileText):
    """The same with ops not read yet: which kind each is, its own key says."""

    ops: Annotated[list[dict[str, Any]], Field(min_length=1)]  # type: ignore[assignment]


def file_schema() -> dict[str, Any]:
    """JSON Schema of a file of ops."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Tileloom ops"}
    return head | {k: v for k, v in FileText.model_json_schema().items() if k != "title"}
