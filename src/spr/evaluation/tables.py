"""The tables that a person reads in the terminal: base, tuned and the gain with its interval.

Rendering only; the numbers are those of `spr.evaluation.metrics`, their choice and order that of `spr.evaluation.layouts`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from spr.evaluation.layouts import LAYOUTS, Layout, Line, defined, doubt, heading, holds, inner, lookup, size_parts

_UNDEFINED = "–"


def task_tables(task_id: str, metrics: Mapping[str, Any]) -> Iterator[Table]:
    """metrics.json of one data set -> its tables; phrase grounding has two, which are never one."""
    for layout in LAYOUTS[task_id.split("/")[0]]:
        table = _table(heading(task_id, layout, metrics), layout, metrics)
        for line in layout.lines:
            if holds(metrics["base"], line.key):
                table.add_row(line.label, *_cells(metrics, line))
        yield table


def _table(title: str, layout: Layout, metrics: Mapping[str, Any]) -> Table:
    protocol = ["by Ferret's protocol"] if metrics.get("protocol") == "ferret" else []
    table = Table(title=f"{title} ({', '.join(size_parts(layout, metrics) + protocol)})", caption=doubt(metrics) or None)
    table.add_column("")
    columns = ("base", "tuned", "gain", "95 % interval", "p") if "tuned" in metrics else ("base", "95 % interval")
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _cells(metrics: Mapping[str, Any], line: Line) -> list[str]:
    form = f".{line.digits}f"
    base = defined(lookup(metrics["base"], line.key))
    if "tuned" not in metrics:
        return [_number(base, form), _interval(inner(metrics["base"], "ci95", line.key), form)]
    tuned, delta = defined(lookup(metrics["tuned"], line.key)), metrics["delta"]
    interval = _interval(inner(delta, "ci95", line.key), f"+{form}")
    return [_number(base, form), _number(tuned, form), _number(tuned - base, f"+{form}"), interval, _p(delta, line.key)]


def _number(value: float, form: str) -> str:
    return _UNDEFINED if math.isnan(value) else f"{value:{form}}"


def _interval(bounds: Sequence[float | None] | None, form: str) -> str:
    """Nothing where there is no interval."""
    if bounds is None:
        return ""
    low, high = map(defined, bounds)
    return _UNDEFINED if math.isnan(low) else f"[{low:{form}}, {high:{form}}]"


def _p(delta: Mapping[str, Any], key: str) -> str:
    """Nothing where nothing was tested."""
    value = defined(inner(delta, "p", key))
    return "" if math.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"
