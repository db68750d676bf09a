"""What is kept of a search: nothing is lost, mixed up or trusted that should not be."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import design_dict, engine, matmul_graph, memory, parse

from accel_models.path import memory_path
from accel_models.read_design import read_design
from mappers.contractions import contraction
from mappers.matmul import matmul_cost
from mappers.search import cache
from mappers.search.cache import MappingCache, cached_best, key_of, open_cache, plain
from mappers.search.found import Found, Limits
from mappers.search.sample import random_mappings

ROOT = Path(__file__).parents[2]
EXACT = Limits()


@pytest.fixture
def store(tmp_path):
    return open_cache(tmp_path)


def machine(**buffer):
    """A core with a buffer under DRAM."""
    data = design_dict(
        {"dram": memory("1 GiB", "8 B/cycle", kind="dram")},
        {"buffer": memory("64 KiB", "64 B/cycle") | buffer},
        engine("systolic"),
    )
    return memory_path(parse(data), "core")


def task(path=None, sizes=(30, 20, 10)):
    return contraction(matmul_graph(*sizes), "matmul", path or machine())


def found_by_chance(problem, path, gap=0.0, seed=0):
    (mapping,) = random_mappings(problem, path, 1, seed)
    return Found(mapping, matmul_cost(problem, mapping, path), 9, 3, 0.5, gap)


def searching(monkeypatch, *results):
    """`best_mapping` gives these, one after the other; the list of what was asked."""
    asked, left = [], list(results)

    def best_mapping(problem, path, objective, limits):
        asked.append(limits)
        return left.pop(0)

    monkeypatch.setattr("mappers.search.best.best_mapping", best_mapping)
    return asked


def test_what_is_put_is_there_also_after_reopening(store, tmp_path):
    assert store.get("a") is None
    store.put("a", {"x": [1, 2.5, "three"], "big": 10**30})
    store.put("a", {"x": [4], "big": 10**30})
    store.put("b", {})
    for again in (store, open_cache(tmp_path)):
        assert again.get("a") == {"x": [4], "big": 10**30}
        assert again.get("b") == {}


def test_opening_takes_no_time(tmp_path):
    open_cache(tmp_path)
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        open_cache(tmp_path)
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.01


WRITER = """
import sys
from pathlib import Path
from mappers.search.cache import open_cache
store, name = open_cache(Path(sys.argv[1])), sys.argv[2]
for i in range(int(sys.argv[3])):
    store.put(f"{name}{i}", {"i": i, "text": str(i) * 500})
