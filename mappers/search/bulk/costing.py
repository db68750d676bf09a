"""What a mapping costs, compiled: the formulas of `mappers.matmul` over rows of features.

A mapping is one chain per rank. Called with a chain each (`exact`), the answer is the cost itself,
the same numbers as `mappers.matmul.matmul_cost`. Called with a set of chains each, given by the
least value of every feature over the set, it is a lower bound of the cost of every combination:
each term is nondecreasing in the features, and where a term depends on something else (which loops
have more than one trip, how many cores are at work) the bound takes the most favorable case.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels_ref.compiled import compiled
from mappers.search.bulk.layout import *  # noqa: F403 - a hundred column names


@compiled(inner=True, borrowing=True)
def cost_of(I: Any, X: Any, T: Any, F: Any, K: Any, at: Any, out: Any) -> Any:
    """Fills `out` with latency, energy, bytes held; False if the mapping is not legal.

    `at[rank]` are rows of F and K, and the last of `at` is 1 for a chain each, 0 for sets of them.
    `out` also serves as scratch space, see `scratch_size`.
    """
    exact = at[len(at) - 1] == 1
    if not _fits_fan_outs(I, X, F, at):
        return False
    jobs, most_jobs, out_steps, k_steps = _steps(I, X, F, at)
    if not _holds_a_wave(I, X, F, at, jobs, most_jobs, exact):
        return False
    if not _fits_memories(I, X, T, F, K, at, jobs, out):
        return False
    _traffic(I, X, T, F, K, at, exact, out)
    _compose(I, X, T, F, K, at, exact, out, (jobs, most_jobs, out_steps, k_steps))
    return True


def scratch_size(levels: int) -> int:
    """Length of `out`: latency, energy, bytes held, two more, and five a level."""
    return 5 + 5 * levels


@compiled(inner=True, borrowing=True)
def _fits_fan_outs(I: Any, X: Any, F: Any, at: Any) -> Any:
    levels = I[LEVELS]
    for i in range(1, levels + 1):
        used = 1.0
        for r in range(I[RANKS]):
            used *= F[at[r], SPLIT + i]
        if used > X[LEVEL + N_LEVEL * i + FAN_OUT]:
            return False
    if I[AXIS_LEVEL] > 0:
        a, b = 1.0, 1.0
        for r in range(I[RANKS]):
            a *= F[at[r], AXIS_A]
            b *= F[at[r], AXIS_B]
        if a > I[AXIS_0] or b > I[AXIS_1]:
            return False
    return True


@compiled(inner=True, borrowing=True)
def _steps(I: Any, X: Any, F: Any, at: Any) -> Any:
    """Jobs (least, most), output steps of the busiest core, k steps of one output tile."""
    jobs, most, out_steps, k_steps = 1.0, 1.0, 1.0, 1.0
    for r in range(I[RANKS]):
        node = at[r]
        jobs *= F[node, JOBS]
        most *= -F[node, MINUS_JOBS]
        if I[RANK + N_RANK * r + ROLE] == ROLE_K:
            k_steps *= F[node, OUT_STEPS]
        else:
            out_steps *= F[node, OUT_STEPS]
    if I[DYNAMIC]:
        out_steps *= np.ceil(jobs / I[CORES])
    return jobs, most, out_steps, k_steps


@compiled(inner=True, borrowing=True)
def _holds_a_wave(I: Any, X: Any, F: Any, at: Any, jobs: Any, most_jobs: Any, exact: Any) -> Any:
    first = I[FIRST]
    if not I[WAVE]:
        return True
    steps = 1.0
    for r in range(I[RANKS]):
        if I[RANK + N_RANK * r + ROLE] != ROLE_K:
            node = at[r]
            tiles = F[node, TILES + first - 1]
            steps *= np.ceil(tiles / F[node, SPLIT + first - 1]) if exact else 1.0
            if not exact:
                steps *= max(1.0, tiles / X[LEVEL + N_LEVEL * (first - 1) + FAN_OUT])
    return steps <= max(1.0, np.floor(most_jobs / I[CORES]))


@compiled(inner=True, borrowing=True)
def _fits_memories(I: Any, X: Any, T: Any, F: Any, K: Any, at: Any, jobs: Any, out: Any) -> Any:
    """Tiles against capacities; adds up the bytes held."""
    levels = I[LEVELS]
    one_wave = I[DYNAMIC] and jobs <= I[CORES]
    out[2] = 0.0
    for i in range(1, levels):
        total = 0.0
        for operand in range(3):
            if T[4 * i + operand]:
                width = _held_width(I, X, T, i, operand)
                if operand < 2 and X[LEVEL + N_LEVEL * i + BUFFERING] != SINGLE:
                    for r in range(I[RANKS]):
                        dealt = I[RANK + N_RANK * r + DEALT] and one_wave and i >= I[FIRST]
                        if I[RANK + N_RANK * r + IN_A + operand] and not dealt and (K[at[r], CHANGES] >> i) & 1:
                            width *= 2
                            break
                total += _footprint(I, X, F, at, operand, i) * width
        if total > X[LEVEL + N_LEVEL * i + CAPACITY]:
            return False
        out[2] += total * X[LEVEL + N_LEVEL * i + INSTANCES]
    return True


@compiled(inner=True, borrowing=True)
def _held_width(I: Any, X: Any, T: Any, i: Any, operand: Any) -> Any:
    """Bytes of an element of the operand as level i holds it."""
    if operand == 2:
        return X[PARTIAL] if i >= I[FIRST] else X[WIDTH_O]
    for inner in range(i + 1, I[LEVELS]):
        if T[4 * inner + operand]:
            return X[WIDTH_A + operand]
    return X[ENGINE_A + operand]


@compiled(inner=True, borrowing=True)
def _footprint(I: Any, X: Any, F: Any, at: Any, operand: Any, i: Any) -> Any:
    size = 1.0
    halo_ranks = 0
    for h in range(I[HALOS]):
        if I[HALO + 5 * h + 0] == operand:
            p, r = I[HALO + 5 * h + 1], I[HALO + 5 * h + 3]
            halo_ranks |= (1 << p) | (1 << r)
            tp, tr = F[at[p], TILE + i], F[at[r], TILE + i]
            size *= min(tp * tr, 1 + I[HALO + 5 * h + 2] * (tp - 1) + I[HALO + 5 * h + 4] * (tr - 1))
    for r in range(I[RANKS]):
        if I[RANK + N_RANK * r + IN_A + operand] and not (halo_ranks >> r) & 1:
            size *= F[at[r], TILE + i]
    return size


@compiled(inner=True, borrowing=True)
def _traffic(I: Any, X: Any, T: Any, F: Any, K: Any, at: Any, exact: Any, out: Any) -> None:
    """Bytes of every level into `out`: read, written, written by outputs, outputs' both; and what
    enters from the vector engine's side."""
    levels = I[LEVELS]
    for i in range(5 + 5 * levels - 2):
        out[3 + i] = 0.0
    for operand in range(3):
        parent = operand - operand  # 0, and no literal: those are compiled apart
        for i in range(1, levels):
            if T[4 * i + operand]:
                _between(I, X, T, F, K, at, operand, parent, i, exact, out)
                parent = i
        _into_engine(I, X, F, at, operand, parent, exact, out)
        per_entering = X[ENTER_A_S + operand] if operand < 2 else 0.0
        if per_entering > 0.0:
            child = max(parent, I[FIRST])
            _, held = _moved(I, X, T, F, K, at, operand, child, child, exact)
            out[3] += held * per_entering
            out[4] += held * X[ENTER_A_OPS + operand]
    for i in range(I[FIRST]):
        out[5 + 5 * i] += X[EPILOGUE_BYTES]


