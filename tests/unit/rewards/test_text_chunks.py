"""Packing of long texts. Tokens here are words, plus two special ones."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from spr.rewards.text_chunks import pack


def words(text: str) -> int:
    return len(text.split()) + 2


def test_a_text_that_fits_is_one_chunk_as_it_stands() -> None:
    assert pack("A dog.  A cat.\nA bird.", 8, words) == ["A dog.  A cat.\nA bird."]


def test_sentences_are_packed_greedily() -> None:
    # 3 + 2 words and 2 specials make 7; the third sentence opens the next chunk.
    assert pack("A red dog. It runs. Cats sleep here.", 7, words) == ["A red dog. It runs.", "Cats sleep here."]


def test_a_sentence_that_is_too_long_is_split_at_commas() -> None:
    assert pack("a dog, a cat, a bird, a fish.", 6, words) == ["a dog, a cat,", "a bird, a fish."]


def test_a_clause_that_is_too_long_stays_whole() -> None:
    assert pack("one two three four five. six.", 5, words) == ["one two three four five.", "six."]


def test_numbers_and_coordinates_are_not_split_at_their_points() -> None:
    assert pack("It costs 2.5 now. Then 3.5.", 6, words) == ["It costs 2.5 now.", "Then 3.5."]


def test_no_words_make_no_chunk() -> None:
    assert pack(" \n ", 7, words) == []


@given(st.lists(st.sampled_from(["dog", "cat,", "runs.", "a", "\n", "sleeps;"]), max_size=40).map(" ".join), st.integers(4, 9))
def test_no_word_is_lost_and_short_clauses_fit(text: str, context: int) -> None:
    chunks = pack(text, context, words)
    assert " ".join(chunks).split() == text.split()
    assert all(words(chunk) <= context or not any(end in chunk[:-1] for end in (", ", ". ", "; ", "\n")) for chunk in chunks)
