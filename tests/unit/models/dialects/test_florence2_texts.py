"""Florence-2's texts by pencil, and beside its own processor."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from as_read import some_boxes, texts
from transformers import AutoProcessor
from transformers.models.florence2.processing_florence2 import Florence2PostProcessor

from spr.errors import ModelError
from spr.models import dialects
from tiny_random import build_florence2

SIZE = (640, 480)
FLORENCE = dialects.get("florence-2")
CARS = "</s><s>a green car<loc_100><loc_200><loc_299><loc_399>doors<loc_0><loc_0><loc_9><loc_9><loc_10><loc_0><loc_19><loc_9>"


def test_florence_reads_the_middle_of_each_cell():
    assert texts(FLORENCE.parse(CARS, (1000, 2000))) == [
        ("a green car", (100.5, 401, 299.5, 799), ""),
        ("doors", (0.5, 1, 9.5, 19), ""),
        ("doors", (10.5, 1, 19.5, 19), ""),
    ]
    assert FLORENCE.words(CARS, SIZE) == "a green car, doors"


def test_florence_writes_the_cell_that_a_corner_lies_in():
    assert FLORENCE.format((64, 96, 192.5, 192), SIZE) == "<loc_100><loc_200><loc_300><loc_400>"
    assert FLORENCE.format((0, 0, 640, 480), SIZE) == "<loc_0><loc_0><loc_999><loc_999>"
    assert FLORENCE.ground("a dog", (0, 0, 640, 480), SIZE) == "a dog<loc_0><loc_0><loc_999><loc_999>"


@pytest.fixture(scope="module")
def processor():
    # The processor takes nothing of its tokenizer here but the names of the special tokens.
    return Florence2PostProcessor({"phrase_grounding": {}}, SimpleNamespace(all_special_tokens=["<s>", "</s>", "<pad>"]))


def test_florence_writes_boxes_as_the_processor_does(processor):
    boxes = [box for box in some_boxes(2000, (997, 333)) if box[2] - box[0] > 1 and box[3] - box[1] > 1]
    expected = processor.quantize(torch.tensor(boxes, dtype=torch.float64), (997, 333)).tolist()
    assert [[int(number) for number in FLORENCE.numbers(box, (997, 333), ())] for box in boxes] == expected


def test_florence_reads_a_text_as_the_processor_does_before_it_cuts_to_whole_pixels(processor):
    instances = processor(text=CARS, image_size=SIZE, parse_tasks="phrase_grounding")["phrase_grounding"]
    expected = [(found["cat_name"], tuple(box)) for found in instances for box in found["bbox"]]
    assert [(m.phrase, tuple(int(value) for value in m.box)) for m in FLORENCE.parse(CARS, SIZE)] == expected


def test_florence_sets_words_apart_whose_box_goes():
    rest = "doors<loc_0><loc_0><loc_9><loc_9><loc_10><loc_0><loc_19><loc_9>"
    assert FLORENCE.rewrite(CARS, SIZE, {0: None}) == f"</s><s>a green car, {rest}"
    assert FLORENCE.rewrite(CARS, SIZE, {1: None}) == CARS.replace("<loc_0><loc_0><loc_9><loc_9>", "")
    assert FLORENCE.drop(CARS, SIZE, [0]) == f"</s><s>{rest}"
    assert FLORENCE.drop(CARS, SIZE, [1, 2]) == "</s><s>a green car<loc_100><loc_200><loc_299><loc_399>"


@pytest.mark.parametrize(
    ("tokens", "reason"),
    [
        ("<loc_1><loc_2><loc_3>", "wrong_count"),
        ("<loc_1><loc_2><loc_3><loc_1000>", "out_of_range"),
        ("<loc_9><loc_2><loc_3><loc_4>", "reversed"),
        ("<loc_1><loc_2><loc_1><loc_4>", "empty"),
        ("<loc_1><loc_2><loc_3><lo", "wrong_count"),
        ("<loc_1><loc_2><loc_3><loc_", "unclosed"),
    ],
)
def test_florence_says_why_a_box_cannot_be_read(tokens, reason):
    assert texts(FLORENCE.parse(f"a dog{tokens}", SIZE)) == [("a dog", None, reason)]


def test_florence_counts_what_follows_whole_boxes_as_one_that_cannot_be_read():
    assert texts(FLORENCE.parse("a dog<loc_1><loc_2><loc_3><loc_4><loc_5>", (1000, 1000))) == [
        ("a dog", (1.5, 2.5, 3.5, 4.5), ""),
        ("a dog", None, "wrong_count"),
    ]


def test_florence_grounds_by_name_and_says_so():
    assert FLORENCE.rec_prompt("a dog") == "<CAPTION_TO_PHRASE_GROUNDING>a dog"
    assert FLORENCE.region_prompt((0, 0, 9, 9), SIZE, ["dog", "cat"]) == "<CAPTION_TO_PHRASE_GROUNDING>dog. cat."
    with pytest.raises(ModelError, match="only grounds what it is given the name of"):
        FLORENCE.region_prompt((0, 0, 9, 9), SIZE)


def test_florence_asks_what_the_processor_makes_a_task_of(tmp_path):
    processor = AutoProcessor.from_pretrained(build_florence2(tmp_path))
    prompts = [FLORENCE.rec_prompt("a dog"), FLORENCE.region_prompt((0, 0, 9, 9), SIZE, ["dog", "cat"])]
    assert processor._construct_prompts(prompts) == [
        "Locate the phrases in the caption: a dog",
        "Locate the phrases in the caption: dog. cat.",
    ]