@compiled(inner=True, borrowing=True)
def _between(
    I: Any, X: Any, T: Any, F: Any, K: Any, at: Any, operand: Any, parent: Any, child: Any, exact: Any, out: Any
) -> None:
    """Bytes from parent to child; outputs go the other way, partial sums both."""
    up, down = 5 + 5 * parent, 5 + 5 * child
    seen, held = _moved(I, X, T, F, K, at, operand, child, parent, exact)
    width = X[WIDTH_A + operand]
    extra = _overfetch(I, X, F, at, operand, parent, child) if exact else 1.0
    if operand < 2:
        out[up] += seen * width * extra
        out[down + 1] += held * width
        return
    once, partial = X[OUTPUTS], X[PARTIAL]
    back, written = (seen - once) * partial, once * width * extra + (seen - once) * partial
    out[up] += back
    out[up + 2] += written
    out[up + 3] += back + written
    drained = held * partial
    if child < I[FIRST]:
        drained = once * width + (held - once) * partial
    again = (held - once) * partial
    out[down] += drained
    out[down + 2] += again
    out[down + 3] += drained + again


@compiled(inner=True, borrowing=True)
def _overfetch(I: Any, X: Any, F: Any, at: Any, operand: Any, parent: Any, child: Any) -> Any:
    rank = I[RUN_A + operand]
    if rank < 0:
        return 1.0
    tile = F[at[rank], TILE + child]
    if tile >= I[RANK + N_RANK * rank + EXTENT]:
        return 1.0
    run, granularity = tile * X[WIDTH_A + operand], X[LEVEL + N_LEVEL * parent + GRANULARITY]
    return np.ceil(run / granularity) * granularity / run


