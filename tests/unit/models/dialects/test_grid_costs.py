"""What a family's grid costs, by pencil; and the page states what is computed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from spr.models import dialects
from spr.models.dialects.costs import SIDES, cost_row, grid_cost
from spr.models.dialects.readings import every_reading, readings

PAGE = Path(__file__).parents[4] / "docs" / "models.md"


def test_a_grid_of_whole_pixels_costs_at_most_half_a_pixel_a_side():
    # A box of side 9 that is rounded by half a pixel on all four sides: 8^2 / 9^2 where it shrinks, 9^2 / 10^2 where it grows.
    cost = grid_cost(dialects.get("qwen2.5-vl", processed_size=[640, 480]), side=10)
    assert (8 / 9) ** 2 < cost.worst < 0.87
    assert cost.worst < cost.mean < 1


def test_the_worst_on_a_fine_grid_is_nearly_none_and_the_coarser_the_worse():
    costs = [grid_cost(dialects.get(name), side=64) for name in ("kosmos-2", "tiny", "qwen3-vl")]
    assert costs[0].worst < costs[1].worst < costs[2].worst < 1
    # 20 x 15 cells: a side of 58 comes back at its worst as the next cell's middle, some 15 pixels short or long in both axes.
    assert 0.4 < costs[0].worst < (58 / 70) ** 2


def test_the_middle_of_a_cell_caps_kosmos_at_strict_thresholds():
    assert grid_cost(dialects.get("kosmos-2"), side=96).mean < 0.9 < grid_cost(dialects.get("tiny"), side=96).mean


def test_the_same_is_computed_every_time():
    assert grid_cost(dialects.get("ferret"), 32) == grid_cost(dialects.get("ferret"), 32)


def test_the_page_states_what_is_computed():
    told = []
    computed = {f"`{reading.label}`": cost_row(reading.dialect, told.append) for reading in every_reading()}
    section = PAGE.read_text(encoding="utf-8").partition("## What a grid costs")[2].partition("\n## ")[0]
    header, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in re.findall(r"^\|.+\|$", section, re.M))
    assert header == ["dialect", *map(str, SIDES)]
    assert {row[0]: row[1:] for row in rows if not row[0].startswith("-")} == computed
    assert told == [1] * len(SIDES) * len(computed)


def test_every_family_has_a_reading_of_its_own():
    assert {reading.name for reading in every_reading()} == set(dialects.FAMILIES)


@pytest.mark.parametrize(
    ("name", "options", "recipes"),
    [
        ("ferret", {}, ["dialect: ferret"]),
        (
            "llava-onevision",
            {},
            [
                "dialect: llava-onevision, dialect_options: {frame: original}",
                "dialect: llava-onevision, dialect_options: {frame: padded}",
            ],
        ),
        (
            "llava-onevision",
            {"frame": "padded"},
            [
                "dialect: llava-onevision, dialect_options: {frame: padded}",
                "dialect: llava-onevision, dialect_options: {frame: original}",
            ],
        ),
        ("qwen2.5-vl", {}, ["dialect: qwen2.5-vl", "dialect: qwen3-vl"]),
        ("qwen3-vl", {}, ["dialect: qwen3-vl", "dialect: qwen2.5-vl"]),
    ],
)
def test_readings_are_named_as_a_recipe_asks_for_them(name, options, recipes):
    assert [reading.recipe for reading in readings(name, **options)] == recipes


def test_the_readings_of_a_family_read_the_same_text_differently():
    # 400x200, padded by 100 above and below: y 0.50 of the square is y 100 in both, 0.25 is the upper edge.
    original, padded = readings("llava-onevision")
    assert original.dialect.parse("[0.25, 0.25, 0.75, 0.50]", (400, 200))[0].box == (100, 50, 300, 100)
    assert padded.dialect.parse("[0.25, 0.25, 0.75, 0.50]", (400, 200))[0].box == (100, 0, 300, 100)
    resized, thousandths = readings("qwen2.5-vl")
    text = '{"bbox_2d": [280, 140, 560, 280], "label": "dog"}'
    assert resized.dialect.parse(text, (560, 560))[0].box == (280, 140, 560, 280)
    assert thousandths.dialect.parse(text, (560, 560))[0].box == pytest.approx((156.8, 78.4, 313.6, 156.8))
