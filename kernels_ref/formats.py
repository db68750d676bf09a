"""Number formats: how an element is encoded and what its scales cost, exactly.

A format is an element encoding (a float of e exponent and m mantissa bits, or an integer) plus the
metadata that lets it be read back: a scale, and for asymmetric integers a zero-point, shared by a
group of elements along the reduction rank (or by the whole channel).

    bits per element = bits + (scale_bits + zero_bits) / group

Sources: OCP 8-bit floating point specification (OFP8) rev 1.0 for E4M3 and E5M2; IEEE 754-2019 for
FP16 and FP32; group-wise INT4 as stored by AWQ and GPTQ (16-bit scale, zero-point of the element's
width). Not modeled: padding of the packed words, the order of nibbles in memory.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from kernels_ref.errors import UserError


class FormatError(UserError):
    """The name does not denote a number format we know."""


@dataclass(frozen=True, slots=True)
class Format:
    """An element encoding and its metadata. `group` None means one scale per channel (or none)."""

    name: str
    kind: str  # "float" | "int"
    bits: int
    exponent: int = 0
    mantissa: int = 0
    group: int | None = None
    scale_bits: int = 0
    zero_bits: int = 0

    @property
    def element(self) -> str:
        """The encoding alone, without its scales: what a multiplier sees, e.g. `int4`."""
        return f"int{self.bits}" if self.kind == "int" else self.name

    @property
    def bits_per_element(self) -> Fraction:
        """Storage of one element and its share of a group's metadata, exactly.

        Metadata per channel depends on the channel's length: see `storage_bits`.
        """
        if self.group is None:
            return Fraction(self.bits)
        return self.bits + Fraction(self.scale_bits + self.zero_bits, self.group)

    def storage_bits(self, elements: int, channel_length: int) -> int:
        """Bits of `elements` laid out in channels of `channel_length`, every scale and zero
        counted.

        A channel's last group may be partial and still carries whole metadata.
        """
        if not self.scale_bits:
            return elements * self.bits
        groups = ceil(channel_length / (self.group or channel_length))
        channels = ceil(elements / channel_length)
        return elements * self.bits + channels * groups * (self.scale_bits + self.zero_bits)


def _float(name: str, exponent: int, mantissa: int) -> Format:
    return Format(name, "float", 1 + exponent + mantissa, exponent, mantissa)


FORMATS: dict[str, Format] = {
    fmt.name: fmt
    for fmt in (
        _float("fp32", 8, 23),
        _float("bf16", 8, 7),
        _float("fp16", 5, 10),
        _float("fp8", 4, 3),  # OCP E4M3
        _float("fp8_e5m2", 5, 2),
        Format("int32", "int", 32),
        Format("int8", "int", 8, scale_bits=16),
        Format("int4", "int", 4, group=128, scale_bits=16, zero_bits=4),
    )
}

DEFAULT_GROUP = 128  # what GPTQ and AWQ checkpoints are published with
_PAIR = re.compile(r"w(\d+)a(\d+)(?:-g(\d+))?(?:-(sym|asym))?")
_INT_WIDTHS = range(2, 9)


def get_format(name: str) -> Format:
    """The registered format of this name. Raises FormatError with the known names."""
    if name not in FORMATS:
        raise FormatError(f"unknown number format '{name}'; known: {', '.join(FORMATS)}")
    return FORMATS[name]


def integer_format(bits: int, group: int | None = None, symmetric: bool | None = None) -> Format:
    """Integers of 2 to 8 bits: below 8 bits asymmetric by groups of 128 unless told otherwise."""
    if bits not in _INT_WIDTHS:
        raise FormatError(f"integer formats have 2 to 8 bits, not {bits}")
    if group is None and bits < 8:
        group = DEFAULT_GROUP
    if symmetric is None:
        symmetric = bits == 8
    name = f"int{bits}" + (f"-g{group}" if group else "") + ("-sym" if symmetric else "-asym")
    zero_bits = 0 if symmetric else bits
    return Format(name, "int", bits, group=group, scale_bits=16, zero_bits=zero_bits)


def parse_formats(text: str, activation16: str = "bf16") -> tuple[Format, Format]:
    """(weights, activations) from `fp16` or `w4a16-g128-asym`; `activation16` is the model's own.

    Raises FormatError for anything else.
    """
    text = text.strip()
    match = _PAIR.fullmatch(text)
    if not match:
        if text not in FORMATS:
            raise FormatError(
                f"unknown number format '{text}'; write one of {', '.join(FORMATS)}, "
                "or w<bits>a<bits>[-g<group>][-sym|-asym] such as w4a16-g128"
            )
        return FORMATS[text], FORMATS[text]
    bits, act_bits, group, scheme = match.groups()
    if group is not None and int(group) < 1:
        raise FormatError(f"'{text}': a group has at least one element")
    symmetric = None if scheme is None else scheme == "sym"
    if int(bits) == 16:
        weight = get_format(activation16)
    else:
        weight = integer_format(int(bits), int(group) if group else None, symmetric)
    if act_bits not in ("8", "16"):
        raise FormatError(f"'{text}': activations have 8 or 16 bits, not {act_bits}")
    activation = FORMATS["int8"] if act_bits == "8" else get_format(activation16)
    return weight, activation
