"""Refinement of a text. Ground truth and predictions are 10 pixels wide; their heights make the IoU: 0.8 = 8 / 10."""

from __future__ import annotations

import pytest
from bracket_dialect import Bracket
from hypothesis import given
from hypothesis import strategies as st

from spr.boxes import iou
from spr.models.base import Dialect
from spr.models.dialects import FAMILIES, get
from spr.records import Mention
from spr.refinement import match, refine

SIZE = (100, 100)
DOG, CAT = (0.0, 0.0, 10.0, 10.0), (20.0, 0.0, 30.0, 10.0)


def found(*boxes: tuple[float, float, float, float] | None) -> list[Mention]:
    return [Mention("x", box, "ok" if box else "unreadable", "", (0, 1)) for box in boxes]


def test_matched_boxes_become_ground_truth_and_others_lose_their_box(bracket: Dialect) -> None:
    text = "A dog [0, 0, 10, 8], a cat [20, 0, 30, 7] and a bird [50, 50, 60, 60]."
    refined = refine(text, bracket, SIZE, [CAT, DOG])
    assert refined.text == "A dog [0, 0, 10, 10], a cat [20, 0, 30, 10] and a bird."
    assert (refined.refined, refined.stripped) == (2, 1)
    assert (refined.matches, refined.unmatched) == ({0: 1, 1: 0}, (2,))


@pytest.mark.parametrize(
    ("unmatched", "text", "stripped"),
    [
        ("strip_box", "A dog [0, 0, 10, 10], a bird.", 1),
        ("keep", "A dog [0, 0, 10, 10], a bird [50, 50, 60, 60].", 0),
        ("drop_phrase", "A dog [0, 0, 10, 10],.", 1),
    ],
)
def test_what_happens_to_the_unmatched(bracket: Dialect, unmatched: str, text: str, stripped: int) -> None:
    refined = refine("A dog [0, 0, 10, 8], a bird [50, 50, 60, 60].", bracket, SIZE, [DOG], unmatched=unmatched)  # type: ignore[arg-type]
    assert (refined.text, refined.stripped) == (text, stripped)


def test_a_box_must_overlap_by_more_than_the_threshold(bracket: Dialect) -> None:
    assert refine("A dog [0, 0, 10, 5].", bracket, SIZE, [DOG]).text == "A dog."
    assert refine("A dog [0, 0, 10, 6].", bracket, SIZE, [DOG]).text == "A dog [0, 0, 10, 10]."
    assert refine("A dog [0, 0, 10, 6].", bracket, SIZE, [DOG], min_iou=0.7).text == "A dog."


def test_a_box_that_cannot_be_read_counts_as_unmatched(bracket: Dialect) -> None:
    refined = refine("A dog [10, 0, 0, 8] and a cat [20, 0, 30, 8].", bracket, SIZE, [DOG, CAT])
    assert refined.text == "A dog and a cat [20, 0, 30, 10]."
    assert (refined.refined, refined.stripped) == (1, 1)


def test_annotations_are_matched_first_and_what_a_detector_added_takes_the_rest(bracket: Dialect) -> None:
    beside_dog, bird = (0.0, 0.0, 10.0, 8.0), (50.0, 50.0, 60.0, 60.0)
    text = "A dog [0, 0, 10, 8], a bird [50, 50, 60, 58] and a cat [70, 0, 80, 10]."
    refined = refine(text, bracket, SIZE, [CAT, DOG], added=[beside_dog, bird])
    assert refined.text == "A dog [0, 0, 10, 10], a bird [50, 50, 60, 60] and a cat."
    assert (refined.matches, refined.unmatched) == ({0: 1, 1: 3}, (2,))


def test_one_object_takes_one_mention_the_better_one(bracket: Dialect) -> None:
    refined = refine("A dog [0, 0, 10, 7], a dog [0, 0, 10, 9].", bracket, SIZE, [DOG])
    assert refined.text == "A dog, a dog [0, 0, 10, 10]."


def test_without_mentions_or_ground_truth_nothing_is_matched(bracket: Dialect) -> None:
    assert refine("A dog.", bracket, SIZE, [DOG]).text == "A dog."
    assert refine("A dog [0, 0, 10, 8].", bracket, SIZE, []).text == "A dog."


