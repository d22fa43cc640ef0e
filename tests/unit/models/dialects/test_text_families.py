"""Golden texts of the families that write boxes as text between brackets, tags or in json: what each writes, reads,
rewrites, takes away and is asked. 640x480 pixels unless said otherwise, so that 0-1000 is 0.64 and 0.48 pixels a step."""

from __future__ import annotations

import pytest
from as_read import texts

from spr.errors import ModelError
from spr.models import dialects

SIZE = (640, 480)
BOX = (64, 96, 192, 192)
"""A tenth to three tenths of the width, a fifth to two fifths of the height."""
COGVLM = dialects.get("cogvlm")
QWEN2 = dialects.get("qwen2-vl")
QWEN3 = dialects.get("qwen3-vl")
INTERNVL = dialects.get("internvl")
SHIKRA = dialects.get("shikra")
MINIGPT = dialects.get("minigpt-v2")
DEEPSEEK = dialects.get("deepseek-vl2")
GLM = dialects.get("glm-4.5v")


@pytest.mark.parametrize(
    ("dialect", "text"),
    [
        (COGVLM, "a dog [[100,200,300,400]]"),
        (
            QWEN2,
            "<|object_ref_start|>a dog<|object_ref_end|><|box_start|>(100,200),(300,400)<|box_end|>",
        ),
        (QWEN3, '{"bbox_2d": [100, 200, 300, 400], "label": "a dog"}'),
        (INTERNVL, "<ref>a dog</ref><box>[[100, 200, 300, 400]]</box>"),
        (SHIKRA, "a dog[0.100,0.275,0.300,0.425]"),  # 80 pixels of padding above: (96 + 80) / 640 and (192 + 80) / 640
        (MINIGPT, "<p>a dog</p> {<10><20><30><40>}"),
        (DEEPSEEK, "<|ref|>a dog<|/ref|><|det|>[[100, 200, 300, 400]]<|/det|>"),  # 99.9, 199.8, 299.7, 399.6
        (GLM, "a dog <|begin_of_box|>[100,200,300,400]<|end_of_box|>"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_each_family_writes_a_phrase_with_its_box(dialect, text):
    assert dialect.ground("a dog", BOX, SIZE) == text
    (mention,) = dialect.parse(text, SIZE)
    assert mention.phrase == "a dog"
    assert dialect.words(f"I see {text} here.", SIZE) == "I see a dog here."


@pytest.mark.parametrize(
    ("dialect", "size", "box", "text"),
    [
        (COGVLM, (1000, 1000), (0, 5, 86, 1000), "[[000,005,086,999]]"),  # three digits hold no 1000
        (COGVLM, (2000, 2000), (1, 3, 5, 7), "[[001,002,003,004]]"),  # 0.5, 1.5, 2.5 and 3.5, rounded up
        (QWEN2, (2000, 2000), (1, 3, 5, 2000), "<|box_start|>(1,2),(3,1000)<|box_end|>"),
        (QWEN3, (2000, 2000), (1, 3, 5, 2000), "[1, 2, 3, 1000]"),
        (INTERNVL, (2000, 2000), (1, 3, 5, 2000), "<box>[[1, 2, 3, 1000]]</box>"),
        (DEEPSEEK, (999, 999), (0, 1.4, 2.6, 999), "<|det|>[[0, 1, 3, 999]]<|/det|>"),
        (MINIGPT, (1000, 1000), (9, 19, 995, 1000), "{<0><1><99><100>}"),  # cut down, not rounded
        (SHIKRA, (201, 100), (0, 0, 201, 100), "[0.000,0.249,1.000,0.746]"),  # 50 of the 101 rows of padding above
        (SHIKRA, (100, 201), (0, 0, 100, 201), "[0.249,0.000,0.746,1.000]"),  # and 50 of the 101 columns to the left
        (GLM, (2000, 2000), (1, 3, 5, 2000), "<|begin_of_box|>[1,2,3,1000]<|end_of_box|>"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_each_family_rounds_in_its_own_way(dialect, size, box, text):
    assert dialect.format(box, size) == text


@pytest.mark.parametrize(
    ("dialect", "text", "box"),
    [
        (COGVLM, "[[086,540,400,760]]", (55.04, 259.2, 256, 364.8)),
        (QWEN2, "<|box_start|>(100,200),(1000,1000)<|box_end|>", (64, 96, 640, 480)),
        (QWEN3, '{"bbox_2d": [100, 200, 1000, 1000]}', (64, 96, 640, 480)),
        (INTERNVL, "<box>[[100, 200, 1000, 1000]]</box>", (64, 96, 640, 480)),
        (DEEPSEEK, "<|det|>[[333, 333, 999, 999]]<|/det|>", (213.333, 160, 640, 480)),
        (MINIGPT, "{<25><50><75><100>}", (160, 240, 480, 480)),
        (SHIKRA, "[0.250,0.500,0.750,0.875]", (160, 240, 480, 480)),  # 0.875 * 640 - 80 = 480
        (SHIKRA, "[0.000,0.000,1.000,1.000]", (0, 0, 640, 480)),  # the padding is no part of the image
        (GLM, "<|begin_of_box|>[[100, 200, 1000, 1000]]<|end_of_box|>", (64, 96, 640, 480)),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_each_family_reads_its_own_frame(dialect, text, box):
    (mention,) = dialect.parse(text, SIZE)
    assert tuple(round(value, 3) for value in mention.box) == box


@pytest.mark.parametrize(
    ("dialect", "text", "new"),
    [
        (COGVLM, "[[120,340,511,802]]", "[[064,125,192,250]]"),  # three digits, though none of the old begins with 0
        (COGVLM, "[[12, 340, 511, 802]]", "[[64, 125, 192, 250]]"),
        (QWEN2, "<|box_start|>( 1, 2 ), (3,4)<|box_end|>", "<|box_start|>( 64, 125 ), (192,250)<|box_end|>"),
        (QWEN2, "(001,002),(003,004)", "(064,125),(192,250)"),
        (INTERNVL, "<box>[[1,2,3,4]]</box>", "<box>[[64,125,192,250]]</box>"),
        (INTERNVL, "<box>1, 2, 3, 4</box>", "<box>64, 125, 192, 250</box>"),
        (MINIGPT, "{<01> <02> <03> <04>}", "{<06> <12> <19> <25>}"),
        (SHIKRA, "[0.1,0.2,0.3,0.4]", "[0.064,0.125,0.192,0.25]"),  # as exact as the family, without zeros at the end
        (GLM, "<|begin_of_box|><1, 2, 3, 4><|end_of_box|>", "<|begin_of_box|><64, 125, 192, 250><|end_of_box|>"),
        (QWEN3, '{"label": "x", "bbox_2d": [1,2,3,4]}', '{"label": "x", "bbox_2d": [64,125,192,250]}'),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_new_box_keeps_digits_spaces_and_brackets_of_the_old(dialect, text, new):
    assert dialect.rewrite(f"x {text} y", (1000, 1000), {0: (64, 125, 192, 250)}) == f"x {new} y"


def test_shikra_pads_with_half_of_the_odd_pixels():
    # 201x100: 101 rows of padding, of which 50 lie above.
    assert SHIKRA.parse("[0.000,0.249,1.000,0.746]", (201, 100))[0].box == pytest.approx((0, 0.049, 201, 99.946))


def test_qwen3_and_qwen2_5_share_the_json_and_not_the_frame():
    text = '```json\n[\n\t{"bbox_2d": [100, 200, 300, 400], "label": "dog"}\n]\n```'
    qwen2_5 = dialects.get("qwen2.5-vl", processed_size=(1280, 960))
    assert texts(QWEN3.parse(text, SIZE)) == [("dog", (64, 96, 192, 192), "")]
    assert texts(qwen2_5.parse(text, SIZE)) == [("dog", (50, 100, 150, 200), "")]
    assert QWEN3.words(text, SIZE) == "dog"


@pytest.mark.parametrize(
    ("dialect", "question"),
    [
        (COGVLM, "Where is a man, left? answer in [[x0,y0,x1,y1]] format."),
        (QWEN2, "Find <|object_ref_start|>a man, left<|object_ref_end|>"),
        (QWEN3, "Locate a man, left in this image and output the bbox coordinates in JSON format."),
        (
            INTERNVL,
            "Please provide the bounding box coordinate of the region this sentence describes: <ref>a man, left</ref>",
        ),
        (SHIKRA, "Where is a man, left? answer in [x0,y0,x1,y1] format."),
        (MINIGPT, "[refer] give me the location of a man, left"),
        (DEEPSEEK, "<|ref|>a man, left<|/ref|>."),
        (
            GLM,
            "Please pinpoint the bounding box [[x1,y1,x2,y2], …] in the image as per the given description. a man, left",
        ),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_each_family_is_asked_for_an_expression_in_its_own_words(dialect, question):
    assert dialect.rec_prompt("a man, left") == question


@pytest.mark.parametrize(
    ("dialect", "region", "asks"),
    [
        (COGVLM, "[[100,200,300,400]]", "[[x0,y0,x1,y1]]"),
        (QWEN2, "<|box_start|>(100,200),(300,400)<|box_end|>", "with grounding"),
        (QWEN3, "[100, 200, 300, 400]", "in JSON format"),
        (INTERNVL, "<box>[[100, 200, 300, 400]]</box>", "mark their positions"),
        (SHIKRA, "[0.100,0.275,0.300,0.425]", "[x0,y0,x1,y1]"),
        (MINIGPT, "{<10><20><30><40>}", "[grounding] "),
        (DEEPSEEK, "<|det|>[[100, 200, 300, 400]]<|/det|>", "<|grounding|>"),
        (GLM, "[100,200,300,400]", "[x1,y1,x2,y2]"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_the_region_question_names_the_region_and_asks_for_boxes(dialect, region, asks):
    assert dialect.region_text(BOX, SIZE) == region
    question = dialect.region_prompt(BOX, SIZE)
    assert region in question
    assert asks in question


def test_points_are_written_by_the_families_that_take_them():
    assert dialects.get("ferret").point_text((64.5, 96), SIZE) == "[100, 200] <region_fea>"
    assert SHIKRA.point_text((64, 96), SIZE) == "[0.100,0.275]"
    for outside in ((640.1, 5), (5, -1)):
        with pytest.raises(ValueError, match="no point of the image"):
            SHIKRA.point_text(outside, SIZE)
    with pytest.raises(ModelError, match=r"internvl models take no points in a question; .* the point \(5, 6\)"):
        INTERNVL.point_text((5, 6), SIZE)


def test_what_a_family_can_be_asked():
    one_image = {name for name, family in dialects.FAMILIES.items() if family.single_image}
    assert {"ferret", "cogvlm", "shikra", "minigpt-v2"} <= one_image
    assert not one_image & {"qwen2-vl", "qwen3-vl", "internvl", "deepseek-vl2", "glm-4.5v"}
    assert not MINIGPT.instructed
    kept = {name for name, family in dialects.FAMILIES.items() if not family.skip_special_tokens}
    assert {"qwen2-vl", "internvl", "deepseek-vl2", "glm-4.5v"} <= kept
    assert not kept & {"cogvlm", "shikra", "minigpt-v2", "qwen3-vl"}