@compiled(inner=True, borrowing=True)
def _moved(
    I: Any, X: Any, T: Any, F: Any, K: Any, at: Any, operand: Any, child: Any, parent: Any, exact: Any
) -> Any:
    """(as the parent sees it, as the child holds it): elements that cross in all."""
    levels = I[LEVELS]
    trips = 0
    for r in range(I[RANKS]):
        if I[RANK + N_RANK * r + IN_A + operand]:
            trips |= K[at[r], TRIPS]
    last = child
    while last > 0 and not (trips >> last) & 1:
        last -= 1
    held = X[BASE_A + operand]
    seen = held
    for r in range(I[RANKS]):
        if I[RANK + N_RANK * r + IN_A + operand]:
            continue
        depth = _depth(I, X, T, F, K, at, operand, r, last)
        if I[RANK + N_RANK * r + DEALT] and child >= I[FIRST]:
            depth = max(depth, I[FIRST])
        node = at[r]
        s, h = _copies(F, node, depth, child, parent, I[MERGING])
        if not exact:  # at ragged edges a deeper level may count less
            for d in range(depth + 1, child + 1):
                s2, h2 = _copies(F, node, d, child, parent, I[MERGING])
                s, h = min(s, s2), min(h, h2)
        seen *= s
        held *= h
    if I[HALOS] > 0:
        if exact:
            return _halos(I, X, T, F, K, at, operand, child, parent, seen, held)
        return seen * X[LEAST_A + operand], held * X[LEAST_A + operand]
    return seen, held


@compiled(inner=True, borrowing=True)
def _depth(I: Any, X: Any, T: Any, F: Any, K: Any, at: Any, operand: Any, rank: Any, last: Any) -> Any:
    """Deepest level whose loop over `rank` brings the operand in again; `last`: the deepest level
    where a loop over one of its own ranks has more than one trip."""
    if last == 0:
        return 0
    inside = I[INSIDE + (MOST_RANKS * last + T[4 * last + 3]) * MOST_RANKS + rank]
    for q in range(I[RANKS]):
        own = I[RANK + N_RANK * q + IN_A + operand] and (inside >> q) & 1
        if own and (K[at[q], TRIPS] >> last) & 1:
            return last
    return last - 1


@compiled(inner=True, borrowing=True)
def _copies(F: Any, node: Any, depth: Any, child: Any, parent: Any, merging: Any) -> Any:
    """Steps through `depth`, times the copies of splits further in; seen and held."""
    held = F[node, TILES + depth] if depth > 0 else 1.0
    seen = held
    if merging and depth > parent:
        seen = F[node, MERGED + MOST_LEVELS * parent + depth]
    for i in range(depth + 1, child + 1):
        held *= F[node, SPLIT + i]
        seen *= F[node, GROUPS + i] if i > parent else F[node, SPLIT + i]
    return seen, held


