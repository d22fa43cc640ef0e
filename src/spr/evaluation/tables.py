"""The two tables a person reads at the end: accuracy by IoU threshold, and what became of the descriptions.

Rendering only; the numbers are those of `spr.evaluation.metrics`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

_REC_ROWS = (("mean_acc", "mean of the five", ".2f"), ("mean_iou", "mean IoU", ".4f"), ("parse_rate", "readable, %", ".2f"))
_REGION_ROWS = (
    ("localization", "localization score", ".3f"),
    ("boxes", "boxes a description", ".2f"),
    ("right_count", "right count, %", ".1f"),
    ("names_right", "all names right, %", ".1f"),
    ("parse_rate", "readable, %", ".1f"),
)


def rec_table(metrics: Mapping[str, Any], title: str = "Referring expressions") -> Table:
    """`rec_metrics` -> Acc at each threshold, their mean, mean IoU and parse rate: base | tuned | gain with its interval."""
    table = _table(metrics, title, "expressions")
    for threshold in metrics["base"]["acc"]:
        base, tuned = (metrics.get(who, {}).get("acc", {}).get(threshold) for who in ("base", "tuned"))
        delta = metrics.get("delta")
        bounds = delta["ci95"][threshold] if delta else metrics["base"]["ci95"][threshold]
        change = delta["acc"][threshold] if delta else None
        table.add_row(f"Acc@{threshold}", *_cells(base, tuned, change, bounds, ".2f"))
    for key, label, form in _REC_ROWS:
        table.add_row(label, *_unbounded(metrics, key, form))
    return table


def regions_table(metrics: Mapping[str, Any], title: str = "Region descriptions") -> Table:
    """`region_metrics` -> localization score, boxes a description, right count, all names right: base | tuned | gain."""
    table = _table(metrics, title, "regions")
    for key, name, form in _REGION_ROWS:
        label = f"{name} ({metrics['objects']:.2f} objects)" if key == "boxes" else name
        delta = metrics.get("delta")
        bounds = (delta or metrics["base"])["ci95"].get(key)
        if bounds is None:
            table.add_row(label, *_unbounded(metrics, key, form))
            continue
        tuned = metrics["tuned"][key] if delta else None
        table.add_row(label, *_cells(metrics["base"][key], tuned, delta[key] if delta else None, bounds, form))
    return table


def _table(metrics: Mapping[str, Any], title: str, items: str) -> Table:
    part = f", subset of {metrics['subset_of']:,}" if "subset_of" in metrics else ""
    lost = ", ".join(f"{reason} {number:,}" for reason, number in metrics.get("dropped", {}).items())
    table = Table(title=f"{title} ({metrics['n']:,} {items}{part}{f'; dropped: {lost}' if lost else ''})")
    table.add_column("")
    columns = ("base", "tuned", "gain", "95 % interval") if "tuned" in metrics else ("base", "95 % interval")
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _cells(base: float, tuned: float | None, change: float | None, bounds: list[float], form: str) -> list[str]:
    if tuned is None or change is None:
        return [f"{base:{form}}", f"[{bounds[0]:{form}}, {bounds[1]:{form}}]"]
    return [f"{base:{form}}", f"{tuned:{form}}", f"{change:+{form}}", f"[{bounds[0]:+{form}}, {bounds[1]:+{form}}]"]


def _unbounded(metrics: Mapping[str, Any], key: str, form: str) -> list[str]:
    base = metrics["base"][key]
    if "tuned" not in metrics:
        return [f"{base:{form}}", ""]
    tuned = metrics["tuned"][key]
    return [f"{base:{form}}", f"{tuned:{form}}", f"{tuned - base:+{form}}", ""]
