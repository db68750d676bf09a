"""Zeros of sparse weights that an engine, or the kernel that runs on it, does not multiply.

    n:m            in every m neighbors along k the engine multiplies n: a block is m/n as deep in
                   the same time, reading all its activations and the kept weights with their places
                   (sparse tensor cores: Mishra et al., arXiv 2104.08378, sec. 3)
    unstructured   the engine finds the kept weights itself: min(1 / density, speedup) as fast
    blocks         the kernel issues only those of the engine's blocks in which something is kept
                   (Gray et al., GPU Kernels for Block-Sparse Weights, 2017)
    along m        a vector engine keeps rows of activations in its lanes, and takes one kept weight
                   after the other (Elsen et al., Fast Sparse ConvNets, arXiv 1911.09723, sec. 3)
    expanded       weights are put in place as they enter a core, and every MAC is done (Flash-LLM,
                   arXiv 2309.10285, sec. 4: load as sparse, compute as dense)

`sparse.py` says which of these a machine can do with a pattern, and which it does.
Not modeled: energy of choosing activations by their places; zeros of activations; gating of
multipliers by zero; kept blocks that fall unevenly on cores.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from accel_models.facts import Facts

UNSTRUCTURED = "unstructured"
Speedup = Annotated[float, Field(ge=1, le=1e6, allow_inf_nan=False, strict=True)]
_N_OF_M = re.compile(r"([1-9]\d{0,2}):([1-9]\d{0,2})")


class SkipRate(Facts):
    """How fast a PE is where weights have zeros in a pattern."""

    speedup: Speedup = Field(
        description="times its dense MACs per cycle; for unstructured zeros at most, where as many "
        "are zero"
    )
    formats: list[str] | None = Field(
        default=None, description="pairs of `formats` that can; default: all"
    )
    kernel: str | None = Field(
        default=None, description="reference kernel that is its arithmetic, of the pairs it lists"
    )


@dataclass(frozen=True, slots=True)
class Skip:
    """What an engine does with the zeros of an operation's weights.

    `name` for a person, empty where weights are dense; `key` the entry of the PE's `sparse` that it
    rests on. `deeper`: times the elements of k in a block; `issued` and `done`: shares of the
    engine's blocks that are issued, and of MACs that are done (and take energy); `along_m`: lanes
    hold rows of activations. `weight_bytes`: of a dense element as the engine reads it (None: as
    it is stored). Of every dense element that enters a core a share `kept` is converted and scaled,
    and `unpacked` is the vector work to bring it into the engine's form.
    """

    name: str = ""
    key: str = ""
    deeper: float = 1.0
    issued: float = 1.0
    done: float = 1.0
    along_m: bool = False
    weight_bytes: float | None = None
    kept: float = 1.0
    unpacked: tuple[tuple[str, float], ...] = ()

    @property
    def speedup(self) -> float:
        """At most."""
        return self.deeper / self.issued


DENSE = Skip()


def n_of_m(key: str) -> tuple[int, int] | None:
    """(n, m) of a key like 2:4; None of another."""
    found = _N_OF_M.fullmatch(key)
    if found is None or int(found[1]) > int(found[2]):
        return None
    return int(found[1]), int(found[2])