@compiled(inner=True, borrowing=True)
def _halos(
    I: Any, X: Any, T: Any, F: Any, K: Any, at: Any, operand: Any, child: Any, parent: Any, seen: Any, held: Any
) -> Any:
    """Times the coordinates of dimensions that are sums of two ranks."""
    slides = _sliding(I, X, T, F, K, at, operand, child)
    for h in range(I[HALOS]):
        if I[HALO + 5 * h + 0] == operand:
            held *= _pairs_of_tiles(I, X, F, at, h, child, child, slides)
            seen *= _pairs_of_tiles(I, X, F, at, h, child, parent, slides)
    return seen, held


@compiled(inner=True, borrowing=True)
def _sliding(I: Any, X: Any, T: Any, F: Any, K: Any, at: Any, operand: Any, child: Any) -> Any:
    """The rank along which the operand's window slides into `child`, or -1."""
    start = ORDER + (MOST_RANKS * child + T[4 * child + 3]) * MOST_RANKS
    for position in range(I[RANKS] - 1, -1, -1):
        r = I[start + position]
        if (K[at[r], TRIPS] >> child) & 1:
            dealt = I[RANK + N_RANK * r + DEALT] and child == I[FIRST]
            for h in range(I[HALOS]):
                mine = I[HALO + 5 * h + 0] == operand and (I[HALO + 5 * h + 1] == r or I[HALO + 5 * h + 3] == r)
                if mine and not dealt:
                    return r
            return -1
    return -1


@compiled(inner=True, borrowing=True)
def _pairs_of_tiles(
    I: Any, X: Any, F: Any, at: Any, h: Any, child: Any, parent: Any, slides: Any
) -> Any:
    p, stride, r, dilation = I[HALO + 5 * h + 1], I[HALO + 5 * h + 2], I[HALO + 5 * h + 3], I[HALO + 5 * h + 4]
    count_p, tile_p, edge_p = _tiles(I, X, F, at, p, child, parent, slides)
    count_r, tile_r, edge_r = _tiles(I, X, F, at, r, child, parent, slides)
    return (
        count_p * count_r * _span(tile_p, stride, tile_r, dilation)
        + count_p * _span(tile_p, stride, edge_r, dilation)
        + count_r * _span(edge_p, stride, tile_r, dilation)
        + _span(edge_p, stride, edge_r, dilation)
    )


@compiled(inner=True, borrowing=True)
def _tiles(I: Any, X: Any, F: Any, at: Any, rank: Any, child: Any, parent: Any, slides: Any) -> Any:
    """(full tiles, their size, size of the last)."""
    extent = float(I[RANK + N_RANK * rank + EXTENT])
    node = at[rank]
    tile = F[node, TILE + child]
    if rank == slides and F[node, SPLIT + child] == 1.0:
        tile = F[node, TILE + child - 1] if child > 1 else extent
    else:
        for i in range(parent + 1, child + 1):
            if F[node, GROUPS + i] == 1.0:
                tile = min(extent, tile * F[node, SPLIT + i])
    count = np.ceil(extent / tile)
    return count - 1, tile, extent - (count - 1) * tile


@compiled(inner=True, borrowing=True)
def _span(tile_p: Any, stride: Any, tile_r: Any, dilation: Any) -> Any:
    return min(tile_p * tile_r, 1 + stride * (tile_p - 1) + dilation * (tile_r - 1))


@compiled(inner=True, borrowing=True)
def _into_engine(
    I: Any, X: Any, F: Any, at: Any, operand: Any, source: Any, exact: Any, out: Any
) -> None:
    """What the engine reads and writes at the innermost level that keeps the operand."""
    place = 5 + 5 * source
    crossed_by = ROLE_K if operand == 2 else ROLE_N - operand
    blocks = _blocks(I, F, at, crossed_by, X[BLOCK_A + operand], exact)
    if operand < 2:
        words = X[MACS] / X[LENGTH_M + crossed_by - ROLE_M] * blocks
        out[place] += words * X[ENGINE_A + operand]
    else:
        written, partial = X[OUTPUTS] * blocks, X[PARTIAL]
        read = written - X[OUTPUTS]
        out[place] += read * partial
        out[place + 2] += written * partial
        out[place + 3] += (read + written) * partial


