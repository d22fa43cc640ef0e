"""The numbers of metrics.json, with their intervals, and the tables made of them."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

from spr.errors import DataError
from spr.evaluation.intervals import interval
from spr.evaluation.metrics import rec_metrics, region_metrics
from spr.evaluation.tables import rec_table, regions_table
from spr.records import Prediction
from spr.seeds import derive_seed


def rec(ious: list[float], per_image: int = 2) -> list[Prediction]:
    """One prediction an IoU; `per_image` of them share an image; IoU 0 is an answer without a box."""
    return [
        Prediction("rec", str(n), f"image {n // per_image}", "", None, "ok" if value else "none", value)
        for n, value in enumerate(ious)
    ]


def regions(rows: list[tuple[float, float, float, float]]) -> list[Prediction]:
    names = ("localization", "boxes", "right_count", "names_right")
    return [
        Prediction(
            "regions", str(n), str(n), "", None, "ok", float("nan"), {**dict(zip(names, row, strict=True)), "objects": n + 2.0}
        )
        for n, row in enumerate(rows)
    ]


BASE, TUNED = [0.95, 0.55, 0.0, 0.85], [0.95, 0.95, 0.65, 0.85]


def test_rec_metrics_are_laid_out_as_the_run_directory_promises() -> None:
    metrics = rec_metrics(rec(BASE), rec(TUNED), 200, 0)
    assert list(metrics) == ["n", "base", "tuned", "delta"]
    assert set(metrics["base"]) == {"acc", "mean_acc", "mean_iou", "parse_rate", "ci95"}
    assert metrics["n"] == 4
    assert metrics["base"]["acc"] == {"0.5": 75, "0.6": 50, "0.7": 50, "0.8": 50, "0.9": 25}
    assert metrics["tuned"]["acc"] == {"0.5": 100, "0.6": 100, "0.7": 75, "0.8": 75, "0.9": 50}
    assert metrics["delta"]["acc"] == {"0.5": 25, "0.6": 50, "0.7": 25, "0.8": 25, "0.9": 25}
    assert (metrics["base"]["parse_rate"], metrics["tuned"]["parse_rate"]) == (75, 100)
    assert metrics["base"]["mean_iou"] == pytest.approx(0.5875)
    assert set(metrics["delta"]["ci95"]) == set(metrics["delta"]["acc"])
    assert json.loads(json.dumps(metrics)) == metrics


def test_the_interval_of_the_gain_is_that_of_paired_differences_by_image() -> None:
    generator = np.random.default_rng(0)
    base = generator.uniform(0.3, 1, 60)
    tuned = np.clip(base + generator.normal(0.02, 0.05, 60), 0.01, 1)
    metrics = rec_metrics(rec(base.tolist()), rec(tuned.tolist()), 300, 5)
    change = 100.0 * ((tuned >= 0.7).astype(float) - (base >= 0.7))
    expected = interval(change, [f"image {n // 2}" for n in range(60)], 300, derive_seed(5, "bootstrap", "rec"))
    assert metrics["delta"]["ci95"]["0.7"] == pytest.approx(expected.tolist())
    width = np.subtract(*metrics["delta"]["ci95"]["0.7"][::-1])
    assert width < np.subtract(*metrics["base"]["ci95"]["0.7"][::-1])


def test_pairs_are_made_by_item_not_by_position() -> None:
    assert rec_metrics(rec(BASE), rec(TUNED)[::-1], 200, 0) == rec_metrics(rec(BASE), rec(TUNED), 200, 0)


@pytest.mark.parametrize(
    "other", [rec(TUNED)[:3], [*rec(TUNED), *rec(TUNED)[:1]], [replace(one, item_id=one.item_id + "x") for one in rec(TUNED)]]
)
def test_other_items_cannot_be_compared(other: list[Prediction]) -> None:
    with pytest.raises(DataError, match="a paired comparison needs equal items"):
        rec_metrics(rec(BASE), other, 200, 0)


def test_without_a_tuned_model_there_is_only_base() -> None:
    assert list(rec_metrics(rec(BASE), None, 200, 0)) == ["n", "base"]
    assert list(region_metrics(regions([(1, 1, 1, 1)]), None, 200, 0)) == ["n", "objects", "base"]


def test_a_subset_is_marked() -> None:
    assert rec_metrics(rec(BASE), None, 200, 0, subset_of=10834)["subset_of"] == 10834
    assert region_metrics(regions([(1, 1, 1, 1)]), None, 200, 0, subset_of=9)["subset_of"] == 9


def test_no_predictions_are_nan_never_zero() -> None:
    metrics = rec_metrics([], [], 200, 0)
    numbers = [*metrics["base"]["acc"].values(), *metrics["delta"]["acc"].values(), *metrics["delta"]["ci95"]["0.9"]]
    assert np.isnan([*numbers, metrics["base"]["parse_rate"], metrics["base"]["mean_iou"]]).all()
    empty = region_metrics([], [], 200, 0)
    assert np.isnan([empty["base"]["localization"], *empty["delta"]["ci95"]["boxes"]]).all()


def test_region_metrics_are_means_and_shares() -> None:
    before = regions([(0.5, 4, 1, 0), (0.7, 2, 0, 0)])
    after = regions([(0.7, 4, 1, 1), (0.9, 3, 1, 0)])
    metrics = region_metrics(before, after, 200, 0)
    keys = ("localization", "boxes", "right_count", "names_right")
    assert [metrics["base"][key] for key in keys] == pytest.approx([0.6, 3, 50, 0])
    assert [metrics["tuned"][key] for key in keys] == pytest.approx([0.8, 3.5, 100, 50])
    assert [metrics["delta"][key] for key in keys] == pytest.approx([0.2, 0.5, 50, 50])
    assert metrics["delta"]["ci95"]["localization"] == pytest.approx([0.2, 0.2])
    assert set(metrics["base"]["ci95"]) == set(keys)
    assert metrics["objects"] == 2.5


def shown(table: Table) -> list[list[str]]:
    """The lines of a table as a terminal shows them, cut at the columns."""
    console = Console(width=120, file=io.StringIO())
    with console.capture() as captured:
        console.print(table)
    lines = captured.get().splitlines()
    return [[cell.strip() for cell in line.strip("│┃").split("│")] for line in lines if "│" in line] + [lines]


def test_the_rec_table_shows_gains_with_their_intervals() -> None:
    *rows, lines = shown(rec_table(rec_metrics(rec(BASE, 4), rec(TUNED, 4), 200, 0, subset_of=10834)))
    assert rows[0] == ["Acc@0.5", "75.00", "100.00", "+25.00", "[+25.00, +25.00]"]
    assert [row[0] for row in rows] == [*(f"Acc@0.{n}" for n in range(5, 10)), "mean of the five", "mean IoU", "readable, %"]
    assert "subset of 10,834" in " ".join(lines)


def test_a_table_says_what_was_dropped() -> None:
    metrics = rec_metrics(rec(BASE, 4), rec(TUNED, 4), 200, 0) | {"dropped": {"image_missing": 1200, "refused": 1}}
    *_, lines = shown(rec_table(metrics))
    assert "(4 expressions; dropped: image_missing 1,200, refused 1)" in " ".join(" ".join(lines).split())


def test_the_table_of_base_alone_shows_its_own_intervals() -> None:
    *rows, _ = shown(rec_table(rec_metrics(rec(BASE, 4), None, 200, 0)))
    assert rows[0] == ["Acc@0.5", "75.00", "[75.00, 75.00]"]


def test_the_regions_table() -> None:
    before, after = regions([(0.5, 4, 1, 0)]), regions([(0.7, 3, 1, 1)])
    *rows, _ = shown(regions_table(region_metrics(before, after, 200, 0)))
    assert rows[0] == ["localization score", "0.500", "0.700", "+0.200", "[+0.200, +0.200]"]
    assert [row[0] for row in rows[1:]] == [
        "boxes a description (2.00 objects)",
        "right count, %",
        "all names right, %",
        "readable, %",
    ]
    *alone, _ = shown(regions_table(region_metrics(before, None, 200, 0)))
    assert alone[1] == ["boxes a description (2.00 objects)", "4.00", "[4.00, 4.00]"]
