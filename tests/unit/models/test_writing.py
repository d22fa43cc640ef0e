"""How texts write boxes: rates, reasons, scales and reach, by numbers that a pencil can check."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest

from spr.models import dialects
from spr.models.dialects.readings import every_reading
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


def test_half_of_the_texts_read_is_enough_and_fewer_are_not():
    box = "a dog [100, 100, 900, 900]"
    assert not any("texts hold a box" in doubt for doubt in read([box] * 10 + ["none"] * 10).doubts())
    assert any("only 48% of 21 texts" in doubt for doubt in read([box] * 10 + ["none"] * 11).doubts())


def test_a_fifth_beyond_the_frame_is_no_doubt_and_more_is():
    inside = "a dog [100, 100, 900, 900]" * 3 + "a cat [100, 100, 900, 901]"
    assert read([inside + "[1, 1, 1100, 1100]"]).doubts() == []
    (doubt,) = read([inside + "[1, 1, 1100, 1100][1, 1, 1200, 1200]"]).doubts()
    assert "33% of the boxes lie beyond the frame" in doubt


@pytest.mark.parametrize(("far", "doubted"), [(540, False), (539, True)])
def test_six_tenths_of_the_annotated_reach_are_enough(far, doubted):
    # The annotated object ends at 0.9 of both sides; 0.6 of that is 0.54.
    found = read([f"a dog [100, 100, {far}, {far}]"])
    assert any("the boxes reach to" in doubt for doubt in found.doubts()) == doubted


def test_the_reach_is_that_of_the_farthest_corners_but_a_twentieth():
    # Of twenty boxes one ends at the edge and one at nothing; all others at half the side.
    found = read(["[0, 0, 1000, 1000][0, 0, 10, 10]" + "[0, 0, 500, 500]" * 18])
    assert found.reach[0] == pytest.approx(0.525, abs=0.001)


def test_half_of_the_queries_alike_are_no_doubt_and_more_are():
    def about(alike):
        pairs = [("a dog [100, 100, 900, 900]", f"a dog [100, 100, 900, {900 + (i >= alike)}]") for i in range(10)]
        texts = [(text, replace(QUERY, query_id=str(i))) for i, both in enumerate(pairs) for text in both]
        return describe(texts, dialects.get("ferret")).doubts()

    assert about(5) == []
    (doubt,) = about(6)
    assert "all texts of 6 of 10 queries are the same" in doubt


def photos(*sizes, count=100, seed=1):
    """Queries about images of these sizes in turn, each with five boxes anywhere."""
    dice = random.Random(seed)
    found = []
    for i in range(count):
        width, height = size = sizes[i % len(sizes)]
        corners = [
            (dice.uniform(0, 0.6), dice.uniform(0, 0.6), dice.uniform(0.1, 0.4), dice.uniform(0.1, 0.4)) for _ in range(5)
        ]
        boxes = [(x * width, y * height, (x + w) * width, (y + h) * height) for x, y, w, h in corners]
        objects = tuple(SceneObject(str(j), "dog", box) for j, box in enumerate(boxes))
        found.append(RegionQuery(f"q{i}", f"i{i}", "a.jpg", *size, (0.0, 0.0, float(width), float(height)), objects))
    return found


def exact(queries, name, **frame):
    """Every object of every query with its box, as a dialect writes it."""
    dialect = dialects.get(name, **frame)
    return [(", ".join(dialect.ground("dog", item.box, query.size) for item in query.objects), query) for query in queries]


COCO = (640, 480), (480, 640), (640, 427), (500, 375), (1024, 768)


@pytest.mark.parametrize("sizes", [((640, 480),), ((480, 640),), ((800, 600),), COCO], ids=str)
@pytest.mark.parametrize(
    ("written", "read_as", "named"),
    [
        (("qwen2.5-vl", {}), ("qwen3-vl", {}), "qwen2.5-vl 100%"),
        (("qwen3-vl", {}), ("qwen2.5-vl", {}), "qwen3-vl 100%"),
        (("llava-onevision", {}), ("llava-onevision", {"frame": "padded"}), "llava-onevision (frame: original) 100%"),
        (("llava-onevision", {"frame": "padded"}), ("llava-onevision", {}), "llava-onevision (frame: padded) 100%"),
        (("shikra", {}), ("llava-onevision", {}), "shikra 100%"),
        (("llava-onevision", {}), ("shikra", {}), "llava-onevision (frame: original) 100%"),
    ],
    ids=str,
)
def test_a_reading_by_which_clearly_more_boxes_meet_objects_is_named(sizes, written, read_as, named):
    texts = exact(photos(*sizes, count=40), written[0], **written[1])
    wrong = describe(texts, dialects.get(read_as[0], **read_as[1]))
    assert wrong.meeting.share < 0.9
    assert any("meet an annotated object" in doubt and named in doubt for doubt in wrong.doubts())
    right = describe(texts, dialects.get(written[0], **written[1]))
    assert (right.meeting.share, right.meeting.better, right.doubts()) == (1.0, (), [])


def test_dialects_that_count_alike_do_not_doubt_each_other():
    found = describe(exact(photos(*COCO), "ferret"), dialects.get("cogvlm"))
    assert found.doubts() == []
    assert found.meeting.others["ferret"] == found.meeting.share == 1.0


def test_a_box_meets_the_objects_of_its_own_query_from_half_of_their_union_on():
    # The dog is 160 x 80 pixels; a box of half its width meets it with IoU 0.5, one that is narrower does not.
    assert read(["a dog [100, 100, 500, 900]"]).meeting.share == 1.0
    assert read(["a dog [100, 100, 499, 900]"]).meeting.share == 0.0
    elsewhere = replace(QUERY, query_id="other", objects=(replace(DOG, box=(0.0, 0.0, 10.0, 10.0)),))
    texts = [("a dog [100, 100, 900, 900]", QUERY), ("a dog [100, 100, 900, 900]", elsewhere)]
    assert describe(texts, dialects.get("ferret")).meeting.share == 0.5


@pytest.mark.parametrize(("images", "doubted"), [(8, False), (9, True)])
def test_fewer_than_nine_images_are_chance(images, doubted):
    texts = exact(photos((640, 480), count=images), "qwen2.5-vl")
    assert bool(describe(texts, dialects.get("qwen3-vl")).meeting.better) == doubted


def test_many_texts_about_few_images_are_still_few_images():
    queries = [replace(query, image_id=str(i % 8)) for i, query in enumerate(photos((640, 480)))]
    assert describe(exact(queries, "qwen2.5-vl"), dialects.get("qwen3-vl")).meeting.better == ()


@pytest.mark.parametrize(("wide", "doubted"), [(14, False), (16, True)])
def test_less_than_five_points_more_are_not_clearly_more(wide, doubted):
    # Square images are read alike in both frames; of the upper quarter of a wide one, written as padded, 0.4 is met.
    def one(i, size):
        box = (0.0, 0.0, float(size[0]), size[1] / 4)
        return RegionQuery(str(i), str(i), "a.jpg", *size, box, (SceneObject("1", "dog", box),))

    queries = [one(i, (640, 480) if i < wide else (480, 480)) for i in range(300)]
    found = describe(exact(queries, "llava-onevision", frame="padded"), dialects.get("llava-onevision")).meeting
    assert found.share == (300 - wide) / 300
    assert (found.better == ("llava-onevision (frame: padded)", "shikra")) == doubted
    assert bool(found.better) == doubted


@pytest.mark.parametrize("reading", every_reading(), ids=lambda reading: reading.label)
def test_boxes_anywhere_favour_no_reading(reading):
    dice = random.Random(3)
    texts = []
    for query in photos(*COCO, count=200, seed=2):
        xs = [sorted(dice.uniform(0, query.width - 2) for _ in range(2)) for _ in range(4)]
        ys = [sorted(dice.uniform(0, query.height - 2) for _ in range(2)) for _ in range(4)]
        boxes = [(x0, y0, x1 + 1, y1 + 1) for (x0, x1), (y0, y1) in zip(xs, ys, strict=True)]
        texts.append((", ".join(reading.dialect.ground("dog", box, query.size) for box in boxes), query))
    assert describe(texts, reading.dialect).meeting.better == ()


def test_the_sample_is_drawn_by_content_and_not_by_place():
    texts = exact(photos(*COCO, count=1000), "qwen2.5-vl")
    dialect = dialects.get("qwen3-vl")
    found = describe(texts, dialect).meeting
    assert found.texts == 400
    assert describe(texts[::-1], dialect).meeting == found
    assert found.boxes <= 2000


@pytest.mark.parametrize(("beyond", "compared"), [(1, True), (2, False)])
def test_a_reading_of_fewer_than_nine_tenths_of_the_texts_is_not_compared(beyond, compared):
    # CogVLM has no 1000.
    found = read(["a dog [100, 100, 900, 900]"] * (10 - beyond) + ["a dog [100, 100, 1000, 900]"] * beyond)
    assert ("cogvlm" in found.meeting.others) == compared


def test_a_dialect_without_the_options_that_the_recipe_gives_it_is_named_so():
    texts = exact(photos(*COCO, count=40), "qwen2.5-vl")
    found = describe(texts, dialects.get("qwen2.5-vl", processed_size=(2240, 2240)))
    assert found.meeting.better == ("qwen2.5-vl (no options)",)
    assert any("qwen2.5-vl (no options) 100%" in doubt for doubt in found.doubts())
