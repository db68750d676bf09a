"""What others count of the shipped models: `workloads/models/published.yaml`."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True, slots=True)
class Published:
    """Parameters and where the number is from."""

    params: int
    source: str
    note: str = ""


def published() -> dict[str, Published]:
    """By the model's name; models of our own are not there."""
    import yaml

    file = resources.files("workloads").joinpath("models", "published.yaml")
    data = yaml.safe_load(file.read_text(encoding="utf-8"))
    return {name: Published(**entry) for name, entry in data.items()}