def test_the_largest_sum_wins_not_the_largest_pair() -> None:
    # IoU with (0,0,10,10), (0,0,10,8): mention 0 (height 9) has 0.9, 0.89; mention 1 (height 10) has 1.0, 0.8;
    # straight 0.9 + 0.8 = 1.7 against crossed 0.89 + 1.0 = 1.89.
    gt = [(0, 0, 10, 10), (0, 0, 10, 8)]
    assert match(found((0, 0, 10, 9), (0, 0, 10, 10)), gt, 0.5) == {0: 1, 1: 0}


def test_pairs_below_the_threshold_cost_no_good_pair_its_place() -> None:
    # IoU of mention 0: 0.6 with A, 0 with B; of mention 1: 0.95 with A and 0.45 with B would sum to 1.05 if 0.45 counted.
    a, b = (0, 0, 10, 20), (0, 10, 10, 29)
    mentions = found((0, 0, 10, 12), (0, 0, 10, 19))
    assert match(mentions, [a, b], 0.5) == {1: 0}


def test_unreadable_mentions_keep_the_numbers_of_the_others() -> None:
    assert match(found(None, DOG, None, CAT), [CAT, DOG], 0.5) == {1: 1, 3: 0}


def dialect_of(name: str) -> Dialect:
    return Bracket() if name == "bracket" else get(name)


sides = st.tuples(st.integers(0, 400), st.integers(0, 300), st.integers(60, 200), st.integers(60, 150))
objects = sides.map(lambda side: (float(side[0]), float(side[1]), float(side[0] + side[2]), float(side[1] + side[3])))
phrases = st.sampled_from(["A dog", "two cats", "The red car on the left"])
Boxes = list[tuple[float, float, float, float]]


@pytest.mark.parametrize("name", ["bracket", *FAMILIES])
@given(st.lists(st.tuples(phrases, objects), max_size=5), st.lists(objects, max_size=4))
def test_moved_boxes_are_ground_truth_and_words_survive(
    name: str, predicted: list[tuple[str, tuple[float, float, float, float]]], gt: Boxes
) -> None:
    dialect, size = dialect_of(name), (640, 480)
    text = ", ".join(dialect.ground(phrase, box, size) for phrase, box in predicted)
    refined = refine(text, dialect, size, gt)
    left = dialect.parse(refined.text, size)
    assert dialect.words(refined.text, size) == dialect.words(text, size)
    assert len(left) == refined.refined == len(refined.matches)
    assert refined.refined + refined.stripped == len(predicted)
    assert len(set(refined.matches.values())) == len(refined.matches)
    for mention, (index, target) in zip(left, refined.matches.items(), strict=True):
        assert mention.box == dialect.parse(dialect.ground("x", gt[target], size), size)[0].box
        # Kosmos-2 reads centres of cells of 20 pixels; of the other grids the coarsest, two decimals, has cells of 6.4.
        assert mention.box == pytest.approx(gt[target], abs=20 if name == "kosmos-2" else 6.7)
        assert iou([predicted[index][1]], [gt[target]]) > (0.2 if name == "kosmos-2" else 0.4)


@pytest.mark.parametrize("name", ["bracket", *FAMILIES])
@given(st.lists(st.tuples(phrases, objects), min_size=1, max_size=5), st.lists(objects, max_size=4))
def test_dropped_phrases_leave_the_matched_ones(
    name: str, predicted: list[tuple[str, tuple[float, float, float, float]]], gt: Boxes
) -> None:
    dialect, size = dialect_of(name), (640, 480)
    text = ", ".join(dialect.ground(phrase, box, size) for phrase, box in predicted)
    dropped = refine(text, dialect, size, gt, unmatched="drop_phrase")
    kept = refine(text, dialect, size, gt, unmatched="keep")
    assert dropped.matches == kept.matches
    mentions = dialect.parse(kept.text, size)
    expected = [(mentions[index].phrase, mentions[index].box) for index in dropped.matches]
    assert [(mention.phrase, mention.box) for mention in dialect.parse(dropped.text, size)] == expected
