"""Pictures as text: matplotlib's SVG made small, deterministic and coloured by the page's own variables.

A chart is drawn in `PALETTE`'s stand-in colours, which become CSS variables, so that one picture serves light and dark.
Inside the page it needs no namespace; `standalone` makes it a file of its own.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import matplotlib
from matplotlib.figure import Figure

COLOURS = {
    "ink": ("#23262b", "#e7e4de"),
    "muted": ("#6b6f76", "#9a9ea6"),
    "rule": ("#dedad2", "#363a40"),
    "paper": ("#fcfbf8", "#16181b"),
    "base": ("#8a909a", "#8d949f"),
    "tuned": ("#0b7a75", "#3cb8ae"),
    "rejected": ("#c2571a", "#ee8a4b"),
}
"""Every colour of the report by its meaning: (light, dark)."""
PALETTE = {name: f"#0101{i + 1:02x}" for i, name in enumerate(COLOURS)}
"""The stand-in that a chart is drawn in for each colour."""
FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'

_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "spr",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": PALETTE["ink"],
    "axes.labelcolor": PALETTE["muted"],
    "axes.edgecolor": PALETTE["rule"],
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.labelsize": 9.5,
    "grid.color": PALETTE["rule"],
    "grid.linewidth": 0.8,
    "xtick.color": PALETTE["rule"],
    "ytick.color": PALETTE["rule"],
    "xtick.labelcolor": PALETTE["muted"],
    "ytick.labelcolor": PALETTE["muted"],
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "lines.linewidth": 2,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 9.5,
}


def draw(paint: Callable[[Figure], None], title: str, size: tuple[float, float] = (360, 250)) -> str:
    """One SVG element of `size` = (width, height) units, `title` for those who cannot see it; `paint` fills the figure."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(size[0] / 72, size[1] / 72), layout="constrained")
        paint(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _tidy(buffer.getvalue(), title)


def standalone(svg: str) -> str:
    """An SVG element of this package -> the text of a file, readable on light and on dark pages."""
    light, dark = (";".join(f"--{name}:{pair[i]}" for name, pair in COLOURS.items()) for i in (0, 1))
    style = f"<style>svg{{{light};font-family:{FONT}}}@media(prefers-color-scheme:dark){{svg{{{dark}}}}}</style>"
    head, body = svg.split(">", 1)
    return f'{head} xmlns="http://www.w3.org/2000/svg">{style}{body}\n'


def _tidy(text: str, title: str) -> str:
    """Keep the drawing: no prologue, metadata, namespaces or unused ids; variables for colours; the page's font."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    view = re.search(r'viewBox="([^"]+)"', text)
    assert view is not None
    safe = title.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    _, _, width, height = view[1].split()
    head = f'<svg class="chart" viewBox="{view[1]}" width="{width}" height="{height}" role="img" aria-label="{safe}">'
    text = re.sub(r"<svg[^>]*>", head, text, count=1)
    text = text.replace("xlink:href", "href")
    for name, stand_in in PALETTE.items():
        text = text.replace(stand_in, f"var(--{name})")
    used = set(re.findall(r"url\(#([^)]+)\)", text)) | set(re.findall(r'href="#([^"]+)"', text))
    text = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in used else "", text)
    text = text.replace("'DejaVu Sans'", FONT.replace('"', "'"))
    return re.sub(r"\n\s*", "\n", text).strip()
