"""A multiplication with what is fused around it: neighbors merged, a prologue, an epilogue.

Merged multiplications are one of as many columns: the activation is read once.

The epilogue is work on the sums before they leave; further operands are read once, and only results
that others read are written. A function that needs whole rows (a norm of heads, quantization) may
be in it if the cores' output tiles hold its rows whole.

The prologue is done to every element of the activation each time it enters a core, so it is
repeated for every tile of columns. What it needs to know of whole rows first:

    an RMS norm alone   nothing: the sums are scaled by the rows' factors (one multiplication
                        each), whose squares add up while the rows pass
    any other           a pass of its own over the rows, for a number or two of each

The mapping is the one that is best without epilogue and prologue, if its tiles still fit, else the
best for the operands as they now are.
Not modeled: a mapping chosen for its prologue's sake; storage of row statistics.
"""

from __future__ import annotations

from collections.abc import Mapping as Map
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from accel_models.engines.pe import Datapath
from accel_models.path import Path
from accel_models.reader import DesignError
from mappers.context import Context
from mappers.cost import Cost, Traffic, in_sequence
from mappers.fused_operands import Matmul, matmul_of
from mappers.fused_rows import calls, vector_work
from mappers.groups import Group
from mappers.legality import legal
from mappers.library.matmul_plan import cost_of, fusible, mapping_of, rests_on, tile_of
from mappers.library.moved import rescaled
from mappers.mapping import Mapping
from mappers.plan import Plan
from mappers.problem import Contraction
from mappers.reuse import Nest
from mappers.staying import Flow, Shares, floor, kept_on_chip, operand_flow
from mappers.streaming import Stream, stream_cost
from mappers.traffic import entered, matmul_traffic
from mappers.windows import once, read_once, unique_share
from workloads.graph import Op
from workloads.ops import Einsum, Vector

Numbers = dict[str, tuple[tuple[str, ...], ...]]  # key paths of a design's numbers, by resource
STATISTIC_BYTES = 4.0  # of a row and function


@dataclass(frozen=True)
class Costed:
    """A group's multiplication in its mapping with all operands off chip, statistics aside."""

    matmul: Matmul
    problem: Contraction
    mapping: Mapping
    cost: Cost
    described: tuple[str, Any]  # for a person, for JSON
    unique: float = 1.0  # of a convolution's taps
    flows: dict[tuple[str, str], Flow] = field(default_factory=dict)
    rests_on: Numbers = field(default_factory=dict)

    @cached_property
    def floor(self) -> tuple[float, float]:
        """Latency and energy that it has however much stays on chip."""
        return floor(self.cost, self.matmul.path)

    @cached_property
    def tiled(self) -> Traffic:
        """What the mapping itself moves."""
        nest = Nest(self.mapping, self.matmul.path, self.problem)
        return matmul_traffic(self.problem, nest)[0]

    def flow(self, operand: str, inward: str) -> Flow:
        """What an operand moves down to a level, once worked out."""
        if (operand, inward) not in self.flows:
            path = self.matmul.path
            found = operand_flow(operand, self.problem, self.mapping, path, inward)
            if operand == "activation":
                found = once(found, self.mapping, path, self.unique)
            if operand != "epilogue" and self.cost.work.launch_s is not None:  # a library's
                found = rescaled(found, operand, self.tiled, self.cost.work.traffic)
            self.flows[operand, inward] = found
        return self.flows[operand, inward]


def plan_matmul(group: Group, context: Context) -> Plan:
    """The searched mapping with its prologue and epilogue. Raises DesignError if the cores cannot
    do it."""
    if context.key is None or context.key not in context.costed:
        context.costed[context.key] = _costed(group, context)
    known: Costed = context.costed[context.key]
    matmul, path, cost = known.matmul, known.matmul.path, known.cost
    if context.stays:  # by the names of this group's tensors
        matmul = matmul_of(group, context)
        cost = kept_on_chip(cost, known.flow, path, _shares(matmul, context))
    first = _statistics(matmul, context)
    return Plan(
        path,
        in_sequence([first, cost]) if first else cost,
        *known.described,
        path.peak_macs_per_s(matmul.pair),
        sum(op.macs for op in group.ops),
        _variant(matmul, first is not None),
        rests_on=known.rests_on,
    )


def _costed(group: Group, context: Context) -> Costed:
    matmul = matmul_of(group, context)
    path, name = matmul.path, group.anchor.name
    if not fusible(group, path):
        raise DesignError(f"{path.name}: {name}: its library's kernels take in no functions")
    mapping = mapping_of(matmul.bare, path, context, name)
    problem = matmul.around()
    if not legal(problem, mapping, path):
        mapping = mapping_of(problem, path, context, name)
    problem = with_work(matmul, problem, mapping)
    described = tile_of(problem, mapping, path), mapping.describe()
    op = group.anchors[0]
    assert isinstance(op, Einsum)
    unique = unique_share(op, context.graph.tensors[op.inputs[0]].elements)
    cost = cost_of(problem, mapping, path)
    cost = read_once(cost, problem, mapping, path, unique)
    rests = numbers(problem, path, pair_facts(path, matmul.pair))
    return Costed(matmul, problem, mapping, cost, described, unique, rests_on=rests)


