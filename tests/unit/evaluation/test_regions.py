"""Held-out descriptions: localization beside the counts and names that a gamed score would spoil."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from spr.evaluation.regions import names_right
from spr.recipe_score import Localization
from spr.records import Dropped, Prediction, RegionQuery, SceneObject

CUP, DOG = SceneObject("1", "cup", (0, 0, 10, 10)), SceneObject("2", "red dog", (20, 0, 40, 20))
QUERY = RegionQuery("7-0", "7", "1.png", 100, 50, (0, 0, 40, 20), (CUP, DOG))


@pytest.mark.parametrize(
    ("phrases", "right"),
    [
        (["a cup", "the red dog"], True),
        (["Red  Dog.", "CUP"], True),
        (["cup"], False),
        (["cup", "cup", "red dog"], False),
        (["cup", "dog"], False),
        (["cup", None], False),
        ([], False),
    ],
)
def test_names_are_right_when_all_are_there_each_as_often(phrases: list[str | None], right: bool) -> None:
    assert names_right(phrases, ["cup", "red dog"]) is right


def test_only_whole_articles_are_taken_away() -> None:
    assert names_right(["an apple", "anthill", "theatre"], ["apple", "anthill", "theatre"])
    assert not names_right(["thill"], ["anthill"])


def describe(regions_stage: Any, text: str, **options: Any) -> Prediction:
    stage, _ = regions_stage({"Describe [0, 0, 40, 20].": text}, **options)
    (found,) = stage.process([QUERY])
    assert isinstance(found, Prediction)
    return found


def test_a_perfect_description(regions_stage: Any) -> None:
    found = describe(regions_stage, "a cup [0, 0, 10, 10], the red dog [20, 0, 40, 20]")
    assert (found.task, found.item_id, found.cluster, found.status, found.box) == ("regions", "7-0", "7", "ok", None)
    assert np.isnan(found.iou)
    numbers = {"localization": 1, "boxes": 2, "unreadable": 0, "objects": 2, "right_count": 1, "names_right": 1, "cut_off": 0}
    assert found.payload == numbers


def test_localization_is_the_mean_over_the_objects(regions_stage: Any) -> None:
    # The cup is found with IoU 0.9, the dog with 0.4, which is under the threshold: 0.9 / 2.
    found = describe(regions_stage, "a cup [0, 0, 10, 9], a dog [20, 0, 40, 8]")
    assert found.payload["localization"] == pytest.approx(0.45)
    assert (found.payload["right_count"], found.payload["names_right"]) == (1, 0)


def test_the_recipes_localization_is_used(regions_stage: Any) -> None:
    text = "a cup [0, 0, 10, 9], a dog [20, 0, 40, 8]"
    found = describe(regions_stage, text, localization=Localization(threshold=0.3, binary=True))
    assert found.payload["localization"] == 1


def test_more_boxes_show_in_the_count(regions_stage: Any) -> None:
    found = describe(regions_stage, "a cup [0, 0, 10, 10], the red dog [20, 0, 40, 20], a cat [1, 1, 5, 5]")
    assert found.payload["localization"] == 1
    assert (found.payload["boxes"], found.payload["right_count"], found.payload["names_right"]) == (3, 0, 0)


def test_an_unreadable_box_still_names_its_object(regions_stage: Any) -> None:
    found = describe(regions_stage, "a cup [0, 0, 10, 10], the red dog [40, 0, 20, 20]")
    assert found.status == "unreadable"
    assert found.payload["localization"] == 0.5
    assert (found.payload["boxes"], found.payload["unreadable"], found.payload["names_right"]) == (1, 1, 1)


def test_a_description_without_boxes_scores_nothing(regions_stage: Any) -> None:
    found = describe(regions_stage, "a cup and a red dog")
    assert (found.status, found.payload["localization"], found.payload["boxes"]) == ("none", 0, 0)


def test_a_query_without_its_photo_is_dropped(regions_stage: Any) -> None:
    stage, _ = regions_stage({})
    gone = RegionQuery("3-0", "3", "3.png", 100, 50, (0, 0, 40, 20), (CUP,))
    assert list(stage.process([gone])) == [Dropped("3-0", "regions", "image_missing")]
    assert stage.row_id(gone) == "3-0"
