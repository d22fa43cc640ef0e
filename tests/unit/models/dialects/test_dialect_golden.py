"""Golden texts: what each family writes, read, rewritten and taken away. The numbers can be checked with a pencil."""

from __future__ import annotations

import pytest
from as_read import texts

from spr.errors import RecipeError
from spr.models import dialects

SIZE = (640, 480)


def test_ferret_reads_thousandths_of_each_axis():
    text = "There is a dog [100, 200, 300, 400], a black and white cat [0, 0, 1000, 1000] and a tree [500, 500, 750, 750]."
    assert texts(dialects.get("ferret").parse(text, SIZE)) == [
        ("There is a dog", (64, 96, 192, 192), ""),
        ("a black and white cat", (0, 0, 640, 480), ""),
        ("a tree", (320, 240, 480, 360), ""),
    ]


def test_ferret_writes_whole_numbers_cut_down():
    ferret = dialects.get("ferret")
    assert ferret.format((64.5, 96, 192, 192.9), SIZE) == "[100, 200, 300, 401]"
    assert ferret.ground("a dog", (64, 96, 192, 192), SIZE) == "a dog [100, 200, 300, 400]"


def test_ferret_asks_without_the_commas_of_the_expression():
    ferret = dialects.get("ferret")
    assert ferret.rec_prompt("man, left") == "What is the location of man left in the image?"
    assert "[100, 200, 300, 400] <region_fea>" in ferret.region_prompt((64, 96, 192, 192), SIZE)


def test_tiny_reads_four_tokens_as_a_box():
    text = "red circle <12> <20> <33> <41> , blue square <40> <8> <61> <30>"
    tiny = dialects.get("tiny")
    assert texts(tiny.parse(text, (96, 96))) == [
        ("red circle", (12, 20, 33, 41), ""),
        ("blue square", (40, 8, 61, 30), ""),
    ]
    assert tiny.words(text, (96, 96)) == "red circle , blue square"
    assert [m.span for m in tiny.parse(text, (96, 96))] == [(11, 30), (45, 63)]


def test_tiny_stretches_the_image_to_96():
    tiny = dialects.get("tiny")
    assert tiny.format((20, 10, 101, 55), (200, 100)) == "<10> <10> <48> <53>"
    assert tiny.parse("<10> <10> <48> <53>", (192, 96))[0].box == (20, 10, 96, 53)
    assert tiny.rec_prompt("the red circle") == "where is the red circle ?"
    assert tiny.region_prompt((20, 10, 101, 55), (200, 100)) == "what is in <10> <10> <48> <53> ?"


@pytest.mark.parametrize("text", ["a <1> <2> <3>", "a <1> <2> <3> <4> <5>", "a <1> <2> <3> <4> <5> <6> <7> <8>"])
def test_tiny_calls_a_run_of_other_than_four_tokens_unreadable(text):
    assert texts(dialects.get("tiny").parse(text, (96, 96))) == [("a", None, "wrong_count")]


def test_llava_onevision_reads_shares_of_the_original():
    llava = dialects.get("llava-onevision")
    assert llava.parse("a dog [0.25, 0.50, 0.75, 1.00]", (400, 200))[0].box == (100, 100, 300, 200)
    assert llava.format((100, 100, 300, 200), (400, 200)) == "[0.25, 0.50, 0.75, 1.00]"


def test_llava_onevision_padded_counts_the_square():
    # 400x200 is padded by 100 above and below: y 0 stands at 100 of 400.
    padded = dialects.get("llava-onevision", frame="padded")
    assert padded.format((100, 0, 300, 200), (400, 200)) == "[0.25, 0.25, 0.75, 0.75]"
    assert padded.parse("[0.25, 0.25, 0.75, 0.75]", (400, 200))[0].box == (100, 0, 300, 200)
    assert padded.parse("[0.25, 0.00, 0.75, 0.20]", (400, 200))[0].reason == "empty"


DOG = '{"bbox_2d": [100, 50, 200, 150], "label": "dog"}'
CAT = '{"label": "a \\"b\\" cat", "bbox_2d": [10, 20, 30, 40]}'
QWEN = f"```json\n[\n\t{DOG},\n\t{CAT}\n]\n```"


def test_qwen_reads_pixels_of_the_processed_image_and_labels():
    qwen = dialects.get("qwen2.5-vl", processed_size=(1000, 500))
    assert texts(qwen.parse(QWEN, (2000, 1000))) == [
        ("dog", (200, 100, 400, 300), ""),
        ('a "b" cat', (20, 40, 60, 80), ""),
    ]
    assert qwen.words(QWEN, (2000, 1000)) == 'dog, a "b" cat'
    assert qwen.ground("dog", (200, 100, 400, 300), (2000, 1000)) == '{"bbox_2d": [100, 50, 200, 150], "label": "dog"}'


