"""`python -m sim.cli.docs [--check]`: write what the documentation takes from the code.

Three things are generated, so that they cannot drift from it: docs/schema/*.json (what `tileloom
schema` prints); in README.md and docs/*.md the text between `<!-- generated: NAME -->` and
`<!-- end -->`, NAME a key of REGIONS or a file of docs/examples; and what follows each
`$ tileloom ...` line of a console block, which is that command's output, run anew. `--check` writes
nothing and exits with 4 if a file is stale. A checkout has these files, an installed package not.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from accel_models.engines import ENGINES
from accel_models.library import SEARCH_PATH, list_designs, shipped_root
from accel_models.quantity import DIMENSIONS, parse
from accel_models.schema import design_schema
from accel_models.source import REPORTED_AS, UNCERTAINTY
from kernels_ref.formats import FORMATS
from sim.report.inventory import design_document, model_document
from sim.report.quantities import binary, si
from workloads.config import shipped_models

ROOT = Path(__file__).resolve().parents[2]
DIFFERENCE = 4
SCHEMAS = ("design", "run")
WIDTH = 100  # of a terminal, for commands that ask
Schema = dict[str, Any]

_REGION = re.compile(r"(<!-- generated: ([\w.]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_CONSOLE = re.compile(r"(```console\n)(.*?)(```)", re.DOTALL)


def table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table; a bar inside a cell is escaped."""
    lines = [header, ("---",) * len(header), *rows]
    cells = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


def _shipped() -> list[tuple[str, Path]]:
    root = shipped_root()
    return [(name, p) for name, p in sorted(list_designs().items()) if p.is_relative_to(root)]


def designs() -> str:
    """Every shipped design with its outermost memory (as achieved) and its peaks."""
    rows = []
    for name, path in _shipped():
        document = design_document(str(path))
        for core, facts in document["cores"].items():
            levels = facts["levels"]
            outer = next(iter(levels.values()))
            peaks = ", ".join(
                f"{key} {si(value['peak_ops_per_s'], 'op/s')}"
                for key, value in facts["formats"].items()
            )
            rows.append(
                (
                    f"`{name}`",
                    document["title"],
                    f"{facts['count']} x {core}, {facts['engine']}",
                    f"{binary(outer['capacity_bytes'])}, {si(outer['read_bytes_per_s'], 'B/s')}",
                    peaks,
                    si(document["power_limit_w"], "W"),
                )
            )
    header = ("name", "title", "cores, engines of each", "outermost memory", "peak", "power limit")
    return table(header, rows)


def design_names() -> str:
    """Names by folder."""
    folders: dict[str, list[str]] = {}
    for name, path in _shipped():
        folders.setdefault(path.parent.name, []).append(f"`{name}`")
    return table(("folder", "designs"), [(f, ", ".join(n)) for f, n in sorted(folders.items())])


def models() -> str:
    """Every shipped model's size."""
    rows = []
    for name in shipped_models():
        document = model_document(name)
        context = document["max_context"]
        rows.append(
            (
                f"`{name}`",
                f"{document['params']:,}",
                binary(document["weight_bytes"]),
                f"{document['macs_per_token']:,}",
                binary(document["kv_bytes_per_token"]),
                f"{context:,}" if context else "not stated",
            )
        )
    header = ("name", "parameters", "weights", "MACs of one token", "cache per token", "context")
    return table(header, rows)


def model_names() -> str:
    """Names alone."""
    return ", ".join(f"`{name}`" for name in shipped_models()) + "\n"


def formats() -> str:
    """The registered number formats."""
    rows = []
    for name, fmt in FORMATS.items():
        layout = f"1, {fmt.exponent}, {fmt.mantissa}" if fmt.kind == "float" else ""
        group = str(fmt.group) if fmt.group else "channel" if fmt.scale_bits else ""
        meta = f"{fmt.scale_bits}, {fmt.zero_bits}" if fmt.scale_bits else ""
        rows.append((f"`{name}`", fmt.kind, str(fmt.bits), layout, group, meta))
    header = ("name", "kind", "bits", "sign, exponent, mantissa", "scale per", "scale, zero bits")
    return table(header, rows)


