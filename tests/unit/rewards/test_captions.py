"""Captions for Grounding DINO: where every phrase lies, and that nothing inside a phrase can cut it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import BertTokenizerFast

from spr.rewards.captions import CLS, DOT, QUESTION, SEP, normal, normal_set, pack
from spr.tiny.detector import vocabulary

TOKENIZER = BertTokenizerFast(vocab=vocabulary(), do_lower_case=True)


def tokenize(text: str) -> Sequence[int]:
    return TOKENIZER(text, add_special_tokens=False).input_ids  # type: ignore[no-any-return]


def test_ids_are_those_of_the_joined_caption_and_spans_point_at_the_phrases() -> None:
    (caption,) = pack(["red circle", "cross", "the blue square"], tokenize, 64)
    assert list(caption.input_ids) == TOKENIZER("red circle. cross. the blue square.").input_ids
    assert caption.spans == ((1, 3), (4, 5), (6, 9))
    assert [TOKENIZER.decode(caption.input_ids[a:b]) for a, b in caption.spans] == ["red circle", "cross", "the blue square"]


def test_a_phrase_that_does_not_fit_any_more_opens_the_next_caption() -> None:
    # Two special tokens, and three for each phrase: a caption of 8 holds two phrases, with nothing to spare.
    captions = pack(["red circle", "blue square", "green star"], tokenize, 8)
    assert [caption.phrases for caption in captions] == [("red circle", "blue square"), ("green star",)]
    assert [len(caption.input_ids) for caption in captions] == [8, 5]


def test_a_phrase_longer_than_a_caption_is_cut_to_fit() -> None:
    (caption,) = pack(["red " * 50], tokenize, 10)
    assert len(caption.input_ids) == 10
    assert caption.spans == ((1, 8),)
    assert caption.input_ids[-2:] == (DOT, SEP)


@pytest.mark.parametrize(
    ("phrase", "shown"),
    [("3.5 inch", "3 5 inch"), ("A  Red\nCircle.", "a red circle"), ("why? dog", "why dog"), ("...", ""), ("", "")],
)
def test_full_stops_and_question_marks_do_not_cut_a_phrase(phrase: str, shown: str) -> None:
    assert normal(phrase) == shown


def test_sets_of_phrases_are_equal_in_any_order_and_spelling() -> None:
    assert normal_set(["Red circle", "cross.", "red  circle"]) == normal_set(["cross", "red circle"]) == ("cross", "red circle")


def test_no_phrase_makes_no_caption() -> None:
    assert pack([], tokenize, 64) == []


@given(st.lists(st.text(max_size=40), max_size=30))
def test_whatever_a_text_holds_captions_fit_and_separators_stand_between_phrases_only(phrases: list[str]) -> None:
    for caption in pack(phrases, tokenize, 24):
        assert len(caption.input_ids) <= 24
        assert (caption.input_ids[0], caption.input_ids[-1]) == (CLS, SEP)
        inside = [token for start, stop in caption.spans for token in caption.input_ids[start:stop]]
        assert not {0, CLS, SEP, DOT, QUESTION} & set(inside)
        assert all(caption.input_ids[stop] == DOT for _, stop in caption.spans)
        assert len(caption.input_ids) == 2 + len(inside) + len(caption.spans)