def test_qwen_rewrites_inside_the_json():
    qwen = dialects.get("qwen2.5-vl", processed_size=(1000, 500))
    changed = qwen.rewrite(QWEN, (2000, 1000), {0: (2, 4, 6, 8), 1: None})
    dog, cat = '{"bbox_2d": [1, 2, 3, 4], "label": "dog"}', '{"label": "a \\"b\\" cat"}'
    assert changed == f"```json\n[\n\t{dog},\n\t{cat}\n]\n```"
    assert qwen.rewrite(QWEN, (2000, 1000), {0: None}) == QWEN.replace('"bbox_2d": [100, 50, 200, 150], ', "")
    assert qwen.drop(QWEN, (2000, 1000), [1]) == '```json\n[\n\t{"bbox_2d": [100, 50, 200, 150], "label": "dog"}\n]\n```'


def test_qwen_reads_bare_brackets_in_prose():
    qwen = dialects.get("qwen2.5-vl", processed_size=(100, 100))
    assert texts(qwen.parse("A dog [1, 2, 3, 4] runs.", (100, 100))) == [("A dog", (1, 2, 3, 4), "")]
    assert qwen.words("A dog [1, 2, 3, 4] runs.", (100, 100)) == "A dog runs."
    said = 'There are two: [{"bbox_2d": [1, 2, 3, 4], "label": "cat"}, {"bbox_2d": [1, 2, 3, 4], "label": "dog"}] as asked.'
    assert qwen.words(said, (100, 100)) == "There are two: cat, dog as asked."


def test_qwen_keeps_an_answer_that_was_cut_off():
    text = '[{"bbox_2d": [1, 2, 3, 4], "label": "cat"}, {"bbox_2d": [1, 2, 3'
    qwen = dialects.get("qwen2.5-vl", processed_size=(100, 100))
    assert texts(qwen.parse(text, (100, 100))) == [("cat", (1, 2, 3, 4), ""), (None, None, "unclosed")]
    assert qwen.words(text, (100, 100)) == "cat"


LIST = "- **dog**: [1, 2, 3, 4]\n- cat [5, 6, 7, 8]\nAs asked:\n[1, 1, 9, 9]"


def test_a_list_names_its_boxes_without_bullets_emphasis_and_colons():
    ferret, size = dialects.get("ferret"), (1000, 1000)
    assert [mention.phrase for mention in ferret.parse(LIST, size)] == ["dog", "cat", None]
    assert ferret.drop(LIST, size, [0]) == "- cat [5, 6, 7, 8]\nAs asked:\n[1, 1, 9, 9]"
    assert ferret.drop(LIST, size, [1]) == "- **dog**: [1, 2, 3, 4]\nAs asked:\n[1, 1, 9, 9]"
    said = "There are: a dog [1, 2, 3, 4], and a cat [5, 6, 7, 8]"
    assert ferret.drop(said, size, [0]) == "There are: a cat [5, 6, 7, 8]"


def test_one_mention_a_box_in_double_brackets():
    text = "two dogs [[10,20,30,40;50,60,70,80]] and a cat"
    ferret = dialects.get("ferret")
    mentions = ferret.parse(text, (1000, 1000))
    assert texts(mentions) == [("two dogs", (10, 20, 30, 40), ""), ("two dogs", (50, 60, 70, 80), "")]
    assert [text[slice(*m.span)] for m in mentions] == ["10,20,30,40", "50,60,70,80"]
    assert ferret.rewrite(text, (1000, 1000), {1: None}) == "two dogs [[10,20,30,40]] and a cat"
    assert ferret.rewrite(text, (1000, 1000), {0: None}) == "two dogs [[50,60,70,80]] and a cat"
    assert ferret.rewrite(text, (1000, 1000), {0: None, 1: None}) == "two dogs and a cat"
    assert ferret.rewrite(text, (1000, 1000), {0: (1, 2, 3, 4)}) == "two dogs [[1,2,3,4;50,60,70,80]] and a cat"


