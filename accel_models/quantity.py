"""Physical quantities as people write them: `40 GiB`, `1555 GB/s`, `3.9 pJ/bit`; SI floats inside.

Every dimension is a table of units and their SI factor. A bare number, a unit of another dimension,
NaN, infinity and values below zero are refused with the units that would be right.
Prefixes are decimal (GB = 1e9 B) unless binary (GiB = 2^30 B), as IEC 80000-13 has them.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from accel_models.reader import as_yaml

_DECIMAL = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
_BINARY = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}
_SMALL = {"": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9, "p": 1e-12, "f": 1e-15}

_BYTES = {f"{p}B": f for p, f in (_DECIMAL | _BINARY).items()}


def _units(symbol: str, prefixes: Mapping[str, float], keep: str | None = None) -> dict[str, float]:
    return {p + symbol: f for p, f in prefixes.items() if keep is None or p in keep.split(",")}


DIMENSIONS: dict[str, dict[str, float]] = {
    "bytes": _BYTES,
    "bytes per second": {f"{u}/s": f for u, f in _BYTES.items()},
    "frequency": _units("Hz", _DECIMAL),
    "time": _units("s", _SMALL),
    "energy": _units("J", _SMALL),
    "energy per bit": {f"{p}J/bit": f for p, f in _SMALL.items()}
    | {f"{p}J/B": f / 8 for p, f in _SMALL.items()},
    "power": _units("W", _DECIMAL | {"m": 1e-3, "u": 1e-6}),
    "area": {"mm2": 1.0, "um2": 1e-6, "cm2": 100.0},
    "length": {"nm": 1e-9, "um": 1e-6},
    "voltage": {"V": 1.0, "mV": 1e-3},
    "price per hour": {"USD/h": 1.0},
}
_EXAMPLES = {
    "bytes": "40 GiB",
    "bytes per second": "1555 GB/s",
    "frequency": "1.41 GHz",
    "time": "350 ns",
    "energy": "0.4 pJ",
    "energy per bit": "3.9 pJ/bit",
    "power": "400 W",
    "area": "826 mm2",
    "length": "7 nm",
    "voltage": "0.8 V",
    "price per hour": "2.5 USD/h",
}
SMALLEST, LARGEST = 1e-30, 1e30  # in SI units; figures made of such amounts stay finite
_NUMBER = re.compile(
    r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?\.?inf|\.?nan)\s*(.*?)\s*"
)
_PER_CYCLE = {"B/cycle": 1.0, "B/clk": 1.0}


def parse(text: object, dimension: str, extra: Mapping[str, float] = {}) -> tuple[float, str]:
    """(value in SI, unit as written) of `text`. Raises ValueError saying what would be right."""
    units = DIMENSIONS[dimension] | dict(extra)
    example = f"such as '{_EXAMPLES[dimension]}'"
    if isinstance(text, bool) or not isinstance(text, (str, int, float)):
        raise ValueError(f"{as_yaml(text)} is not a quantity; write a number and a unit {example}")
    match = _NUMBER.fullmatch(str(text))
    if not match:
        raise ValueError(f"{as_yaml(text)} is not a quantity; write a number and a unit {example}")
    number, unit = float(match[1].replace(".inf", "inf").replace(".nan", "nan")), match[2]
    if not unit:
        raise ValueError(f"{as_yaml(text)} has no unit; write {dimension} {example}")
    if unit not in units:
        close = difflib.get_close_matches(unit, units, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"write {dimension} {example}"
        raise ValueError(f"unknown unit {as_yaml(unit)} for {dimension}; {hint}")
    value = number * units[unit]
    if not math.isfinite(value):
        raise ValueError(f"must be finite, not {as_yaml(text)}")
    if value <= 0:
        raise ValueError(f"must be greater than 0, not {as_yaml(text)}")
    if not SMALLEST <= value <= LARGEST:
        raise ValueError(f"{as_yaml(text)} is no physical amount; check the exponent")
    return value, unit


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """Bytes per second, or bytes per cycle of the clock that the memory runs on."""

    amount: float
    per_cycle: bool

    def bytes_per_second(self, clock_hz: float) -> float:
        return self.amount * clock_hz if self.per_cycle else self.amount


def _bandwidth(value: object) -> Bandwidth:
    if isinstance(value, Bandwidth):
        return value
    amount, unit = parse(value, "bytes per second", _PER_CYCLE)
    return Bandwidth(amount, unit in _PER_CYCLE)


def _reader(dimension: str) -> BeforeValidator:
    def read(value: object) -> float:
        return parse(value, dimension)[0]

    return BeforeValidator(read)


def _schema(dimension: str, extra: Mapping[str, float] = {}) -> WithJsonSchema:
    units = "|".join(re.escape(u) for u in DIMENSIONS[dimension] | dict(extra))
    return WithJsonSchema(
        {
            "type": "string",
            "description": f"{dimension}, a number and a unit",
            "pattern": rf"^\s*\+?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?\s*({units})\s*$",
            "examples": [_EXAMPLES[dimension]],
        }
    )


def _quantity(dimension: str) -> Any:
    return Annotated[float, _reader(dimension), _schema(dimension)]


Bytes = _quantity("bytes")
Hertz = _quantity("frequency")
Seconds = _quantity("time")
Joules = _quantity("energy")
JoulesPerBit = _quantity("energy per bit")
Watts = _quantity("power")
SquareMillimeters = _quantity("area")
Meters = _quantity("length")
Volts = _quantity("voltage")
DollarsPerHour = _quantity("price per hour")
BytesPerSecond = Annotated[
    Bandwidth, BeforeValidator(_bandwidth), _schema("bytes per second", _PER_CYCLE)
]
