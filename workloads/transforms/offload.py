"""Weights and caches that live in a design's backing memory, and neurons that are read from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from fnmatch import fnmatch

from accel_models.explain import nearest
from kernels_ref.errors import UserError
from workloads.away import Away
from workloads.graph import Graph, Tensor
from workloads.transforms.edit import PhaseError, renewed
from workloads.transforms.edit import share as checked
from workloads.transforms.neurons import ACTIVE, neuron_axis

KINDS = {"weights": ("weight", "table"), "kv": ("kv",)}
LAYERS = "*"


def offload(
    graph: Graph,
    what: str = "weights",
    share: float = 1.0,
    only: str = LAYERS,
    to: str = "",
    overlap: str = "yes",
) -> Graph:
    """A share `share` of the layers have their `weights` (or their cache: `kv`) in a backing
    memory, `to` or the design's first, and fetch them while the layer before computes (overlap=no:
    when they are needed). `only`: what ops of such names read or write, also outside of layers.

    Source: ZeRO-Inference, DeepSpeed Inference, arXiv 2207.00032, sec. 6 (layer by layer, fetched
    ahead); FlexGen, arXiv 2303.06865, sec. 3 and 4 (shares of weights and cache).
    Accuracy: exact.
    """
    portion = checked(share, "offload: share")
    if what not in KINDS:
        raise UserError(f"offload: no '{what}' to keep elsewhere; {nearest(what, list(KINDS))}")
    if overlap not in ("yes", "no"):
        raise UserError(f"offload: overlap is '{overlap}'; write yes or no")
    names = _named(graph, what, only)
    if not portion:
        return graph
    early = 1.0 if overlap == "yes" else 0.0
    return renewed(graph, tensors=_marked(graph, names, Away(to, portion, early=early)))


def _named(graph: Graph, what: str, only: str) -> set[str]:
    """The stored tensors that are meant. Raises UserError where there are none."""
    meant = [node for node in graph if only != LAYERS or node.layered]
    chosen = [node for node in meant if fnmatch(node.op.name, only)]
    if not chosen:
        hint = nearest(only.strip("*"), [node.op.name for node in graph])
        raise UserError(f"offload: {graph.name} has no op named '{only}'; {hint}")
    touched = (t for node in chosen for t in (*node.op.inputs, node.op.output))
    found = {t for t in touched if graph.tensors[t].kind in KINDS[what]}
    if not found and what == "kv":
        raise PhaseError(
            f"{graph.name}: ops named '{only}' have no cache in its phase {graph.phase}"
        )
    if not found:
        raise UserError(f"offload: {graph.name}: ops named '{only}' read no weights")
    return found


def _marked(graph: Graph, names: Iterable[str], away: Away) -> dict[str, Tensor]:
    """These tensors away; of neurons that are read, the whole matrix too, which is what is kept.
    What caches of experts and windows of neurons hold and miss stays as it is."""
    found: dict[str, Tensor] = {}
    for name in names:
        tensor = graph.tensors[name]
        moved = _moved(tensor.away, away)
        if name.endswith(ACTIVE):
            whole = graph.tensors[name.removesuffix(ACTIVE)]
            found[whole.name] = replace(whole, away=_moved(whole.away, away))
            moved = replace(moved, neurons=neuron_axis(whole, tensor))
        found[name] = replace(tensor, away=moved)
    return found


def _moved(before: Away | None, away: Away) -> Away:
    """Where `away` says, with what other transforms have said of it."""
    if before is None:
        return away
    early = before.early if before.cached else away.early
    return replace(before, memory=away.memory, share=away.share, early=early)


def load_neurons(
    graph: Graph, window: int = 5, bundle: str = "yes", fresh: float | None = None
) -> Graph:
    """Neurons of matrices that are away (`offload`) and sparse (`sparse_neurons`): those of the
    last `window` steps stay, and a step loads what it needs beyond. With a share a of neurons
    active in a step, independently, that is (1 - a)^window of them; or `fresh` of all neurons, as
    measured. With `bundle`, what all matrices of a layer have of a neuron lies together.

    Source: LLM in a flash, arXiv 2312.11514, sec. 3.1 (sliding window), 3.2 (rows and columns
    bundled); PowerInfer-2, arXiv 2406.06282, sec. 4.4 (bundles of gate, up and down).
    Accuracy: exact.
    """
    if window < 0 or bundle not in ("yes", "no"):
        raise UserError("load_neurons: window is at least 0 steps; bundle is yes or no")
    sparse = [t for name, t in graph.tensors.items() if name.endswith(ACTIVE)]
    if not any(tensor.away for tensor in sparse):
        first = "offload(...)" if sparse else "sparse_neurons(...) and offload(...)"
        raise UserError(f"{graph.name} has no neurons to load; apply {first} first")
    changed: dict[str, Tensor] = {}
    for tensor in sparse:
        if tensor.away is None:
            continue
        whole = graph.tensors[tensor.name.removesuffix(ACTIVE)]
        active = tensor.elements / whole.elements
        missed = (1 - active) ** window
        if fresh is not None:
            missed = checked(fresh, "load_neurons: fresh", 0.0, active) / active
        held = 1 - (1 - active) ** window
        away = replace(tensor.away, missed=missed, bundled=bundle == "yes")
        changed[tensor.name] = replace(tensor, away=away)
        away = replace(tensor.away, held=held, missed=1.0, neurons=None, bundled=False)
        changed[whole.name] = replace(whole, away=away)
    return renewed(graph, tensors=changed)
