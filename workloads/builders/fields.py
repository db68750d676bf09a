"""Reading a configuration's keys with every problem of the file reported at once.

A key is taken from the file, else from the family's table of defaults (those of the Hugging Face
configuration class that published files rely on), else it is a problem. A null counts as absent
where there is a default. Reading goes on after a problem; `finish` raises them all, one per line.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from typing import Any

from workloads.config import ConfigError, ModelConfig

MAX_INTEGER = 2**31 - 1
MAX_LAYERS = 10_000


class Fields:
    """The keys of one configuration object and the problems found in them so far."""

    def __init__(self, config: ModelConfig, family: str, data: Mapping[str, Any], prefix: str):
        """`prefix` is where `data` stands in the file: "" or, for a nested one, "text_config."."""
        self.config = config
        self.family = family
        self.data = data
        self.prefix = prefix
        self.defaults: Mapping[str, Any] = {}
        self.problems: list[str] = []
        self._bad: set[str] = set()

    def integer(self, key: str, default: int | None = None, maximum: int = MAX_INTEGER) -> int:
        """A positive integer; a problem reads as 1."""
        value = self._value(key, default)
        if type(value) is int and 1 <= value <= maximum:
            return value
        if type(value) is int and value > maximum:
            self._wrong(key, value, f"write an integer of at most {maximum}")
        else:
            self._wrong(key, value, "write a positive integer")
        return 1

    def natural(self, key: str) -> int:
        """An integer of at least 0; null reads as 0, as does a problem."""
        value = self.data.get(key, self.defaults.get(key))
        return 0 if value is None or (type(value) is int and value == 0) else self.integer(key)

    def positive(self, key: str) -> float:
        """A number above 0; a problem reads as 1."""
        value = self._value(key, None)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0:
            return float(value)
        self._wrong(key, value, "write a number above 0")
        return 1.0

    def positive_integers(self, key: str) -> list[int]:
        """A list of positive integers; a problem reads as [1]."""
        value = self._value(key, None)
        if isinstance(value, list) and value and all(type(v) is int and v > 0 for v in value):
            return value
        self._wrong(key, value, "write a list of positive integers")
        return [1]

    def indices(self, key: str) -> list[int]:
        """A list of integers of at least 0, perhaps empty; a problem reads as an empty one."""
        value = self._value(key, None)
        if isinstance(value, list) and all(type(item) is int and item >= 0 for item in value):
            return value
        self._wrong(key, value, "write a list of layers, counted from 0")
        return []

    def nullable_integer(self, key: str, required: bool = True) -> int | None:
        """A positive integer, or None where the file says null (or nothing, if not required)."""
        if key in self.data or key in self.defaults:
            value = self.data[key] if key in self.data else self.defaults[key]
            return None if value is None else self.integer(key)
        return self.integer(key) if required else None

    def flag(self, key: str) -> bool:
        """true or false; a problem reads as False."""
        value = self._value(key, None)
        if type(value) is not bool:
            self._wrong(key, value, "write true or false")
        return value is True

    def fraction(self, key: str) -> float:
        """A number in (0, 1]; a problem reads as 1."""
        value = self._value(key, None)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= 1:
            return float(value)
        self._wrong(key, value, "write a number above 0 and at most 1")
        return 1.0

    def choice(self, key: str, table: Mapping[str, Any]) -> Any:
        """What `table` has for a string; a problem reads as the table's first value."""
        value = self._value(key, None)
        if isinstance(value, str) and value in table:
            return table[value]
        self._wrong(key, value, f"known: {', '.join(table)}")
        return next(iter(table.values()))

    def has(self, key: str) -> bool:
        """True if the file gives the key a value other than null."""
        return self.data.get(key) is not None

    def given(self, key: str) -> bool:
        """True for a positive number, False for null; the default where the key is absent."""
        value = self.data.get(key, self.defaults.get(key))
        if value is None:
            return False
        if type(value) not in (int, float) or value <= 0:
            self._wrong(key, value, "write a positive number or null")
        return True

    def strings(self, key: str, allowed: tuple[str, ...], length: int) -> list[str]:
        """A list of `length` strings, each one of `allowed`; a problem reads as the first one."""
        value = self.data.get(key)
        if not isinstance(value, list) or any(item not in allowed for item in value):
            self._wrong(key, value, f"write a list of {' and '.join(allowed)}")
        elif len(value) != length:
            self.complain(key, f"has {len(value)} entries for {length} layers; write one per layer")
        else:
            return value
        return [allowed[0]] * length

    def multiple(self, key: str, whole: int, by: str, part: int) -> None:
        """A problem at `key` unless its value, `whole`, is a multiple of that of `by`, `part`."""
        if whole % part and not {key, by} & self._bad:
            self.complain(key, f"is {whole}, not a multiple of '{self.prefix}{by}' ({part})")

    def complain(self, key: str, what: str) -> None:
        """Record a problem with a key: "<file>:<line>: '<key>' <what>"."""
        path = self.prefix + key
        self._bad.add(key)
        self.problems.append(f"{self.config.place(path)}: '{path}' {what}")

    def finish(self) -> None:
        """Raise ConfigError with every problem, one per line, if there was any."""
        if self.problems:
            raise ConfigError("\n".join(self.problems))

    def _value(self, key: str, default: object) -> object:
        value = self.data.get(key)
        if value is None:
            value = self.defaults.get(key, default)
        if value is None and key not in self.data and key not in self._bad:
            close = difflib.get_close_matches(key, self.data, n=1, cutoff=0.85)
            hint = f"; did you mean it by '{close[0]}'?" if close else ""
            self.complain(key, f"is missing; a {self.family} configuration states it{hint}")
        return value

    def _wrong(self, key: str, value: object, wanted: str) -> None:
        if key in self._bad:  # missing, or read a second time
            return
        shown = json.dumps(value)
        shown = shown if len(shown) <= 40 else shown[:37] + "..."
        self.complain(key, f"is {shown}; {wanted}")


def nested(f: Fields, key: str) -> Fields:
    """The object of this key; what is wrong in it is reported with the rest."""
    data = f.data.get(key)
    if not isinstance(data, dict):
        f.complain(key, "is not an object; a configuration of a part of the model is wanted")
        data = {}
    return _inside(f, data, key)


def objects(f: Fields, key: str) -> list[Fields]:
    """A list of objects, at least one, each as `nested` has it."""
    values = f.data.get(key)
    if not isinstance(values, list) or not all(isinstance(item, dict) for item in values):
        values = []
    if not values:
        f.complain(key, "is not a list of objects with at least one")
    return [_inside(f, value, f"{key}[{number}]") for number, value in enumerate(values)]


def _inside(f: Fields, data: Mapping[str, Any], key: str) -> Fields:
    inner = Fields(f.config, f.family, data, f"{f.prefix}{key}.")
    inner.problems = f.problems
    return inner
