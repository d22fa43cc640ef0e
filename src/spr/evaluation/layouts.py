"""What a person reads of each task: which of its numbers, by which names, with how many decimals, in which table.

Shared by the terminal, the report and the tables for papers; numbers are looked up in metrics.json as it stands.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

THRESHOLDS = ("0.5", "0.6", "0.7", "0.8", "0.9")


@dataclass(frozen=True, slots=True)
class Line:
    """One number: its path in base, tuned and delta, its name, its decimals."""

    key: str
    label: str
    digits: int


@dataclass(frozen=True, slots=True)
class Layout:
    """One table of a task. `unit` is what `n` counts."""

    title: str
    unit: str
    lines: tuple[Line, ...]


_RATES = (Line("parse_rate", "readable, %", 2), Line("truncation_rate", "cut off, %", 2))
_ACCURACY = (Line("accuracy", "accuracy, %", 2), *_RATES)


def _recalls(kind: str, title: str) -> Layout:
    """One protocol of phrase grounding; the two are never laid into one table."""
    at_one = tuple(Line(f"{kind}/r@1/{threshold}", f"R@1 at {threshold}", 2) for threshold in THRESHOLDS)
    more = tuple(Line(f"{kind}/r@{k}/0.5", f"R@{k} at 0.5", 2) for k in (5, 10))
    return Layout(f"Phrase grounding, {title}", "phrases", (*at_one, *more, *_RATES))


LAYOUTS: Mapping[str, tuple[Layout, ...]] = {
    "rec": (
        Layout(
            "Referring expressions",
            "expressions",
            (
                *(Line(f"acc/{threshold}", f"Acc@{threshold}", 2) for threshold in THRESHOLDS),
                Line("mean_acc", "mean of the five", 2),
                Line("mean_iou", "mean IoU", 4),
                *_RATES,
            ),
        ),
    ),
    "regions": (
        Layout(
            "Region descriptions",
            "regions",
            (
                Line("localization", "localization score", 3),
                Line("boxes", "boxes a description", 2),
                Line("right_count", "right count, %", 1),
                Line("names_right", "all names right, %", 1),
                *_RATES,
            ),
        ),
    ),
    "phrase_grounding": (_recalls("any", "ANY-BOX"), _recalls("merged", "MERGED-BOXES")),
    "pope": (
        Layout(
            "POPE",
            "questions",
            (
                Line("accuracy", "accuracy, %", 2),
                Line("precision", "precision, %", 2),
                Line("recall", "recall, %", 2),
                Line("f1", "F1, %", 2),
                Line("yes_rate", "said yes, %", 2),
                *_RATES,
            ),
        ),
    ),
    "gqa": (Layout("GQA", "questions", _ACCURACY),),
    "textvqa": (Layout("TextVQA", "questions", _ACCURACY),),
    "ferret_bench": (
        Layout(
            "Ferret-Bench",
            "questions",
            (
                Line("score", "judge's score, % of the reference's", 1),
                Line("refer_desc", "referring description", 1),
                Line("refer_reason", "referring reasoning", 1),
                Line("ground_conv", "grounding in conversation", 1),
                Line("judged", "judged, %", 1),
                *_RATES,
            ),
        ),
    ),
    "region_description": (Layout("Region descriptions in words", "regions", (Line("cider", "CIDEr-D", 2), *_RATES)),),
}


def lookup(values: Mapping[str, Any], key: str) -> Any:
    """What stands at a path, `acc/0.5`; None where there is none."""
    found: Any = values
    for part in key.split("/"):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def holds(values: Mapping[str, Any], key: str) -> bool:
    """Whether a number stands at a path, even one that is not defined: NaN, which a file holds as null."""
    outer, _, last = key.rpartition("/")
    inside = lookup(values, outer) if outer else values
    return isinstance(inside, Mapping) and last in inside


def defined(value: float | None) -> float:
    """A number of a file, which holds NaN as null."""
    return math.nan if value is None else value


def inner(values: Mapping[str, Any], name: str, key: str) -> Any:
    """What `ci95`, `p` or `mcnemar` of a side says of a key; accuracies by threshold stand under their threshold there."""
    return lookup(values.get(name, {}), key.removeprefix("acc/"))


def data_name(task_id: str, metrics: Mapping[str, Any]) -> str:
    """What a result's data set is called: by its id, or by its file where the task has one alone."""
    return task_id.partition("/")[2] or str(metrics.get("data", {}).get("name", ""))


def heading(task_id: str, layout: Layout, metrics: Mapping[str, Any]) -> str:
    """The table's title, with the data set's name."""
    name = data_name(task_id, metrics)
    return f"{layout.title}, {name}" if name else layout.title


_FEW_IMAGES = 20


def doubt(metrics: Mapping[str, Any]) -> str:
    """What a reader has to be told of the intervals; nothing where they can be trusted."""
    images = metrics.get("images", _FEW_IMAGES)
    instead = "; go by p" if "delta" in metrics else ""
    return f"With {images} images the bootstrap's intervals are too narrow{instead}." if images < _FEW_IMAGES else ""


def size_parts(layout: Layout, metrics: Mapping[str, Any]) -> list[str]:
    """How many items a result is of, what it is a part of, what it lacks, and where its answers are from."""
    parts = [f"{metrics['n']:,} {layout.unit}"]
    if "images" in metrics:
        parts.append(f"{metrics['images']:,} images")
    if "subset_of" in metrics:
        parts.append(f"subset of {metrics['subset_of']:,} {metrics.get('subset_unit', '')}".strip())
    if "objects" in metrics:
        parts.append(f"{metrics['objects']:.2f} objects in a region")
    parts += [f"{number:,} left out: {reason.replace('_', ' ')}" for reason, number in metrics.get("dropped", {}).items()]
    if "from" in metrics:
        files = dict.fromkeys(side["file"] for side in metrics["from"].values())
        parts.append(f"answers from {' and '.join(files)}")
    return parts
