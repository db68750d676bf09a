"""Streaming kernels of a library: the closed form by hand, and what must hold of it."""

import numpy as np
import pytest

from accel_models.kernel_library.vector import StreamKernel, VectorKernels
from accel_models.path import memory_path
from accel_models.read_design import read_design
from mappers.bounds import bound
from mappers.context import Context
from mappers.cost_rules import rule_of
from mappers.groups import group_of, legal_groups
from mappers.library.machine import Machine, machine_of
from mappers.library.vector import OVERLAP, Rows, maximum_times, stream_times
from mappers.library.vector_plan import Call, functions_s
from mappers.streaming import Stream, stream_cost
from mappers.wiring import Wiring
from workloads.builders import build
from workloads.phase import decode, prefill
from workloads.read_model import read_config

MACHINE = Machine(10, 1e9, 1e12, 1e6, 4e12, 1e5, {"add": 128.0}, 300.0, 50.0)
LIBRARY = VectorKernels(
    floor="2 us", dram=0.5, l2=0.5, lanes=128, threads=2048, maximum="5 us", in_flight=2.0
)

SHIPPED = read_design("a100_sxm").cores["sm"].kernels.vector
KERNELS = {
    (name, function): kernel
    for name, library in SHIPPED.libraries.items()
    for function, kernel in library.functions.items()
}


def of(slots: float, threads: int = 0, rereads: bool = False) -> StreamKernel:
    return StreamKernel(slots=slots, threads=threads, rereads=rereads)


def rows(count, width, read=2.0, written=2.0) -> Rows:
    count, width = np.broadcast_arrays(np.array(count, float), np.array(width, float))
    return Rows(count, width, np.full(count.shape, read), np.full(count.shape, written))


def test_a_copy_by_hand():
    copy = of(0.0)
    # 400 kB lie in the shared memory of 1 MB, 40 MB do not
    times = stream_times(rows([100, 10000], 1000), copy, MACHINE, LIBRARY)
    assert times.latency_s == pytest.approx([2e-6 + 4e5 / 2e12, 2e-6 + 4e7 / 0.5e12])
    assert times.bound_by == ["launch", "memory"]


def test_an_addition_of_three_is_two_kernels():
    (twice,) = stream_times(rows([64], 64), KERNELS["torch", "add3"], MACHINE, LIBRARY).latency_s
    (once,) = stream_times(rows([64], 64), KERNELS["torch", "add"], MACHINE, LIBRARY).latency_s
    assert twice == pytest.approx(2 * once)


def test_instructions_of_rows_by_hand():
    kernel = of(100.0, 1024)
    times = stream_times(rows([1, 10, 11], 2048), kernel, MACHINE, LIBRARY)
    one = 2048 * 100 / 128 / 1e9  # a core's lanes, all of them
    issue = np.array([1, 1, 2]) * one
    assert times.parts["vector"] == pytest.approx(issue)
    memory = times.parts["memory"]
    busy = (memory**OVERLAP + issue**OVERLAP) ** (1 / OVERLAP)
    assert times.latency_s == pytest.approx(2e-6 + busy)


def test_few_threads_wait_for_their_own_results():
    few, many = of(100.0, 128), of(100.0, 1024)
    alone = [
        stream_times(rows([1], 4096), k, MACHINE, LIBRARY).parts["vector"] for k in (few, many)
    ]
    assert alone[0] == pytest.approx(5.3 * alone[1])
    crowd = [
        stream_times(rows([16000], 4096), k, MACHINE, LIBRARY).parts["vector"] for k in (few, many)
    ]
    assert crowd[0] == pytest.approx(crowd[1])


def test_a_row_is_read_again_if_it_is_not_kept():
    copy, again = of(0.0, 256), of(0.0, 256, True)
    for width, moved in ((1000, 1.0), (100000, 1.5)):  # 8 rows of 2 kB fit 100 kB
        one, two = (
            stream_times(rows([1000], width), k, MACHINE, LIBRARY).moved["memory"]
            for k in (copy, again)
        )
        assert two == pytest.approx(moved * one)


@pytest.mark.parametrize("name", KERNELS)
def test_more_rows_or_longer_ones_never_take_less_time(name):
    sizes = 2.0 ** np.arange(0, 20)
    for data in (rows(sizes, 1000), rows(1000, sizes)):
        assert np.all(np.diff(stream_times(data, KERNELS[name], MACHINE, LIBRARY).latency_s) >= 0)


