"""A query's terms on one scale, by pencil, and that no scale turns an order round."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spr.rewards.composite import Normalize, normalized, placed

HOWS: tuple[Normalize, ...] = ("none", "zscore", "rank")


def test_none_leaves_the_values() -> None:
    assert normalized([0.3, 0.1], "none").tolist() == [0.3, 0.1]
    assert placed(0.2, [0.3, 0.1], "none") == 0.2


def test_zscores_are_in_the_populations_standard_deviations() -> None:
    # Mean 0.3, deviations -0.1, 0.1, -0.1, 0.1: std 0.1.
    assert normalized([0.2, 0.4, 0.2, 0.4], "zscore").tolist() == pytest.approx([-1, 1, -1, 1])
    assert placed(0.5, [0.2, 0.4, 0.2, 0.4], "zscore") == pytest.approx(2)


def test_ranks_are_the_share_beaten_and_half_the_share_tied() -> None:
    # Of four: 0.1 beats none and ties itself: 0.5 / 4. The two 0.2 beat 1 and tie 2: 2 / 4. 0.3 beats 3: 3.5 / 4.
    assert normalized([0.2, 0.1, 0.3, 0.2], "rank").tolist() == [0.5, 0.125, 0.875, 0.5]


def test_a_new_value_above_or_below_all_has_the_first_or_last_rank() -> None:
    among = [0.1, 0.2, 0.3]
    assert [placed(value, among, "rank") for value in (0.0, 0.15, 0.4)] == pytest.approx([0, 1 / 3, 1])


@pytest.mark.parametrize(("how", "middle"), [("zscore", 0.0), ("rank", 0.5)])
@pytest.mark.parametrize("values", [[0.1, 0.1, 0.1], [0.7]])
def test_equal_values_and_a_lone_one_lie_in_the_middle(how: Normalize, middle: float, values: list[float]) -> None:
    assert normalized(values, how).tolist() == [middle] * len(values)


def test_where_all_are_equal_a_z_score_knows_no_better() -> None:
    assert placed(0.9, [0.1, 0.1], "zscore") == 0
    assert placed(0.9, [0.1, 0.1], "rank") == 1


@pytest.mark.parametrize("how", HOWS)
def test_a_term_that_does_not_exist_stays_so_and_counts_for_nobody(how: Normalize) -> None:
    nan = math.nan
    with_gap = normalized([0.1, nan, 0.4], how)
    assert math.isnan(with_gap[1])
    np.testing.assert_array_equal(with_gap[[0, 2]], normalized([0.1, 0.4], how))
    assert np.isnan(normalized([nan, nan], how)).all()
    assert math.isnan(placed(nan, [0.1, 0.2], how))


@pytest.mark.parametrize("how", ["zscore", "rank"])
def test_among_terms_that_do_not_exist_nothing_can_be_placed(how: Normalize) -> None:
    assert math.isnan(placed(0.3, [math.nan, math.nan], how))


def test_no_candidates_no_values() -> None:
    assert normalized([], "rank").shape == (0,)


cosines = st.floats(-1, 1).map(lambda value: round(value, 3))


@given(st.lists(cosines, min_size=1, max_size=8), cosines, st.sampled_from(HOWS))
def test_no_scale_turns_an_order_round(values: list[float], further: float, how: Normalize) -> None:
    points = [*zip(values, normalized(values, how), strict=True), (further, placed(further, values, how))]
    ordered = [scaled for _, scaled in sorted(points)]
    assert all(low <= high for low, high in pairwise(ordered))


@given(st.lists(cosines, min_size=1, max_size=8), st.sampled_from(HOWS))
def test_a_text_that_did_not_change_keeps_its_place(values: list[float], how: Normalize) -> None:
    assert [placed(value, values, how) for value in values] == normalized(values, how).tolist()
