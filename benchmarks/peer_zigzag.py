"""Run by ZigZag's own Python: search for a mapping, or evaluate the one that the mapping file
orders, and print the result as JSON.

    PYTHON peer_zigzag.py OBJECTIVE HARDWARE MAPPING WORKLOAD
"""

import json
import logging
import sys
import tempfile
import time

from zigzag.api import get_hardware_performance_zigzag


def main() -> None:
    """One JSON line: energy in pJ, latency in cycles, and the loops that each memory holds."""
    objective, hardware, mapping, workload = sys.argv[1:]
    logging.disable(logging.CRITICAL)
    cpu_first = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):
            started, cpu = time.perf_counter(), time.process_time()
            energy, latency, evaluations = get_hardware_performance_zigzag(
                workload,
                hardware,
                mapping,
                opt=objective,
                dump_folder=folder,
                loma_show_progress_bar=False,
            )
            seconds, cpu_s = time.perf_counter() - started, time.process_time() - cpu
            cpu_first = cpu_first or cpu_s
    best = evaluations[0][1][0][0]
    loops = {
        str(operand): [[[str(dim), int(size)] for dim, size in level] for level in levels]
        for operand, levels in best.temporal_mapping.mapping_dic_stationary.items()
    }
    memories = {
        str(operand): [
            level.memory_instance.name
            for level in best.accelerator.memory_hierarchy.get_memory_levels(
                best.memory_operand_links.layer_to_mem_op(operand)
            )
        ]
        for operand in best.temporal_mapping.mapping_dic_stationary
    }
    result = {"energy": float(energy), "latency": float(latency), "loops": loops}
    times = {"seconds": seconds, "cpu_s": cpu_s, "cpu_first_s": cpu_first}
    print("\n" + json.dumps({**result, "memories": memories, **times}))


if __name__ == "__main__":
    main()
