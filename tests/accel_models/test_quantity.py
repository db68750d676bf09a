"""Quantities: every unit, what is refused, and that a value survives being written and read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accel_models.quantity import DIMENSIONS, LARGEST, SMALLEST, Bandwidth, _bandwidth, parse

# (as written, dimension, SI): prefixes by IEC 80000-13, by hand
WRITTEN = [
    ("40 GiB", "bytes", 40 * 2**30),
    ("40 GB", "bytes", 40e9),
    ("512 B", "bytes", 512),
    ("1 kB", "bytes", 1e3),
    ("1 KB", "bytes", 1e3),
    ("1 KiB", "bytes", 1024),
    ("1.5 MiB", "bytes", 1.5 * 2**20),
    ("2 TiB", "bytes", 2 * 2**40),
    ("1555 GB/s", "bytes per second", 1555e9),
    ("1 GiB/s", "bytes per second", 2**30),
    ("1.41 GHz", "frequency", 1.41e9),
    ("350 ns", "time", 350e-9),
    ("2.8 us", "time", 2.8e-6),
    ("1 s", "time", 1),
    ("0.4 pJ", "energy", 0.4e-12),
    ("30 fJ", "energy", 30e-15),
    ("3.9 pJ/bit", "energy per bit", 3.9e-12),
    ("8 pJ/B", "energy per bit", 1e-12),
    ("400 W", "power", 400),
    ("250 mW", "power", 0.25),
    ("826 mm2", "area", 826),
    ("150 um2", "area", 150e-6),
    ("8 cm2", "area", 800),
    ("7 nm", "length", 7e-9),
    ("0.8 V", "voltage", 0.8),
    ("750 mV", "voltage", 0.75),
    ("2.5 USD/h", "price per hour", 2.5),
    # spacing and ways to write a number
    ("  1.5e3MB ", "bytes", 1.5e9),
    ("1E+3 MB", "bytes", 1e9),
    (".5 GB", "bytes", 0.5e9),
    ("5. GB", "bytes", 5e9),
    ("+5 GB", "bytes", 5e9),
]


@pytest.mark.parametrize(("text", "dimension", "si"), WRITTEN)
def test_value_in_si(text: str, dimension: str, si: float) -> None:
    assert parse(text, dimension)[0] == pytest.approx(si, rel=1e-15)


def test_every_dimension_is_in_the_table_above() -> None:
    assert {dimension for _, dimension, _ in WRITTEN} == DIMENSIONS.keys()


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_value_survives_being_written_and_read(dimension: str) -> None:
    @given(st.sampled_from(sorted(DIMENSIONS[dimension])), st.floats(1e-6, 1e9))
    def check(unit: str, number: float) -> None:
        value, read_unit = parse(f"{number!r} {unit}", dimension)
        assert read_unit == unit
        assert value / DIMENSIONS[dimension][unit] == pytest.approx(number, rel=1e-15)

    check()


@given(st.one_of(st.text(), st.integers(), st.floats(), st.booleans(), st.none()))
def test_anything_else_is_a_value_error(written: object) -> None:
    for dimension in DIMENSIONS:
        try:
            value, _ = parse(written, dimension)
        except ValueError:
            continue
        assert SMALLEST <= value <= LARGEST


@pytest.mark.parametrize(
    "text", ["1,5 GB", "1 000 GB", "1 G B", "GB", "1..5 GB", "0x10 GB", "1_0 GB"]
)
def test_other_ways_to_write_numbers_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a quantity|unknown unit"):
        parse(text, "bytes")


def test_units_are_case_sensitive() -> None:
    """`mW` and `MW` are nine orders of magnitude apart."""
    assert parse("1 MW", "power")[0] == 1e9 * parse("1 mW", "power")[0]
    with pytest.raises(ValueError, match=r"unknown unit 'Gb/s'.*did you mean 'GB/s'\?"):
        parse("1 Gb/s", "bytes per second")


def test_bandwidth_per_cycle_scales_with_the_clock() -> None:
    assert _bandwidth("64 B/cycle") == _bandwidth("64 B/clk") == Bandwidth(64, True)
    assert _bandwidth("64 B/cycle").bytes_per_second(2e9) == 128e9
    assert _bandwidth("64 GB/s").bytes_per_second(2e9) == 64e9
