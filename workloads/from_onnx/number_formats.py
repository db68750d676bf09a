"""Number formats of ONNX: element types, and codes with the scales that stand beside them."""

from __future__ import annotations

from collections.abc import Mapping

from kernels_ref.formats import ELEMENTS, FORMATS, Element, Format, Scale
from workloads.from_onnx.exported import OnnxError

# ONNX element type -> what one element is.
_FLOATS: dict[str, str] = {
    "FLOAT": "fp32",
    "FLOAT16": "fp16",
    "BFLOAT16": "bf16",
    "FLOAT8E4M3FN": "fp8",
    "FLOAT8E5M2": "fp8_e5m2",
    "FLOAT4E2M1": "fp4",
}
_CODES: Mapping[str, int] = {"INT8": 8, "UINT8": 8, "INT4": 4, "UINT4": 4}
_SCALES: dict[str, str] = {"FLOAT": "fp32", "FLOAT16": "fp16", "BFLOAT16": "bf16"}


def format_of(kind: str, what: str) -> Format:
    """The format of plain elements. Raises OnnxError for texts and the like."""
    if kind in _FLOATS:
        return FORMATS[_FLOATS[kind]]
    if kind == "DOUBLE":
        return Format("fp64", Element("fp64", "float", 64, 11, 52))
    if kind == "BOOL":
        return Format("bool", Element("bool", "uint", 8))
    name = kind.lower()
    digits = name.lstrip("uint")
    if name.rstrip("0123456789") in ("int", "uint") and digits:
        sign = name.rstrip("0123456789")
        element = ELEMENTS.get(name) or Element(name, sign, int(digits))
        return Format(f"{name}-plain", element)
    raise OnnxError(f"'{what}' has elements of type {kind}, which no format here is")


def coded_format(kind: str, per: int | str, scale_kind: str, zero: bool, what: str) -> Format:
    """Codes with a scale per tensor, channel or so many elements; with `zero` a zero-point each.

    Unsigned codes and their zero-point are the asymmetric form of the signed format, as in
    `kernels_ref.formats`. Raises OnnxError for other codes or scales.
    """
    if kind in ("FLOAT8E4M3FN", "FLOAT8E5M2") and scale_kind in _SCALES:
        element = ELEMENTS[_FLOATS[kind]]
        return Format(f"{element.name}-{_words(per)}", element, (Scale(per, _SCALES[scale_kind]),))
    if kind not in _CODES or scale_kind not in _SCALES:
        raise OnnxError(f"'{what}': codes of type {kind} with scales of {scale_kind} are not known")
    bits = _CODES[kind]
    scale = Scale(per, _SCALES[scale_kind], zero_bits=bits if zero else 0)
    name = f"int{bits}-{_words(per)}-{'asym' if zero else 'sym'}"
    return Format(name, ELEMENTS[f"int{bits}"], (scale,), symmetric=not zero)


def grouped_format(bits: int, group: int, scale_kind: str, zero: bool, what: str) -> Format:
    """Integers of so many bits with a scale, and with `zero` a zero-point, for each group."""
    kind = {8: "UINT8", 4: "UINT4"}.get(bits)
    if kind is not None:
        return coded_format(kind, group, scale_kind, zero, what)
    element = ELEMENTS.get(f"int{bits}")
    if element is None or scale_kind not in _SCALES:
        raise OnnxError(f"'{what}': groups of {bits}-bit codes with scales of {scale_kind}")
    scale = Scale(group, _SCALES[scale_kind], zero_bits=bits if zero else 0)
    return Format(f"int{bits}-g{group}", element, (scale,), symmetric=not zero)


def _words(per: int | str) -> str:
    return f"g{per}" if isinstance(per, int) else per
