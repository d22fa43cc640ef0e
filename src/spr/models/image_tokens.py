"""How many tokens an image takes, by family: the rules of the published processors, from the image's size alone.

Reads no files and no pixels. Sizes are (width, height) in pixels of the original image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from spr.boxes import Size
from spr.errors import ModelError


@dataclass(frozen=True, slots=True)
class Seen:
    """What an image is to a model: tokens in the prompt, and patches that the vision tower works on."""

    tokens: int
    patches: int


ImageRule = Callable[[Size], Seen]


def by_processor(processor: Any, size: Size) -> tuple[int, int]:
    """Tokens and patches of one image by the arithmetic of a processor of transformers that has one. Raises ValueError for a
    shape that it refuses."""
    counted = processor._get_num_multimodal_tokens(image_sizes=[(size[1], size[0])])
    return int(counted["num_image_tokens"][0]), int(counted["num_image_patches"][0])


@contextmanager
def showing(size: Size) -> Iterator[None]:
    """Around a count for an image of `size`: what a processor refuses to show is raised as ModelError."""
    try:
        yield
    except ValueError as error:
        raise ModelError(
            f"an image of {size[0]} x {size[1]} pixels is refused by the model's processor: {error}; leave it out of the source"
        ) from error


def fixed(tokens: int, patches: int) -> ImageRule:
    """Every image is squashed to one size."""
    return lambda _: Seen(tokens, patches)


def merged(patch: int, min_pixels: int, max_pixels: int) -> ImageRule:
    """Qwen-VL: the image keeps its shape, its area is brought between the limits, and 2 x 2 patches become one token.

    Source: `smart_resize` of transformers' Qwen2-VL processor.
    """

    def seen(size: Size) -> Seen:
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

        height, width = smart_resize(size[1], size[0], 2 * patch, min_pixels, max_pixels)
        patches = (height // patch) * (width // patch)
        return Seen(patches // 4, patches)

    return seen


def tiled(side: int, tokens: int, patches: int, most: int) -> ImageRule:
    """InternVL: up to `most` square tiles in the grid nearest to the image's shape, a thumbnail where there are several, and
    two tokens around it all.

    Source: `get_optimal_tiled_canvas` of transformers' GOT-OCR2 processor, which InternVL uses.
    """

    def seen(size: Size) -> Seen:
        from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import get_optimal_tiled_canvas

        columns, rows = get_optimal_tiled_canvas((size[1], size[0]), (side, side), 1, most)
        tiles = columns * rows + (columns * rows > 1)
        return Seen(2 + tiles * tokens, tiles * patches)

    return seen


def anyres(side: int, grid: int, cells: int, most: int) -> ImageRule:
    """LLaVA-OneVision: a base view and up to `grid` x `grid` tiles of `side` pixels and `cells` x `cells` patches, cut to the
    image's shape and pooled to the area of `most` tiles.

    Source: `_get_number_of_features` of transformers' LLaVA-OneVision processor.
    """
    shapes = [[side * rows, side * columns] for rows in range(1, grid + 1) for columns in range(1, grid + 1)]

    def seen(size: Size) -> Seen:
        from transformers.image_processing_utils import select_best_resolution

        height, width = (edge // side for edge in select_best_resolution((size[1], size[0]), shapes))
        patches = (1 + height * width) * cells**2
        rows, columns = height * cells, width * cells
        if size[0] / size[1] > columns / rows:
            rows -= (rows - int(round(size[1] * (columns / size[0]), 7))) // 2 * 2
        else:
            columns -= (columns - int(round(size[0] * (rows / size[1]), 7))) // 2 * 2
        shrink = math.sqrt(rows * columns / (most * cells**2))
        if shrink > 1.1:
            rows, columns = int(rows // shrink), int(columns // shrink)
        return Seen(cells**2 + rows * columns + rows, patches)

    return seen
