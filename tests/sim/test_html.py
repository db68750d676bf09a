"""The page: self-contained, complete, safe, and its figures sum to the run."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from sim import simulate
from sim.report.html import html_document, write_html

CASES = {
    "decode": ("a100_sxm", "llama-3-8b", {"phase": "decode"}),
    "prefill": ("h100_sxm", "gemma-2-2b", {"phase": "prefill", "prompt": 256}),
    "request": ("a100_sxm", "gpt2", {"phase": "request", "prompt": 64, "output": 8}),
    "vector": ("systolic_128x128", "opt-125m", {"phase": "decode", "formats": "w8a8"}),
}


@pytest.fixture(scope="module", params=sorted(CASES))
def run(request: pytest.FixtureRequest):
    design, model, arguments = CASES[request.param]
    return simulate(design, model, **arguments)


def figures(page: str) -> list[dict]:
    found = re.findall(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)
    return [json.loads(text) for text in found]


def test_loads_nothing_from_anywhere(run):
    page = html_document(run)
    assert not re.findall(r"<(?:script|img|link|iframe)[^>]*\s(?:src|href)=", page)
    assert "default-src 'none'" in page
    assert "@import" not in page.split("</style>")[0]


def test_names_every_op_and_warning(run):
    page = html_document(run)
    assert all(op.name in page for op in run.ops)
    assert all(name in page for op in run.ops for name in op.fused)
    assert page.count('role="alert"') == bool(run.warnings)


def test_names_from_outside_are_escaped(run):
    evil = "<script>alert(1)</script>"
    ops = (replace(run.ops[0], name=evil), *run.ops[1:])
    page = html_document(replace(run, design_title=evil, workload=evil, formats=evil, ops=ops))
    assert evil not in page


def test_bars_sum_to_the_run(run):
    """Every bar chart of seconds adds up to the latency, every one of joules to the energy."""
    sums: dict[str, float] = {}
    for figure in figures(html_document(run)):
        bars = [trace for trace in figure["data"] if trace.get("type") == "bar"]
        unit = figure["layout"].get("xaxis", {}).get("ticksuffix")
        if bars and unit in ("s", "J"):
            total = sum(sum(trace["x"]) for trace in bars)
            sums[unit] = sums.get(unit, 0.0) + total
    assert sums["s"] == pytest.approx(run.latency_s, rel=1e-3)
    assert sums["J"] == pytest.approx(run.energy_j, rel=1e-3)


def test_roofline_has_every_op_that_multiplies(run):
    points = 0
    for figure in figures(html_document(run)):
        if figure["layout"].get("xaxis", {}).get("type") == "log":
            traces = [t for t in figure["data"] if "markers" in t.get("mode", "")]
            points += sum(len(trace["x"]) for trace in traces)
    outermost = next(iter(run.facts["bandwidth_bytes_per_s"]))
    assert points == sum(bool(op.macs and op.traffic_bytes[outermost]) for op in run.ops)


def test_a_browser_draws_it(run, tmp_path: Path):
    """Headless Chromium runs the script: figures become SVG, and no error is logged."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if not browser:
        pytest.skip("no Chromium on this machine")
    page = tmp_path / "report.html"
    write_html(run, page)
    flags = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking"
    command = [
        browser, *flags.split(), "--disable-component-update", "--disable-sync",
        f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=8000", "--dump-dom",
        page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.count('class="main-svg"') >= len(figures(page.read_text()))
    assert "Uncaught" not in done.stderr
