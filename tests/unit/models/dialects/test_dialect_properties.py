"""What holds for every dialect: round trips within a cell, nothing raises, time grows with length and no faster."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize as reference_resize

from spr.models import dialects
from spr.models.dialects.qwen2_5_vl import smart_resize
from timed import grows_with_the_length

DIALECTS = {name: dialects.get(name) for name in dialects.FAMILIES} | {
    "llava-onevision padded": dialects.get("llava-onevision", frame="padded"),
    "qwen2.5-vl limits": dialects.get("qwen2.5-vl", min_pixels=3136, max_pixels=1003520),
    "qwen2.5-vl size": dialects.get("qwen2.5-vl", processed_size=(336, 448)),
}
every_dialect = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS.keys())


def tolerance(dialect, size, box):
    """How far the corners may move along each axis, in pixels: one step of the numbers that the family writes. Two where
    the numbers do not reach the image's edge, and the box lies in the cell there: it has to grow towards the middle."""
    decimals = [len(digits) for digits in re.findall(r"\.(\d+)", dialect.format(box, size))]
    grid = dialect.grid(size)
    for axis, side in enumerate(size):
        low, high, scale = box[axis], box[axis + 2], grid.scale[axis]
        cell = 0.1 ** max(decimals, default=0) / scale
        first, last = ((number + grid.centre) / scale - grid.offset[axis] for number in (0, grid.top[axis]))
        squeezed = (first > 0 and high < first + cell) or (last < side and low > last - cell)
        yield cell * (2 if squeezed else 1) + 1e-6


@st.composite
def sizes_and_boxes(draw):
    size = draw(st.tuples(st.integers(28, 4000), st.integers(28, 4000)))
    corners = []
    for side in size:
        low = draw(st.floats(0, side - 1))
        corners.append((low, draw(st.floats(low + 0.5, side))))
    (x0, x1), (y0, y1) = corners
    return size, (x0, y0, x1, y1)


@every_dialect
@settings(max_examples=40)
@given(drawn=sizes_and_boxes())
def test_a_written_box_is_read_back_within_one_cell(dialect, drawn):
    size, box = drawn
    (mention,) = dialect.parse(dialect.ground("a thing", box, size), size)
    assert mention.status == "ok"
    assert mention.phrase == "a thing"
    moved = [abs(written - read) for written, read in zip(box, mention.box, strict=True)]
    x, y = tolerance(dialect, size, box)
    assert max(moved[0], moved[2]) <= x
    assert max(moved[1], moved[3]) <= y


@every_dialect
@settings(max_examples=40)
@given(drawn=sizes_and_boxes())
def test_reading_and_writing_again_changes_nothing(dialect, drawn):
    size, box = drawn
    text = dialect.format(box, size)
    assert dialect.format(dialect.parse(text, size)[0].box, size) == text


@every_dialect
@settings(max_examples=40)
@given(drawn=sizes_and_boxes())
def test_rewriting_a_box_by_itself_is_the_identity(dialect, drawn):
    size, box = drawn
    text = f"Look: {dialect.ground('a thing', box, size)} and {dialect.ground('another', box, size)}."
    mentions = dialect.parse(text, size)
    assert dialect.rewrite(text, size, {i: mention.box for i, mention in enumerate(mentions)}) == text


@every_dialect
@settings(max_examples=40)
@given(drawn=sizes_and_boxes(), before=st.text("ab ,.é", max_size=12), after=st.text("ab ,.é", max_size=12))
def test_only_the_span_asked_for_is_touched(dialect, drawn, before, after):
    size, box = drawn
    text = f"{before} thing {dialect.format(box, size)} {after}"
    (mention,) = dialect.parse(text, size)
    changed = dialect.rewrite(text, size, {0: (0, 0, size[0], size[1])})
    assert changed.startswith(text[: mention.span[0]])
    assert changed.endswith(text[mention.span[1] :])
    assert dialect.rewrite(text, size, {}) == text
    assert dialect.rewrite(text, size, {0: None}) == text[: mention.span[0] - 1] + text[mention.span[1] :]


SIZE = (640, 480)
FRAGMENTS = ["[", "]", "[[", "]]", "<", ">", "<12>", " ", ", ", ";", "0.5", "12", "999", "-3", "a dog", ".", "\n", "(", ")"]
FRAGMENTS += ["{", "}", ": ", "[1, 2, 3, 4]", "[1, 2, 3", "[9, 9, 1, 1]", "<1> <2> <3> <4>", "١٢", "é", "\x00", "and "]
FRAGMENTS += ["9" * 50, "<|im_end|>", "</s>", "```json"]
FRAGMENTS += [
    "0.",
    ".5",
    "0.1234567890123",
    "0." + "1" * 400,
    "[0., 0., 1., 1.]",
    "[0.1, 0.25, 0.5, 0.75]",
    "[0.1, 0.2, 0.5, 1]",
]
FRAGMENTS += [
    '"',
    "'",
    "\\",
    ":",
    '{"a": {',
    '{"bbox_2d": [',
    '{"bbox_2d": [[1, 2, 3, 4], [5, 6, 7, 8]]',
    "{'bbox_2d': [1, 2, 3, 4], ",
]
FRAGMENTS += ['"label": "a {b} \\"c\\" d"', "'label': 'a'", '"label": "it\'s', '{"point_2d": [1, 2]}', "}, "]


