"""What the documentation takes from the code: tables of designs, models, formats, kernels, units
and keys, by the names that `<!-- generated: NAME -->` uses."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import kernels_ref
from accel_models.engines import ENGINES
from accel_models.library import list_designs, shipped_root
from accel_models.quantity import DIMENSIONS, parse
from accel_models.schema import design_schema
from accel_models.source import REPORTED_AS, UNCERTAINTY
from kernels_ref.formats import FORMATS, Scale
from kernels_ref.kernels import KERNELS
from sim.report.inventory import design_document, model_document
from sim.report.quantities import binary, si
from workloads.config import shipped_models

Schema = dict[str, Any]


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
    header = (
        "name",
        "parameters",
        "weights",
        "MACs of one token (of an input)",
        "cache per token",
        "context",
    )
    return table(header, rows)


def model_names() -> str:
    """Names alone."""
    return ", ".join(f"`{name}`" for name in shipped_models()) + "\n"


def formats() -> str:
    """The registered number formats."""
    rows = []
    for name, fmt in FORMATS.items():
        layout = f"1, {fmt.exponent}, {fmt.mantissa}" if fmt.kind == "float" else ""
        if fmt.kind == "codebook":
            scales = f"table of {2**fmt.bits} FP16 values per channel"
        else:
            scales = ", ".join(_scale(scale) for scale in fmt.scales)
        bits = f"{float(fmt.bits_per_element):.5g}"
        rows.append((f"`{name}`", fmt.element, layout, f"{fmt.of.max_finite:.5g}", scales, bits))
    header = (
        "name",
        "element",
        "sign, exponent, mantissa",
        "largest",
        "scales",
        "bits per element",
    )
    return table(header, rows)


def kernel_modules() -> str:
    """The files of kernels_ref/, by the first sentence of each."""
    rows = []
    for path in sorted(Path(kernels_ref.__file__).parent.glob("[!_]*.py")):
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        first = docstring.split("\n\n")[0].replace("\n", " ").split(". ")[0].rstrip(".:")
        rows.append((f"`{path.name}`", first))
    return table(("file", "is"), rows)


def _scale(scale: Scale) -> str:
    per = f"{scale.per} elements" if isinstance(scale.per, int) else scale.per
    zero = f" and {scale.zero_bits}-bit zero" if scale.zero_bits else ""
    return f"{scale.element}{zero} per {per}"


def kernels() -> str:
    """The registered kernels."""
    rows = (
        (f"`{name}`", entry.kind, entry.summary, ", ".join(f"`{pair}`" for pair in entry.pairs))
        for name, entry in KERNELS.items()
    )
    return table(("name", "kind", "what it is", "weight*activation->sums"), rows)


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
    order += ["PE", "Pair", "SkipRate", "VectorEngine", "OpRates", "Control", "Link"]
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
    if "anyOf" in value:
        options = (option for option in value["anyOf"] if option.get("type") != "null")
        return " or ".join(_value(option) for option in options)
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


TABLES: dict[str, Callable[[], str]] = {
    "designs": designs,
    "design_names": design_names,
    "models": models,
    "model_names": model_names,
    "formats": formats,
    "kernels": kernels,
    "kernel_modules": kernel_modules,
    "source_kinds": source_kinds,
    "units": units,
    "design_keys": design_keys,
}
