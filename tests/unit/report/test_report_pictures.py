"""Charts, pair pictures and marked texts by themselves."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from bracket_dialect import Bracket
from PIL import Image

from spr.boxes import Box
from spr.images import ImageFault
from spr.records import Mention, PreferencePair, SceneObject
from spr.report import charts
from spr.report.boxes_svg import draw_pair
from spr.report.svg import COLOURS, standalone
from spr.report.texts import mark_mentions

SIDE = {"acc": {"0.5": 80.0, "0.9": 40.0}, "ci95": {"0.5": [79.0, 81.0], "0.9": [38.0, 42.0]}}
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def pair(tmp_path: Path) -> PreferencePair:
    Image.new("RGB", (100, 80), "grey").save(tmp_path / "a.png")
    cup = SceneObject("1", "cup", (10, 10, 30, 30))
    chosen, rejected = "a <cup> [10, 10, 30, 30]", "a cup [20, 20, 70, 60]"
    frame = ("a.png", 100, 80, (5.0, 5.0, 50.0, 50.0), (cup,), "?")
    return PreferencePair("p>1", "q", "i", *frame, chosen, "", rejected, 0, 1, 0.5, 0.6, 0.4, 0, 0, 0, 0.1, 0, 0, "m")


def test_a_chart_is_the_same_each_time_and_names_no_colour_of_its_own() -> None:
    first, second = (charts.accuracy({"base": SIDE, "tuned": SIDE}) for _ in range(2))
    assert first == second
    assert set(re.findall(r"var\(--(\w+)\)", first)) <= set(COLOURS)
    assert not re.search(r"#[0-9a-f]{6}", first)
    assert "<text" in first
    assert "http" not in first


def test_a_chart_states_its_gain_in_words() -> None:
    svg = charts.gain({"acc": {"0.5": 0.5, "0.9": -6.84}, "ci95": {"0.5": [0.1, 0.9], "0.9": [-8.0, -5.0]}})
    assert "+0.50" in svg
    assert "\N{MINUS SIGN}6.84" in svg


@pytest.mark.parametrize("values", [[0.3], [0.3, 0.3], [0.1, 0.9]])
def test_a_histogram_of_few_or_equal_values(values: list[float]) -> None:
    assert charts.histogram(np.array(values), "semantic").startswith("<svg")


def test_lengths_of_equal_texts() -> None:
    assert charts.against(np.zeros(1), np.zeros(1), "Words", "words").startswith("<svg")


def truth_of(pair: PreferencePair) -> list[tuple[Box, str]]:
    return [(scene.box, scene.category) for scene in pair.objects]


def test_a_standalone_figure_is_well_formed_and_knows_both_schemes(pair: PreferencePair, tmp_path: Path) -> None:
    picture = draw_pair(pair, truth_of(pair), [], [], tmp_path)
    for svg in (charts.accuracy({"base": SIDE}), picture):
        root = ElementTree.fromstring(standalone(svg))
        assert root.tag == f"{SVG}svg"
        assert "prefers-color-scheme:dark" in root[0].text  # type: ignore[operator]


def test_a_pair_shows_its_boxes_in_image_pixels(pair: PreferencePair, tmp_path: Path) -> None:
    dialect = Bracket()
    chosen, rejected = dialect.parse(pair.chosen, pair.size), dialect.parse(pair.rejected, pair.size)
    root = ElementTree.fromstring(standalone(draw_pair(pair, truth_of(pair), chosen, rejected, tmp_path)))
    groups = root.findall(f"{SVG}g")
    places = [tuple(float(group[1].get(key, "")) for key in ("x", "y", "width", "height")) for group in groups]
    assert places == [(20, 20, 50, 40), (10, 10, 20, 20), (10, 10, 20, 20)]
    assert [bool(group[1].get("stroke-dasharray")) for group in groups] == [True, False, False]
    assert groups[1][0].text == "chosen 1: a <cup> (IoU 1.00 with cup)"
    assert groups[0][0].text == "rejected 1: a cup (IoU 0.04 with cup)"


def test_a_pair_without_its_photo_says_why(pair: PreferencePair, tmp_path: Path) -> None:
    with pytest.raises(ImageFault, match="image_missing"):
        draw_pair(pair, truth_of(pair), [], [], tmp_path / "elsewhere")


def test_marked_text_keeps_every_character_and_numbers_readable_boxes_only() -> None:
    text = "a <b> [1, 2], [x] end"
    mentions = [Mention("a", (0, 0, 1, 2), "ok", "", (6, 12)), Mention(None, None, "unreadable", "no_numbers", (14, 17))]
    marked = str(mark_mentions(text, mentions))
    assert marked == (
        'a &lt;b&gt; <span class="box"><b>1</b>[1, 2]</span>, <s class="box" title="unreadable: no_numbers">[x]</s> end'
    )