def own_fragments(dialect):
    """What the family writes itself, cut in pieces and whole."""
    written = dialect.ground("a dog", (64, 96, 320, 240), SIZE)
    half = len(written) // 2
    return [
        *re.findall(r"<[^<>]*>|\w+|[^\w\s]", written),
        dialect.format((64, 96, 320, 240), SIZE),
        written[:half],
        written[half:],
    ]


@every_dialect
@settings(max_examples=60)
@given(data=st.data())
def test_whatever_is_written_can_be_read_rewritten_and_dropped(dialect, data):
    pieces = st.sampled_from(FRAGMENTS) | st.sampled_from(own_fragments(dialect))
    text, size = "".join(data.draw(st.lists(pieces, max_size=40))), SIZE
    mentions = dialect.parse(text, size)
    spans = [mention.span for mention in mentions]
    assert spans == sorted(spans)
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert all(a[1] <= b[0] for a, b in pairwise(spans))
    for mention in mentions:
        assert (mention.box is None) == (mention.status == "unreadable") == bool(mention.reason)
    everything = range(len(mentions))
    assert len(dialect.words(text, size)) <= len(text)
    assert len(dialect.drop(text, size, everything)) <= len(text)
    moved = dialect.rewrite(text, size, dict.fromkeys(everything, (10, 20, 300, 400)))
    assert len(dialect.parse(moved, size)) == len(mentions)
    x, y = tolerance(dialect, size, (10, 20, 300, 400))
    for mention in dialect.parse(moved, size):
        assert mention.status == "ok"
        off = [abs(written - read) for written, read in zip((10, 20, 300, 400), mention.box, strict=True)]
        assert max(off[0], off[2]) <= x
        assert max(off[1], off[3]) <= y
    if mentions:
        first = dialect.parse(dialect.rewrite(text, size, {0: (10, 20, 300, 400)}), size)
        assert [mention.box for mention in first[1:]] == [mention.box for mention in mentions[1:]]


@every_dialect
@settings(max_examples=40)
@given(text=st.text(max_size=200))
def test_any_text_can_be_parsed(dialect, text):
    for mention in dialect.parse(text, (640, 480)):
        assert 0 <= mention.span[0] < mention.span[1] <= len(text)
        assert (mention.box is None) == (mention.status == "unreadable")
    assert len(dialect.words(text, (640, 480))) <= len(text)