@compiled(inner=True, borrowing=True)
def _blocks(I: Any, F: Any, at: Any, role: Any, block: Any, exact: Any) -> Any:
    """Engine blocks along the role's ranks, in all tiles together."""
    tiles, whole, levels = 1.0, 1.0, I[LEVELS]
    for r in range(I[RANKS]):
        if I[RANK + N_RANK * r + ROLE] == role:
            if I[RANK + N_RANK * r + ALONE]:
                return F[at[r], BLOCKS]
            tiles *= F[at[r], TILES + levels]
            whole *= I[RANK + N_RANK * r + EXTENT]
    if block == 0.0:
        return tiles
    if not exact:
        return max(tiles, whole / block)
    total = 0.0
    for code in range(1 << I[RANKS]):
        count, size = 1.0, 1.0
        for r in range(I[RANKS]):
            edge, node = (code >> r) & 1, at[r]
            if I[RANK + N_RANK * r + ROLE] != role:
                count *= edge
                continue
            tile, full = F[node, TILE + levels], F[node, TILES + levels] - 1
            count *= 1.0 if edge else full
            size *= I[RANK + N_RANK * r + EXTENT] - full * tile if edge else tile
        if count > 0.0:
            total += count * np.ceil(size / block)
    return total


@compiled(inner=True, borrowing=True)
def _cycles(I: Any, X: Any, F: Any, at: Any, exact: Any, out_steps: Any) -> Any:
    """Cycles of the busiest engine."""
    batches, m, n, k = 1.0, 1.0, 1.0, 1.0
    steps, instances = 1.0, X[FAN_OUTS]
    alone, over = I[RANKS] > 0, 1.0
    for r in range(I[RANKS]):
        node, role = at[r], I[RANK + N_RANK * r + ROLE]
        over *= F[node, INSTANCE_CYCLES]
        if role == BATCH:
            batches *= F[node, ELEMENTS]
            continue
        alone = alone and I[RANK + N_RANK * r + ALONE] == 1
        work = F[node, CYCLES]
        if role == ROLE_M:
            m *= work
            steps *= F[node, SERVICE_STEPS]
        elif role == ROLE_N:
            n *= work
            steps *= F[node, SERVICE_STEPS]
        else:
            k *= work
    waves = out_steps if I[DYNAMIC] else 1.0
    if exact:
        if alone and X[PIPELINE] == 0.0:
            return (m * n * k * batches + _fill(I, X, F, at)) * waves
        return (_combinations(I, X, F, at, alone) * batches + _fill(I, X, F, at)) * waves
    floor = X[PIPELINE] * steps * k if alone else 0.0
    fill = _fill(I, X, F, at)
    return max((max(m * n * k, floor) * batches + fill) * waves, over / instances)


@compiled(inner=True, borrowing=True)
def _fill(I: Any, X: Any, F: Any, at: Any) -> Any:
    """Cycles after the last tile's last issue."""
    streamed, size = I[STREAMED], 1.0
    for r in range(I[RANKS]):
        if I[RANK + N_RANK * r + ROLE] == streamed:
            size *= F[at[r], EDGE]
    s = STEPS + 4 * (streamed - ROLE_M)
    raw = X[s + 1] * np.ceil(size / X[s])
    return max(0.0, X[FILL] + raw - max(raw + X[s + 2], X[s + 3]))


