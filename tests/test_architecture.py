"""The architecture itself: who may import whom, how large things may be, what importing costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = (
    "kernels_ref",
    "accel_models",
    "workloads",
    "mappers",
    "sim",
)  # each sees those before it
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
TREES = {str(path.relative_to(ROOT)): ast.parse(path.read_text("utf-8")) for path in FILES}

MAX_FILE, MAX_FUNCTION, MAX_CLASS, MAX_ARGUMENTS = 300, 40, 150, 6

# What is larger, and why splitting it would hide the idea.
LARGER = {
    "sim/api.py:simulate": "the command's options as keywords, each with its line of docs",
    "sim/cli/simulate.py:simulate": "an option of the command is an argument with its help",
    "sim/cli/simulate.py:simulate()": "an option of the command is an argument",
    "kernels_ref/kernels.py": "a table: an entry a kernel",
    "sim/cli/show.py:show": "an option of the command is an argument with its help",
    "sim/cli/show.py:show()": "an option of the command is an argument",
    "sim/cli/map.py:map_to": "an option of the command is an argument with its help",
    "sim/cli/map.py:map_to()": "an option of the command is an argument",
    "sim/cli/verify.py:verify": "an option of the command is an argument with its help",
    "sim/cli/verify.py:verify()": "an option of the command is an argument",
    "sim/cli/calibrate.py:calibrate": "an option of the command is an argument with its help",
    "sim/cli/calibrate.py:calibrate()": "an option of the command is an argument",
    "sim/calibrate.py:calibrate()": "the command's options as keywords, one to one",
    "sim/event/policies/neuron_clusters_run.py:neuron_clusters()": "the policy's arguments",
    "sim/event/policies/async_speculation.py:async_speculation()": "the policy's arguments",
    "sim/api.py:simulate()": "the command's options as keywords, one to one",
}


@cache
def imported(tree: ast.AST) -> frozenset[str]:
    """Top-level packages that a module imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return frozenset(found)


@pytest.mark.parametrize("name", TREES)
def test_imports_go_one_way(name: str) -> None:
    folder = name.partition("/")[0]
    allowed = set(FOLDERS[: FOLDERS.index(folder) + 1]) | {"designs"}
    ours = {*FOLDERS, "designs", "tests"}
    assert imported(TREES[name]) & ours <= allowed


@pytest.mark.parametrize("name", [name for name in TREES if not name.startswith("sim/")])
def test_only_sim_knows_simpy_and_the_terminal(name: str) -> None:
    assert not imported(TREES[name]) & {"simpy", "plotly", "rich", "typer"}


def functions(tree: ast.AST, inside: str = "") -> Iterator[tuple[str, ast.AST]]:
    """(dotted name, node) of every function and class."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield inside + node.name, node
            yield from functions(node, f"{inside}{node.name}.")
        elif not isinstance(node, ast.expr):  # which has none, and is most of a tree
            yield from functions(node, inside)


def handlers(tree: ast.AST) -> Iterator[ast.ExceptHandler]:
    """Every `except` within."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ExceptHandler):
            yield node
        if not isinstance(node, ast.expr):
            yield from handlers(node)


def lines_of(node: ast.AST) -> int:
    """Lines from `def` or `class` to the end."""
    assert isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
    return (node.end_lineno or node.lineno) - node.lineno + 1


@cache
def too_large() -> dict[str, str]:
    found = {}
    for path in FILES:
        name = str(path.relative_to(ROOT))
        length = len(path.read_text("utf-8").splitlines())
        if length > MAX_FILE:
            found[name] = f"{length} lines"
        for inside, node in functions(TREES[name]):
            limit = MAX_CLASS if isinstance(node, ast.ClassDef) else MAX_FUNCTION
            if lines_of(node) > limit:
                found[f"{name}:{inside}"] = f"{lines_of(node)} lines"
            # compiled code passes its arrays one by one: a tuple of them compiles three times as
            # long
            plain = not name.startswith("mappers/search/bulk/")
            if plain and isinstance(node, ast.FunctionDef) and arguments(node) > MAX_ARGUMENTS:
                found[f"{name}:{inside}()"] = f"{arguments(node)} arguments"
    return found


def arguments(node: ast.FunctionDef) -> int:
    given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return len([a for a in given if a.arg not in ("self", "cls")])


def test_nothing_is_larger_than_it_must_be() -> None:
    assert {k: v for k, v in too_large().items() if k not in LARGER} == {}


def test_the_list_of_larger_things_is_no_longer_than_it_must_be() -> None:
    assert LARGER.keys() <= too_large().keys()


def test_unexpected_errors_are_caught_in_one_place() -> None:
    found = [
        f"{name}:{inside}"
        for name, tree in TREES.items()
        for inside, function in functions(tree)
        if isinstance(function, ast.FunctionDef)
        for node in handlers(function)
        if catches_everything(node)
    ]
    outermost = {place for place in found if not place.endswith(".guarded")}
    # The second: what a kernel under test raises is a finding about it.
    assert outermost == {"sim/cli/main.py:_guarded", "kernels_ref/verify.py:_run"}


def catches_everything(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    named = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(isinstance(n, ast.Name) and n.id in ("Exception", "BaseException") for n in named)


CATCHES_EVERYTHING = {
    "sim/cli/main.py",  # our bug, shown whole
    "kernels_ref/verify.py",  # what a kernel under test raises is a finding about it
}


def test_no_module_level_except_exception() -> None:
    for name, tree in TREES.items():
        wide = [n for n in handlers(tree) if catches_everything(n)]
        assert len(wide) == (name in CATCHES_EVERYTHING), name


# Folders that import an extra's packages on top, behind a door that imports them in a function.
NEEDS = {"workloads/traced/": ("torch", "transformers")}

HEAVY = ["plotly", "numba", "ml_dtypes", "networkx", "numpy", "pydantic", "simpy", "optuna"]
HEAVY += ["scipy", "torch"]


def loaded_by(statement: str) -> set[str]:
    """Which of HEAVY a fresh interpreter has loaded after `statement`."""
    script = f"{statement}\nimport sys\nprint(*(m for m in {HEAVY!r} if m in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_the_command_line_starts_without_what_it_may_not_need() -> None:
    """Loading takes most of a short command's time; --help needs none of these."""
    assert loaded_by("import sim, sim.cli.main") == set()


def test_simulating_loads_no_plots_and_no_compiler() -> None:
    loaded = loaded_by("import sim.cli.main, sim.api, sim.report.document, sim.report.table")
    assert loaded <= {"numpy", "pydantic", "networkx"}


def test_no_module_writes_or_prints_when_imported(tmp_path: Path) -> None:
    missing = tuple(folder for folder, extra in NEEDS.items() if not all(map(find_spec, extra)))
    present = [name for name in TREES if not name.startswith(missing)]
    modules = [name.removesuffix(".py").replace("/", ".") for name in present]
    modules = [m.removesuffix(".__init__") for m in modules]
    script = f"import importlib\nfor m in {modules!r}: importlib.import_module(m)"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{script}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []
