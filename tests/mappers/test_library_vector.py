"""Streaming kernels of a library: the closed form by hand, and what must hold of it."""

import numpy as np
import pytest

from accel_models.kernel_library.vector import KERNELS, StreamKernel, VectorKernels
from mappers.library.machine import Machine
from mappers.library.vector import OVERLAP, Rows, maximum_times, stream_times

MACHINE = Machine(10, 1e9, 1e12, 1e6, 4e12, 1e5, {"add": 128.0}, 300.0, 50.0)
LIBRARY = VectorKernels(
    floor="2 us", dram=0.5, l2=0.5, lanes=128, threads=2048, maximum="5 us", in_flight=2.0
)


def rows(count, width, read=2.0, written=2.0) -> Rows:
    count, width = np.broadcast_arrays(np.array(count, float), np.array(width, float))
    return Rows(count, width, np.full(count.shape, read), np.full(count.shape, written))


def test_a_copy_by_hand():
    copy = StreamKernel(1, 0.0)
    # 400 kB lie in the shared memory of 1 MB, 40 MB do not
    times = stream_times(rows([100, 10000], 1000), copy, MACHINE, LIBRARY)
    assert times.latency_s == pytest.approx([2e-6 + 4e5 / 2e12, 2e-6 + 4e7 / 0.5e12])
    assert times.bound_by == ["launch", "memory"]


def test_an_addition_of_three_is_two_kernels():
    (twice,) = stream_times(rows([64], 64), KERNELS["torch", "add3"], MACHINE, LIBRARY).latency_s
    (once,) = stream_times(rows([64], 64), KERNELS["torch", "add"], MACHINE, LIBRARY).latency_s
    assert twice == pytest.approx(2 * once)


def test_instructions_of_rows_by_hand():
    kernel = StreamKernel(1, 100.0, 1024)
    times = stream_times(rows([1, 10, 11], 2048), kernel, MACHINE, LIBRARY)
    one = 2048 * 100 / 128 / 1e9  # a core's lanes, all of them
    issue = np.array([1, 1, 2]) * one
    assert times.parts["vector"] == pytest.approx(issue)
    memory = times.parts["memory"]
    busy = (memory**OVERLAP + issue**OVERLAP) ** (1 / OVERLAP)
    assert times.latency_s == pytest.approx(2e-6 + busy)


def test_few_threads_wait_for_their_own_results():
    few, many = StreamKernel(1, 100.0, 128), StreamKernel(1, 100.0, 1024)
    alone = [
        stream_times(rows([1], 4096), k, MACHINE, LIBRARY).parts["vector"] for k in (few, many)
    ]
    assert alone[0] == pytest.approx(5.3 * alone[1])
    crowd = [
        stream_times(rows([16000], 4096), k, MACHINE, LIBRARY).parts["vector"] for k in (few, many)
    ]
    assert crowd[0] == pytest.approx(crowd[1])


def test_a_row_is_read_again_if_it_is_not_kept():
    copy, again = StreamKernel(1, 0.0, 256), StreamKernel(1, 0.0, 256, rereads=True)
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
