"""How fast the reference kernels are: ratios of times measured in one run.

python benchmarks/kernels.py [--repeat 5] [--all]

numpy's BLAS and numba both take every core that the process may use. `--all` adds the ratio of each
datapath to its definition, which is plain Python or numpy.
"""

from __future__ import annotations

import argparse
import os

import numba
import numpy as np
from numba import njit, prange
from timing import best_compiled as best

from kernels_ref import bit_serial, lut_cpu
from kernels_ref.cases import Case
from kernels_ref.kernels import KERNELS
from kernels_ref.matmul import integer
from kernels_ref.pairs import pair_of

SIZE = 4096  # of the GEMVs


def gemm(repeat: int) -> None:
    """INT8 against numpy's float32 at 1024^3."""
    rng = np.random.default_rng(0)
    a, w = (rng.integers(-128, 128, (1024, 1024)).astype(np.int8) for _ in range(2))
    wide_a, wide_w = a.astype(np.float32), w.astype(np.float32)
    ours = best(repeat, lambda: integer(a, w))
    numpys = best(repeat, lambda: wide_a @ wide_w.T)
    print(f"INT8 GEMM 1024^3: {numpys / ours:.2f} of the speed of numpy's float32 (target: 0.1)")


@njit(cache=True, parallel=True)
def dequantize_and_multiply(
    activations: np.ndarray, packed: np.ndarray, scales: np.ndarray, out: np.ndarray
) -> None:
    """W1: each weight taken out of its byte and scaled, then multiplied, all in one loop."""
    for column in prange(packed.shape[0]):
        scale, total = scales[column], np.float32(0)
        for byte in range(packed.shape[1]):
            bits = packed[column, byte]
            for j in range(8):
                weight = scale * np.float32(bits >> j & 1)
                total += weight * activations[8 * byte + j]
        out[column] = total


def gemv(repeat: int) -> None:
    """One bit and two bits a weight, 4096 by 4096, INT8 activations.

    Short calls of two threads wait for whatever else runs on the cores: many repeats, least time.
    """
    repeat *= 20
    rng = np.random.default_rng(1)
    x = rng.integers(-128, 128, SIZE).astype(np.int8)
    one = rng.integers(0, 2, (SIZE, SIZE)).astype(np.uint8)
    two = rng.integers(0, 4, (SIZE, SIZE)).astype(np.uint8)
    packed = np.packbits(one, axis=1, bitorder="little")
    scales, out, wide = np.ones(SIZE, np.float32), np.empty(SIZE, np.float32), x.astype(np.float32)

    def whole_matrix() -> np.ndarray:
        weights = np.unpackbits(packed, axis=1, bitorder="little").astype(np.float32)
        return weights @ wide

    planes = {1: bit_serial.pack(one, 1), 2: bit_serial.pack(two, 2)}
    tables = {1: lut_cpu.pack(one, 1), 2: lut_cpu.pack(two, 2)}
    times = {
        "W1A8 dequantize and multiply in one loop (numba)": best(
            repeat, lambda: dequantize_and_multiply(wide, packed, scales, out)
        ),
        "W1A8 dequantize the matrix, then BLAS (numpy)": best(repeat, whole_matrix),
        "W1A8 bit-serial": best(repeat, lambda: bit_serial.gemv(x, planes[1])),
        "W1A8 look-up tables": best(repeat, lambda: lut_cpu.gemv(x, tables[1])),
        "W2A8 bit-serial": best(repeat, lambda: bit_serial.gemv(x, planes[2])),
        "W2A8 look-up tables": best(repeat, lambda: lut_cpu.gemv(x, tables[2])),
    }
    np.testing.assert_array_equal(out, bit_serial.gemv(x, planes[1]))
    first = next(iter(times.values()))
    print(f"GEMV {SIZE} x {SIZE}, speed relative to the first:")
    for name, seconds in times.items():
        print(f"  {first / seconds:6.2f}  {name} ({seconds * 1e3:.2f} ms)")
    print(
        "  A table look-up is a gather from memory here: numba has no SIMD shuffle, which T-MAC's\n"
        "  speed comes from; a population count is one instruction for 64 weights of one bit."
    )


def definitions(repeat: int) -> None:
    """Every kernel at the largest cube that its definition can do in a case."""
    print("datapath over definition, first pair of each kernel:")
    for name, entry in KERNELS.items():
        kernel, pair = entry.load(), pair_of(entry.pairs[0])
        side = min(int(kernel.most_work ** (1 / 3)), 100)
        inputs = kernel.inputs(Case((side, side, side), "heavy_tailed", 0), pair)
        slow = best(min(repeat, 2), lambda k=kernel, i=inputs: k.definition(**i))
        fast = best(repeat, lambda k=kernel, i=inputs: k.datapath(**i))
        print(f"  {slow / fast:8.1f}  {name} {pair} at {side}^3 ({fast * 1e3:.3f} ms)")


def main() -> None:
    """Print every measurement."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--all", action="store_true", help="every datapath to its definition")
    arguments = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    print(f"{cores} cores; numba threads: {numba.get_num_threads()}")
    gemm(arguments.repeat)
    gemv(arguments.repeat)
    if arguments.all:
        definitions(arguments.repeat)


if __name__ == "__main__":
    main()
