"""Inference servers and their clients in measurements: policies and limits, no kernels.

The facts are in servers.yaml. Which of them a row is about its columns say: `backend` the server;
`aic_id` the client, since the data set has InferenceMAX's runs beside ones whose lengths are fixed.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from typing import Annotated, Literal

from pydantic import Field

from accel_models.explain import nearest
from accel_models.facts import Count, Facts, Fraction
from accel_models.kernel_library.fitted import Fitted
from accel_models.quantity import Seconds
from accel_models.reader import parse_yaml
from kernels_ref.errors import UserError
from sim.measured.cases import Case

# how ids of runs with fixed lengths end; InferenceMAX's name the experts' ways or a configuration
FIXED = re.compile(r"epnone_\d+$")


class Server(Facts):
    """Of one program."""

    tokens: Count = Field(description="of prompts and answers in one iteration, at most")
    prefill: Literal["mixed", "first"] = Field(
        description="prompts beside decodes in one iteration, or before them in one of their own"
    )
    reserves: Literal["prompt", "answer"] = Field(
        description="the cache a request is admitted with: its prompt's, or its answer's too"
    )
    memory: Fraction = Field(description="share of a chip's memory for weights and caches")
    cache: dict[str, str] = Field(
        default={},
        description="dtype of caches by gemm_quant_mode; 16 bits else",
    )
    step: Annotated[Seconds, Fitted(0.0, 20e-3, "ms")] = Field(
        description="of the host, for an iteration"
    )
    token: Annotated[Seconds, Fitted(0.0, 500e-6, "us")] = Field(
        description="of the host, for every token that an iteration makes"
    )


class Client(Facts):
    """Of one benchmark: `shortest` length as a share of the one that is said, from which to the
    whole they are uniform; `rounds` of requests, the first of which comes at once; `front`: what a
    request takes outside of the server's plans (HTTP, tokens to and from text)."""

    shortest: Fraction
    rounds: Count
    front: Annotated[Seconds, Fitted(0.0, 200e-3, "ms")]

    @property
    def mean(self) -> float:
        """Of a length, as a share of the one that is said."""
        return (1 + self.shortest) / 2


@cache
def servers() -> dict[str, Server]:
    return {name: Server.model_validate(block) for name, block in _read()["servers"].items()}


@cache
def clients() -> dict[str, Client]:
    return {name: Client.model_validate(block) for name, block in _read()["clients"].items()}


def _read() -> dict[str, dict[str, object]]:
    file = resources.files("sim").joinpath("measured", "servers.yaml")
    return parse_yaml(file.read_text(encoding="utf-8"), "servers.yaml").data


def backend_of(case: Case) -> str:
    """Of `servers`. Raises UserError for one that is unknown."""
    name = case.values["backend"]
    if name not in servers():
        raise UserError(f"backend: no server '{name}'; {nearest(name, list(servers()))}")
    return name


def benchmark_of(case: Case) -> str:
    """Of `clients`; with fixed lengths where nothing says otherwise."""
    name = case.values.get("aic_id", "")
    return "fixed" if not name or FIXED.search(name) else "inference_max"
