"""Phrase grounding: which boxes count for a phrase, and how far ANY-BOX and MERGED-BOXES lie apart."""

from __future__ import annotations

import numpy as np
import pytest

from spr.evaluation.phrase_grounding import FerretPhraseGrounding, PhraseGrounding
from spr.items import Answer, Phrase, SentenceItem
from spr.models import dialects
from spr.records import Prediction

LEFT, RIGHT = (0.0, 0.0, 100.0, 100.0), (300.0, 0.0, 400.0, 100.0)
MEN = Phrase("two men", (LEFT, RIGHT), ("people",))
HAT = Phrase("a red hat", (RIGHT,), ("clothing",))
SIZE = (1000, 1000)  # so that Ferret's thousandths are pixels


def item(*phrases: Phrase) -> SentenceItem:
    return SentenceItem("7_0", "7.jpg", *SIZE, "Two men and a red hat.", phrases or (MEN, HAT))


def scored(text: str, *phrases: Phrase, task: PhraseGrounding | None = None) -> list[Prediction]:
    return (task or PhraseGrounding()).score(item(*phrases), Answer("7_0", text), dialects.get("ferret"))


def test_all_phrases_are_asked_about_at_once_in_the_models_words() -> None:
    question = PhraseGrounding().ask(item(), dialects.get("ferret"))
    assert question.prompt == "What are the locations of two men, a red hat?"
    assert (question.item_id, question.path, question.size) == ("7_0", "7.jpg", SIZE)


def test_one_of_several_boxes_is_right_by_any_and_wrong_by_merged() -> None:
    men, hat = scored("two men [300, 0, 400, 100], a red hat [300, 0, 400, 100].")
    assert (men.item_id, hat.item_id) == ("7_0#0", "7_0#1")
    assert men.payload["any@1"] == 1
    assert men.payload["merged@1"] == pytest.approx(0.25)  # 100 x 100 of 400 x 100
    assert hat.payload["any@1"] == hat.payload["merged@1"] == 1


def test_the_box_around_all_is_right_by_merged_and_wrong_by_any() -> None:
    (men, _) = scored("two men [0, 0, 400, 100]")
    assert (men.payload["merged@1"], men.payload["any@1"]) == (1, pytest.approx(0.25))


def test_later_boxes_count_for_larger_k_only() -> None:
    far = "[800, 800, 900, 900]"
    text = ", ".join([f"two men {far}"] * 5 + ["two men [0, 0, 100, 100]"])
    men, _ = scored(text)
    assert [men.payload[f"any@{k}"] for k in (1, 5, 10)] == [0, 0, 1]
    assert men.payload["boxes"] == 6


def test_the_second_box_counts_for_five_and_not_for_one() -> None:
    _, hat = scored("a red hat [800, 800, 900, 900], a red hat [300, 0, 400, 100]")
    for kind in ("any", "merged"):
        assert [hat.payload[f"{kind}@{k}"] for k in (1, 5, 10)] == [0, 1, 1]


def test_case_and_punctuation_of_a_phrase_do_not_count_and_other_words_do() -> None:
    men, hat = scored("Two men: [0, 0, 100, 100]; the red hat [300, 0, 400, 100]")
    assert (men.status, men.payload["any@1"]) == ("ok", 1)
    assert (hat.status, hat.box, hat.payload["any@1"]) == ("none", None, 0)


@pytest.mark.parametrize("between", [" ", ", ", " and ", ""])
def test_boxes_one_after_the_other_are_of_one_phrase(between: str) -> None:
    men, hat = scored(f"two men [800, 800, 900, 900]{between}[0, 0, 100, 100], a red hat [300, 0, 400, 100]")
    assert [men.payload[f"any@{k}"] for k in (1, 5)] == [0, 1]
    assert (men.payload["boxes"], hat.payload["any@1"]) == (2, 1)


def test_a_box_after_other_words_is_not() -> None:
    men, _ = scored("two men [800, 800, 900, 900] near [0, 0, 100, 100]")
    assert men.payload["boxes"] == 1


def test_a_phrase_whose_box_cannot_be_read_says_so() -> None:
    men, _ = scored("two men [400, 0, 300, 100]")
    assert (men.status, men.box, men.iou) == ("unreadable", None, 0)


def test_columns_hold_thirty_hits_in_the_order_of_the_keys() -> None:
    task = PhraseGrounding()
    rows = scored("two men [0, 0, 100, 65], a red hat [300, 0, 400, 100]")  # IoU 0.65 with the left man
    values = dict(zip(task.keys, task.columns(rows).T.tolist(), strict=True))
    assert values["any/r@1/0.6"] == [100, 100]
    assert values["any/r@1/0.7"] == [0, 100]
    assert values["merged/r@10/0.5"] == [0, 100]
    assert set(task.rights(rows)) == set(task.keys)
    assert task.rights(rows)["any/r@1/0.7"].tolist() == [False, True]
    assert task.columns([]).shape == (0, 30)


def test_groups_and_what_is_shown_of_a_phrase() -> None:
    men, hat = scored("")
    assert men.groups == {"size": "large", "length": "1-3 words", "type": "people"}
    assert (hat.question, hat.truth, hat.cluster, hat.groups["type"]) == ("a red hat", (RIGHT,), "7.jpg", "clothing")


def test_the_size_of_a_phrase_is_that_of_the_box_around_all_of_its_boxes() -> None:
    """Each is 10 x 10; the box around both is 500 x 10, the one around those far apart 500 x 500."""
    birds = Phrase("birds", ((0, 0, 10, 10), (490, 0, 500, 10)))
    far = Phrase("far birds", ((0, 0, 10, 10), (490, 490, 500, 500)))
    one = Phrase("a bird", ((0, 0, 10, 10),))
    assert [found.groups["size"] for found in scored("", birds, far, one)] == ["medium", "large", "small"]


def test_ferrets_reading_gives_a_repeated_phrase_the_first_ones_truth_and_a_missing_one_a_zero_box() -> None:
    again = Phrase("two men", (RIGHT,))
    rows = scored("two men [0, 0, 400, 100]", MEN, HAT, again, task=FerretPhraseGrounding())
    assert [row.payload["merged@1"] for row in rows] == [1, 0, 1]
    assert [row.status for row in rows] == ["ok", "none", "ok"]
    plain = scored("two men [0, 0, 400, 100]", MEN, HAT, again)
    assert plain[2].payload["merged@1"] == pytest.approx(0.25)


def test_ferrets_reading_gives_up_the_whole_answer_for_one_bracket_without_numbers() -> None:
    text = "two men [0, 0, 400, 100], a red hat [somewhere]."
    assert [row.status for row in scored(text, task=FerretPhraseGrounding())] == ["unreadable", "unreadable"]
    assert scored(text)[0].payload["merged@1"] == 1
    assert np.all(FerretPhraseGrounding().columns(scored(text, task=FerretPhraseGrounding())) == 0)
