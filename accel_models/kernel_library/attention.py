"""What a machine's library does for attention: tiles, splits, helper kernels, and their times.

One `AttentionKernel` for each pair of formats that the library has a kernel for, queries * cache
('bf16', 'bf16*fp8', 'fp8'). Its structure is read off the library's sources and named; the times
are calibrated, at most six to a generation and three more to a further pair of formats. What
memories achieve is what they do for matrix products, unless said otherwise.
mappers/library/attention.py has the equations.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from accel_models.facts import Count, Facts, Fraction, Rate, Switch
from accel_models.kernel_library.fitted import Fitted
from accel_models.quantity import Seconds

SAME = {"fp16": "bf16", "fp8_e5m2": "fp8"}  # formats that the same kernels are instances for
Efficiency = Annotated[float, Field(gt=0, le=2, allow_inf_nan=False, strict=True)]


class AttentionTile(Facts):
    """What a thread block holds at a time, for heads of up to `head` elements."""

    head: Count
    rows: Count = Field(description="queries, or query heads of a group where they are packed")
    keys: Count = Field(description="of a step along the sequence")
    slowdown: Rate = Field(default=1.0, description="of a step of a kernel that is not tuned")


class KeySplits(Facts):
    """How blocks divide the keys of a decode step among them (FlashDecoding)."""

    rule: Literal["efficiency", "fill"] = Field(
        description="'efficiency': the fewest splits that reach 85 % of the best share of full "
        "waves (FlashAttention's num_splits_heuristic); 'fill': as many as find room at once"
    )
    of: Literal["all", "packed"] = Field(
        description="'packed': only where query heads share a cache head"
    )
    blocks_per_core: Count = Field(description="the room that the rule reckons with")
    most: Count
    least_steps: Count = Field(default=1, description="of tile keys that a split has at least")
    combine: Literal["if_split", "always", "within"] = Field(
        description="when a second kernel joins the parts; 'within': the last block does"
    )
    per_split: Seconds = Field(description="time of the joining loop for a split")


class AttentionKernel(Facts):
    """A library's kernels for a pair of formats; times that are not given are the generation's."""

    library: str = Field(description="which one, with its version")
    multiplies: str = Field(description="the format in which it multiplies")
    prefill: Annotated[list[AttentionTile], Field(min_length=1)]
    decode: Annotated[list[AttentionTile], Field(min_length=1)]
    packs_prefill: Switch = Field(description="query heads of a group fill tile rows together")
    splits: KeySplits
    resident: Count = Field(description="blocks of a core that its registers have room for")
    specialized: Switch = Field(
        description="loads run ahead in warps of their own and softmax hides behind "
        "multiplication, all but `overlap` of the shorter; else one after the other, and `step` "
        "passes with every one"
    )
    longest_first: Switch = Field(description="order of a causal prompt's tiles")
    copies_packed: Switch = Field(
        default=False, description="packing transposes queries and results, a kernel each"
    )
    prepares: Switch = Field(default=False, description="a kernel schedules a prompt's tiles")
    rotates: Switch = Field(default=False, description="the append kernel writes queries too")
    append_row: Count | None = Field(
        default=None, description="cache elements of a token that take as long as its start"
    )
    converts_cache: Switch = Field(
        default=False, description="a kernel widens a prompt's cache into a copy first"
    )
    transposes_values: Rate | None = Field(
        default=None, description="elements per cycle and core, where values must be transposed"
    )
    launch: Annotated[Seconds | None, Fitted(1e-6, 25e-6, "us")] = None
    block: Annotated[Seconds | None, Fitted(0.1e-6, 10e-6, "us")] = None
    issue: Annotated[Efficiency | None, Fitted(0.15, 1.1)] = None
    append: Annotated[Seconds | None, Fitted(0.05e-6, 20e-6, "us")] = None


class AttentionKernels(Facts):
    """Of a generation of machines. The first pair of formats is the one its times are of."""

    kernels: Annotated[dict[str, AttentionKernel], Field(min_length=1)]
    launch: Annotated[Seconds, Fitted(1e-6, 25e-6, "us")] = Field(
        description="of the append kernel and this one, with their start and end"
    )
    block: Annotated[Seconds, Fitted(0.1e-6, 10e-6, "us")] = Field(
        description="before a block's first step and after its last"
    )
    issue: Annotated[Efficiency, Fitted(0.15, 1.1)] = Field(
        description="share of the peak rates that a prompt sustains"
    )
    append: Annotated[Seconds, Fitted(0.05e-6, 20e-6, "us")] = Field(
        description="of a block of the append kernel, which has one for each token"
    )
    second: Annotated[Seconds | None, Fitted(0.1e-6, 10e-6, "us")] = Field(
        default=None, description="of a small kernel beside: combine, copies, schedule"
    )
    step: Annotated[Seconds | None, Fitted(0.02e-6, 6e-6, "us")] = Field(
        default=None, description="of a step, with nothing in flight; where not specialized"
    )
    overlap: Annotated[Efficiency | None, Fitted(0.02, 1.2)] = Field(
        default=None, description="not hidden, of the shorter of both; where specialized"
    )
    dram: Annotated[Fraction | None, Fitted(0.5, 0.95)] = Field(
        default=None, description="achievable of its peak; as matrix products do where not given"
    )
    l2: Annotated[Efficiency | None, Fitted(0.2, 1.5)] = Field(
        default=None, description="achievable of its peak; as matrix products do where not given"
    )
    warm: Annotated[Efficiency | None, Fitted(0.1, 1.5)] = Field(
        default=None,
        description="share of the L2 within which repeated inputs are found again (none of them "
        "from twice of it on); as matrix products do where not given",
    )
    threads: Count = Field(description="of a core, which bound the append kernel's blocks")
    fill_bytes_per_cycle: Rate = Field(description="into a core, sustained")

    def kernel(self, query: str, cache: str) -> AttentionKernel | None:
        """For these formats, with all its times; None where the library has none."""
        query, cache = SAME.get(query, query), SAME.get(cache, cache)
        name = query if query == cache else f"{query}*{cache}"
        found = self.kernels.get(name)
        if found is None:
            return None
        own = {key: getattr(self, key) for key in ("launch", "block", "issue", "append")}
        missing = {key: value for key, value in own.items() if getattr(found, key) is None}
        return found.model_copy(update=missing)
