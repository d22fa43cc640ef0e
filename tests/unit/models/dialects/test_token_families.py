"""Families whose box mark-up is made of tokens of its own: Kosmos-2, PaliGemma, Florence-2. Numbers by pencil, and the
processors' own functions where transformers has them."""

from __future__ import annotations

import pytest
from as_read import some_boxes, texts
from transformers import AutoProcessor
from transformers.models.kosmos2.processing_kosmos2 import (
    clean_text_and_extract_entities_with_bboxes,
    coordinate_to_patch_index,
    patch_index_to_coordinate,
)

from spr.errors import ModelError
from spr.models import dialects
from tiny_random import build_kosmos2

SIZE = (640, 480)
SQUARE = (32, 32)
KOSMOS = dialects.get("kosmos-2")
PALIGEMMA = dialects.get("paligemma")
FLORENCE = dialects.get("florence-2")
SNOWMAN = (
    "<grounding> An image of<phrase> a snowman</phrase><object><patch_index_0044><patch_index_0863></object> warming himself "
    "by<phrase> a fire</phrase><object><patch_index_0005><patch_index_0911></object>."
)
TWO = (
    "<phrase> two dogs</phrase><object><patch_index_0000><patch_index_0033></delimiter_of_multi_objects/>"
    "<patch_index_0066><patch_index_0132></object> run"
)


def test_kosmos_reads_from_the_middle_of_one_cell_to_the_middle_of_another():
    # 44 is column 12 of row 1, 863 column 31 of row 26.
    assert texts(KOSMOS.parse(SNOWMAN, SQUARE)) == [
        ("a snowman", (12.5, 1.5, 31.5, 26.5), ""),
        ("a fire", (5.5, 0.5, 15.5, 28.5), ""),
    ]


@pytest.mark.parametrize(
    ("patches", "box"),
    [
        ("<patch_index_0033><patch_index_0033>", (1, 1, 2, 2)),  # one cell
        ("<patch_index_0033><patch_index_0035>", (1, 1, 4, 2)),  # one row
        ("<patch_index_0033><patch_index_0097>", (1, 1, 2, 4)),  # one column
        ("<patch_index_0033><patch_index_0066>", (1.5, 1.5, 2.5, 2.5)),
    ],
)
def test_kosmos_reads_whole_cells_where_middles_would_leave_no_area(patches, box):
    assert KOSMOS.parse(f"<object>{patches}</object>", SQUARE)[0].box == box


def test_kosmos_writes_the_first_and_the_last_cell_that_a_box_covers():
    # Cells are 20x15 pixels: x 64..192 covers columns 3..9, y 96..192 rows 6..12; 6 * 32 + 3 and 12 * 32 + 9.
    assert KOSMOS.format((64, 96, 192, 192), SIZE) == "<object><patch_index_0195><patch_index_0393></object>"
    assert KOSMOS.format((20, 15, 40, 30), SIZE) == "<object><patch_index_0033><patch_index_0033></object>"
    assert KOSMOS.ground("a dog", (0, 0, 640, 480), SIZE) == (
        "<phrase> a dog</phrase><object><patch_index_0000><patch_index_1023></object>"
    )


def test_kosmos_reads_every_pair_of_cells_as_the_processor_does():
    grid = KOSMOS.grid((1, 1))
    for first in range(1024):
        for last in range(first, 1024):
            box, reason = KOSMOS.read(grid, (first, last))
            if first % 32 > last % 32:
                assert (box, reason) == (None, "reversed")
            else:
                assert box == patch_index_to_coordinate(first, last, 32)


def test_kosmos_writes_boxes_as_the_processor_does():
    for box in some_boxes(3000):
        first, last = coordinate_to_patch_index(box, 32)
        assert KOSMOS.inside(KOSMOS.numbers(box, (1, 1), ())) == f"<patch_index_{first:04d}><patch_index_{last:04d}>"


