"""How texts write boxes: rates, reasons, scales and reach, by numbers that a pencil can check."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from spr.models import dialects
from spr.models.writing import describe
from spr.records import RegionQuery, SceneObject

SIZE = (200, 100)
DOG = SceneObject("1", "dog", (20.0, 10.0, 180.0, 90.0))
QUERY = RegionQuery("q", "i", "i.jpg", *SIZE, (0.0, 0.0, 200.0, 100.0), (DOG,))


def read(texts, dialect="ferret", **frame):
    return describe([(text, QUERY) for text in texts], dialects.get(dialect, **frame))


def test_texts_and_boxes_are_counted_with_the_reasons_of_what_cannot_be_read():
    found = read(["a dog [100, 100, 900, 900], a cat [900, 1, 2, 3]", "a cat [1, 2", "nothing", "a dog [100, 100, 900, 900]"])
    assert (found.texts, found.attempting, found.reading, found.boxes) == (4, 3, 2, 2)
    assert found.unreadable == {"reversed": 1, "unclosed": 1}
    assert found.parse_rate == 0.5
    assert found.doubts() == []


def test_numbers_are_counted_by_their_scale_whatever_the_dialect():
    found = read(["0.5 and 1 but 1.5, 100, 101, 1000 and 1001"])
    assert found.numbers == {"0 to 1": 2, "to 100": 2, "to 1,000": 2, "beyond": 1}


def test_corners_lie_in_tenths_of_the_side():
    # Both boxes have corners at 0.1 and 0.9 of each side.
    found = read(["a dog [100, 100, 900, 900]"])
    assert found.written == found.annotated == [0, 2, 0, 0, 0, 0, 0, 0, 0, 2]
    assert found.reach == pytest.approx((0.9, 0.9))


def test_the_ground_truth_of_a_query_counts_once_however_many_texts_it_has():
    assert sum(read([f"a dog [100, 100, 900, {y}]" for y in range(900, 905)]).annotated) == 4


def test_a_dialect_of_another_family_is_doubted_and_those_that_read_more_are_named():
    found = read(["a dog [0.10, 0.10, 0.90, 0.90]"] * 9 + ["a dog [100, 100, 900, 900]"])
    assert found.parse_rate == 0.1
    assert found.others["llava-onevision"] == 0.9
    assert "ferret" not in found.others
    (doubt,) = found.doubts()
    assert "only 10% of 10 texts hold a box that the dialect ferret can read" in doubt
    assert "llava-onevision 90%" in doubt
    assert "model.dialect" in doubt


def test_boxes_beyond_the_frame_are_doubted():
    found = read(["a dog [100, 100, 900, 900], a cat [100, 100, 1900, 1900]"])
    (doubt,) = found.doubts()
    assert "50% of the boxes lie beyond the frame of ferret" in doubt


def test_boxes_that_reach_nowhere_near_the_annotated_ones_are_doubted():
    # Thousandths read as pixels of a 2,240-pixel image: all boxes end below half of it.
    found = read(['[{"bbox_2d": [100, 100, 900, 900], "label": "dog"}]'], "qwen2.5-vl", processed_size=(2240, 2240))
    assert found.reach == pytest.approx((900 / 2240, 0.9))
    (doubt,) = found.doubts()
    assert "reach to 40% of the image's side, where the annotated ones reach to 90%" in doubt


def test_queries_whose_texts_are_all_the_same_are_doubted():
    same = "a dog [100, 100, 900, 900]"
    found = read([same] * 3)
    assert (found.queries, found.alike) == (1, 1)
    assert "all texts of 1 of 1 queries are the same" in found.doubts()[0]
    assert read([same, same, "a dog [100, 100, 900, 901]"]).doubts() == []
    assert read([same]).alike == 0


def test_no_texts_no_doubts_and_values_are_plain_json():
    found = read([])
    assert found.doubts() == []
    assert json.loads(json.dumps(found.values(), allow_nan=False))["parse_rate"] is None
    assert set(found.values()) > {"reach", "doubts", "written", "annotated", "dialect"}


def test_texts_without_any_box_are_no_doubt_about_the_frame():
    (doubt,) = read(["a dog sits"]).doubts()
    assert doubt == "only 0% of 1 texts hold a box that the dialect ferret can read"


def test_objects_of_different_queries_are_told_apart():
    far = replace(QUERY, query_id="other")
    found = describe([("a dog [100, 100, 900, 900]", QUERY), ("none", far)], dialects.get("ferret"))
    assert sum(found.annotated) == 8
