"""What each family is asked beside the box of one expression: several phrases, an open question, a region in words."""

from __future__ import annotations

import pytest

from spr.errors import ModelError
from spr.models import dialects

SIZE = (640, 480)
BOX = (64.0, 96.0, 192.0, 192.0)
"""A tenth to three tenths of the width, two to four tenths of the height."""
PHRASES = ["a dog", "two cats"]
QUESTION = "What color is the dog?"
SHORT = f"{QUESTION}\nAnswer the question using a single word or phrase."
IN_JSON = (
    "Locate every instance that belongs to the following categories: 'a dog, two cats'. Report bbox coordinates in JSON format."
)

FIND = {
    "ferret": "What are the locations of a dog, two cats?",
    "cogvlm": "Where are a dog, two cats? answer in [[x0,y0,x1,y1]] format.",
    "llava-onevision": "Please provide the bounding box coordinate of the region this sentence describes: a dog, two cats",
    "qwen2-vl": "Find <|object_ref_start|>a dog<|object_ref_end|>, <|object_ref_start|>two cats<|object_ref_end|>",
    "qwen2.5-vl": IN_JSON,
    "qwen3-vl": IN_JSON,
    "internvl": "Please detect and label <ref>a dog</ref>, <ref>two cats</ref> in the image and mark their positions.",
    "kosmos-2": None,
    "paligemma": "detect a dog ; two cats",
    "florence-2": "<CAPTION_TO_PHRASE_GROUNDING>a dog. two cats.",
    "shikra": "Where are a dog, two cats? answer in [x0,y0,x1,y1] format.",
    "minigpt-v2": "[detection] a dog, two cats",
    "deepseek-vl2": "<|ref|>a dog<|/ref|>, <|ref|>two cats<|/ref|>.",
    "glm-4.5v": "Please pinpoint the bounding box [[x1,y1,x2,y2], …] in the image as per the given description. "
    "a dog, two cats",
    "tiny": "where are a dog , two cats ?",
}
ANSWER = {
    "ferret": SHORT,
    "cogvlm": f"Question: {QUESTION} Short answer:",
    "llava-onevision": SHORT,
    "qwen2-vl": SHORT,
    "qwen2.5-vl": SHORT,
    "qwen3-vl": SHORT,
    "internvl": f"{QUESTION} Answer the question using a single word or phrase.",
    "kosmos-2": f"Question: {QUESTION} Answer:",
    "paligemma": f"answer en {QUESTION}",
    "florence-2": None,
    "shikra": f"For this image, I want a simple and direct answer to my question: {QUESTION}",
    "minigpt-v2": f"[vqa] Based on the image, respond to this question with a short answer: {QUESTION}",
    "deepseek-vl2": SHORT,
    "glm-4.5v": SHORT,
    "tiny": QUESTION,
}
DESCRIBE = {
    "ferret": "Describe the region [100, 200, 300, 400] <region_fea> of the image in a short phrase.",
    "cogvlm": "Tell me what you see within the designated area [[100,200,300,400]] in the picture.",
    "llava-onevision": "Please provide a short description for this region: [0.10, 0.20, 0.30, 0.40].",
    "qwen2-vl": "Describe the region <|box_start|>(100,200),(300,400)<|box_end|> of the image in a short phrase.",
    # 640 x 480 is resized to 644 x 476, the nearest multiples of 28: 64 / 640 * 644 = 64.4, and so on.
    "qwen2.5-vl": "Describe the region [64, 95, 193, 190] of the image in a short phrase.",
    "qwen3-vl": "Describe the region [100, 200, 300, 400] of the image in a short phrase.",
    "internvl": "Describe the region <box>[[100, 200, 300, 400]]</box> of the image in a short phrase.",
    # The corner (3.2, 6.4) of 32 x 32 cells lies in cell 6 * 32 + 3 = 195, (9.6, 12.8) in 12 * 32 + 9 = 393.
    "kosmos-2": "<grounding><phrase> It</phrase><object><patch_index_0195><patch_index_0393></object> is",
    "paligemma": None,
    "florence-2": "<REGION_TO_DESCRIPTION><loc_100><loc_200><loc_300><loc_400>",
    # Padded to 640 x 640 by 80 above: y is (96 + 80) / 640 and (192 + 80) / 640.
    "shikra": "Please generate a distinguishing description for the region [0.100,0.275,0.300,0.425] in the image.",
    "minigpt-v2": "[identify] what is this {<10><20><30><40>}",
    "deepseek-vl2": "Describe the region <|det|>[[100, 200, 300, 400]]<|/det|> of the image in a short phrase.",
    "glm-4.5v": "Describe the region [100,200,300,400] of the image in a short phrase.",
    "tiny": "Describe the region <10> <19> <29> <38> of the image in a short phrase.",
}
EVERY = pytest.mark.parametrize("name", sorted(dialects.FAMILIES))


def asked(question, wanted, name):
    """The text, or, where there is none, one sentence that names the dialect."""
    if wanted[name] is not None:
        assert question() == wanted[name]
        return
    with pytest.raises(ModelError, match=f"^dialect {name}: .* cannot be |^dialect {name}: no question can be ") as error:
        question()
    assert "\n" not in str(error.value)


@EVERY
def test_several_phrases_are_asked_about_at_once(name):
    asked(lambda: dialects.get(name).phrases_prompt(PHRASES), FIND, name)


@EVERY
def test_an_open_question_asks_for_a_short_answer(name):
    asked(lambda: dialects.get(name).answer_prompt(QUESTION), ANSWER, name)


@EVERY
def test_a_region_is_asked_for_words(name):
    asked(lambda: dialects.get(name).caption_prompt(BOX, SIZE), DESCRIBE, name)


def test_kosmos_2_is_asked_about_a_single_phrase_as_about_an_expression():
    kosmos = dialects.get("kosmos-2")
    assert kosmos.phrases_prompt(["a dog"]) == kosmos.rec_prompt("a dog") == "<grounding><phrase> a dog</phrase>"
