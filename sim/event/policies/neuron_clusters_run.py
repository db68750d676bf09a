"""A model's decode steps with neuron clusters, on one design with a dense engine, a CPU and flash.

Of an MLP's N neurons (of active experts: theirs) a share `hot` is computed whole by the dense
cores; of the others the share a = 1 - (1 - active)^tokens that some token of the step needs, by the
sparse cores, and of these a share 1 - hits is read from flash: cold neurons are all needed as
often, so that what is cached is found as often, unless `hits` says how often. A neuron's rows of
all matrices lie together, and are read in two halves. Everything else runs on the cores that are
best for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil

from accel_models.design import Design
from accel_models.explain import nearest
from accel_models.read_system import single_chip
from kernels_ref.errors import UserError
from sim.event.cooperation import Cooperation, Stretch
from sim.event.cuts import kinds_of_layers, outside, part
from sim.event.neuron_layers import CHIP, Knobs, NeuronLayer, Phone
from sim.event.neurons import mlp_of
from sim.event.policies import Setting
from sim.event.policies.neuron_clusters import (
    Engines,
)
from sim.event.sides import Chip, Sent
from sim.run import Held
from workloads.phase import STEPS

PIPELINES = ("cluster", "matrix")


def neuron_clusters(
    setting: Setting,
    hot: float,
    active: float,
    cached: float = 1.0,
    hits: float | None = None,
    clusters: int = 32,
    rank: int = 0,
    pipeline: str = "cluster",
    dense: str = "npu",
    sparse: str = "cpu",
    flash: str = "",
) -> Cooperation:
    """Of an MLP's neurons the hot ones are computed whole by a dense engine; clusters of the cold
    ones beside it by CPU cores, active neurons only, and as far as these are not in memory they
    are read from flash meanwhile.

    Arguments: hot, a share of the neurons; active, the share of cold ones that a token needs;
    cached, the share of cold ones that is in memory; hits, the share of those needed that is found
    there (the same); clusters of a layer; rank of what predicts
    (0: nothing does); pipeline: every cluster by itself (cluster), or with barriers at matrices
    (matrix); kinds of cores (dense, sparse); flash, the design's first backing memory.

    Source: PowerInfer-2, arXiv 2406.06282.
    """
    found = cached if hits is None else hits
    shares = {"hot": hot, "active": active, "cached": cached, "hits": found}
    _check(pipeline, shares, clusters, rank)
    graph = setting.graph
    if graph.phase not in STEPS:
        raise UserError(
            f"neuron_clusters: phase {graph.phase} has too many tokens for few neurons to be "
            "active; take decode or verify"
        )
    tokens = graph.batch * graph.tokens
    knobs = Knobs(hot, 1.0 - (1.0 - active) ** tokens, cached, found, clusters, rank, pipeline)
    return _cooperation(Phone(setting, _cores(setting, dense, sparse, flash), knobs))


def _check(pipeline: str, shares: Mapping[str, float], clusters: int, rank: int) -> None:
    """Raises UserError."""
    if pipeline not in PIPELINES:
        hint = nearest(pipeline, list(PIPELINES))
        raise UserError(f"neuron_clusters: no pipeline '{pipeline}'; {hint}")
    wrong = next((name for name, share in shares.items() if not 0 <= share <= 1), None)
    if wrong or shares["hot"] == 1.0:
        name = wrong or "hot"
        raise UserError(f"neuron_clusters: {name} is {shares[name]:g}; a share from 0 up to 1")
    if clusters < 1 or rank < 0:
        raise UserError("neuron_clusters: clusters is at least 1, rank at least 0")


def _cores(setting: Setting, dense: str, sparse: str, flash: str) -> Engines:
    """The resources' names. Raises UserError for those that are not there."""
    design = setting.machine
    assert isinstance(design, Design)  # sim/event/policies says so
    for name in (dense, sparse):
        if name not in design.cores:
            hint = nearest(name, list(design.cores))
            raise UserError(f"neuron_clusters: {design.name} has no cores '{name}'; {hint}")
    if dense == sparse:
        raise UserError(f"neuron_clusters: dense and sparse are both {dense}; name two kinds")
    if not design.backing:
        raise UserError(
            f"neuron_clusters: {design.name} has no backing memory to read neurons from; a design "
            "gets one by the key 'backing'"
        )
    name = flash or next(iter(design.backing))
    if name not in design.backing:
        hint = nearest(name, list(design.backing))
        raise UserError(f"neuron_clusters: {design.name} has no backing memory '{name}'; {hint}")
    return Engines(dense, sparse, next(iter(design.memory)), name, design.backing[name].latency)


def _cooperation(phone: Phone) -> Cooperation:
    """All layers, and what is outside of them."""
    graph = phone.setting.graph
    placed = [group for cut in outside(graph) for group in phone.best(cut)]
    stretches = [phone.alone("outside of layers", 1, placed)]
    done = [phone.done(group, group.count) for group in placed]
    sent, away = list[Sent](), 0.0
    for nodes in kinds_of_layers(graph):
        count = round(max(node.count for node in nodes))
        mlp = mlp_of(graph, nodes)
        if mlp is None:
            placed = list(phone.best(part(graph, {node.op.name for node in nodes})))
            stretches.append(phone.alone("layer without neurons", count, placed))
            done += [phone.done(group, count) for group in placed]
            continue
        layer = NeuronLayer(phone, nodes, mlp)
        stretches.append(Stretch("layer", count, layer.program()))
        done += [phone.done(group, count) for group in layer.all_placed()]
        sent += layer.sent(count, f".{len(sent)}" if sent else "")
        away += count * (1 - phone.knobs.cached) * (1 - phone.knobs.hot) * mlp.stored(graph)
    if not any(stretch.name == "layer" for stretch in stretches):
        raise UserError(f"neuron_clusters: {graph.name} has no MLP of two multiplications")
    chip = Chip(CHIP, CHIP, 0, graph.weight_bytes - away, graph.kv_bytes)
    stored = Held(ceil(away), round(phone.store.capacity))
    return Cooperation(
        graph,
        single_chip(phone.design),
        phone.setting.objective,
        stretches,
        done,
        sent,
        (chip,),
        phone.rests_on(),
        backing={phone.engines.flash: stored} if away else {},
    )
