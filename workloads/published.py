"""What others say of the shipped models: their counts, and classes whose trace agrees
(`workloads/models/published.yaml`, `traced.yaml`)."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import Any


@dataclass(frozen=True, slots=True)
class Published:
    """Parameters and where the number is from."""

    params: int
    source: str
    note: str = ""


def published() -> dict[str, Published]:
    """By the model's name; models of our own are not there."""
    return {name: Published(**entry) for name, entry in _read("published.yaml").items()}


def traced_classes() -> dict[str, str]:
    """The transformers class whose trace equals the built graph, by the model's name."""
    return dict(_read("traced.yaml"))


def _read(name: str) -> dict[str, Any]:
    import yaml

    file = resources.files("workloads").joinpath("models", name)
    data: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return data
