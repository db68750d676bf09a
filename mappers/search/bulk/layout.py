"""Where everything lies in the arrays that the compiled search works on.

Python and compiled code name the places by these constants; the arrays are plain and few, because
every tuple of arrays triples the time to compile. In compiled code

    I  int64    problem and machine: counts, then a row for each rank, then loop orders
    X  float64  problem and machine: numbers in SI units, then a row for each level
    T  int64    a template: for each level, which operands it keeps, and its innermost loop
    F  float64  features: a row for each chain, or set of chains
    K  int64    of the same: bits by level, and the tree's links

A *chain* is the choice for one rank: its tile and split at every level; its row of features is all
that a cost needs to know of it.
"""

from __future__ import annotations

MOST_LEVELS, MOST_RANKS, MOST_HALOS = 8, 8, 4

# I: counts
(
    RANKS, LEVELS, FIRST, DYNAMIC, CORES, STREAMED, ON_VECTOR, OVERLAP, MERGING, HAS_WORK, HALOS,
    AXIS_LEVEL, AXIS_0, AXIS_1, PERFECT, WAVE, RUN_A, RUN_W, RUN_O, LACKS_A, LACKS_W, LACKS_O,
    OWN_A, OWN_W, OWN_O, EVENS, EVEN, EVEN_2, EVEN_3, PLAIN, AT_B, AT_M, AT_N, AT_K,
) = range(34)  # fmt: skip
HALO = 34  # operand, rank, stride, rank, dilation of each
RANK = HALO + 5 * MOST_HALOS
EXTENT, ROLE, DEALT, ALONE, IN_A, IN_W, IN_O, N_RANK = range(8)
INSIDE = (
    RANK + N_RANK * MOST_RANKS
)  # [level, innermost, rank]: ranks whose loops lie inside, as bits
ORDER = INSIDE + MOST_LEVELS * MOST_RANKS**2  # [level, innermost, position]: ranks outermost first
BARRED = (
    ORDER + MOST_LEVELS * MOST_RANKS**2
)  # [level]: ranks whose loop may not be innermost, as bits
INMOST = BARRED + MOST_LEVELS  # [level]: ranks that templates have innermost, bits
N_INTEGERS = INMOST + MOST_LEVELS
BATCH, ROLE_M, ROLE_N, ROLE_K = range(4)

# X: numbers
(
    CLOCK, EPILOGUE_S, ADD_S, CONVERSION_S, ENTER_A_S, ENTER_W_S, EPILOGUE_OPS, CONVERSION_OPS,
    ENTER_A_OPS, ENTER_W_OPS, VECTOR_J, SYNC, SUMS_ACCESS, FIXED_S, STATIC_W, HEADROOM_W, MACS,
    MATRIX_J, OUTPUTS, PARTIAL, WIDTH_A, WIDTH_W, WIDTH_O, ENGINE_A, ENGINE_W, LOAD_S,
    EPILOGUE_BYTES, PIPELINE, FILL, BLOCK_A, BLOCK_W, BLOCK_O, FAN_OUTS, BASE_A, BASE_W, BASE_O,
    LEAST_A, LEAST_W, LEAST_O, LENGTH_M, LENGTH_N, LENGTH_K, WORD_A, WORD_W, SUM_SHARE,
) = range(45)  # fmt: skip
STEPS = 45  # of m, n, k: block, per, add, floor
LEVEL = STEPS + 12
(
    CAPACITY, READ_BPS, WRITE_BPS, SHARED_PORT, GRANULARITY, READ_J, WRITE_J, BUFFERING, FILL_PORT,
    INSTANCES, REDUCTION, MULTICAST, FAN_OUT, READ_S, WRITE_S, EITHER_S, N_LEVEL,
) = range(17)  # fmt: skip
N_NUMBERS = LEVEL + N_LEVEL * MOST_LEVELS
SINGLE, DOUBLE, MULTI = 0, 1, 2

# F: of a chain as a whole, then level by level
(
    CYCLES, OUT_STEPS, ELEMENTS, SERVICE_STEPS, SHARE, PER_STEP, OUTER_PER_STEP, BLOCKS,
    INSTANCE_CYCLES, JOBS, MINUS_JOBS, FULL_CYCLES, EDGE_CYCLES, FULL_COUNT, EDGE, AXIS_A, AXIS_B,
    MINUS_STEPS, HEAD_SHARE, TAIL_SHARE,
) = range(20)  # fmt: skip
TILE = 20  # [level]
TILES = TILE + MOST_LEVELS  # in all
SPLIT = TILES + MOST_LEVELS
GROUPS = SPLIT + MOST_LEVELS  # of the split, that one access of the parent serves each
MERGED = GROUPS + MOST_LEVELS  # [parent, level]: steps as the parent sees them
N_FEATURES = MERGED
N_MERGED = MERGED + MOST_LEVELS**2

# K: bits by level, and in a tree: children, a leaf's chain (else -1), chains below, levels where
# some of them has trips
TRIPS, CHANGES, LEFT, RIGHT, LEAF, SIZE, ANY_TRIPS, N_BITS = range(8)
