"""The numbers of metrics.json, with their intervals and tests, over all items and by group."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from made_predictions import BASE, TUNED, rec, rec_metrics, region_metrics, regions

from spr.errors import DataError
from spr.evaluation.comparison import paired_test
from spr.evaluation.intervals import clustered, interval, means
from spr.evaluation.metrics import Counting, nested
from spr.records import Prediction
from spr.seeds import derive_seed

THRESHOLDS = ["0.5", "0.6", "0.7", "0.8", "0.9"]


def test_rec_metrics_are_laid_out_as_the_run_directory_promises() -> None:
    metrics = rec_metrics(rec(BASE), rec(TUNED))
    assert list(metrics) == ["n", "images", "protocol", "draws", "base", "tuned", "delta", "by"]
    assert (metrics["n"], metrics["images"], metrics["protocol"]) == (4, 2, "plain")
    for side in ("base", "tuned"):
        assert list(metrics[side]) == ["acc", "mean_acc", "mean_iou", "parse_rate", "truncation_rate", "ci95"]
    assert list(metrics["delta"]) == ["acc", "mean_acc", "mean_iou", "ci95", "p", "mcnemar"]
    for values in (metrics["base"]["ci95"], metrics["delta"]["ci95"], metrics["delta"]["p"]):
        assert list(values) == [*THRESHOLDS, "mean_acc", "mean_iou"]
    assert list(metrics["delta"]["mcnemar"]) == THRESHOLDS
    assert metrics["base"]["acc"] == {"0.5": 75, "0.6": 50, "0.7": 50, "0.8": 50, "0.9": 25}
    assert metrics["tuned"]["acc"] == {"0.5": 100, "0.6": 100, "0.7": 75, "0.8": 75, "0.9": 50}
    assert metrics["delta"]["acc"] == {"0.5": 25, "0.6": 50, "0.7": 25, "0.8": 25, "0.9": 25}
    assert (metrics["base"]["mean_acc"], metrics["tuned"]["mean_acc"], metrics["delta"]["mean_acc"]) == (50, 80, 30)
    assert (metrics["base"]["parse_rate"], metrics["tuned"]["parse_rate"]) == (75, 100)
    assert metrics["base"]["mean_iou"] == pytest.approx(0.5875)
    assert metrics["delta"]["mean_iou"] == pytest.approx(0.85 - 0.5875)
    assert json.loads(json.dumps(metrics)) == metrics


def test_truncated_answers_are_a_share_of_all() -> None:
    base = rec(BASE)
    base[3] = replace(base[3], payload={"cut_off": 1.0})
    metrics = rec_metrics(base, rec(TUNED))
    assert (metrics["base"]["truncation_rate"], metrics["tuned"]["truncation_rate"]) == (25, 0)


def many(count: int = 60) -> tuple[list[float], list[float]]:
    generator = np.random.default_rng(0)
    base = generator.uniform(0.3, 1, count)
    return base.tolist(), np.clip(base + generator.normal(0.02, 0.05, count), 0.01, 1).tolist()


def test_the_interval_of_the_gain_is_that_of_paired_differences_by_image() -> None:
    base, tuned = many()
    metrics = rec_metrics(rec(base), rec(tuned), Counting(300, 5, "plain"))
    change = 100.0 * ((np.asarray(tuned) >= 0.7).astype(float) - (np.asarray(base) >= 0.7))
    expected = interval(change, [f"image {n // 2}" for n in range(60)], 300, derive_seed(5, "bootstrap", "rec"))
    assert metrics["delta"]["ci95"]["0.7"] == pytest.approx(expected.tolist())
    width = np.subtract(*metrics["delta"]["ci95"]["0.7"][::-1])
    assert width < np.subtract(*metrics["base"]["ci95"]["0.7"][::-1])


def test_the_p_value_is_that_of_the_paired_test_by_image() -> None:
    base, tuned = many()
    metrics = rec_metrics(rec(base), rec(tuned), Counting(300, 5, "plain"))
    images = [f"image {n // 2}" for n in range(60)]
    sides = [clustered(np.asarray(side)[:, None], images) for side in (base, tuned)]
    expected = paired_test(*sides, means, 300, derive_seed(5, "paired test", "rec"))
    assert metrics["delta"]["p"]["mean_iou"] == expected[0]
    assert 0 < expected[0] < 1


def test_mcnemar_counts_what_was_gained_and_lost_at_each_threshold() -> None:
    # At 0.5 one answer gets right and one wrong; at 0.6 and beyond one gets right and nothing is lost.
    metrics = rec_metrics(rec([0.55, 0.3, 0.95]), rec([0.4, 0.95, 0.95]))
    assert metrics["delta"]["mcnemar"]["0.5"] == {"gained": 1, "lost": 1, "p": 1}
    assert metrics["delta"]["mcnemar"]["0.9"] == {"gained": 1, "lost": 0, "p": 1}
    six = rec_metrics(rec([0.0] * 6), rec([0.9] * 6))["delta"]["mcnemar"]["0.9"]
    assert six == {"gained": 6, "lost": 0, "p": 2 * 0.5**6}


def test_pairs_are_made_by_item_not_by_position() -> None:
    assert rec_metrics(rec(BASE), rec(TUNED)[::-1]) == rec_metrics(rec(BASE), rec(TUNED))


@pytest.mark.parametrize(
    "other", [rec(TUNED)[:3], [*rec(TUNED), *rec(TUNED)[:1]], [replace(one, item_id=one.item_id + "x") for one in rec(TUNED)]]
)
def test_other_items_cannot_be_compared(other: list[Prediction]) -> None:
    with pytest.raises(DataError, match="a paired comparison needs equal items"):
        rec_metrics(rec(BASE), other)


def test_an_item_that_base_answers_twice_and_tuned_once_cannot_be_compared() -> None:
    twice = [*rec(BASE), rec(BASE)[0]]
    with pytest.raises(DataError, match=r"base answered 5 items and tuned 4, .*\(e\.g\. an item that was answered twice\)"):
        rec_metrics(twice, rec(TUNED))


def test_without_a_tuned_model_there_is_only_base() -> None:
    alone = rec_metrics(rec(BASE, size=["small", "small", "large", "large"]), None)
    assert list(alone) == ["n", "images", "protocol", "draws", "base", "by"]
    assert set(alone["by"]["size"]["small"]) == {"n", "base"}
    assert list(region_metrics(regions([(1, 1, 1, 1)]), None)) == ["n", "images", "protocol", "draws", "objects", "base", "by"]


def test_a_subset_is_marked() -> None:
    assert rec_metrics(rec(BASE), None, subset_of=10834)["subset_of"] == 10834
    assert region_metrics(regions([(1, 1, 1, 1)]), None, subset_of=9)["subset_of"] == 9
    assert "subset_of" not in rec_metrics(rec(BASE), None)


def test_the_protocol_that_read_the_answers_is_told() -> None:
    assert rec_metrics(rec(BASE), None, Counting(200, 0, "ferret"))["protocol"] == "ferret"


def test_the_seed_decides_intervals_and_p_values_and_nothing_else() -> None:
    base, tuned = many()
    one, again, other = (rec_metrics(rec(base), rec(tuned), Counting(200, seed, "plain")) for seed in (0, 0, 1))
    assert one == again
    assert one["delta"]["acc"] == other["delta"]["acc"]
    assert one["delta"]["ci95"] != other["delta"]["ci95"]
    assert one["delta"]["p"] != other["delta"]["p"]


@pytest.mark.filterwarnings("error")
def test_no_predictions_are_nan_never_zero() -> None:
    metrics = rec_metrics([], [])
    numbers = [*metrics["base"]["acc"].values(), *metrics["delta"]["acc"].values(), *metrics["delta"]["ci95"]["0.9"]]
    rates = [metrics["base"]["parse_rate"], metrics["base"]["truncation_rate"], metrics["base"]["mean_iou"]]
    assert np.isnan([*numbers, *rates, *metrics["delta"]["p"].values()]).all()
    assert (metrics["n"], metrics["images"], metrics["by"]) == (0, 0, {})
    empty = region_metrics([], [])
    assert np.isnan([empty["base"]["localization"], empty["objects"], *empty["delta"]["ci95"]["boxes"]]).all()


def test_groups_hold_their_own_quantities_and_change() -> None:
    sizes = ["small", "large", "large", "small"]
    metrics = rec_metrics(rec(BASE, 1, size=sizes), rec(TUNED, 1, size=sizes))
    small, large = metrics["by"]["size"]["small"], metrics["by"]["size"]["large"]
    assert list(small) == ["n", "base", "tuned", "delta"]
    assert (small["n"], small["base"]["acc"]["0.9"], small["tuned"]["acc"]["0.9"]) == (2, 50, 50)
    # Small objects change nowhere, large ones gain one answer at 0.5 and two at 0.6.
    assert small["delta"]["acc"]["0.9"] == 0
    assert small["delta"]["ci95"]["0.9"] == [0, 0]
    assert (large["delta"]["acc"]["0.5"], large["delta"]["acc"]["0.6"]) == (50, 100)
    assert large["delta"]["ci95"]["0.6"] == [100, 100]
    assert large["delta"]["mean_iou"] == pytest.approx(0.8 - 0.275)


@pytest.mark.filterwarnings("error")
def test_an_empty_size_is_there_and_nan_never_zero() -> None:
    sizes = ["large", "large", "small", "large"]
    by = rec_metrics(rec(BASE, size=sizes), rec(TUNED, size=sizes))["by"]["size"]
    assert list(by) == ["small", "medium", "large"]
    assert [by[size]["n"] for size in by] == [1, 0, 3]
    medium = by["medium"]
    for side in ("base", "tuned", "delta"):
        assert np.isnan([*medium[side]["acc"].values(), medium[side]["mean_acc"], medium[side]["mean_iou"]]).all()
    assert np.isnan(medium["delta"]["ci95"]["0.5"]).all()


def test_other_groups_hold_what_occurs_the_most_frequent_first() -> None:
    kinds = ["dog", "cup", "kite", "cup"]
    by = rec_metrics(rec(BASE, category=kinds), None)["by"]
    assert {group: list(values) for group, values in by.items()} == {"category": ["cup", "dog", "kite"]}
    assert [one["n"] for one in by["category"].values()] == [2, 1, 1]


def test_an_item_without_a_group_is_in_none_of_its_values() -> None:
    known = rec(BASE)
    known[0] = replace(known[0], groups={"category": "dog"})
    by = rec_metrics(known, None)["by"]["category"]
    assert {value: one["n"] for value, one in by.items()} == {"dog": 1}


def test_region_metrics_are_means_and_shares() -> None:
    before = regions([(0.5, 4, 1, 0), (0.7, 2, 0, 0)])
    after = regions([(0.7, 4, 1, 1), (0.9, 3, 1, 0)])
    metrics = region_metrics(before, after)
    keys = ("localization", "boxes", "right_count", "names_right")
    assert [metrics["base"][key] for key in keys] == pytest.approx([0.6, 3, 50, 0])
    assert [metrics["tuned"][key] for key in keys] == pytest.approx([0.8, 3.5, 100, 50])
    assert [metrics["delta"][key] for key in keys] == pytest.approx([0.2, 0.5, 50, 50])
    assert metrics["delta"]["ci95"]["localization"] == pytest.approx([0.2, 0.2])
    assert set(metrics["base"]["ci95"]) == set(metrics["delta"]["p"]) == set(keys)
    assert set(metrics["delta"]["mcnemar"]) == {"right_count", "names_right"}
    assert metrics["delta"]["mcnemar"]["right_count"] == {"gained": 1, "lost": 0, "p": 1}
    assert metrics["objects"] == 2.5


def test_keys_are_paths_into_metrics_json() -> None:
    assert nested(["any/r@1/0.5", "any/r@1/0.6", "any/r@5/0.5", "f1"], [1, 2, 3, 4]) == {
        "any": {"r@1": {"0.5": 1, "0.6": 2}, "r@5": {"0.5": 3}},
        "f1": 4,
    }