def source_kinds() -> str:
    """Kinds of source with their default half-widths."""
    rows = [(f"`{k}`", f"{100 * u:.0f} %", REPORTED_AS[k]) for k, u in UNCERTAINTY.items()]
    return table(("kind", "half-width", "reported as"), rows)


def units() -> str:
    """Units by dimension."""
    rows = [(name, ", ".join(f"`{u}`" for u in known)) for name, known in DIMENSIONS.items()]
    return table(("dimension", "units"), rows)


def design_keys() -> str:
    """A section for every block of the schema, a row for every key."""
    whole = design_schema()
    definitions = whole["$defs"]
    top = {"properties": whole["properties"], "required": whole["else"]["required"]}
    parts = ["### Design\n\nThe top of the file.\n\n" + _keys(top)]
    order = ["Technology", "Power", "Area", "Price", "Memory", "Core", *ENGINES]
    order += ["PE", "Pair", "VectorEngine", "OpRates", "Control", "Link"]
    for name in (*order, *sorted(definitions.keys() - set(order))):
        block = definitions[name]
        block = next((b for b in block.get("anyOf", ()) if "properties" in b), block)
        parts.append(f"### {name}\n\n{block.get('description', '')}\n\n{_keys(block)}")
    return "\n" + "\n".join(parts)


def _keys(block: Schema) -> str:
    needed = block.get("required", ())
    rows = []
    for key, value in block["properties"].items():
        if key == "source":
            continue
        plain = _without_null(value)
        meaning = value.get("description") or plain.get("description") or ""
        if meaning.endswith("a number and a unit"):
            meaning = ""
        default = value.get("default")
        if isinstance(default, list):
            default = ", ".join(default)
        given = "required" if key in needed else "-" if default is None else f"`{default}`".lower()
        rows.append((f"`{key}`", _value(plain), given, meaning))
    return table(("key", "value", "default", "meaning"), rows)


def _without_null(value: Schema) -> Schema:
    kept = [option for option in value.get("anyOf", ()) if option.get("type") != "null"]
    return kept[0] | {"description": value.get("description")} if len(kept) == 1 else value


def _value(value: Schema) -> str:
    """What is written there, in words."""
    if "$ref" in value:
        return _link(value["$ref"])
    if "oneOf" in value:
        return "one of " + ", ".join(_link(option["$ref"]) for option in value["oneOf"])
    if "const" in value:
        return f"`{value['const']}`"
    if "enum" in value:
        return " or ".join(f"`{option}`" for option in value["enum"])
    if "examples" in value:
        return _quantity(value["examples"][0], value["pattern"])
    if value.get("type") == "array":
        return f"list of {_value(value['items'])}"
    if value.get("type") == "object":
        return f"name: {_value(value['additionalProperties'])}"
    if value.get("type") == "number":
        return "number above 0" + (f", at most {value['maximum']:g}" if "maximum" in value else "")
    return {"integer": "integer above 0", "boolean": "`true` or `false`"}.get(value["type"], "text")


def _link(reference: str) -> str:
    name = reference.rsplit("/", 1)[-1]
    return f"[{name}](#{name.lower()})"


def _quantity(example: str, pattern: str) -> str:
    for dimension in DIMENSIONS:
        with contextlib.suppress(ValueError):
            parse(example, dimension)
            return dimension + (" or `B/cycle`" if "B/cycle" in pattern else "")
    raise AssertionError(f"no dimension of {example}")


REGIONS: dict[str, Callable[[], str]] = {
    "designs": designs,
    "design_names": design_names,
    "models": models,
    "model_names": model_names,
    "formats": formats,
    "source_kinds": source_kinds,
    "units": units,
    "design_keys": design_keys,
}


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
