"""Json as models write it: what is a box there, whose label it has, and that what is left stays json. 1000x1000 pixels, in
which a step of 0-1000 is one pixel."""

from __future__ import annotations

import ast
import json

import pytest

from spr.models import dialects
from timed import grows_with_the_length

SIZE = (1000, 1000)
QWEN3 = dialects.get("qwen3-vl")
QWEN2_5 = dialects.get("qwen2.5-vl", processed_size=SIZE)
A, B = (1, 2, 300, 400), (5, 6, 700, 800)
CAT = '{"bbox_2d": [5, 6, 700, 800], "label": "cat"}'

both = pytest.mark.parametrize("dialect", [QWEN3, QWEN2_5], ids=lambda dialect: dialect.name)


def texts(text, dialect=QWEN3):
    return [(m.phrase, m.box and tuple(round(v, 3) for v in m.box), m.reason) for m in dialect.parse(text, SIZE)]


OBJECTS = {
    "braces in the label": ('{"bbox_2d": [1, 2, 300, 400], "label": "sign {A}"}', "sign {A}"),
    "a brace in the label": ('{"bbox_2d": [1, 2, 300, 400], "label": "a } and a {"}', "a } and a {"),
    "quotes and a brace in the label": (r'{"bbox_2d": [1, 2, 300, 400], "label": "a \"b}\", c"}', 'a "b}", c'),
    "a box in the label": ('{"label": "seat [1, 2, 3, 4]", "bbox_2d": [1, 2, 300, 400]}', "seat [1, 2, 3, 4]"),
    "an object between": ('{"bbox_2d": [1, 2, 300, 400], "attributes": {"color": "red"}, "label": "car"}', "car"),
    "an object before": ('{"label": "car", "attributes": {"color": "red"}, "bbox_2d": [1, 2, 300, 400]}', "car"),
    "a label inside": ('{"attributes": {"label": "red"}, "bbox_2d": [1, 2, 300, 400], "label": "car"}', "car"),
    "another label": ('{"bbox_2d": [1, 2, 300, 400], "sub_label": "Dr", "label": "cat"}', "cat"),
    "brackets elsewhere": ('{"color": [9, 9, 9, 9], "bbox_2d": [1, 2, 300, 400], "label": "car", "xy": [10, 20]}', "car"),
    "a list of one": ('{"bbox_2d": [[1, 2, 300, 400]], "label": "car"}', "car"),
    "no label": ('{"bbox_2d": [1, 2, 300, 400]}', None),
    "a label that is no text": ('{"bbox_2d": [1, 2, 300, 400], "label": 3}', None),
    "half a pair": (r'{"bbox_2d": [1, 2, 300, 400], "label": "\ud83d"}', r"\ud83d"),
}


@both
@pytest.mark.parametrize(("first", "label"), OBJECTS.values(), ids=OBJECTS.keys())
def test_an_object_is_read_taken_away_and_rewritten_as_a_whole(dialect, first, label):
    text = f"[{first}, {CAT}]"
    assert texts(text, dialect) == [(label, A, ""), ("cat", B, "")]
    assert dialect.drop(text, SIZE, [0]) == f"[{CAT}]"
    assert dialect.drop(text, SIZE, [1]) == f"[{first}]"
    assert dialect.drop(text, SIZE, [0, 1]) == "[]"
    kept = json.loads(dialect.rewrite(text, SIZE, {0: None}))[0]
    assert kept == {key: value for key, value in json.loads(first).items() if key != "bbox_2d"}
    moved = json.loads(dialect.rewrite(text, SIZE, {0: (7, 8, 9, 10)}))
    box = [[7, 8, 9, 10]] if "[[" in first else [7, 8, 9, 10]
    assert moved == [{**json.loads(first), "bbox_2d": box}, json.loads(CAT)]
    assert dialect.words(text, SIZE) == ", ".join([label, "cat"] if label else ["cat"])


@both
def test_python_quotes_are_quotes(dialect):
    text = (
        """[{'bbox_2d': [1, 2, 300, 400], 'label': "man's {dog}"}, {'bbox_2d': [5, 6, 700, 800], 'label': 'a "b", it\\'s'}]"""
    )
    assert texts(text, dialect) == [("man's {dog}", A, ""), ('a "b", it\'s', B, "")]
    assert ast.literal_eval(dialect.drop(text, SIZE, [0])) == ast.literal_eval(text)[1:]
    assert dialect.words(text, SIZE) == "man's {dog}, a \"b\", it's"


@both
def test_every_box_of_a_list_has_the_label_of_its_object(dialect):
    text = f'[{{"bbox_2d": [[1, 2, 300, 400], [5, 6, 700, 800], [1, 2]], "label": "dogs"}}, {CAT}]'
    assert texts(text, dialect) == [("dogs", A, ""), ("dogs", B, ""), ("dogs", None, "wrong_count"), ("cat", B, "")]
    left = json.loads(dialect.rewrite(text, SIZE, {0: None, 1: (7, 8, 9, 10), 2: A}))
    assert left[0] == {"bbox_2d": [[7, 8, 9, 10], [1, 2, 300, 400]], "label": "dogs"}
    assert json.loads(dialect.rewrite(text, SIZE, {0: None, 1: None, 2: None}))[0] == {"label": "dogs"}
    assert json.loads(dialect.drop(text, SIZE, [1]))[0] == {"bbox_2d": [[1, 2, 300, 400], [1, 2]], "label": "dogs"}
    assert dialect.drop(text, SIZE, [0, 1, 2]) == f"[{CAT}]"