def test_kosmos_reads_a_text_as_the_processor_does():
    said, entities = clean_text_and_extract_entities_with_bboxes(SNOWMAN)
    assert KOSMOS.words(SNOWMAN, (1, 1)) == said
    assert [(m.phrase, [m.box]) for m in KOSMOS.parse(SNOWMAN, (1, 1))] == [(name, boxes) for name, _, boxes in entities]


def test_kosmos_has_one_mention_for_each_box_of_a_phrase():
    assert texts(KOSMOS.parse(TWO, SQUARE)) == [("two dogs", (0.5, 0.5, 1.5, 1.5), ""), ("two dogs", (2.5, 2.5, 4.5, 4.5), "")]
    changed = KOSMOS.rewrite(TWO, SQUARE, {1: (0, 0, 1, 1)})
    assert changed == TWO.replace("<patch_index_0066><patch_index_0132>", "<patch_index_0000><patch_index_0000>")
    one = "<phrase> two dogs</phrase><object><patch_index_0066><patch_index_0132></object> run"
    assert KOSMOS.rewrite(TWO, SQUARE, {0: None}) == one
    assert KOSMOS.rewrite(TWO, SQUARE, {0: None, 1: None}) == " two dogs run"
    assert KOSMOS.drop(TWO, SQUARE, [0, 1]) == "run"


def test_kosmos_loses_the_tags_of_a_phrase_with_its_box():
    bare = "<grounding> An image of a snowman warming himself by a fire."
    assert KOSMOS.rewrite(SNOWMAN, SQUARE, {0: None, 1: None}) == bare
    assert KOSMOS.drop(SNOWMAN, SQUARE, [1]).endswith("</object> warming himself by.")


def test_kosmos_drops_the_joint_before_a_phrase():
    def said(*joints):
        return "".join(f"{joint}{KOSMOS.ground('a dog', (0, 0, 9, 9), SQUARE)}" for joint in joints)

    assert KOSMOS.drop(said("", ",", " and"), SQUARE, [2]) == said("", ",")
    assert KOSMOS.drop(said("", ",", " and"), SQUARE, [1]) == said("", " and")
    assert KOSMOS.drop(said("", ",", " and"), SQUARE, [0, 1, 2]) == ""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<object><patch_index_0044><patch_index_1024></object>", "out_of_range"),
        ("<object><patch_index_0900><patch_index_0004></object>", "reversed"),
        ("<object><patch_index_0044></object>", "wrong_count"),
        ("<object></object>", "wrong_count"),
        ("<object><patch_index_0044><patch_ind", "unclosed"),
        ("<object><patch_index_0044><patch_index_0863>, so", "unclosed"),
        ("<object><patch_index_٤٤><patch_index_0863></object>", "malformed"),
    ],
)
def test_kosmos_says_why_an_object_cannot_be_read(text, reason):
    assert texts(KOSMOS.parse(f"<phrase> a dog</phrase>{text}", SIZE)) == [("a dog", None, reason)]


def test_kosmos_asks_by_texts_to_go_on_with():
    assert KOSMOS.rec_prompt("a fire") == "<grounding><phrase> a fire</phrase>"
    assert KOSMOS.region_prompt((64, 96, 192, 192), SIZE) == (
        "<grounding><phrase> It</phrase><object><patch_index_0195><patch_index_0393></object> is"
    )


BOTH = "<loc0205><loc0102><loc0409><loc0307> a dog ; <loc0000><loc0512><loc1023><loc1023> black cat"


def test_paligemma_reads_y_before_x_and_the_label_after():
    assert texts(PALIGEMMA.parse(BOTH, (1023, 1023))) == [
        ("a dog", (102, 205, 307, 409), ""),
        ("black cat", (512, 0, 1023, 1023), ""),
    ]
    assert PALIGEMMA.words(BOTH, SIZE) == "a dog ; black cat"


