"""Tables of models, transforms and dtypes for the documentation."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable

from sim.cli.docs_regions import table
from sim.measured.gemm import DTYPES
from sim.report.quantities import binary
from workloads.config import read_config, shipped_models
from workloads.phase import decode, encode
from workloads.published import published, traced_classes
from workloads.read_model import of_config
from workloads.transforms import TRANSFORMS

_END = r"(?=^[A-Z]\w*:? |\Z)"
CONTEXT, TEXT = 256, 64  # tokens: a decode step's keys, an encoder's input


def workloads() -> str:
    """Every shipped model: parameters, work and cache, and what others count."""
    known, classes = published(), traced_classes()
    rows = []
    for name in shipped_models():
        config = read_config(name)
        model = of_config(config)
        steps = "decode" in model.phases
        graph = model.build(decode(1, CONTEXT) if steps else encode(1, TEXT))
        flops = 2 * sum(node.count * node.op.macs for node in graph) / 1e9
        per_token = "-"
        if steps:
            before = model.build(decode(1, CONTEXT // 2))
            per_token = binary((graph.kv_bytes - before.kv_bytes) / (CONTEXT // 2))
        entry = known.get(name)
        difference = "-" if entry is None else f"{graph.params - entry.params:+,d}"
        rows.append(
            (
                f"`{name}`",
                str(config.data["model_type"]),
                ", ".join(model.phases),
                f"{graph.params:,d}",
                difference if difference != "+0" else "0",
                "ours" if entry is None else entry.source,
                classes.get(name, "-"),
                f"{flops:,.3g}",
                per_token,
            )
        )
    return table(
        ("model", "model_type", "phases", "parameters", "less published", "published by", "trace",
         f"GFLOP of a token at {CONTEXT} (of an input)", "cache of a token"),
        rows,
    )  # fmt: skip


def transforms() -> str:
    """Every transform: arguments, what it does, its source, what it assumes."""
    rows = []
    for name, transform in TRANSFORMS.items():
        signature = inspect.signature(transform)
        takes = ", ".join(str(p).replace("'", "") for p in list(signature.parameters.values())[1:])
        takes = re.sub(r": [\w |]+", "", takes).replace("= ", "=").replace("=None", "")
        text = inspect.getdoc(transform) or ""
        what = " ".join(text.partition("\n\n")[0].split())
        rows.append((f"`{name}({takes})`", what, _said(text, "Source"), _said(text, "Accuracy")))
    return table(("transform", "what it does", "source", "accuracy"), rows)


def _said(text: str, word: str) -> str:
    """What a docstring says after `word:`, to the next such word or its end."""
    match = re.search(rf"^{word}: (.*?){_END}", text, re.DOTALL | re.MULTILINE)
    return " ".join(match[1].split()) if match else ""


def dtypes() -> str:
    """What the dtypes of measured rows mean."""
    come = {
        "as": "as they are multiplied",
        "scaled": "in 16 bits; a kernel finds scales and quantizes",
        "converted": "in 16 bits; a kernel converts them by known scales",
    }
    rows = [(f"`{n}`", f"`{d.formats}`", d.base, come[d.quantized]) for n, d in DTYPES.items()]
    return table(("dtype", "`--formats`", "outputs", "activations come"), rows)


WORKLOAD_REGIONS: dict[str, Callable[[], str]] = {
    "workloads": workloads,
    "transforms": transforms,
    "dtypes": dtypes,
}
