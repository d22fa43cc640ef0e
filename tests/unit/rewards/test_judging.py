"""From evidence to scores: presets, box rewards, normalisation. Objects are 10 x 10 pixels in a row, 20 apart."""

from __future__ import annotations

from typing import Any

import pytest

from spr.boxes import Box
from spr.recipe_score import Score
from spr.records import Detection, Mention, RegionQuery, SceneObject, ScoredCandidate
from spr.rewards.judging import Evidence, Scores, added_objects, judge, judge_again

NAMES = ("dog", "cat", "fish", "cow", "hen", "cup", "car", "bed")


def place(i: int, shift: float = 0) -> Box:
    return (20.0 * i + shift, 0.0, 20.0 * i + 10 + shift, 10.0)


QUERY = RegionQuery("q", "i", "", 200, 50, (0, 0, 200, 50), tuple(SceneObject(n, n, place(i)) for i, n in enumerate(NAMES)))


def recipe(preset: str = "paper", weight: float = 0, **values: Any) -> Score:
    localization = {"preset": preset, **values.pop("localization", {})}
    models = {"detector": {"model": "d"}, "semantic": {"model": "c"} if weight else None}
    return Score.model_validate({"weight": weight, **models, "localization": localization, **values})


def text(
    *boxes: Box | None, names: tuple[str, ...] = NAMES, found: tuple[Detection, ...] = (), cosine: float = 0.3
) -> Evidence:
    mentions = tuple(
        Mention(name, box, "ok" if box else "unreadable", "" if box else "out_of_range", (0, 1))
        for name, box in zip(names, boxes, strict=False)
    )
    return Evidence(mentions, mentions, found, cosine, cosine)


def detections(*numbers: int) -> tuple[Detection, ...]:
    return tuple(Detection(NAMES[i], place(i, 0.2), 0.9) for i in numbers)


def only(score: Score, *texts: Evidence, query: RegionQuery = QUERY) -> list[Scores]:
    judged = judge(score, query, texts)
    assert judged is not None
    return judged


def test_eight_named_things_with_eight_wrong_boxes_are_rescued_under_paper_and_worth_nothing_under_strict() -> None:
    wrong = text(*(place(i, 10) for i in range(8)), found=detections(*range(8)))
    (paper,), (strict,) = only(recipe("paper"), wrong), only(recipe("strict"), wrong)
    # Each box of the detector is 0.2 px off: 9.8 / 10.2.
    assert paper.localization == pytest.approx(9.8 / 10.2)
    assert strict.localization == 0
    assert only(recipe("annotations_only"), wrong)[0].localization == 0


def test_all_presets_are_kept_whichever_ranks() -> None:
    one = text(place(0), place(1, 10), found=detections(1))
    for preset in ("paper", "strict", "annotations_only"):
        (scores,) = only(recipe(preset), one)
        kept = {name.removeprefix("localization_"): v for name, v in scores.detail.items() if name.startswith("localization_")}
        assert kept == pytest.approx({"paper": (1 + 9.8 / 10.2) / 8, "strict": 1 / 8, "annotations_only": 1 / 8})
        assert scores.localization == kept[preset]
        assert (scores.detail["n_detections"], scores.detail["n_gt_detected"]) == (1, 0)


def test_ground_truth_is_one_set_for_all_texts_of_a_query() -> None:
    stray = Detection("moon", (100.0, 30.0, 110.0, 40.0), 0.9)
    first, second = text(*map(place, range(8)), found=(stray,)), text(*map(place, range(8)))
    named, silent = only(recipe(), first, second)
    assert (named.localization, silent.localization) == (1, pytest.approx(8 / 9))
    assert {scores.detail["n_gt"] for scores in (named, silent)} == {9}
    assert [scores.detail["n_gt"] for scores in only(recipe("strict"), first, second)] == [9, 9]
    assert only(recipe("strict"), first, second)[1].localization == pytest.approx(8 / 9)
    assert [scores.detail["n_gt"] for scores in only(recipe("annotations_only"), first, second)] == [8, 8]
    assert added_objects(recipe(), QUERY, [(stray,), ()]).tolist() == [list(stray.box)]
    assert added_objects(recipe("annotations_only"), QUERY, [(stray,), ()]).shape == (0, 4)


def test_without_annotations_the_detectors_boxes_are_ground_truth_and_with_neither_there_is_none() -> None:
    empty = RegionQuery("q", "i", "", 200, 50, (0, 0, 200, 50), ())
    assert only(recipe(), text(place(0), found=detections(0)), query=empty)[0].localization == 1
    assert judge(recipe("annotations_only"), empty, [text(place(0), found=detections(0))]) is None
    assert judge(recipe(), empty, [text(place(0))]) is None


def test_box_rewards_judge_the_texts_own_boxes_and_are_mixed_by_weight() -> None:
    rewards = {"recall_iou": 3, "count_penalty": 1}
    (scores,) = only(recipe(localization={"rewards": rewards}), text(*map(place, range(4)), found=detections(4, 5, 6, 7)))
    recall = (4 + 4 * 9.8 / 10.2) / 8
    assert scores.detail["reward_recall_iou"] == pytest.approx(recall)
    assert scores.detail["reward_count_penalty"] == 1
    assert scores.localization == pytest.approx((3 * recall + 1) / 4)


def test_normalised_terms_mix_on_the_scale_of_the_query() -> None:
    texts = [text(place(0), cosine=0.20), text(place(0), place(1), cosine=0.30)]
    worst, best = only(recipe("annotations_only", weight=0.8, normalize="zscore"), *texts)
    assert (worst.composite, best.composite) == pytest.approx((-1, 1))
    worst, best = only(recipe("annotations_only", weight=0.8, normalize="rank"), *texts)
    assert (worst.composite, best.composite) == pytest.approx((0.25, 0.75))
    assert best.detail["semantic_normalized"] == best.detail["localization_normalized"] == pytest.approx(0.75)
    assert (best.semantic, best.localization) == (pytest.approx(0.3), 2 / 8)


def test_a_changed_text_is_judged_against_the_ground_truth_and_on_the_scale_of_its_query() -> None:
    stray = Detection("moon", (100.0, 30.0, 110.0, 40.0), 0.9)
    texts = [text(place(0), found=(stray,), cosine=0.2), text(place(0), place(1), cosine=0.3)]
    score = recipe(weight=0.8, normalize="rank")
    candidates = [
        ScoredCandidate("q", k, "plain", k, "", "stop", 0, 0, "m", s.mentions, s.semantic_crop, s.semantic_local, s.semantic,
                        s.localization, s.composite, s.detections, s.detail)
        for k, s in enumerate(only(score, *texts))
    ]  # fmt: skip
    again = judge_again(score, QUERY, candidates, text(*map(place, range(3)), cosine=0.3))
    assert again.localization == pytest.approx(3 / 9)
    assert again.composite == pytest.approx(0.8 * 0.75 + 0.2 * 1)
