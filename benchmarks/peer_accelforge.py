"""Run by AccelForge's own Python: search or evaluate a mapping, and print the result as JSON.

PYTHON peer_accelforge.py search|once|evaluate OBJECTIVE FILE...
"""

import json
import sys
import time

import accelforge as af


def written(node) -> str | None:
    """A mapping node as AccelForge reads it; None for what it works out by itself."""
    kind = type(node).__name__
    if kind == "Storage":
        tensors = ", ".join(str(tensor) for tensor in node.tensors)
        return f"!Storage {{tensors: [{tensors}], component: {node.component}}}"
    if kind == "Temporal":
        return f"!Temporal {{rank_variable: {node.rank_variable}, tile_shape: {node.tile_shape}}}"
    if kind == "Spatial":
        return (
            f"!Spatial {{rank_variable: {node.rank_variable}, tile_shape: {node.tile_shape}, "
            f"name: {node.name}, component: {node.component}}}"
        )
    if kind == "Compute":
        return f"!Compute {{einsum: {node.einsum}, component: {node.component}}}"
    return None


def search(objective: str, files: list[str], times: int) -> dict:
    """The last of so many searches in this process: at the second, what is compiled is compiled."""
    cpu_first = 0.0
    for _ in range(times):
        started, cpu = time.perf_counter(), time.process_time()
        spec = af.Spec.from_yaml(*files)
        spec.mapper.metrics = getattr(af.Metrics, objective.upper())
        found = spec.map_workload_to_arch(print_progress=False)
        seconds, cpu_s = time.perf_counter() - started, time.process_time() - cpu
        cpu_first = cpu_first or cpu_s
    mapping = found.mapping()
    mapping = mapping[0] if isinstance(mapping, list) else mapping
    nodes = [text for node in mapping.nodes if (text := written(node))]
    took = {"seconds": seconds, "cpu_s": cpu_s, "cpu_first_s": cpu_first}
    return {**values(found), **took, "nodes": nodes}


def values(found) -> dict:
    """In J and s."""
    return {"energy": float(found.energy()), "latency": float(found.latency())}


def main() -> None:
    """One JSON line."""
    what, objective, *files = sys.argv[1:]
    af.set_n_parallel_jobs(1)
    if what in ("search", "once"):
        result = search(objective, files, 2 if what == "search" else 1)
    else:
        result = values(af.Spec.from_yaml(*files).evaluate_mapping())
    print("\n" + json.dumps(result))


if __name__ == "__main__":
    main()
