"""Held-out descriptions: localization beside the counts and names that a gamed score would spoil."""

from __future__ import annotations

import numpy as np
import pytest
from bracket_dialect import Bracket

from spr.evaluation.regions import Regions, names_right
from spr.items import Answer, Question
from spr.recipe_score import Localization
from spr.records import Prediction, RegionQuery, SceneObject

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


def describe(bracket: Bracket, text: str, localization: Localization | None = None, ended: str = "stop") -> Prediction:
    (found,) = Regions(localization).score(QUERY, Answer("7-0", text, ended), bracket)
    return found


def test_the_question_is_the_plain_one_about_the_region(bracket: Bracket) -> None:
    assert Regions().ask(QUERY, bracket) == Question("7-0", "1.png", 100, 50, "Describe [0, 0, 40, 20].")


def test_a_perfect_description(bracket: Bracket) -> None:
    found = describe(bracket, "a cup [0, 0, 10, 10], the red dog [20, 0, 40, 20]")
    assert (found.task, found.item_id, found.cluster, found.status, found.box) == ("regions", "7-0", "7", "ok", None)
    assert np.isnan(found.iou)
    numbers = {"localization": 1, "boxes": 2, "unreadable": 0, "objects": 2, "right_count": 1, "names_right": 1, "cut_off": 0}
    assert found.payload == numbers


def test_localization_is_the_mean_over_the_objects(bracket: Bracket) -> None:
    # The cup is found with IoU 0.9, the dog with 0.4, which is under the threshold: 0.9 / 2.
    found = describe(bracket, "a cup [0, 0, 10, 9], a dog [20, 0, 40, 8]")
    assert found.payload["localization"] == pytest.approx(0.45)
    assert (found.payload["right_count"], found.payload["names_right"]) == (1, 0)


def test_the_recipes_localization_is_used(bracket: Bracket) -> None:
    text = "a cup [0, 0, 10, 9], a dog [20, 0, 40, 8]"
    found = describe(bracket, text, Localization(threshold=0.3, binary=True))
    assert found.payload["localization"] == 1


def test_more_boxes_show_in_the_count(bracket: Bracket) -> None:
    found = describe(bracket, "a cup [0, 0, 10, 10], the red dog [20, 0, 40, 20], a cat [1, 1, 5, 5]")
    assert found.payload["localization"] == 1
    assert (found.payload["boxes"], found.payload["right_count"], found.payload["names_right"]) == (3, 0, 0)


def test_an_unreadable_box_still_names_its_object(bracket: Bracket) -> None:
    found = describe(bracket, "a cup [0, 0, 10, 10], the red dog [40, 0, 20, 20]")
    assert found.status == "unreadable"
    assert found.payload["localization"] == 0.5
    assert (found.payload["boxes"], found.payload["unreadable"], found.payload["names_right"]) == (1, 1, 1)


def test_a_description_without_boxes_scores_nothing(bracket: Bracket) -> None:
    found = describe(bracket, "a cup and a red dog")
    assert (found.status, found.payload["localization"], found.payload["boxes"]) == ("none", 0, 0)


def test_a_description_that_was_cut_off_says_so(bracket: Bracket) -> None:
    assert describe(bracket, "a cup [0, 0, 10, 10], the", ended="length").payload["cut_off"] == 1
    assert describe(bracket, "a cup [0, 0, 10, 10], the").payload["cut_off"] == 0


def test_a_prediction_says_which_objects_of_which_photo_are_right(bracket: Bracket) -> None:
    found = describe(bracket, "a cup [0, 0, 10, 10]")
    assert (found.path, found.size, found.truth) == ("1.png", (100, 50), (CUP.box, DOG.box))
    assert found.groups == {"objects": "2"}


def test_columns_and_right_answers(bracket: Bracket) -> None:
    perfect = describe(bracket, "a cup [0, 0, 10, 10], the red dog [20, 0, 40, 20]")
    half = describe(bracket, "a cup [0, 0, 10, 10]")
    task = Regions()
    # Localization, boxes, right count and right names, the shares in percent.
    assert task.columns([perfect, half]).tolist() == [[1, 2, 100, 100], [0.5, 1, 0, 0]]
    assert {key: right.tolist() for key, right in task.rights([perfect, half]).items()} == {
        "right_count": [True, False],
        "names_right": [True, False],
    }
    assert task.facts([perfect, half]) == {"objects": 2}
    assert np.isnan(task.facts([])["objects"])