@compiled(inner=True, borrowing=True)
def _combinations(I: Any, X: Any, F: Any, at: Any, alone: Any) -> Any:
    """Full and last tiles of every rank, each combination counted."""
    levels = I[LEVELS]
    total = 0.0
    for code in range(1 << I[RANKS]):
        count = 1.0
        m, n, k = 1.0, 1.0, 1.0
        for r in range(I[RANKS]):
            node, role, edge = at[r], I[RANK + N_RANK * r + ROLE], (code >> r) & 1
            if role == BATCH:
                count *= edge
                continue
            if not edge:
                count *= F[node, FULL_COUNT]
            if alone:
                size = F[node, EDGE_CYCLES] if edge else F[node, FULL_CYCLES]
            else:
                size = F[node, EDGE] if edge else F[node, TILE + levels]
            if role == ROLE_M:
                m *= size
            elif role == ROLE_N:
                n *= size
            else:
                k *= size
        if count > 0.0:
            if not alone:
                sizes = (m, n, k)
                for role in range(3):
                    s = STEPS + 4 * role
                    work = max(X[s + 1] * np.ceil(sizes[role] / X[s]) + X[s + 2], X[s + 3])
                    m, n, k = (
                        work if role == 0 else m, work if role == 1 else n, work if role == 2 else k
                    )  # fmt: skip
            total += count * k * max(m * n, X[PIPELINE])
    return total


@compiled(inner=True, borrowing=True)
def _compose(I: Any, X: Any, T: Any, F: Any, K: Any, at: Any, exact: Any, out: Any, steps: Any) -> None:
    """Latency and energy from bytes, cycles and vector work, as `mappers.cost.compose`."""
    jobs, most_jobs, out_steps, k_steps = steps
    cores = float(I[CORES])
    cores = min(jobs / out_steps, cores) if exact else min(most_jobs, cores)
    matrix = _cycles(I, X, F, at, exact, out_steps) / X[CLOCK]
    sums = _split_sums(I, X, F, at) * X[OUTPUTS]
    vector = (X[EPILOGUE_S] + sums * X[ADD_S] + X[CONVERSION_S] + out[3]) / cores
    joules = X[MATRIX_J]
    joules += (X[EPILOGUE_OPS] + sums + X[CONVERSION_OPS] + out[4]) * X[VECTOR_J]
    fixed = X[FIXED_S]
    if I[HAS_WORK] or sums > 0:
        fixed += X[SYNC] * out_steps
    if sums > 0:
        fixed += X[SUMS_ACCESS]
    if not I[OVERLAP] or I[ON_VECTOR]:
        matrix, vector = matrix + vector, 0.0
    most, prologue, epilogue = max(matrix, vector), 0.0, 0.0
    if exact or X[LOAD_S] > 0.0:
        most = max(most, out_steps * k_steps * _load_latency(I, X, T, F, K, at))
    worst, serial, between = 0.0, 0.0, 0.0
    most_out, most_k = _most_steps(I, F, at, most_jobs)
    for i in range(I[LEVELS]):
        place = 5 + 5 * i
        joules += out[place] * X[LEVEL + N_LEVEL * i + READ_J]
        joules += (out[place + 1] + out[place + 2]) * X[LEVEL + N_LEVEL * i + WRITE_J]
        busy = _busy(I, X, F, at, i, cores, exact, out)
        if not exact:
            worst = max(worst, busy)
            loads, stores = _least_shares(X, i, out)
            scale = 1.0 / (_bytes_per_s(I, X, i) * _most_at_work(I, X, i, cores))
            prologue = max(prologue, loads * scale / (most_out * most_k))
            epilogue = max(epilogue, stores * scale / most_out)
            if X[LEVEL + N_LEVEL * i + SHARED_PORT] and not X[LEVEL + N_LEVEL * i + FILL_PORT]:
                after = loads * (1.0 - 1.0 / (out_steps * k_steps))
                after += stores * (1.0 - 1.0 / out_steps)
                if X[LEVEL + N_LEVEL * i + BUFFERING] != SINGLE:
                    between = max(between, after * scale)
            continue
        total = max(out[place] + out[place + 1] + out[place + 2], 1e-30)
        stores = out[place + 3] / total
        head = busy * (1.0 - stores) / (out_steps * k_steps)
        end = busy * stores / out_steps
        prologue, epilogue = max(prologue, head), max(epilogue, end)
        rest = busy - head - end
        if X[LEVEL + N_LEVEL * i + BUFFERING] == SINGLE:
            serial += rest
            rest = 0.0
        worst = max(worst, rest)
    most = max(most, joules / X[HEADROOM_W])
    if exact:
        latency = fixed + prologue + max(most, worst) + serial + epilogue
    else:
        first_loads, last_stores = _least_ends(I, X, T, F, K, at)
        ends = max(first_loads, prologue) + max(last_stores, epilogue)
        latency = fixed + max(max(most, between) + ends, worst)
    out[0] = latency
    out[1] = joules + X[STATIC_W] * latency


@compiled(inner=True, borrowing=True)
def _most_steps(I: Any, F: Any, at: Any, most_jobs: Any) -> Any:
    """Output steps and k steps at most."""
    out_steps, k_steps = 1.0, 1.0
    for r in range(I[RANKS]):
        if I[RANK + N_RANK * r + ROLE] == ROLE_K:
            k_steps *= -F[at[r], MINUS_STEPS]
        else:
            out_steps *= -F[at[r], MINUS_STEPS]
    if I[DYNAMIC]:
        out_steps *= np.ceil(most_jobs / I[CORES])
    return out_steps, k_steps


@compiled(inner=True, borrowing=True)
def _least_shares(X: Any, i: Any, out: Any) -> Any:
    """Bytes at least of a level's time that are loads of inputs, and stores of outputs."""
    place = 5 + 5 * i
    both, outputs = out[place] + out[place + 1] + out[place + 2], out[place + 3]
    if X[LEVEL + N_LEVEL * i + FILL_PORT]:  # its fills take no time
        return out[place] - (outputs - out[place + 2]), 0.0
    return both - outputs, outputs


@compiled(inner=True, borrowing=True)
def _bytes_per_s(I: Any, X: Any, i: Any) -> Any:
    """Of one instance, reads and writes at best together."""
    row = LEVEL + N_LEVEL * i
    if X[row + SHARED_PORT]:
        return X[row + READ_BPS]
    return X[row + READ_BPS] + X[row + WRITE_BPS]


@compiled(inner=True, borrowing=True)
def _most_at_work(I: Any, X: Any, i: Any, cores: Any) -> Any:
    """Instances of a level at most, with so many cores at work."""
    instances = X[LEVEL + N_LEVEL * i + INSTANCES]
    return instances / I[CORES] * cores if i >= I[FIRST] else instances


@compiled(inner=True, borrowing=True)
def _split_sums(I: Any, X: Any, F: Any, at: Any) -> Any:
    """Additions per output that bring the sums of a split over k together."""
    added = 0.0
    for i in range(1, I[FIRST] + 1):
        if not X[LEVEL + N_LEVEL * (i - 1) + REDUCTION]:
            split = 1.0
            for r in range(I[RANKS]):
                if I[RANK + N_RANK * r + ROLE] == ROLE_K:
                    split *= F[at[r], SPLIT + i]
            added += split - 1.0
    return added


@compiled(inner=True, borrowing=True)
def _busy(I: Any, X: Any, F: Any, at: Any, i: Any, cores: Any, exact: Any, out: Any) -> Any:
    """Seconds of a level."""
    place = 5 + 5 * i
    instances = X[LEVEL + N_LEVEL * i + INSTANCES]
    inner = i >= I[FIRST]
    if exact:
        used = 1.0
        for level in range(I[FIRST] + 1 if inner else 1, i + 1):
            for r in range(I[RANKS]):
                used *= F[at[r], SPLIT + level]
        room = instances // I[CORES] if inner else instances
        at_work = min(used, room) * (cores if inner else 1.0)
    else:
        at_work = _most_at_work(I, X, i, cores)
    written = out[place + 2] if X[LEVEL + N_LEVEL * i + FILL_PORT] else out[place + 1] + out[place + 2]
    read_s = out[place] / (X[LEVEL + N_LEVEL * i + READ_BPS] * at_work)
    write_s = written / (X[LEVEL + N_LEVEL * i + WRITE_BPS] * at_work)
    return read_s + write_s if X[LEVEL + N_LEVEL * i + SHARED_PORT] else max(read_s, write_s)