def test_finding_a_maximum_by_hand():
    times = maximum_times(rows([100], 1000, 2.0, 1.0), MACHINE, LIBRARY)  # 200 kB, warm
    memory, wait = 2e5 / 2e12, 2e5 / (10 * 2048 * 2) * 0.26e-6
    assert times.latency_s == pytest.approx(
        5e-6 + (memory**OVERLAP + wait**OVERLAP) ** (1 / OVERLAP)
    )
    without = LIBRARY.model_copy(update={"maximum": None})
    with pytest.raises(ValueError, match="maximum"):
        maximum_times(rows([100], 1000), MACHINE, without)


def test_the_first_library_that_has_a_function_is_taken():
    assert SHIPPED.find("gelu") == ("torch", KERNELS["torch", "gelu"])
    assert SHIPPED.find("gelu", "compiled") == ("compiled", KERNELS["compiled", "gelu"])
    assert SHIPPED.find("rmsnorm", "torch") == ("vllm", KERNELS["vllm", "rmsnorm"])
    assert SHIPPED.find("wkv") is None
    assert SHIPPED.host_call("compiled") > SHIPPED.host_call("torch") == SHIPPED.host_call("vllm")
    assert LIBRARY.host_call("torch") == 0


@pytest.mark.parametrize(("batch", "prompt"), [(1, 1), (7, 65), (4, 2048)])
@pytest.mark.parametrize("design", ["a100_sxm", "h100_sxm", "mi210"])
def test_an_op_alone_takes_what_its_kernel_does_with_cold_data(design, batch, prompt):
    graph = build(read_config("llama-3.2-1b"), prefill(batch, prompt))
    machine = read_design(design)
    path = memory_path(machine, *machine.cores)
    wiring, context = Wiring(graph), Context(graph, path, "latency")
    cold = Machine(**{**as_dict(machine_of(path)), "l2_bytes": 1.0})
    for op in {op.function: op for op in wiring.ops if op.kind == "vector"}.values():
        group = group_of(wiring, 1 << wiring.maker[op.output])
        library = path.core.kernels.vector
        kernel = library.find(op.function)[1]
        times = stream_times(rows([op.rows], op.width), kernel, cold, library)
        cost = rule_of(group)(group, context).cost
        stored = sum(graph.tensors[t].bytes for t in op.inputs if graph.tensors[t].kind == "weight")
        extra = stored / (library.dram * machine_of(path).dram_bytes_per_s)
        assert -1e-12 <= cost.latency_s - times.latency_s[0] <= extra + 1e-12


def as_dict(machine: Machine) -> dict[str, object]:
    return {name: getattr(machine, name) for name in machine.__dataclass_fields__}


def test_what_stays_is_read_from_the_shared_memory():
    path = memory_path(read_design("a100_sxm"), "sm")
    size, calls = 2.0**23, (Call("add", 1024, 4096, {"add": 1024 * 4096.0}),)
    stays = {"x": "l2"}
    cold, kept = (
        stream_cost(Stream({"x": size, "y": size}, {"z": size}, 1024, 8192.0, calls, stays=s), path)
        for s in ({}, stays)
    )
    machine, library = machine_of(path), path.core.kernels.vector
    outer, shared = library.dram * machine.dram_bytes_per_s, library.l2 * machine.l2_bytes_per_s
    issue = functions_s(calls, path, path.cores)
    for cost, memory in ((cold, 3 * size / outer), (kept, 2 * size / outer + size / shared)):
        busy = (memory**OVERLAP + issue**OVERLAP) ** (1 / OVERLAP)
        assert cost.latency_s == pytest.approx(library.floor + busy)
        assert cost.lower_bound_s() <= cost.latency_s
    assert cold.energy_j > kept.energy_j


def test_functions_that_no_kernel_does_take_their_operations():
    path = memory_path(read_design("a100_sxm"), "sm")
    ops = {"exp": 1e6, "add": 4e6}
    known = functions_s([Call("add", 1000, 1000, {"add": 1e6})], path, path.cores)
    both = functions_s(
        [Call("add", 1000, 1000, {"add": 1e6}), Call("wkv", 1000, 1000, ops)], path, path.cores
    )
    assert both - known == pytest.approx(path.vector_seconds(ops, path.cores))


@pytest.mark.parametrize("phase", [decode(4, 128), prefill(2, 300)], ids=["step", "prompt"])
@pytest.mark.parametrize("model", ["llama-3.2-1b", "gpt2"])
def test_no_group_of_functions_is_below_its_bound(model, phase):
    graph = build(read_config(model), phase)
    context = Context(graph, memory_path(read_design("h100_sxm"), "sm"), "latency")
    groups = [g for g in legal_groups(Wiring(graph)) if all(op.kind == "vector" for op in g.ops)]
    assert groups
    for group in groups:
        seconds, joules = bound(group, context, ())
        cost = rule_of(group)(group, context).cost
        assert seconds <= cost.latency_s * (1 + 1e-9)
        assert joules <= cost.energy_j * (1 + 1e-9)
