"""CIDEr-D against hand-made sums and against coco-caption's own scores."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path

import numpy as np
import pytest

from spr.evaluation.cider import cider_d, words

GOLDEN = Path(__file__).parents[2] / "golden" / "cider" / "scores.json.gz"
OTHER = ["e f g h"]


@pytest.mark.parametrize(
    ("caption", "split"),
    [
        ("A man's dog doesn't bark.", ["a", "man", "'s", "dog", "does", "n't", "bark"]),
        ("They’re here; he'll go", ["they", "'re", "here", "he", "'ll", "go"]),
        ("the t-shirt, black/white -- 3.5 m", ["the", "t-shirt", "black/white", "3.5", "m"]),
        ("1,000 dogs,cats at 10:30", ["1,000", "dogs", "cats", "at", "10:30"]),
        ('"left" (of) [the] man!?', ["left", "of", "the", "man"]),
        ("dogs' o'clock & #1 50%", ["dogs", "o'clock", "&", "#", "1", "50", "%"]),
        ("can't won't n't", ["ca", "n't", "wo", "n't", "n't"]),
        (" ... \n", []),
    ],
)
def test_words(caption: str, split: list[str]) -> None:
    assert words(caption) == split


def test_what_is_said_word_for_word_scores_ten() -> None:
    assert cider_d(["A B c d.", "e f g h"], [["a b c d"], OTHER]) == pytest.approx([10.0, 10.0])


def test_a_short_caption_lacks_the_higher_orders() -> None:
    """Two words: orders 1 and 2 are 1, orders 3 and 4 are 0; the mean is 1/2."""
    assert cider_d(["a b", "e"], [["a b"], ["e"]]) == pytest.approx([5.0, 2.5])


def test_half_of_a_caption_by_hand() -> None:
    """All n-grams are in one item of two, so that their weights are equal and cancel: order 1 is 2 / (sqrt 2 * sqrt 4), order 2
    is 1 / (1 * sqrt 3); the reference is two pairs of words longer."""
    by_hand = 10 * (2 / (math.sqrt(2) * 2) + 1 / math.sqrt(3)) / 4 * math.exp(-4 / 72)
    assert cider_d(["a b", ""], [["a b c d"], OTHER])[0] == pytest.approx(by_hand)


def test_repeating_a_word_gains_nothing() -> None:
    """The weight of 3 is clipped to the reference's 1, the norm is not: order 1 is 1 / (3 * 2); no pair is equal."""
    assert cider_d(["a a a", ""], [["a b c d"], OTHER])[0] == pytest.approx(10 / 6 / 4 * math.exp(-1 / 72))


def test_a_word_of_every_item_weighs_nothing() -> None:
    assert cider_d(["the", "x"], [["the a"], ["the b"]])[0] == 0.0


def test_references_are_averaged() -> None:
    assert cider_d(["a b c d", ""], [["a b c d", "x"], OTHER])[0] == pytest.approx(5.0)


def test_what_cannot_be_compared_is_zero() -> None:
    assert cider_d(["", "e f g h", "?"], [["a b c d"], OTHER, ["..."]]).tolist() == pytest.approx([0.0, 10.0, 0.0])
    assert cider_d(["a b c d"], [["a b c d"]]).tolist() == [0.0]
    assert cider_d([], []).shape == (0,)


def test_what_does_not_belong_together_is_refused() -> None:
    with pytest.raises(ValueError, match="1 candidates and 2 sets"):
        cider_d(["a"], [["a"], ["b"]])
    with pytest.raises(ValueError, match="item 1 has no reference"):
        cider_d(["a", "b"], [["a"], []])


def test_scores_are_those_of_coco_caption() -> None:
    """500 drawn items, already split into words (tests/golden/cider/authors.py)."""
    said = json.loads(gzip.decompress(GOLDEN.read_bytes()))
    captions = [*said["candidates"], *(one for several in said["references"] for one in several)]
    assert all(words(caption) == caption.split() for caption in captions)
    scores = cider_d(said["candidates"], said["references"])
    assert scores.shape == (500,)
    np.testing.assert_allclose(scores, said["scores"], rtol=0, atol=1e-9)
    assert scores.mean() == pytest.approx(said["mean"], abs=1e-9)
