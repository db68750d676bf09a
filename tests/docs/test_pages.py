"""The pages say what the code says: generated text is fresh, links lead somewhere, commands run."""

import contextlib
import io
import re
import shlex

import pytest
from typer.testing import CliRunner

from sim.cli import docs
from sim.cli.main import app

PAGES = sorted(
    page
    for page in (*docs.ROOT.glob("*.md"), *(docs.ROOT / "docs").rglob("*.md"))
    if not page.name.startswith(".")
)
MACHINE = re.compile(r"(?<![\w.:/])/(?:root|home|tmp|work|usr|opt|Users)/")
CODE = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)


def blocks(page, language):
    return [body for name, body in CODE.findall(page.read_text("utf-8")) if name == language]


def shell_commands():
    """Each `tileloom` line of the pages' shell blocks, without what it is piped into."""
    lines = [line for page in PAGES for body in blocks(page, "sh") for line in body.splitlines()]
    found = dict.fromkeys(line.partition("|")[0].strip() for line in lines)
    theirs = ("my_parts", "my_gemms", "my_attention", "arch.yaml")  # files that the reader has
    known = [line for line in found if not any(word in line for word in theirs)]
    return [line for line in known if line.startswith("tileloom ")]


def anchors(page):
    """Anchors of a page's headings, as they are shown on GitHub."""
    headings = re.findall(r"^#+ (.+)$", CODE.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.slow
def test_generated_text_is_fresh(capsys):
    assert docs.main(["--check"]) == 0, capsys.readouterr().err


def test_stale_text_is_found_and_renewed():
    old = "before\n<!-- generated: source_kinds -->\nold\n<!-- end -->\nafter\n"
    new = docs.renewed(old, docs.ROOT)
    assert "old" not in new
    assert "| `datasheet` | 5 % | datasheet |\n" in new
    assert new.startswith("before\n")
    assert new.endswith("<!-- end -->\nafter\n")
    assert docs.renewed(new, docs.ROOT) == new


def test_stale_file_gives_exit_code_4(monkeypatch, capsys):
    page = docs.ROOT / "README.md"
    monkeypatch.setattr(docs, "stale", lambda root: {page: "other text"})
    assert docs.main(["--check"]) == 4
    assert capsys.readouterr().err == "README.md: stale; run python -m sim.cli.docs\n"
    assert page.read_text("utf-8") != "other text"


def test_console_block_shows_what_the_command_prints():
    new = docs.renewed("```console\n$ tileloom simulate a100 gpt2\nold\n```\n", docs.ROOT)
    assert new.startswith(
        "```console\n$ tileloom simulate a100 gpt2\nno design 'a100'; did you mean"
    )
    assert "old" not in new


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = CODE.sub("", page.read_text("utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        linked = (page.parent / file).resolve() if file else page
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_path_of_a_machine(page):
    assert not MACHINE.search(page.read_text("utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize("line", shell_commands())
def test_commands_of_the_pages_run(line, tmp_path, monkeypatch):
    model = docs.ROOT / "workloads" / "models" / "gpt2.json"
    chip = docs.ROOT / "docs" / "examples" / "my_chip.yaml"
    words = shlex.split(line, comments=True)[1:]
    block = docs.ROOT / "docs" / "examples" / "my_block.yaml"
    swap = {"path/to/config.json": str(model), "my_chip.yaml": str(chip)}
    words = [word.replace("ops:my_block.yaml", f"ops:{block}") for word in words]
    arguments = [swap.get(word, word) for word in words]
    if str(model) in arguments:
        arguments += ["--context", "1000"]
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output


def test_python_of_the_formats_page_runs():
    (code,) = blocks(docs.ROOT / "docs" / "formats.md", "python")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "formats.md", "exec"), {})
    assert printed.getvalue().startswith("uint8 [(64, 256), (1, 1)]\nErrorStatistics(mse=0.009")


def test_python_of_the_readme_runs():
    (code,) = blocks(docs.ROOT / "README.md", "python")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {})
    latency, limit = printed.getvalue().split(" ", 1)
    assert 0 < float(latency) < 1
    assert limit.startswith("Limit(resource=")


def test_python_of_the_sources_page_runs(monkeypatch):
    monkeypatch.chdir(docs.ROOT)
    (code,) = blocks(docs.ROOT / "docs" / "workload-sources.md", "python")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "workload-sources.md", "exec"), {})
    weights = 32 * (28672 * 4096 + 4096 * 14336)
    assert printed.getvalue() == f"ops {weights * (4 * 128 + 16 + 4) // 128 // 8}\n"
