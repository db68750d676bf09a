"""AccelForge's workloads: einsums of one line, sizes of their own, machines of several einsums."""

from __future__ import annotations

import re
from math import prod
from pathlib import Path

import pytest

from accel_models.path import memory_path
from mappers.search.best import best_mapping
from sim.importers import import_files
from sim.importers.foreign import ForeignFileError
from sim.importers.imported import contraction_of

DATA = Path(__file__).parents[1] / "data" / "importers"
ARRAY = DATA / "accelforge_array.yaml"
SIZES = "rank_sizes: {B: 2, M: 16, P: 24, E: 32, F: 8}"
SPELLED_OUT = f"""\
workload:
  {SIZES}
  bits_per_value: {{All: 8}}
  einsums:
  - name: QK
    tensor_accesses:
    - {{name: Q, projection: [b, m, e]}}
    - {{name: K, projection: {{B: b, M: p, E: e}}}}
    - {{name: QK, projection: [b, m, p], output: True}}
    renames: {{input: Q}}
  - name: AV
    tensor_accesses:
    - {{name: QK, projection: [b, m, p]}}
    - {{name: V, projection: {{B: b, P: p, F: 2 * f}}}}
    - {{name: AV, projection: [b, m, f], output: True}}
"""
ONE_LINE = f"""\
workload:
  {SIZES}
  bits_per_value: {{All: 8}}
  einsums:
  - {{einsum: "QK[b, m, p] = Q[b, m, e] * K[b, M: p, e]", renames: {{input: Q}}}}
  - "AV[b, m, f] = QK[b,m,p] * V[b, p, F: 2 * f]"
"""


def take(tmp_path, text):
    (tmp_path / "layer.yaml").write_text(text)
    return import_files("accelforge", [ARRAY, tmp_path / "layer.yaml"])


def test_einsums_of_one_line_are_those_spelled_out(tmp_path):
    found, same = take(tmp_path, ONE_LINE), take(tmp_path, SPELLED_OUT)
    assert found.workloads == same.workloads
    first, second = found.workloads
    assert dict(first.ranks) == {"b": 2, "m": 16, "n": 24, "k": 32}
    assert dict(second.ranks) == {"b": 2, "m": 16, "n": 8, "k": 24}
    assert second.dims["weight"][-1] == (("n", 2),)
    assert not any("einsum" in note.what for note in found.notes.not_carried)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("QK[b, m, p] = Q", "QK[b, m, p] Q", "is not 'Z[m, n] = A[m, k] * B[k, n]'"),
        ("Q[b, m, e]", "Q[b, , e]", "'Q[b, , e]': an index is missing"),
        ("M: p", "M:", "an index is missing"),
        ("* K[b", "+ K[b", "is not 'Z[m, n] = A[m, k] * B[k, n]'"),
    ],
)
def test_what_is_no_einsum_is_said_with_its_line(old, new, message, tmp_path):
    with pytest.raises(ForeignFileError) as caught:
        take(tmp_path, ONE_LINE.replace(old, new))
    where, what = re.fullmatch(r".*layer.yaml:(\d+): (.*)", str(caught.value)).groups()
    assert int(where) == 5
    assert message in what


def test_an_einsum_may_bound_its_own_ranks(tmp_path):
    text = ONE_LINE.replace(", E: 32", "")
    text = text.replace("renames: {input: Q}", "iteration_space_shape: [0 <= e < 64]")
    assert dict(take(tmp_path, text).workloads[0].ranks)["k"] == 64


def test_other_einsums_are_passed_over_whole(tmp_path):
    found = take(tmp_path, ONE_LINE + '  - {einsum: "S[b, m, p] = QK[b, m, p]"}\n')
    assert [work.name for work in found.workloads] == ["QK", "AV"]
    notes = [note for note in found.notes.not_carried if "layer.yaml" in note.where]
    assert [note.what for note in notes] == ["einsum S"]


def test_an_axis_takes_the_ranks_of_every_einsum(tmp_path):
    """Its `reuse` is the same for all; a rank's name may differ: h and e of a projection are the n
    of a matrix multiplication."""
    heads = '  - "V[m, h, e] = I[m, d] * W[d, h, e]"\n  - "F[m, j] = Z[m, d] * U[d, j]"\n'
    sizes = SIZES.replace("B: 2", "H: 4, D: 8, J: 8")
    head = f"workload:\n  {sizes}\n  bits_per_value: {{All: 8}}\n  einsums:\n"
    found = take(tmp_path, head + heads)
    said = {note.what: note.why for note in found.notes.carried}
    assert said["PE, cols"] == "an axis of 8 for h e n"
    assert said["Row, rows"] == "an axis of 4 for k"
    path = memory_path(found.parsed(), "core")
    problem = contraction_of(found.workloads[1], found)
    best = best_mapping(problem, path, "latency")
    assert prod(prod(level.spatial.values()) for level in best.mapping.levels) == 4 * 8
