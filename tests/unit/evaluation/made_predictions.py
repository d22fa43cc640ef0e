"""Predictions of which only what is counted is made up, and the way their numbers are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spr.evaluation.metrics import Counting, task_metrics
from spr.evaluation.rec import Rec
from spr.evaluation.regions import Regions
from spr.records import Prediction

HOW = Counting(draws=200, seed=0, protocol="plain")
BASE, TUNED = [0.95, 0.55, 0.0, 0.85], [0.95, 0.95, 0.65, 0.85]
"""IoUs of the same four expressions."""


def rec(ious: Sequence[float], per_image: int = 2, **groups: Sequence[str]) -> list[Prediction]:
    """One prediction an IoU; `per_image` of them share an image; IoU 0 is an answer without a box. `groups` hold a value
    for each."""
    return [
        Prediction(
            "rec",
            str(n),
            f"image {n // per_image}",
            "",
            None,
            "ok" if value else "none",
            value,
            {"cut_off": 0.0},
            groups={group: values[n] for group, values in groups.items()},
        )
        for n, value in enumerate(ious)
    ]


def regions(rows: Sequence[tuple[float, float, float, float]]) -> list[Prediction]:
    """Localization, boxes, right count and right names of one region an image, with 2, 3, ... objects."""
    names = ("localization", "boxes", "right_count", "names_right")
    return [
        Prediction(
            "regions",
            str(n),
            str(n),
            "",
            None,
            "ok",
            float("nan"),
            {**dict(zip(names, row, strict=True)), "objects": n + 2.0, "cut_off": 0.0},
        )
        for n, row in enumerate(rows)
    ]


def rec_metrics(base: list[Prediction], tuned: list[Prediction] | None, how: Counting = HOW, **given: Any) -> dict[str, Any]:
    return task_metrics(Rec(), base, tuned, how, **given)


def region_metrics(base: list[Prediction], tuned: list[Prediction] | None, **given: Any) -> dict[str, Any]:
    return task_metrics(Regions(), base, tuned, HOW, **given)
