"""Numbers as people read them: three significant digits and an SI prefix."""

from __future__ import annotations

from math import floor, log10

_PREFIXES = {
    -15: "f",
    -12: "p",
    -9: "n",
    -6: "u",
    -3: "m",
    0: "",
    3: "k",
    6: "M",
    9: "G",
    12: "T",
    15: "P",
}


def si(value: float, unit: str = "") -> str:
    """`0.00123, "s"` as `1.23 ms`."""
    value = float(f"{float(value):.3g}")
    if value == 0:
        return f"0 {unit}".rstrip()
    magnitude = floor(log10(abs(value)) + 1e-12)
    power = min(15, max(-15, 3 * (magnitude // 3)))
    digits = max(0, 2 - (magnitude - power))
    return f"{value / 10.0**power:.{digits}f} {_PREFIXES[power]}{unit}".rstrip()


def binary(value: float) -> str:
    """Bytes with a binary prefix: `16.06e9` as `15.0 GiB`."""
    value = float(value)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} B" if unit == "B" else f"{value:.3g} {unit}"
        value /= 1024
    return f"{value:.4g} TiB"


def percent(share: float) -> str:
    """`0.123` as `12 %`, below ten with a digit."""
    return f"{100 * share:.0f} %" if share >= 0.095 else f"{100 * share:.1f} %"