@pytest.mark.parametrize(
    ("text", "gone", "left"),
    [
        ("a dog [1, 2, 3, 4] sits", [0], "sits"),
        (
            "a dog [1, 2, 3, 4], a cat [5, 6, 7, 8] and a cow [9, 9, 10, 10].",
            [0],
            "a cat [5, 6, 7, 8] and a cow [9, 9, 10, 10].",
        ),
        (
            "a dog [1, 2, 3, 4], a cat [5, 6, 7, 8] and a cow [9, 9, 10, 10].",
            [1],
            "a dog [1, 2, 3, 4] and a cow [9, 9, 10, 10].",
        ),
        ("a dog [1, 2, 3, 4], a cat [5, 6, 7, 8] and a cow [9, 9, 10, 10].", [2], "a dog [1, 2, 3, 4], a cat [5, 6, 7, 8]."),
        ("a dog [1, 2, 3, 4], a cat [5, 6, 7, 8] and a cow [9, 9, 10, 10].", [0, 1], "a cow [9, 9, 10, 10]."),
        ("a dog [1, 2, 3, 4], a cat [5, 6, 7, 8] and a cow [9, 9, 10, 10].", [0, 1, 2], ""),
        ("Here. A dog [1, 2, 3, 4]. A cat [5, 6, 7, 8].", [0], "Here. A cat [5, 6, 7, 8]."),
    ],
)
def test_drop_takes_words_and_joints(text, gone, left):
    assert dialects.get("ferret").drop(text, (1000, 1000), gone) == left


@pytest.mark.parametrize(
    ("gone", "left"), [([0], "b <5> <6> <7> <8> , c <1> <2>"), ([1], "a <1> <2> <3> <4> , c <1> <2>"), ([0, 1, 2], "")]
)
def test_drop_in_the_tiny_dialect(gone, left):
    assert dialects.get("tiny").drop("a <1> <2> <3> <4> , b <5> <6> <7> <8> , c <1> <2>", (96, 96), gone) == left


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a dog [1, 2, 3, 4] sits.", "a dog sits."),
        ("a dog [1, 2, 3, 4].", "a dog."),
        ("[1, 2, 3, 4] is a dog", "is a dog"),
        ("a dog ([1, 2, 3, 4]) sits", "a dog sits"),
        ("dogs [1, 2, 3, 4] [5, 6, 7, 8], a cat [9, 1, 2, 3]", "dogs, a cat"),
        ("a  dog  [1, 2, 3, 4]  sits", "a  dog   sits"),
        ("as shown [3] by [sic] a dog [1, 2, 3", "as shown [3] by [sic] a dog"),
    ],
)
def test_words_lose_the_mark_up_and_its_one_space(text, words):
    assert dialects.get("ferret").words(text, (1000, 1000)) == words


@pytest.mark.parametrize(
    ("name", "text", "new"),
    [
        ("ferret", "[001, 020, 300, 400]", "[100, 100, 200, 200]"),
        ("ferret", "[001, 020,300 ,400]", "[100, 100,200 ,200]"),
        ("ferret", "[ 0010, 20, 300, 400 ]", "[ 0100, 0100, 0200, 0200 ]"),
        ("llava-onevision", "[0.613, 0.2, 0.9, 0.95]", "[0.1, 0.1, 0.2, 0.2]"),
        ("llava-onevision", "[0.613, 0.200, 0.900, 0.950]", "[0.100, 0.100, 0.200, 0.200]"),
        ("llava-onevision", "[0, 0, 1, 1]", "[0.10, 0.10, 0.20, 0.20]"),
        ("tiny", "<1> <2> <30> <40>", "<10> <10> <19> <19>"),
    ],
)
def test_a_new_box_is_written_in_the_digit_style_of_the_old(name, text, new):
    assert dialects.get(name).rewrite(f"x {text} y", (1000, 1000), {0: (100, 100, 200, 200)}) == f"x {new} y"


def test_a_box_that_could_not_be_read_is_replaced_whole():
    ferret = dialects.get("ferret")
    assert ferret.rewrite("a dog [1, 2", (1000, 1000), {0: (1, 2, 3, 4)}) == "a dog [1, 2, 3, 4]"
    assert ferret.rewrite("a dog [9, 9, 8, 8].", (1000, 1000), {0: (1, 2, 3, 4)}) == "a dog [1, 2, 3, 4]."


@pytest.mark.parametrize("index", [1, -1])
def test_an_index_that_is_not_there_is_a_key_error(index):
    with pytest.raises(KeyError):
        dialects.get("ferret").rewrite("a [1, 2, 3, 4]", SIZE, {index: None})
    with pytest.raises(KeyError):
        dialects.get("ferret").drop("a [1, 2, 3, 4]", SIZE, [index])


def test_unknown_names_and_options_list_the_known_ones():
    with pytest.raises(RecipeError, match=r"'parrot'; it must be one of .*ferret, .*tiny"):
        dialects.get("parrot")
    with pytest.raises(RecipeError, match="unknown option side; known are: frame"):
        dialects.get("llava-onevision", side=3)
    with pytest.raises(RecipeError, match="frame is 'square'"):
        dialects.get("llava-onevision", frame="square")
    with pytest.raises(RecipeError, match="processed_size"):
        dialects.get("qwen2.5-vl", processed_size=[3])
    with pytest.raises(RecipeError, match="leave no size"):
        dialects.get("qwen2.5-vl", min_pixels=10, max_pixels=5)
