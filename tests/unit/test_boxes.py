"""Boxes: hand-made areas and overlaps, and what must hold for any boxes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spr import boxes

whole = st.integers(0, 200)
side = st.integers(1, 100)
box = st.tuples(whole, whole, side, side).map(lambda b: (float(b[0]), float(b[1]), float(b[0] + b[2]), float(b[1] + b[3])))
many = st.lists(box, min_size=1, max_size=6)


def test_iou_of_half_shifted_squares_is_a_third() -> None:
    assert boxes.iou([(0, 0, 10, 10)], [(5, 0, 15, 10)]) == pytest.approx(np.array([[50 / 150]]))


def test_iou_has_one_row_a_first_box_and_one_column_a_second() -> None:
    found = boxes.iou([(0, 0, 10, 10), (0, 0, 4, 4)], [(0, 0, 10, 10), (20, 20, 30, 30), (0, 0, 2, 4)])
    assert found == pytest.approx(np.array([[1, 0, 0.08], [0.16, 0, 0.5]]))


def test_boxes_that_touch_do_not_overlap() -> None:
    assert boxes.iou([(0, 0, 10, 10)], [(10, 0, 20, 10)]).item() == 0


def test_empty_boxes_have_no_area_and_no_overlap() -> None:
    assert boxes.area([(5, 5, 5, 9), (9, 0, 3, 4)]).tolist() == [0, 0]
    assert boxes.iou([(5, 5, 5, 5)], [(5, 5, 5, 5)]).item() == 0


def test_no_boxes_give_empty_matrices() -> None:
    assert boxes.as_boxes([]).shape == (0, 4)
    assert boxes.iou([], [(0, 0, 1, 1)]).shape == (0, 1)


def test_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(1, 3\)"):
        boxes.as_boxes([(1, 2, 3)])


def test_giou_of_boxes_apart_is_negative_by_the_gap() -> None:
    # hull 30 x 10 = 300, union 200, so 0 - 100 / 300
    assert boxes.giou([(0, 0, 10, 10)], [(20, 0, 30, 10)]).item() == pytest.approx(-1 / 3)


def test_paired_iou_compares_row_by_row_and_a_missing_box_is_zero() -> None:
    nan = float("nan")
    predicted = [(0, 0, 10, 10), (nan,) * 4, (0, 0, 10, 5)]
    truth = [(0, 0, 10, 10), (0, 0, 1, 1), (0, 0, 10, 10)]
    assert boxes.paired_iou(predicted, truth).tolist() == [1.0, 0.0, 0.5]


def test_paired_iou_wants_equal_lengths() -> None:
    with pytest.raises(ValueError, match="2 boxes against 1"):
        boxes.paired_iou([(0, 0, 1, 1)] * 2, [(0, 0, 1, 1)])


def test_coverage_is_the_share_of_the_box_not_of_the_region() -> None:
    assert boxes.coverage([(0, 0, 10, 10), (0, 0, 4, 4)], [(5, 0, 100, 100)])[:, 0].tolist() == [0.5, 0.0]


def test_gap_is_euclidean_between_rectangles() -> None:
    others = [(13, 14, 20, 20), (10, 0, 20, 10), (2, 2, 3, 3), (0, 25, 10, 30)]
    assert boxes.gaps([(0, 0, 10, 10)], others)[0].tolist() == [5, 0, 0, 15]


def test_centers_and_enclosing() -> None:
    assert boxes.centers([(0, 0, 10, 20)]).tolist() == [[5, 10]]
    assert boxes.enclosing([(1, 5, 3, 6), (0, 7, 2, 9)]) == (0, 5, 3, 9)
    with pytest.raises(ValueError, match="no boxes"):
        boxes.enclosing([])


def test_clip_keeps_boxes_in_the_image() -> None:
    assert boxes.clip([(-5, -5, 30, 8)], (20, 10)).tolist() == [[0, 0, 20, 8]]


def test_xywh_to_xyxy() -> None:
    assert boxes.xywh_to_xyxy([(1, 2, 3, 4)]).tolist() == [[1, 2, 4, 6]]


@given(many, many)
def test_iou_is_symmetric_and_between_zero_and_one(a: list[boxes.Box], b: list[boxes.Box]) -> None:
    found = boxes.iou(a, b)
    assert np.array_equal(found, boxes.iou(b, a).T)
    assert ((found >= 0) & (found <= 1)).all()
    assert (boxes.giou(a, b) <= found + 1e-12).all()


@given(many)
def test_a_box_is_itself_and_lies_in_what_encloses_it(some: list[boxes.Box]) -> None:
    assert np.diag(boxes.iou(some, some)).tolist() == [1.0] * len(some)
    assert boxes.coverage(some, [boxes.enclosing(some)]).tolist() == [[1.0]] * len(some)
    assert (boxes.gaps(some, [boxes.enclosing(some)]) == 0).all()


def test_suppression_keeps_the_best_of_what_overlaps_and_the_earlier_of_equals() -> None:
    a, almost_a, b = (0, 0, 10, 10), (0, 0, 10, 8), (20, 0, 30, 10)
    assert boxes.nms([almost_a, a, b], [0.5, 0.9, 0.3], 0.7).tolist() == [1, 2]
    assert boxes.nms([almost_a, a, b], [0.5, 0.5, 0.3], 0.7).tolist() == [0, 2]
    assert boxes.nms([almost_a, a, b], [0.5, 0.9, 0.3], 0.8).tolist() == [1, 0, 2]
    assert boxes.nms([], [], 0.7).tolist() == []
