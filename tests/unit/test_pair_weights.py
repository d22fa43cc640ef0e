"""What pairs weigh, by hand."""

from __future__ import annotations

from spr.pair_weights import pair_weights


def test_weights_are_margins_over_their_mean() -> None:
    assert pair_weights([0.1, 0.3, 0.2], "margin").round(12).tolist() == [0.5, 1.5, 1.0]


def test_equal_weights_are_one() -> None:
    assert pair_weights([0.1, 0.3], "equal").tolist() == [1.0, 1.0]


def test_margins_that_are_all_zero_give_no_scale() -> None:
    assert pair_weights([0.0, 0.0], "margin").tolist() == [1.0, 1.0]
    assert pair_weights([], "margin").tolist() == []