@both
def test_a_point_is_no_box(dialect):
    assert dialect.parse('[{"point_2d": [10, 20], "label": "cat"}]', SIZE) == []
    assert dialect.words('[{"point_2d": [10, 20], "label": "cat"}]', SIZE) == "cat"


@both
def test_objects_in_objects_stay_json(dialect):
    text = f'{{"objects": [{CAT}, {CAT}], "dog": {{"bbox_2d": [1, 2, 300, 400]}}, "n": 3}}'
    assert texts(text, dialect) == [("cat", B, ""), ("cat", B, ""), (None, A, "")]
    assert json.loads(dialect.drop(text, SIZE, [1])) == {**json.loads(text), "objects": [json.loads(CAT)]}
    assert json.loads(dialect.drop(text, SIZE, [2])) == {"objects": [json.loads(CAT)] * 2, "n": 3}


@both
def test_an_object_that_holds_other_boxes_loses_its_own_only(dialect):
    text = f'[{{"bbox_2d": [1, 2, 300, 400], "label": "car", "parts": [{CAT}]}}]'
    assert texts(text, dialect) == [("car", A, ""), ("cat", B, "")]
    assert json.loads(dialect.drop(text, SIZE, [0])) == [{"label": "car", "parts": [json.loads(CAT)]}]
    assert json.loads(dialect.drop(text, SIZE, [1])) == [{"bbox_2d": list(A), "label": "car", "parts": []}]


DOG = '{"bbox_2d": [1, 2, 300, 400], "label": "dog"}'


@both
@pytest.mark.parametrize("cut", range(len(DOG) + 3, len(f"[{DOG}, {CAT}]")))
def test_what_is_cut_off_spoils_nothing_before(dialect, cut):
    text = f"[{DOG}, {CAT}]"[:cut]
    first, *more = texts(text, dialect)
    assert first == ("dog", A, "")
    assert len(more) <= 1
    left = dialect.drop(text, SIZE, range(1, len(more) + 1))
    assert not more or left == f"[{DOG}"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('[{"bbox_2d": [1, 2, 300, 400], "label": "dog}, ' + CAT + "]", [(None, A, ""), ("cat", B, "")]),
        ('[{"bbox_2d": [1, 2, 300, 400], "label": "dog", ' + CAT + "]", [("dog", A, ""), ("cat", B, "")]),
        ('[{"bbox_2d": [1, 2, 300, 400, "label": "dog"}, ' + CAT + "]", [("dog", None, "unclosed"), ("cat", B, "")]),
        ('[{"bbox_2d": [1, 2, 300, 400]], "label": "dog"}, ' + CAT + "]", [("dog", A, ""), ("cat", B, "")]),
        ('[{"bbox_2d": [1, 2, 300, 400], "label": "a "big" dog"}, ' + CAT + "]", [('a "big" dog', A, ""), ("cat", B, "")]),
    ],
    ids=["quote", "brace", "bracket", "a bracket too many", "quotes inside"],
)
def test_a_slip_in_one_object_spoils_no_other(text, found):
    assert texts(text) == found
    assert QWEN3.drop(text, SIZE, [0]) == f"[{CAT}]"


@pytest.mark.parametrize("answer", [f"[{DOG}]", f"```json\n[{DOG}]\n```", f"[{DOG[:-1]}]", f"```json\n[{DOG[:-1]}\n```"])
def test_boxes_outside_json_have_the_words_before_them(answer):
    text = f"A car [5, 6, 7, 8] and {answer} and a cat [5, 6, 700, 800]."
    assert texts(text) == [("A car", (5, 6, 7, 8), ""), ("dog", A, ""), ("a cat", B, "")]


@pytest.mark.parametrize("text", ["{ a dog [1, 2, 3, 4] }", '{"a dog [1, 2, 3, 4] and', "it's {a dog [1, 2, 3, 4]}, isn't it"])
def test_a_brace_without_a_key_begins_no_json(text):
    assert [mention.box for mention in QWEN3.parse(text, SIZE)] == [(1, 2, 3, 4)]


HOSTILE = [
    '{"a": ',
    '{"a',
    '"',
    "'",
    '{"bbox_2d": [[1, 2, 3, 4], ',
    '{"label": "',
    "{",
    "}",
    '{"a": "b" c',
    '{"a": \\',
    '{"a": [',
    "]",
]
HOSTILE += ['{"bbox_2d": [1, 2, 3, 4], "label": "a"}', "{'a':    ", '" {"', '"   ', '{"bbox_2d": [{"bbox_2d": [1, 2, 3, 4]}, ']


@pytest.mark.parametrize("piece", HOSTILE)
@pytest.mark.parametrize("opening", ["", '{"a": ', '{"a": "'])
def test_hostile_text_takes_time_by_its_length(opening, piece):
    def read(text):
        mentions = QWEN3.parse(text, SIZE)
        QWEN3.words(text, SIZE)
        QWEN3.drop(text, SIZE, range(len(mentions)))

    assert grows_with_the_length(read, opening, piece)
