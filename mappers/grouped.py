"""Layers of experts: one kernel whose jobs are the experts' multiplications.

Each load is a batched multiplication with a mapping of its own; their jobs share the machine, so
what each resource is busy with adds up, and the launch is one. Where the machine's library has
such kernels, time and bytes are theirs (mappers/library/experts_plan.py).
Not modeled: jobs of different loads beside each other in a wave.
"""

from __future__ import annotations

from mappers.context import Context, datapath_of
from mappers.contractions import of_einsum
from mappers.cost import compose, in_one_kernel
from mappers.fused_matmul import numbers, pair_facts
from mappers.groups import Group
from mappers.library.experts_plan import by_library, kernels_of, library_facts
from mappers.library.matmul_plan import cost_of, mapping_of, tile_of
from mappers.plan import Plan
from mappers.sparse_weights import skipping, sparse_weights
from workloads.ops import Experts


def plan_experts(group: Group, context: Context) -> Plan:
    """The searched mappings of all loads. Raises DesignError if the cores cannot do it."""
    op, graph = group.ops[0], context.graph
    assert isinstance(op, Experts)
    a, b = graph.tensors[op.inputs[0]], graph.tensors[op.inputs[1]]
    path, pair = datapath_of(context, b.format, a.format)
    works, tiles, mappings, pairs, problems = [], [], [], [], []
    for part in op.parts():
        problem = skipping(of_einsum(part, graph, pair), sparse_weights(op, graph), path)
        pairs.append(problem.datapath)
        problems.append(problem)
        mapping = mapping_of(problem, path, context, op.name)
        works.append(cost_of(problem, mapping, path).work)
        tiles.append(f"{part.ranks['e']}x {tile_of(problem, mapping, path)}")
        mappings.append({"experts": part.ranks["e"], "levels": mapping.describe()})
    work = by_library(op, problems[0], in_one_kernel(works), path)
    facts = numbers(
        problems[0], path, tuple(dict.fromkeys(f for p in pairs for f in pair_facts(path, p)))
    )
    if kernels_of(op, problems[0], path):
        facts |= library_facts(path, facts["matrix"])
    how = f"{op.rows} fetched by token" if op.by_token else f"{op.active} active"
    return Plan(
        path,
        compose(work, path),
        ", ".join(tiles),
        mappings,
        max(map(path.peak_macs_per_s, pairs)),
        op.macs,
        " + ".join(dict.fromkeys([how, *(p.skip.name for p in pairs if p.skip.name)])),
        rests_on=facts,
    )
