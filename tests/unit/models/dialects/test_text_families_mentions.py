"""Golden texts, continued: several boxes of one phrase, mentions taken away, tags that are missing or broken."""

from __future__ import annotations

import pytest
from as_read import texts

from spr.models import dialects

SIZE = (640, 480)
COGVLM = dialects.get("cogvlm")
QWEN2 = dialects.get("qwen2-vl")
INTERNVL = dialects.get("internvl")
SHIKRA = dialects.get("shikra")
MINIGPT = dialects.get("minigpt-v2")
DEEPSEEK = dialects.get("deepseek-vl2")
GLM = dialects.get("glm-4.5v")


LISTS = [
    (COGVLM, "Two dogs [[100,200,300,400;500,600,700,800]] run.", ["100,200,300,400", "500,600,700,800"]),
    (
        QWEN2,
        "<|object_ref_start|>Two dogs<|object_ref_end|><|box_start|>(100,200),(300,400)<|box_end|>"
        "<|box_start|>(500,600),(700,800)<|box_end|> run.",
        ["<|box_start|>(100,200),(300,400)<|box_end|>", "<|box_start|>(500,600),(700,800)<|box_end|>"],
    ),
    (
        INTERNVL,
        "<ref>Two dogs</ref><box>[[100, 200, 300, 400], [500, 600, 700, 800]]</box> run.",
        ["[100, 200, 300, 400]", "[500, 600, 700, 800]"],
    ),
    (
        DEEPSEEK,
        "<|ref|>Two dogs<|/ref|><|det|>[[100, 200, 300, 400], [500, 600, 700, 800]]<|/det|> run.",
        ["[100, 200, 300, 400]", "[500, 600, 700, 800]"],
    ),
    (
        MINIGPT,
        "<p>Two dogs</p> {<10><20><30><40>}<delim>{<50><60><70><80>} run.",
        ["{<10><20><30><40>}", "{<50><60><70><80>}"],
    ),
    (
        SHIKRA,
        "Two dogs[0.100,0.275,0.300,0.425;0.500,0.600,0.700,0.800] run.",
        ["0.100,0.275,0.300,0.425", "0.500,0.600,0.700,0.800"],
    ),
    (
        GLM,
        "Two dogs <|begin_of_box|>[[100,200,300,400],[500,600,700,800]]<|end_of_box|> run.",
        ["[100,200,300,400]", "[500,600,700,800]"],
    ),
]
every_list = pytest.mark.parametrize(("dialect", "text", "pieces"), LISTS, ids=[entry[0].name for entry in LISTS])


@every_list
def test_several_boxes_are_a_mention_each_with_the_same_phrase(dialect, text, pieces):
    mentions = dialect.parse(text, SIZE)
    assert [text[slice(*mention.span)] for mention in mentions] == pieces
    assert [mention.phrase for mention in mentions] == ["Two dogs", "Two dogs"]
    assert all(mention.status == "ok" for mention in mentions)


@every_list
def test_one_of_several_boxes_is_rewritten_or_taken_away_alone(dialect, text, pieces):
    second = dialect.parse(text, SIZE)[1].box
    moved = dialect.rewrite(text, SIZE, {0: second})
    assert moved == text.replace(pieces[0], pieces[1])
    for gone, left in ((0, pieces[1]), (1, pieces[0])):
        (mention,) = dialect.parse(dialect.rewrite(text, SIZE, {gone: None}), SIZE)
        assert (mention.phrase, mention.status) == ("Two dogs", "ok")
        assert left in dialect.drop(text, SIZE, [gone])
        assert pieces[gone] not in dialect.drop(text, SIZE, [gone])


@every_list
def test_without_its_boxes_a_text_is_plain_words(dialect, text, pieces):
    assert dialect.words(text, SIZE) == dialect.rewrite(text, SIZE, {0: None, 1: None}) == "Two dogs run."
    assert dialect.drop(text, SIZE, [0, 1]) == "run."


