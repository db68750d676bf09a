"""`python -m sim.cli.docs [--check]`: write what the documentation takes from the code.

Three things are generated, so that they cannot drift from it: docs/schema/*.json (what `tileloom
schema` prints); in README.md and docs/*.md the text between `<!-- generated: NAME -->` and
`<!-- end -->`, NAME a key of REGIONS or a file of docs/examples; and what follows
each `$ tileloom ...` line of a console block, which is that command's output, run anew. `--check`
writes nothing and exits with 4 if a file is stale. A checkout has these files, an installed package
not.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from accel_models.library import SEARCH_PATH
from sim.cli.docs_accuracy import ACCURACY_REGIONS
from sim.cli.docs_costs import COST_REGIONS
from sim.cli.docs_regions import TABLES
from sim.cli.docs_workloads import WORKLOAD_REGIONS

ROOT = Path(__file__).resolve().parents[2]
DIFFERENCE = 4
REGIONS = TABLES | COST_REGIONS | WORKLOAD_REGIONS | ACCURACY_REGIONS
SCHEMAS = ("design", "system", "mapping", "ops", "requests", "run", "map", "verify")
WIDTH = 100  # of a terminal, for commands that ask

_REGION = re.compile(r"(<!-- generated: ([\w.]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_CONSOLE = re.compile(r"(```console\n)(.*?)(```)", re.DOTALL)


def example(name: str, root: Path) -> str:
    """A file of docs/examples as a code block."""
    language = {".py": "python"}.get(Path(name).suffix, "yaml")
    text = (root / "docs" / "examples" / name).read_text(encoding="utf-8")
    return f"```{language}\n{text}```\n"


def output_of(command: str, root: Path) -> str:
    """What a `tileloom ...` command line prints, both streams, in a terminal of WIDTH columns."""
    fixed = {"COLUMNS": str(WIDTH), "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}
    inherited = {k: v for k, v in os.environ.items() if k not in (SEARCH_PATH, "FORCE_COLOR")}
    done = subprocess.run(
        [sys.executable, "-m", "sim.cli.main", *shlex.split(command)[1:]],
        cwd=root,
        env=inherited | fixed,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )
    return "".join(line.rstrip() + "\n" for line in done.stdout.splitlines())


def renewed(text: str, root: Path) -> str:
    """A Markdown page with its generated regions and command outputs made anew."""

    def region(match: re.Match[str]) -> str:
        name = match[2]
        text = REGIONS[name]() if name in REGIONS else example(name, root)
        return match[1] + text + match[3]

    def console(match: re.Match[str]) -> str:
        commands = [line for line in match[2].splitlines() if line.startswith("$ ")]
        shown = [f"{line}\n{output_of(line[2:], root)}" for line in commands]
        return match[1] + "".join(shown) + match[3]

    return _CONSOLE.sub(console, _REGION.sub(region, text))


def generated(root: Path) -> dict[Path, str]:
    """Every file that has generated text, as it should be."""
    folder = root / "docs" / "schema"
    found = {folder / f"{w}.json": output_of(f"tileloom schema {w}", root) for w in SCHEMAS}
    for page in (root / "README.md", *sorted((root / "docs").glob("*.md"))):
        found[page] = renewed(page.read_text(encoding="utf-8"), root)
    return found


def stale(root: Path) -> dict[Path, str]:
    """The files that are not as they should be."""
    return {
        path: text
        for path, text in generated(root).items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    }


def main(arguments: list[str] | None = None) -> int:
    """Write or check; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m sim.cli.docs", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 4 if stale")
    check = parser.parse_args(arguments).check
    old = stale(ROOT)
    for path, text in old.items():
        if check:
            where = path.relative_to(ROOT)
            print(f"{where}: stale; run python -m sim.cli.docs", file=sys.stderr)
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(path.relative_to(ROOT))
    return DIFFERENCE if check and old else 0


if __name__ == "__main__":
    sys.exit(main())
