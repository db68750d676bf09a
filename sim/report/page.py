"""Parts of the HTML pages: the frame with its policy and scripts, sections, figures, tables, tiles.

A page is one file that needs no network. Figures are plotly JSON drawn by the plotly.js that the
page carries; the page's policy forbids it to load anything. Callers escape names from outside.
"""

from __future__ import annotations

import json
from html import escape
from typing import Any

from sim.report.page_style import CSS, POLICY, SCRIPT

Figure = dict[str, Any]


def page(title: str, body: str) -> str:
    """The whole document; `title` is escaped here. About 5 MB of it are plotly.js."""
    from plotly.offline import get_plotlyjs  # slow to import, needed only here

    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)} - Tileloom</title><style>{CSS}</style></head><body>\n{body}"
        "<noscript><p>The figures need JavaScript; the tables do not.</p></noscript>\n"
        f"<script>{get_plotlyjs()}</script>\n<script>{SCRIPT}</script></body></html>\n"
    )


def section(title: str, caption: str, body: str) -> str:
    """A card with a heading, a sentence and content."""
    return f'<section><h2>{title}</h2><p class="soft">{caption}</p>{body}</section>'


def figure(drawn: Figure, label: str) -> str:
    """A plotly figure, `label` for those who cannot see it."""
    data = json.dumps(drawn, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    height = f'style="height:{drawn["layout"]["height"]}px"'
    return (
        f'<div class="figure" role="img" aria-label="{escape(label)}" {height}></div>'
        f'<script type="application/json">{data}</script>'
    )


def tile(name: str, value: str, note: str = "") -> str:
    """A key figure; the note is escaped here."""
    return f'<div class="tile"><dt>{name}</dt><dd>{value}<small>{escape(note)}</small></dd></div>'


def table(head: list[str], rows: list[list[str]], numbers: tuple[int, ...]) -> str:
    """Cells are HTML; columns in `numbers` are aligned right."""

    def cells(tag: str, row: list[str]) -> str:
        kind = [' class="n"' if at in numbers else "" for at in range(len(row))]
        return "".join(f"<{tag}{k}>{cell}</{tag}>" for k, cell in zip(kind, row, strict=True))

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{cells("th", head)}</tr>{body}</table></div>'


def chip(color: str) -> str:
    """A small square of this color."""
    return f'<i class="chip" style="background:{color}"></i>'


def stack(parts: list[tuple[str, float, str]]) -> str:
    """A bar of (title, share of the bar, color); what is left stays empty."""
    pieces = "".join(
        f'<div style="width:{100 * share:.3f}%;background:{color}" title="{escape(title)}"></div>'
        for title, share, color in parts
    )
    return f'<div class="stack">{pieces}</div>'


def meter(share: float, color: str) -> str:
    """A thin bar."""
    return f'<div class="meter"><b style="width:{100 * share:.2f}%;background:{color}"></b></div>'
