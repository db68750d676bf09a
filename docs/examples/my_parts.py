"""Parts of your own, for `tileloom --plugin my_parts`: a transform and an objective."""

from dataclasses import replace


def near_keys(graph, keys):
    """Attention that sees the last `keys` keys only; the cache still stores all of them."""
    nodes = (
        replace(node, op=replace(node.op, window=keys)) if node.op.kind == "attention" else node
        for node in graph
    )
    return replace(graph, nodes=tuple(nodes))


def ed2p(cost):
    """Energy times delay squared; the second value breaks ties."""
    return cost.energy_j * cost.latency_s**2, cost.latency_s


def register(parts):
    parts.add("transforms", "near_keys", near_keys)
    parts.add("objectives", "ed2p", ed2p)