@pytest.mark.parametrize(
    ("dialect", "dog", "cat"),
    [
        (COGVLM, "a dog [[100,200,300,400]]", "a cat [[500,600,700,800]]"),
        (
            QWEN2,
            "<|object_ref_start|>a dog<|object_ref_end|><|box_start|>(100,200),(300,400)<|box_end|>",
            "<|object_ref_start|>a cat<|object_ref_end|><|box_start|>(500,600),(700,800)<|box_end|>",
        ),
        (INTERNVL, "<ref>a dog</ref><box>[[100, 200, 300, 400]]</box>", "<ref>a cat</ref><box>[[500, 600, 700, 800]]</box>"),
        (SHIKRA, "a dog[0.100,0.275,0.300,0.425]", "a cat[0.500,0.600,0.700,0.800]"),
        (MINIGPT, "<p>a dog</p> {<10><20><30><40>}", "<p>a cat</p> {<50><60><70><80>}"),
        (GLM, "a dog <|begin_of_box|>[100,200,300,400]<|end_of_box|>", "a cat <|begin_of_box|>(1, 2, 3, 4)<|end_of_box|>"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_drop_takes_phrase_box_and_joint(dialect, dog, cat):
    text = f"{dog}, {cat} and {dog}."
    assert dialect.drop(text, SIZE, [0]) == f"{cat} and {dog}."
    assert dialect.drop(text, SIZE, [1]) == f"{dog} and {dog}."
    assert dialect.drop(text, SIZE, [2]) == f"{dog}, {cat}."
    assert dialect.drop(text, SIZE, [0, 1, 2]) == ""


def test_a_tagged_phrase_goes_alone_from_a_sentence():
    text = "A man holds <ref>a cup</ref><box>[[1, 2, 3, 4]]</box> and smiles."
    assert INTERNVL.drop(text, SIZE, [0]) == "A man holds and smiles."
    assert INTERNVL.rewrite(text, SIZE, {0: None}) == "A man holds a cup and smiles."


@pytest.mark.parametrize(
    ("dialect", "text", "phrase", "span"),
    [
        (INTERNVL, "a dog[[1, 2, 3, 4]] sits", "a dog", "[[1, 2, 3, 4]]"),  # tags skipped in decoding
        (INTERNVL, "a dog <box>1, 2, 3, 4</box> sits", "a dog", "<box>1, 2, 3, 4</box>"),
        (INTERNVL, "<ref>a dog</ref><box>[[1, 2, 3, 4] sits", "a dog", "<box>[[1, 2, 3, 4]"),
        (INTERNVL, "<ref>a dog<box>[[1, 2, 3, 4]]</box>", "a dog", "<box>[[1, 2, 3, 4]]</box>"),
        (INTERNVL, "a dog</ref><box>[[1, 2, 3, 4]]</box>", "a dog", "<box>[[1, 2, 3, 4]]</box>"),
        (DEEPSEEK, "a dog[[1, 2, 3, 4]]", "a dog", "[[1, 2, 3, 4]]"),
        (QWEN2, "a dog(1,2),(3,4) sits", "a dog", "(1,2),(3,4)"),
        (QWEN2, "a dog [1, 2, 3, 4] sits", "a dog", "[1, 2, 3, 4]"),
        (MINIGPT, "<p>a dog</p><1><2><3><4> sits", "a dog", "<1><2><3><4>"),
        (MINIGPT, "a dog {<1> <2> <3> <4>} sits", "a dog", "{<1> <2> <3> <4>}"),
        (GLM, "a dog [[1, 2, 3, 4]] sits", "a dog", "[[1, 2, 3, 4]]"),
        (GLM, "a dog (1, 2, 3, 4) sits", "a dog", "(1, 2, 3, 4)"),
        (GLM, "a dog <|begin_of_box|>{1, 2, 3, 4}<|end_of_box|>", "a dog", "<|begin_of_box|>{1, 2, 3, 4}<|end_of_box|>"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_boxes_without_tags_or_with_broken_ones_are_read(dialect, text, phrase, span):
    (mention,) = dialect.parse(text, SIZE)
    assert (mention.phrase, mention.status, text[slice(*mention.span)]) == (phrase, "ok", span)


@pytest.mark.parametrize(
    ("dialect", "text"),
    [
        (INTERNVL, "<ref>a dog</ref> in 2024 [3], said [sic] and (1, 2, 3, 4)"),
        (QWEN2, "in (2024), at (3, 4), by [sic] and [3]"),
        (GLM, "<|begin_of_box|>42<|end_of_box|> in (2024) or (1, 2, 3), [7] and <sic>"),
        (MINIGPT, "<p>a dog</p> in {2024} <sic>"),
        (COGVLM, "Say it in [[x0,y0,x1,y1]] format, as in [3]."),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_what_is_no_attempt_at_a_box_is_left_alone(dialect, text):
    assert dialect.parse(text, SIZE) == []


def test_words_hold_no_tags_and_no_special_tokens():
    assert INTERNVL.words("<ref>a dog</ref> sits<|im_end|>", SIZE) == "a dog sits"
    assert DEEPSEEK.words("<|ref|>a dog<|/ref|><|det|>[[1, 2, 3, 4]]<|/det|><｜end▁of▁sentence｜>", SIZE) == "a dog"
    assert GLM.words("<|begin_of_box|>a dog [1,2,3,4]<|end_of_box|><|user|>", SIZE) == "a dog"


def test_a_cut_off_box_among_several_is_replaced_with_its_tags():
    text = "<ref>dogs</ref><box>[[1, 2, 3, 4]]</box><box>[[5, 6"
    assert texts(INTERNVL.parse(text, (1000, 1000))) == [("dogs", (1, 2, 3, 4), ""), ("dogs", None, "unclosed")]
    mended = "<ref>dogs</ref><box>[[1, 2, 3, 4]]</box><box>[[5, 6, 7, 8]]</box>"
    assert INTERNVL.rewrite(text, (1000, 1000), {1: (5, 6, 7, 8)}) == mended
    text = "<p>dogs</p> {<1><2><3>}<delim>{<1><2><3><4>}"
    assert MINIGPT.rewrite(text, (100, 100), {0: (5, 6, 7, 8)}) == "<p>dogs</p> {<5><6><7><8>}<delim>{<1><2><3><4>}"


def test_qwen2_reads_more_corners_two_by_two():
    text = "<|box_start|>(1,2),(3,4),(5,6),(7,8),(9,10)<|box_end|>"
    assert texts(QWEN2.parse(text, (1000, 1000))) == [
        (None, (1, 2, 3, 4), ""),
        (None, (5, 6, 7, 8), ""),
        (None, None, "wrong_count"),
    ]
