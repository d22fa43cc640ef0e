"""The tables that a person reads in the terminal: base, tuned and the gain with its interval.

Rendering only; the numbers are those of `spr.evaluation.metrics`, their choice and order that of `spr.evaluation.layouts`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table

from spr.evaluation.layouts import LAYOUTS, Layout, Line, heading, inner, lookup


def task_tables(task_id: str, metrics: Mapping[str, Any]) -> Iterator[Table]:
    """metrics.json of one data set -> its tables; phrase grounding has two, which are never one."""
    for layout in LAYOUTS[task_id.split("/")[0]]:
        table = _table(heading(task_id, layout), layout, metrics)
        for line in layout.lines:
            if lookup(metrics["base"], line.key) is not None:
                table.add_row(_label(line, metrics), *_cells(metrics, line))
        yield table


def _table(title: str, layout: Layout, metrics: Mapping[str, Any]) -> Table:
    part = f", subset of {metrics['subset_of']:,}" if "subset_of" in metrics else ""
    lost = ", ".join(f"{reason} {number:,}" for reason, number in metrics.get("dropped", {}).items())
    protocol = "; by Ferret's protocol" if metrics.get("protocol") == "ferret" else ""
    dropped = f"; dropped: {lost}" if lost else ""
    table = Table(title=f"{title} ({metrics['n']:,} {layout.unit}{part}{protocol}{dropped})")
    table.add_column("")
    columns = ("base", "tuned", "gain", "95 % interval", "p") if "tuned" in metrics else ("base", "95 % interval")
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _label(line: Line, metrics: Mapping[str, Any]) -> str:
    """Beside the boxes a description stand the objects that there are."""
    return f"{line.label} ({metrics['objects']:.2f} objects)" if line.key == "boxes" and "objects" in metrics else line.label


def _cells(metrics: Mapping[str, Any], line: Line) -> list[str]:
    form = f".{line.digits}f"
    base = lookup(metrics["base"], line.key)
    if "tuned" not in metrics:
        bounds = inner(metrics["base"], "ci95", line.key)
        return [f"{base:{form}}", f"[{bounds[0]:{form}}, {bounds[1]:{form}}]" if bounds else ""]
    tuned, delta = lookup(metrics["tuned"], line.key), metrics["delta"]
    bounds, p = inner(delta, "ci95", line.key), inner(delta, "p", line.key)
    interval = f"[{bounds[0]:+{form}}, {bounds[1]:+{form}}]" if bounds else ""
    return [f"{base:{form}}", f"{tuned:{form}}", f"{tuned - base:+{form}}", interval, _p(p)]


def _p(value: float | None) -> str:
    return "" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"
