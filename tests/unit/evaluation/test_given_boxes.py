from __future__ import annotations

import re

import pytest

from spr.boxes import Box, Size
from spr.evaluation.given_boxes import frame_doubt, score_boxes, spans, unreadable_note
from spr.evaluation.rec import Rec
from spr.items import RecItem
from spr.records import Prediction

NAN, INF = float("nan"), float("inf")
BAD = [(NAN, 0, 1, 1), (0, 0, INF, 1), (0, 0, 1e300, 1e300), (5, 0, 1, 1), (0, 5, 1, 1), (1, 0, 1, 4), (0, 0, 0, 0)]


def rows(boxes: list[Box], size: Size, truth: Box = (0, 0, 10, 10)) -> list[Prediction]:
    return [
        Prediction("rec", str(n), "i", "", box, "ok", 0.0, path="i", width=size[0], height=size[1], truth=(truth,))
        for n, box in enumerate(boxes)
    ]


@pytest.mark.parametrize("box", BAD)
def test_a_box_without_area_or_pixels_is_unreadable_and_wrong(box: Box) -> None:
    item = RecItem("a", "1.jpg", 100, 50, "it", (0, 0, 10, 10))
    [found] = score_boxes(Rec(), [item], {"a": box}, lambda _: None)["a"]
    assert (found.box, found.status, found.iou, found.payload["boxes"]) == (None, "unreadable", 0.0, 0.0)
    assert not spans(box)


def test_a_box_is_worth_its_overlap_wherever_it_lies() -> None:
    item = RecItem("a", "1.jpg", 100, 50, "it", (0, 0, 10, 10))
    [found] = score_boxes(Rec(), [item], {"a": (-10, 0, 10, 10)}, lambda _: None)["a"]
    assert (found.box, found.status, found.iou) == ((-10, 0, 10, 10), "ok", 0.5)


def test_unreadable_boxes_are_counted_by_their_fault() -> None:
    boxes = {"good": (0.0, 0.0, 1.0, 1.0), **{f"bad {n}": box for n, box in enumerate(BAD)}}
    said = unreadable_note(boxes)
    assert said is not None
    assert "7 of 8 boxes are unreadable and count as wrong: 3 not finite, 4 reversed or empty, e.g. bad 0" in said
    assert unreadable_note({"good": (0, 0, 1, 1)}) is None


@pytest.mark.parametrize(
    ("boxes", "size", "truth", "said"),
    [
        ([(0, 0, 1, 1), (0.2, 0.3, 0.5, 0.9)], (640, 480), (0, 0, 9, 9), "all 2 boxes lie within 0..1: .* fractions"),
        ([(0, 0, 10, 10)] * 9 + [(10, 20, 900, 800)], (640, 480), (0, 0, 9, 9), r"1 of them .* on 640 x 480 .* thousandths"),
        ([(0, 0, 900, 900)] * 10, (4000, 3000), (100, 100, 3000, 2000), "10 of them .* thousandths"),
        (
            [(700, 0, 900, 1100)] * 2 + [(0, 0, 9, 9)],
            (640, 480),
            (0, 0, 9, 9),
            "2 of 3 boxes lie mostly outside",
        ),
        ([(-90, -90, -5, -5)], (640, 480), (0, 0, 9, 9), "1 of 1 boxes lie mostly outside"),
    ],
)
def test_boxes_that_look_like_another_frame_are_doubted_in_words(boxes: list[Box], size: Size, truth: Box, said: str) -> None:
    found = frame_doubt(rows(boxes, size, truth))
    assert found is not None
    assert re.search(said, found)
    assert "nothing was rescaled" in found


@pytest.mark.parametrize(
    ("boxes", "size", "truth"),
    [
        ([(10, 10, 600, 400), (0, 0, 1, 1)], (640, 480), (0, 0, 9, 9)),
        ([(0, 0, 646, 484)], (640, 480), (0, 0, 9, 9)),
        ([(0, 0, 10, 10)] * 10 + [(10, 20, 900, 800)], (640, 480), (0, 0, 9, 9)),
        ([(0, 0, 900, 900)] * 9 + [(0, 0, 2000, 900)], (4000, 3000), (100, 100, 3000, 2000)),
        ([(700, 0, 900, 1100), (0, 0, 9, 9)], (640, 480), (0, 0, 9, 9)),
        ([], (640, 480), (0, 0, 9, 9)),
    ],
)
def test_boxes_of_their_images_are_not_doubted(boxes: list[Box], size: Size, truth: Box) -> None:
    assert frame_doubt(rows(boxes, size, truth)) is None