@pytest.mark.parametrize(
    ("name", "box", "reason"),
    [
        ("ferret", "[300, 20, 30, 400]", "reversed"),
        ("ferret", "[30, 20, 30, 400]", "empty"),
        ("ferret", "[1, 2, 3, 1001]", "out_of_range"),
        ("ferret", "[-1, 2, 3, 4]", "malformed"),
        ("ferret", "[0.1, 0.2, 0.3, 0.4]", "malformed"),
        ("ferret", "[١, ٢, ٣, ٤]", "malformed"),
        ("ferret", "[1 2 3 4]", "malformed"),
        ("ferret", "[1, 2, 3]", "wrong_count"),
        ("ferret", "[1, 2, 3, " + "9" * 5000 + "]", "malformed"),
        ("ferret", "[1, 2, 3, 4", "unclosed"),
        ("llava-onevision", "[0.1, 0.2, 0.3, 1.01]", "out_of_range"),
        ("llava-onevision", "[0.5, 0.2, 0.3, 0.4]", "reversed"),
        ("llava-onevision", "[12, 20, 30, 40]", "out_of_range"),
        ("tiny", "<30> <2> <3> <4>", "reversed"),
        ("tiny", "<3> <2> <3> <4>", "empty"),
        ("tiny", "<1> <2> <3> <97>", "out_of_range"),
        ("tiny", "<1> <2> <3> <٤>", "malformed"),
        ("qwen2.5-vl", '{"bbox_2d": [1, 2, 3, 99999], "label": "x"}', "out_of_range"),
        ("qwen3-vl", '{"bbox_2d": [1, 2, 3, 1001], "label": "x"}', "out_of_range"),
        ("cogvlm", "[[001,002,003,1000]]", "out_of_range"),
        ("cogvlm", "[[300,020,030,400]]", "reversed"),
        ("shikra", "[0.1,0.2,0.3,1.001]", "out_of_range"),
        ("shikra", "[0.1,0.2,0.3", "unclosed"),
        ("qwen2-vl", "<|box_start|>(1,2),(3,1001)<|box_end|>", "out_of_range"),
        ("qwen2-vl", "<|box_start|>(30,2),(3,4)<|box_end|>", "reversed"),
        ("qwen2-vl", "<|box_start|>(1,2)<|box_end|>", "wrong_count"),
        ("qwen2-vl", "<|box_start|>(1,2),(3,4,5)<|box_end|>", "wrong_count"),
        ("qwen2-vl", "<|box_start|>(1 2),(3 4)<|box_end|>", "malformed"),
        ("qwen2-vl", "<|box_start|>(1,2),(3", "unclosed"),
        ("qwen2-vl", "(1,2),(3", "unclosed"),
        ("internvl", "<box>[[1, 2, 3, 1001]]</box>", "out_of_range"),
        ("internvl", "<box>[[1, 2, 3]]</box>", "wrong_count"),
        ("internvl", "<box>1, 2, 3, 4", "unclosed"),
        ("internvl", "<box>[[1, 2, 3, 4", "unclosed"),
        ("internvl", "<box>[[0.1, 0.2, 0.3, 0.4]]</box>", "malformed"),
        ("internvl", "<box>there</box>", "wrong_count"),
        ("deepseek-vl2", "<|det|>[[1, 2, 3, 1000]]<|/det|>", "out_of_range"),
        ("deepseek-vl2", "<|det|>[[1 2 3 4]]<|/det|>", "malformed"),
        ("minigpt-v2", "{<1><2><3><101>}", "out_of_range"),
        ("minigpt-v2", "{<1><2><3>}", "wrong_count"),
        ("minigpt-v2", "{<1><2><3><4", "unclosed"),
        ("minigpt-v2", "{<1><2><3><٤>}", "malformed"),
        ("glm-4.5v", "<|begin_of_box|>[1,2,3,1001]<|end_of_box|>", "out_of_range"),
        ("glm-4.5v", "<|begin_of_box|>(1,2,3)<|end_of_box|>", "wrong_count"),
        ("glm-4.5v", "<|begin_of_box|>[1,2,3,4", "unclosed"),
    ],
)
def test_what_cannot_be_read_says_why(name, box, reason):
    (mention,) = dialects.get(name).parse(f"a dog {box}", (640, 480))
    assert (mention.status, mention.box, mention.reason) == ("unreadable", None, reason)


@every_dialect
@pytest.mark.parametrize("box", [(0, 0, 0, 5), (5, 5, 1, 9), (0, 0, float("nan"), 5), (0, 0, float("inf"), 5)])
def test_what_is_no_box_cannot_be_written(dialect, box):
    with pytest.raises(ValueError, match="no box"):
        dialect.format(box, (640, 480))


HARD = [
    "[",
    "[1, ",
    "[1, 2, 3, 4], ",
    "[[1, 2, 3, 4], ",
    "<1> ",
    '{"bbox_2d": [1, 2, 3, 4], "label": "',
    '{"bbox_2d": ',
    "[1, 2, 3, 4;",
]
HARD += ["<", "( ", "    ", "<|", "1, "]


@pytest.mark.slow
@every_dialect
def test_time_is_linear_in_the_length(dialect):
    def read(text):
        mentions = dialect.parse(text, (640, 480))
        dialect.words(text, (640, 480))
        dialect.drop(text, (640, 480), range(len(mentions)))

    for piece in [*HARD, *own_fragments(dialect)]:
        assert grows_with_the_length(read, "", piece), piece


@every_dialect
def test_ten_thousand_boxes(dialect):
    text = ", ".join(dialect.ground("a thing", (10, 20, 300, 400), (640, 480)) for _ in range(10_000))
    mentions = dialect.parse(text, (640, 480))
    assert len(mentions) == 10_000
    assert all(mention.status == "ok" for mention in mentions)


@settings(max_examples=300)
@given(
    size=st.tuples(st.integers(1, 5000), st.integers(1, 5000)) | st.tuples(st.integers(1, 60), st.integers(1, 2000)),
    limits=st.sampled_from([(3136, 12845056), (3136, 1003520), (200704, 401408), (784, 3136)]),
)
@example(size=(11, 656), limits=(3136, 12845056))
@example(size=(10, 2000), limits=(3136, 12845056))
@example(size=(2001, 10), limits=(3136, 12845056))
def test_smart_resize_agrees_with_the_processor(size, limits):
    try:
        height, width = reference_resize(size[1], size[0], 28, *limits)
    except ValueError:  # one side is over 200 times as long as the other: no model sees the image, but its boxes can be read
        assert min(smart_resize(size, *limits)) >= 28
    else:
        assert smart_resize(size, *limits) == (width, height)


def test_a_narrow_image_keeps_the_side_that_the_processor_gives_it():
    # 11 rounds to 0 of 28 and 656 to 644; 0 is under the least area, so both grow by the root of 3136 / 7216, 0.659,
    # to 7.3 and 432.5, and up to whole 28s.
    assert smart_resize((11, 656), 3136, 12845056) == (28, 448)
