"""How many tokens a prompt or an answer has.

    fixed       always the same
    uniform     each number from `least` to `most` as likely
    lognormal   of this mean and coefficient of variation, rounded, at least 1 (sigma^2 = ln(1 +
                cv^2), mu = ln(mean) - sigma^2 / 2); with `most`, longer ones are cut to it
    empirical   a column of a CSV file, each row as likely

A new distribution is a block with `draw` and a line in LENGTHS.
"""

from __future__ import annotations

import csv
from math import log, sqrt
from pathlib import Path
from typing import Protocol

import numpy as np
from pydantic import Field, model_validator

from accel_models.explain import nearest
from accel_models.facts import Count
from workloads.requests.block import Block, Positive
from workloads.requests.request import RequestsError


class Lengths(Protocol):
    """A distribution of lengths."""

    # so many independent lengths, each at least 1
    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray: ...


class Fixed(Block):
    """Always the same."""

    tokens: Count

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return np.full(count, self.tokens)


class Uniform(Block):
    """Each number from `least` to `most` as likely."""

    least: Count
    most: Count

    @model_validator(mode="after")
    def _ordered(self) -> Uniform:
        if self.least > self.most:
            raise ValueError(f"least is {self.least}, most is {self.most}: exchange them")
        return self

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return rng.integers(self.least, self.most, size=count, endpoint=True)


class Lognormal(Block):
    """Of this mean and coefficient of variation."""

    mean: Positive
    cv: Positive
    most: Count | None = Field(default=None, description="longer ones are cut to it")

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        variance = log(1 + self.cv**2)
        found = rng.lognormal(log(self.mean) - variance / 2, sqrt(variance), size=count)
        return np.clip(np.rint(found), 1, self.most or 10**9).astype(np.int64)


class Empirical(Block):
    """A column of whole numbers in a CSV file with a header."""

    file: str
    column: str

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return rng.choice(np.array(_column(self.file, self.column)), size=count)


def _column(file: str, column: str) -> list[int]:
    """Raises RequestsError for a file that cannot be read, or a row that is no length."""
    try:
        with Path(file).open(newline="", encoding="utf-8") as text:
            rows = csv.DictReader(text)
            names = list(rows.fieldnames or [])
            if column not in names:
                hint = nearest(column, names) if names else "the file is empty"
                raise RequestsError(f"{file}:1: no column '{column}'; {hint}")
            found = [whole(row[column], f"{file}:{rows.line_num}: {column}") for row in rows]
    except OSError as problem:
        raise RequestsError(f"{file}: cannot be read: {problem.strerror}") from None
    except UnicodeDecodeError:
        raise RequestsError(f"{file}: is not UTF-8 text; save it as UTF-8") from None
    if not found:
        raise RequestsError(f"{file}: has no rows below its header")
    return found


def whole(value: object, place: str, least: int = 1) -> int:
    """A number of tokens. Raises RequestsError that begins with `place`."""
    try:
        number = int(str(value).strip())
    except ValueError:
        number = least - 1
    if number < least or isinstance(value, bool):
        raise RequestsError(f"{place}: '{value}' is not a whole number of at least {least}")
    return number


# name -> distribution.
LENGTHS: dict[str, type[Block]] = {
    "fixed": Fixed,
    "uniform": Uniform,
    "lognormal": Lognormal,
    "empirical": Empirical,
}