def test_paligemma_rounds_to_1023rds_of_each_axis():
    # 64 of 640 is 102.3, 96 of 480 204.6, 192 of 640 306.9 and 192 of 480 409.2.
    assert PALIGEMMA.format((64, 96, 192, 192), SIZE) == "<loc0205><loc0102><loc0409><loc0307>"
    assert PALIGEMMA.format((0, 0, 640, 480), SIZE) == "<loc0000><loc0000><loc1023><loc1023>"
    assert PALIGEMMA.ground("dog", (0, 0, 640, 480), SIZE) == "<loc0000><loc0000><loc1023><loc1023> dog"


@pytest.mark.parametrize(
    ("gone", "left"),
    [
        ([0], "<loc0000><loc0512><loc1023><loc1023> black cat"),
        ([1], "<loc0205><loc0102><loc0409><loc0307> a dog"),
        ([0, 1], ""),
    ],
)
def test_paligemma_drops_a_label_with_its_semicolon(gone, left):
    assert PALIGEMMA.drop(BOTH, SIZE, gone) == left


def test_paligemma_keeps_the_label_of_a_box_that_goes():
    assert PALIGEMMA.rewrite(BOTH, SIZE, {0: None}) == "a dog ; <loc0000><loc0512><loc1023><loc1023> black cat"
    assert PALIGEMMA.rewrite(BOTH, SIZE, {1: None}) == "<loc0205><loc0102><loc0409><loc0307> a dog ; black cat"
    assert PALIGEMMA.rewrite(BOTH, (1023, 1023), {1: (1, 2, 3, 4)}).endswith(
        " ; <loc0002><loc0001><loc0004><loc0003> black cat"
    )


@pytest.mark.parametrize(
    ("tokens", "reason"),
    [
        ("<loc0001><loc0002><loc0003>", "wrong_count"),
        ("<loc0001><loc0002><loc0003><loc1024>", "out_of_range"),
        ("<loc0009><loc0002><loc0003><loc0004>", "reversed"),
        ("<loc0001><loc0002><loc0001><loc0004>", "empty"),
    ],
)
def test_paligemma_says_why_a_box_cannot_be_read(tokens, reason):
    assert texts(PALIGEMMA.parse(f"{tokens} dog", SIZE)) == [("dog", None, reason)]
    assert texts(PALIGEMMA.parse("<loc0001><loc0002><loc00", SIZE)) == [(None, None, "unclosed")]


def test_paligemma_detects_by_name_and_says_so():
    assert PALIGEMMA.rec_prompt("the dog") == "detect the dog"
    assert PALIGEMMA.region_prompt((0, 0, 9, 9), SIZE, ["dog", "cat"]) == "detect dog ; cat"
    assert PALIGEMMA.region_text((0, 0, 640, 480), SIZE) == "<loc0000><loc0000><loc1023><loc1023>"
    with pytest.raises(ModelError, match="only detects what it is given the name of"):
        PALIGEMMA.region_prompt((0, 0, 9, 9), SIZE)


@pytest.mark.parametrize("dialect", [KOSMOS, PALIGEMMA, FLORENCE], ids=lambda dialect: dialect.name)
def test_a_box_that_was_read_is_written_the_same_again(dialect):
    for box in some_boxes(2000, (333, 997)):
        text = dialect.format(box, (333, 997))
        assert dialect.format(dialect.parse(text, (333, 997))[0].box, (333, 997)) == text


@pytest.mark.parametrize("dialect", [KOSMOS, PALIGEMMA, FLORENCE], ids=lambda dialect: dialect.name)
def test_fixed_prompts_about_one_image(dialect):
    assert dialect.single_image
    assert not dialect.instructed


def test_kosmos_writes_a_region_with_the_tokens_that_the_processor_makes_of_its_box(tmp_path):
    processor = AutoProcessor.from_pretrained(build_kosmos2(tmp_path))
    box, shares = (64.0, 96.0, 192.0, 192.0), (0.1, 0.2, 0.3, 0.4)
    ours = processor(text=KOSMOS.region_prompt(box, SIZE))["input_ids"]
    theirs = processor(text="<grounding><phrase> It</phrase> is", bboxes=[shares])["input_ids"]
    assert ours == theirs
    assert processor.tokenizer.convert_tokens_to_ids("<patch_index_0195>") in ours