def numbers(problem: Contraction, path: Path, of_pair: tuple[tuple[str, ...], ...]) -> Numbers:
    """Key paths of what a multiplication's times rest on, by resource."""
    library = rests_on(problem, path)
    return library | {"matrix": (*of_pair, *library.get("matrix", ()))}


def pair_facts(path: Path, pair: Datapath) -> tuple[tuple[str, ...], ...]:
    """Key paths of what the engine's rate rests on."""
    if path.runs_on == "vector":
        return (("cores", path.name, "vector", "ops_per_cycle"),)
    at = ("cores", path.name, "matrix", "pe", "formats", pair.key)
    if pair.skip.key:
        skip = ("cores", path.name, "matrix", "pe", "sparse", pair.skip.key)
        return (*at, "macs_per_cycle"), (*skip, "speedup")
    return ((*at, "macs_per_cycle"),)


def _variant(matmul: Matmul, statistics: bool) -> str:
    group = matmul.group
    parts = ["statistics"] if statistics else []
    parts += ["prologue"] if matmul.prologue else []
    parts += ["merged"] if len(group.anchors) > 1 else []
    parts += ["epilogue"] if group.epilogue else []
    parts += [matmul.pair.skip.name] if matmul.pair.skip.name else []
    return " + ".join(parts)


def with_work(
    matmul: Matmul, problem: Contraction, mapping: Mapping, share: float = 1.0
) -> Contraction:
    """The vector work of epilogue (a share of it) and prologue under a mapping.

    Raises DesignError where a tile holds only parts of rows that the epilogue needs whole.
    """
    path = matmul.path
    work: dict[str, float] = {}
    _add(work, matmul.bare.epilogue_ops, share)
    _add(work, vector_work(matmul.group.epilogue, path), share)
    tile = mapping.levels[min(path.first_core, len(mapping.levels) - 1)].tile["n"]
    for op in matmul.group.epilogue:
        parts = tile % getattr(op, "width", tile) and tile < problem.extents["n"]
        if isinstance(op, Vector) and op.reduction and parts:
            raise DesignError(
                f"{path.name}: tiles of {tile} columns hold parts of {op.name}'s rows"
            )
    if matmul.prologue:
        sizes = problem.extents
        elements = sizes["b"] * sizes["m"] * sizes["k"]
        times = float(entered(Nest(mapping, path, problem), "activation")) / elements
        _add(work, vector_work(matmul.prologue, path), times)
        if _deferred(matmul.prologue):
            _add(work, {"mul": float(problem.outputs)}, 1.0)
    return replace(problem, epilogue_ops=work)


def _add(work: dict[str, float], more: Map[str, float], times: float) -> None:
    for cls, n in more.items():
        work[cls] = work.get(cls, 0) + n * times


def _deferred(prologue: tuple[Op, ...]) -> bool:
    """Is an RMS norm the only function that needs whole rows, and the last?"""
    whole = [op for op in prologue if isinstance(op, Vector) and op.reduction]
    return len(whole) == 1 and whole[0] is prologue[-1] and whole[0].function == "rmsnorm"


def _statistics(matmul: Matmul, context: Context) -> Cost | None:
    """The pass over the rows that the prologue's functions need first."""
    whole = [op for op in matmul.prologue if isinstance(op, Vector) and op.reduction]
    if not whole or _deferred(matmul.prologue):
        return None
    last = matmul.prologue.index(whole[-1])
    rows = whole[-1].rows
    stream = Stream(
        matmul.streamed,
        {"statistics": STATISTIC_BYTES * len(whole) * rows},
        rows,
        sum(matmul.streamed.values()) / max(1, rows),
        calls(matmul.prologue[: last + 1], matmul.path),
        reduction=True,
        stays=context.stays,
    )
    return stream_cost(stream, matmul.path)


def _shares(matmul: Matmul, context: Context) -> Shares:
    """For each operand, the shares of its bytes that stay in each level."""
    found: dict[str, dict[str, float]] = {}
    parts = {"activation": matmul.streamed, "epilogue": matmul.aside, "output": matmul.written}
    for operand, sizes in parts.items():
        for tensor, size in sizes.items():
            level = context.stays.get(tensor)
            if level is not None:
                at = found.setdefault(operand, {})
                at[level] = at.get(level, 0.0) + size / sum(sizes.values())
    return found