@compiled(inner=True, borrowing=True)
def _load_latency(I: Any, X: Any, T: Any, F: Any, K: Any, at: Any) -> Any:
    """Seconds per step that a core at least takes, by Little's law."""
    first = I[FIRST]
    if first >= I[LEVELS] or X[LEVEL + N_LEVEL * first + BUFFERING] == SINGLE:
        return 0.0
    if not (T[4 * first + 0] or T[4 * first + 1]):
        return 0.0
    if X[LEVEL + N_LEVEL * first + BUFFERING] == DOUBLE:
        return X[LOAD_S]
    step = 0.0
    for operand in range(2):
        if T[4 * first + operand]:
            step += _footprint(I, X, F, at, operand, first) * X[WIDTH_A + operand]
    return X[LOAD_S] / max(1.0, X[LEVEL + N_LEVEL * first + CAPACITY] // step - 1.0)


@compiled(inner=True, borrowing=True)
def _least_ends(I: Any, X: Any, T: Any, F: Any, K: Any, at: Any) -> Any:
    """Seconds at least of the first loads from and last stores to the outermost memory."""
    cores = I[CORES] if I[DYNAMIC] else 0.0
    speed = _bytes_per_s(I, X, 0)
    per_job, whole = 0.0, 0.0
    for operand in range(2):
        a, b = _per_step(I, X, T, F, K, at, operand)
        per_job += a * X[WIDTH_A + operand]
        whole += b * X[WIDTH_A + operand]
    split = 1.0
    outputs = 1.0
    for r in range(I[RANKS]):
        node = at[r]
        if I[RANK + N_RANK * r + ROLE] == ROLE_K:
            split *= -F[node, MINUS_JOBS]
        else:
            outputs *= F[node, PER_STEP]
    width = X[WIDTH_O]
    if I[DYNAMIC]:
        loads = 0.0
        if per_job > 0.0:
            loads = 1.0 / (split / (cores * per_job) + 1.0 / whole)
        stores = width / (split / (outputs * cores) + 1.0 / X[OUTPUTS])
    else:
        loads, stores = per_job, outputs * width
    speed *= X[LEVEL + INSTANCES]
    return loads / speed, stores / speed


@compiled(inner=True, borrowing=True)
def _per_step(I: Any, X: Any, T: Any, F: Any, K: Any, at: Any, operand: Any) -> Any:
    """Elements brought in from outermost at least, per step and core-dealt job; and per k step."""
    levels = I[LEVELS]
    child = 0
    for i in range(levels - 1, 0, -1):
        if T[4 * i + operand]:
            child = i
    for h in range(I[HALOS]):
        if I[HALO + 5 * h + 0] == operand:
            return 0.0, 0.0
    if child == 0:
        return 0.0, 0.0
    trips = 0
    for r in range(I[RANKS]):
        if I[RANK + N_RANK * r + IN_A + operand]:
            trips |= K[at[r], TRIPS]
    last = child
    while last > 0 and not (trips >> last) & 1:
        last -= 1
    per_job, whole = 1.0, 1.0
    for r in range(I[RANKS]):
        node = at[r]
        dealt = I[RANK + N_RANK * r + DEALT]
        if I[RANK + N_RANK * r + IN_A + operand]:
            per_job *= F[node, PER_STEP]
            whole *= I[RANK + N_RANK * r + EXTENT] if dealt else F[node, PER_STEP]
        elif _depth(I, X, T, F, K, at, operand, r, last) >= 1 or (dealt and child >= I[FIRST]):
            per_job *= F[node, OUTER_PER_STEP]
            whole *= F[node, TILES + 1] if dealt else F[node, OUTER_PER_STEP]
        else:
            per_job *= F[node, SHARE]
            whole *= 1.0 if dealt else F[node, SHARE]
    return per_job, whole
