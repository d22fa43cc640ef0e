"""Group-by-image order: pairs of one image meet in a batch, and nothing else about the stream changes."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spr.training.order import stream_by_image

IDS = [f"pair-{i}" for i in range(10)]
IMAGES = ["a", "a", "a", "b", "b", "b", "b", "b", "b", "c"]
"""Three pairs, six and one."""


def batches(order, size):
    return [order[at : at + size] for at in range(0, len(order), size)]


def test_pairs_of_an_image_fill_a_batch_and_the_rest_fits_together():
    # In fours: four of b; three of a and c; then the other two of b.
    met = [Counter(IMAGES[i] for i in batch) for batch in batches(stream_by_image(IDS, IMAGES, 0, 10, 4), 4)]
    assert sorted(sorted(images.items()) for images in met) == [[("a", 3), ("c", 1)], [("b", 2)], [("b", 4)]]


def test_where_no_image_fits_one_is_parted_and_batches_keep_their_size():
    # Threes in batches of four: three and one, two and two, one and three.
    images = [name for name in "abcd" for _ in range(3)]
    met = [Counter(images[i] for i in batch) for batch in batches(stream_by_image([*map(str, range(12))], images, 0, 12, 4), 4)]
    assert [sorted(batch.values()) for batch in met] == [[1, 3], [2, 2], [1, 3]]


@given(images=st.lists(st.sampled_from("abcde"), min_size=1, max_size=30), batch=st.integers(1, 6), seed=st.integers(0, 5))
def test_every_epoch_holds_every_pair_once(images, batch, seed):
    ids = [str(i) for i in range(len(images))]
    order = stream_by_image(ids, images, seed, 2 * len(ids), batch)
    assert sorted(order[: len(ids)]) == sorted(order[len(ids) :]) == list(range(len(ids)))


@pytest.mark.parametrize("length", [3, 10, 13, 25])
def test_a_longer_stream_begins_like_a_shorter_one_so_that_a_training_can_go_on(length):
    longest = stream_by_image(IDS, IMAGES, 0, 40, 4)
    assert stream_by_image(IDS, IMAGES, 0, length, 4) == longest[:length]


@pytest.mark.parametrize("seed", range(8))
def test_a_further_epoch_goes_on_in_the_batch_that_the_one_before_left_unfilled(seed):
    # Five pairs in fours: the first epoch ends with one place taken, and the three of a fit beside it.
    images = ["a", "a", "a", "b", "c"]
    order = stream_by_image([*map(str, range(5))], images, seed, 10, 4)
    assert [images[i] for i in order[5:8]] == ["a", "a", "a"]


@pytest.mark.parametrize("seed", range(8))
def test_the_rest_of_a_parted_image_comes_at_once(seed):
    # Whichever come first, no image is left for a batch and taken up again in a later one.
    images = [name for name, size in (("a", 3), ("b", 3), ("c", 2), ("d", 2), ("e", 2)) for _ in range(size)]
    order = [images[i] for i in stream_by_image([*map(str, range(12))], images, seed, 12, 4)]
    assert [name for i, name in enumerate(order) if order[i - 1 : i] != [name]] == list(dict.fromkeys(order))


def test_epochs_and_seeds_have_orders_of_their_own():
    order = stream_by_image(IDS, IMAGES, 0, 20, 4)
    assert order[:10] != order[10:]
    assert order != stream_by_image(IDS, IMAGES, 1, 20, 4)


def test_the_order_of_the_input_moves_no_pair():
    order = [IDS[i] for i in stream_by_image(IDS, IMAGES, 0, 10, 4)]
    turned = IDS[::-1]
    assert [turned[i] for i in stream_by_image(turned, IMAGES[::-1], 0, 10, 4)] == order
