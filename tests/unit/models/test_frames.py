"""Where a dialect writes a box, there the model sees it: the numbers of the text, laid over the pixels that the family's own
processor hands to its model.

A red block is drawn into a grey photo of odd size; its box is written in the family's text. The numbers are read here
as the family's documentation reads them, on the processed picture, and must stand at the edges of the red there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image, ImageDraw

import tiny_random
from spr.models import dialects
from spr.models.loading import load_processor
from spr.recipe_model import Model

SIZES = [(640, 480), (333, 500), (500, 375)]


def numbers(text: str) -> list[float]:
    return [float(found) for found in re.findall(r"\d+\.?\d*", text.replace("bbox_2d", ""))]


def thousandths(text: str, view: tuple[int, int]) -> list[float]:
    return [value / 1000 * side for value, side in zip(numbers(text), view * 2, strict=True)]


def shares(text: str, view: tuple[int, int]) -> list[float]:
    return [value * side for value, side in zip(numbers(text), view * 2, strict=True)]


def pixels(text: str, view: tuple[int, int]) -> list[float]:
    return numbers(text)


def y_first_1024(text: str, view: tuple[int, int]) -> list[float]:
    y0, x0, y1, x1 = numbers(text)
    return [value / 1024 * side for value, side in zip((x0, y0, x1, y1), view * 2, strict=True)]


def cells_32(text: str, view: tuple[int, int]) -> list[float]:
    """Centres of two of 32 x 32 cells, counted row by row."""
    first, last = (int(value) for value in numbers(text))
    corners = (first % 32, first // 32, last % 32, last // 32)
    return [(value + 0.5) / 32 * side for value, side in zip(corners, view * 2, strict=True)]


@dataclass
class Family:
    build: str
    read: Callable[[str, tuple[int, int]], list[float]]
    cell: float
    """Size of one step of the grid, as a share of the view's side; 0 where a step is one pixel of it."""


FAMILIES = {
    "llava-onevision": Family("build_llava_onevision", shares, 0.01),
    "qwen2-vl": Family("build_qwen2_vl", thousandths, 0.001),
    "qwen2.5-vl": Family("build_qwen2_5_vl", pixels, 0),
    "qwen3-vl": Family("build_qwen3_vl", thousandths, 0.001),
    "internvl": Family("build_internvl", thousandths, 0.001),
    "kosmos-2": Family("build_kosmos2", cells_32, 1 / 32),
    "paligemma": Family("build_paligemma", y_first_1024, 1 / 1024),
    "florence-2": Family("build_florence2", thousandths, 0.001),
}


def view_of(processor, image: Image.Image) -> np.ndarray:
    """What the model sees of the whole image, (height, width, 3): patches put together again, the overview of several tiles."""
    made = processor.image_processor(images=image, return_tensors="np")
    pixels = made["pixel_values"]
    images = processor.image_processor
    if "image_grid_thw" in made:
        (_, rows, columns), patch, merge = made["image_grid_thw"][0], images.patch_size, images.merge_size
        blocks = (rows // merge, columns // merge, merge, merge, 3, images.temporal_patch_size, patch, patch)
        pixels = (
            pixels.reshape(blocks)[:, :, :, :, :, 0].transpose(0, 2, 5, 1, 3, 6, 4).reshape(rows * patch, columns * patch, 3)
        )
    else:
        tiles = pixels.reshape(-1, *pixels.shape[-3:])
        overview = tiles[0] if "image_sizes" in made else tiles[-1]  # LLaVA's comes first, InternVL's thumbnail last
        pixels = overview.transpose(1, 2, 0)
    return pixels * np.array(images.image_std) + np.array(images.image_mean)


def edges_of_red(view: np.ndarray) -> list[float]:
    red = view[..., 0] - view[..., 1:].max(axis=-1) > 0.25
    rows, columns = np.flatnonzero(red.any(axis=1)), np.flatnonzero(red.any(axis=0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


@pytest.fixture(scope="module")
def processors(tmp_path_factory):
    made = {}
    for name, family in FAMILIES.items():
        folder = getattr(tiny_random, family.build)(tmp_path_factory.mktemp(name))
        made[name] = load_processor(Model(name=str(folder), dialect=name))
    return made


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("name", FAMILIES)
def test_a_dialect_writes_where_the_model_sees(processors, name, size):
    width, height = size
    box = (round(0.3 * width), round(0.2 * height), round(0.85 * width), round(0.6 * height))
    image = Image.new("RGB", size, (120, 120, 120))
    ImageDraw.Draw(image).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill=(255, 0, 0))
    view = view_of(processors[name], image)
    seen = (view.shape[1], view.shape[0])
    options = {}
    if name == "qwen2.5-vl":
        limits = processors[name].image_processor.size
        options = {"min_pixels": limits["shortest_edge"], "max_pixels": limits["longest_edge"]}
    text = dialects.get(name, **options).format(box, size)
    written = FAMILIES[name].read(text, seen)
    step = max(FAMILIES[name].cell * max(seen), 1.0)
    assert np.abs(np.array(written) - edges_of_red(view)).max() <= step + 1.0
