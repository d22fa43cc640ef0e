"""Answers to questions: the form in which they are compared, and what each of them is worth."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from spr.evaluation.vqa_answers import gqa_correct, normalised, strict_yes_no, vqa_accuracy

GOLDEN = Path(__file__).parents[2] / "golden" / "vqa" / "answers.json.gz"


@pytest.fixture(scope="module")
def authors() -> Any:
    """What the authors' code says to 1,000 answers of each kind (tests/golden/vqa/authors.py)."""
    return json.loads(gzip.decompress(GOLDEN.read_bytes()))


@pytest.mark.parametrize(
    ("answer", "form"),
    [
        ("  The Red CAR.\n", "red car"),
        ("a an the", ""),
        ("none or ten, eleven", "0 or 10 eleven"),
        ("dont", "don't"),
        ("couldntve", "couldntve"),
        ("couldnt've", "couldn't've"),
        ("hes", "he's"),
        ("he's", "he 's"),
        ("somebody'd", "somebodyd"),
        ("1,000", "1000"),
        ("a,b", "ab"),
        ("3.5 m. .5 5.", "3.5 m .5 5"),
        ("coca-cola", "coca cola"),
        ("coca-cola - classic", "cocacola classic"),
        ("(exit)", "exit"),
        ("50% #1 $5", "50% #1 $5"),
    ],
)
def test_the_form_in_which_answers_are_compared(answer: str, form: str) -> None:
    assert normalised(answer) == form


def test_only_the_first_32_periods_are_taken_out() -> None:
    assert normalised("x." * 32) == "x" * 32
    assert normalised("x." * 34) == "x" * 33 + ".x."


def test_accuracy_leaves_each_of_the_ten_out() -> None:
    """With two equal: left out one of them, 1/3 (twice), another, 2/3 (eight times): (2/3 + 16/3) / 10 = 0.6."""
    others = [f"other {number}" for number in range(10)]
    scores = [vqa_accuracy("Nokia.", ["nokia"] * equal + others[equal:]) for equal in range(6)]
    assert scores == pytest.approx([0.0, 0.3, 0.6, 0.9, 1.0, 1.0])


@pytest.mark.parametrize("count", [0, 1, 9, 11])
def test_accuracy_needs_ten_references(count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} references"):
        vqa_accuracy("a", ["a"] * count)


def test_textvqa_is_as_its_authors_evaluate_it(authors: Any) -> None:
    rows = authors["textvqa"]
    assert len(rows) == 1000
    assert [normalised(answer) for answer, _, _, _ in rows] == [form for _, _, form, _ in rows]
    assert [vqa_accuracy(answer, references) for answer, references, _, _ in rows] == [score for _, _, _, score in rows]


def test_gqa_is_as_llava_evaluates_it(authors: Any) -> None:
    rows = authors["gqa"]
    assert len(rows) == 1000
    assert [gqa_correct(answer, reference) for answer, reference, _ in rows] == [right for _, _, right in rows]


@pytest.mark.parametrize(
    ("answer", "right"), [("Red", True), ("red..", True), (" red.\n", True), ("red car", False), ("a red", False), ("", False)]
)
def test_gqa_wants_the_very_answer(answer: str, right: bool) -> None:
    assert gqa_correct(answer, "red") is right


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("yes", "yes"),
        (" No. \n", "no"),
        ("YES .", "yes"),
        ("Yes, there is.", None),
        ("no no", None),
        ("not", None),
        ("", None),
        (".yes", None),
    ],
)
def test_a_strict_yes_or_no_is_that_word_alone(answer: str, said: str | None) -> None:
    assert strict_yes_no(answer) == said