"""


def writer(folder, name, count):
    words = [sys.executable, "-c", WRITER, str(folder), name, str(count)]
    return subprocess.Popen(words, cwd=ROOT)


def is_whole(store, key, i):
    return store.get(key) in (None, {"i": i, "text": str(i) * 500})


@pytest.mark.slow
def test_two_processes_write_at_once(tmp_path):
    both = [writer(tmp_path, name, 400) for name in "ab"]
    assert [process.wait(60) for process in both] == [0, 0]
    store = open_cache(tmp_path)
    for name in "ab":
        for i in range(400):
            assert store.get(f"{name}{i}") == {"i": i, "text": str(i) * 500}


@pytest.mark.slow
def test_a_process_killed_while_writing_leaves_whole_results(tmp_path):
    store = open_cache(tmp_path)
    for round_ in range(4):
        process = writer(tmp_path, f"r{round_}.", 10**9)
        end = time.monotonic() + 60
        while store.get(f"r{round_}.3") is None and time.monotonic() < end:
            time.sleep(0.003)
        process.send_signal(signal.SIGKILL)
        process.wait()
        again = open_cache(tmp_path)
        assert again.get(f"r{round_}.3") == {"i": 3, "text": "3" * 500}
        assert all(is_whole(again, f"r{round_}.{i}", i) for i in range(2000))
        again.put(f"after {round_}", {"i": round_})
        assert open_cache(tmp_path).get(f"after {round_}") == {"i": round_}


def test_a_forked_process_does_not_disturb_its_parent(store, tmp_path):
    store.put("before", {"i": 1})
    child = multiprocessing.get_context("fork").Process(
        target=lambda: store.put("child", {"i": store.get("before")["i"] + 1})
    )
    child.start()
    child.join(60)
    assert child.exitcode == 0
    store.put("after", {"i": 3})
    everything = [open_cache(tmp_path).get(key) for key in ("before", "child", "after")]
    assert everything == [{"i": 1}, {"i": 2}, {"i": 3}]


def garbage(raw):
    return b"this is no database" * 1000


def half(raw):
    return raw[: len(raw) // 2 + 100]


def zeros_inside(raw):
    return raw[:4096] + bytes(len(raw) - 4096)


def noise_everywhere(raw):
    return bytes(b ^ (37 * i % 251) if i > 100 else b for i, b in enumerate(raw))


@pytest.mark.parametrize("damage", [garbage, half, zeros_inside, noise_everywhere, lambda raw: b""])
def test_a_damaged_file_is_begun_anew(damage, tmp_path):
    store = open_cache(tmp_path)
    for i in range(50):
        store.put(str(i), {"i": i, "text": str(i) * 500})
    store._db.close()
    store.file.write_bytes(damage(store.file.read_bytes()))
    again = open_cache(tmp_path)
    assert all(is_whole(again, str(i), i) for i in range(50))
    for i in range(50):
        again.put(str(i), {"i": i, "text": str(i) * 500})
    last = open_cache(tmp_path)
    assert [last.get(str(i))["i"] for i in range(50)] == list(range(50))


def test_the_least_recently_used_go_first(tmp_path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(cache.time, "time", lambda: now[0])
    store = MappingCache(tmp_path / "small", max_bytes=256 * 1024)
    for i in range(1000):
        now[0] += 10
        store.put(str(i), {"text": "x" * 1000})
        if i % 100 == 0:
            now[0] += cache.USED_AGAIN_S
            assert store.get("0"), i
    kept = [i for i in range(1000) if store.get(str(i))]
    assert kept[0] == 0
    assert kept[1:] == list(range(kept[1], 1000))
    assert 100 < len(kept) < 250
    assert store.file.stat().st_size <= 300 * 1024


def test_where_nothing_can_be_written_nothing_is_kept(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    assert open_cache(tmp_path / "file") is None
    assert open_cache(tmp_path / "file" / "folder") is None
    store = open_cache(tmp_path / "good")
    store._db.close()
    store._db = None
    store.file = tmp_path / "file" / "none"
    store.put("a", {})
    assert store.get("a") is None


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"TILELOOM_CACHE": "here", "XDG_CACHE_HOME": "/xdg"}, "here"),
        ({"TILELOOM_CACHE": ""}, None),
        ({"XDG_CACHE_HOME": "/xdg"}, "/xdg/tileloom"),
        ({"XDG_CACHE_HOME": "not/absolute", "HOME": "/me"}, "/me/.cache/tileloom"),
        ({"HOME": "/me"}, "/me/.cache/tileloom"),
    ],
)
def test_where_it_is(environment, folder, monkeypatch):
    for name in ("TILELOOM_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cache.default_folder() == (None if folder is None else Path(folder))


def test_a_key_changes_with_all_that_the_result_depends_on():
    problem, path = task()
    smaller = task(machine(capacity="32 KiB"))
    held = task(machine(bypass=["weight"]))
    longer = task(sizes=(30, 20, 11))
    wider = replace(problem, weight_bytes=4.0), path
    keys = {key_of(*t, "latency", EXACT) for t in (smaller, held, longer, wider, (problem, path))}
    keys |= {key_of(problem, path, objective, EXACT) for objective in ("energy", "edp")}
    keys |= {key_of(problem, path, "edp", limits) for limits in (Limits(0.1), Limits(0.0, None, 9))}
    assert len(keys) == 9


def test_a_key_does_not_change_with_sources_and_other_parts(tmp_path):
    def key(design):
        path = memory_path(read_design(str(design)), "sm")
        return key_of(*contraction(matmul_graph(64, 64, 64), "matmul", path), "edp", EXACT)

    def changed(more):
        file = tmp_path / "chip.yaml"
        file.write_text(f"extends: a100_sxm\nsource: 'guess: x'\n{more}")
        return key(file)

    same = changed("price: {per_hour: 9 USD/h}\narea: {die: 1 mm2}\n")
    assert same == key("a100_sxm") != changed("memory: {l2: {capacity: 41 MiB}}\n")


def test_the_second_search_is_none(store, monkeypatch):
    problem, path = task()
    first = found_by_chance(problem, path)
    asked = searching(monkeypatch, first)
    assert cached_best(problem, path, "latency", EXACT, store) is first
    second = cached_best(problem, path, "latency", EXACT, store)
    assert len(asked) == 1
    assert (second.mapping, second.cost) == (first.mapping, first.cost)
    assert (second.total, second.evaluated, second.gap) == (9, 3, 0.0)
    assert (first.cached, second.cached) == (False, True)


def test_without_a_store_every_search_is_one(monkeypatch):
    problem, path = task()
    found = found_by_chance(problem, path)
    asked = searching(monkeypatch, found, None)
    assert cached_best(problem, path, "latency", EXACT, None) is found
    assert cached_best(problem, path, "latency", EXACT, None) is None
    assert len(asked) == 2


def test_what_the_clock_cut_short_is_not_kept(store, monkeypatch):
    problem, path = task()
    wide, narrow, wider, exact = (
        found_by_chance(problem, path, gap, seed) for seed, gap in enumerate((0.05, 0.01, 0.2, 0.0))
    )
    asked = searching(monkeypatch, wide, narrow, wider, exact)

    def gap(allowed, seconds=None):
        return cached_best(problem, path, "edp", Limits(allowed, seconds), store).gap

    assert gap(0.0, 1.0) == 0.05  # stopped by its clock
    assert gap(0.1) == gap(0.1) == 0.01  # another question, whatever else is known
    assert gap(0.0, 0.1) == 0.2  # neither was the first one kept
    assert gap(0.0) == gap(0.0) == gap(0.0, 0.1) == 0.0
    assert len(asked) == 4


def test_a_stored_mapping_that_is_not_legal_is_not_used(store, monkeypatch):
    problem, path = task()
    found = found_by_chance(problem, path)
    value = plain(found)
    value["levels"][1]["tile"] = {"b": 1, "m": 31, "n": 1, "k": 1}
    store.put(key_of(problem, path, "latency", EXACT), value)
    asked = searching(monkeypatch, found)
    assert cached_best(problem, path, "latency", EXACT, store) is found
    assert len(asked) == 1


def test_nothing_of_the_environment_is_needed_to_close(tmp_path):
    """An interpreter that ends while a store is open says nothing."""
    script = "from pathlib import Path; from mappers.search.cache import open_cache\n"
    script += "s = open_cache(Path('.')); s.put('a', {}); print(s.get('a'))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("{}\n", "")
