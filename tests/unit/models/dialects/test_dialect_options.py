"""Options that a dialect cannot be built with: one sentence each, with the key as it stands in a recipe."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from PIL import Image

from spr import cli
from spr.errors import RecipeError
from spr.models import dialects

RECIPES = Path(__file__).parents[4] / "recipes"


@pytest.mark.parametrize("value", ["abc", "10", None, 0, -3136, 3136.0, True, [3136]])
@pytest.mark.parametrize("key", ["min_pixels", "max_pixels"])
def test_pixel_limits_are_whole_numbers(key, value):
    with pytest.raises(RecipeError) as error:
        dialects.get("qwen2.5-vl", **{key: value})
    assert str(error.value).startswith(f"model.dialect_options.{key} is {value!r}; it must be a whole number of pixels over 0")


@pytest.mark.parametrize(
    "value", [5, "ab", "", [3], ["a", "b"], [640.7, 480], [640, 0], [640, 480, 3], [True, 480], {"a": 1, "b": 2}]
)
def test_a_processed_size_is_two_whole_numbers(value):
    with pytest.raises(RecipeError) as error:
        dialects.get("qwen2.5-vl", processed_size=value)
    assert str(error.value).startswith(
        f"model.dialect_options.processed_size is {value!r}; it must be [width, height] in whole"
    )


@pytest.mark.parametrize("value", ["square", 3, None, ["padded"]])
def test_a_frame_is_one_of_two(value):
    with pytest.raises(RecipeError) as error:
        dialects.get("llava-onevision", frame=value)
    said = f"model.dialect_options.frame is {value!r}; for llava-onevision it must be original or padded"
    assert str(error.value) == said


def test_an_option_of_another_family_is_named_by_its_key():
    with pytest.raises(RecipeError, match=r"^model\.dialect_options\.min_pixels: dialect qwen3-vl: unknown option min_pixels"):
        dialects.get("qwen3-vl", min_pixels=3136)


def test_the_command_line_says_one_sentence(monkeypatch, capsys, tmp_path):
    Image.new("RGB", (96, 96)).save(tmp_path / "a.png")
    image = {"id": 1, "file_name": "a.png", "width": 96, "height": 96}
    cups = [{"id": i, "image_id": 1, "category_id": 7, "bbox": [8 * i, 8, 40, 40]} for i in range(5)]
    coco = {"images": [image], "annotations": cups, "categories": [{"id": 7, "name": "cup"}]}
    (tmp_path / "a.json").write_text(json.dumps(coco))
    recipe = RECIPES / "qwen2.5-vl-7b.yaml"
    settings = (
        f"source.annotations={tmp_path}/a.json",
        f"source.image_root={tmp_path}",
        "model.dialect_options.max_pixels=abc",
    )
    sets = [word for setting in settings for word in ("--set", setting)]
    monkeypatch.setattr(sys, "argv", ["spr", "plan", str(recipe), *sets])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert "model.dialect_options.max_pixels is 'abc'" in said
    assert "Traceback" not in said
