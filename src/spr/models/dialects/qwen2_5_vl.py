"""Qwen2.5-VL: a json list of `{"bbox_2d": [x1, y1, x2, y2], "label": "dog"}`, usually in a json fence.

Frame: absolute pixels of the RESIZED image. The processor rounds both sides to multiples of 28 and keeps the area between
`min_pixels` and `max_pixels`; the same limits must be set here and in `model.processor`. Or give `processed_size`, if all
images are processed to one size.
Source: the model card and the processor's `smart_resize`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from spr.boxes import Box, Size
from spr.errors import ModelError, RecipeError
from spr.models.dialects.grid import Grid
from spr.models.dialects.json_boxes import JsonBoxDialect
from spr.models.dialects.numerals import integers

FACTOR = 28
MIN_PIXELS = 56 * 56
MAX_PIXELS = 16384 * 28 * 28
"""Limits in the published checkpoints' preprocessor_config.json."""
MAX_RATIO = 200
"""Of the longer side to the shorter one, as in the processor."""


class Qwen25VL(JsonBoxDialect):
    """Qwen2.5-VL's dialect. Raises RecipeError for sizes or limits that no image could have."""

    name = "qwen2.5-vl"
    readings = (("qwen2.5-vl", {}), ("qwen3-vl", {}))

    def __init__(
        self,
        processed_size: Sequence[int] | None = None,
        min_pixels: int = MIN_PIXELS,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self._processed_size = None if processed_size is None else _size(processed_size)
        self._limits = (_pixels("min_pixels", min_pixels), _pixels("max_pixels", max_pixels))
        if min_pixels > max_pixels:
            raise RecipeError(
                f"model.dialect_options.min_pixels is {min_pixels} and max_pixels {max_pixels}, which leave no size between "
                "them; set both as in model.processor"
            )

    @property
    def options(self) -> Mapping[str, Any]:
        """The one size, or the limits."""
        return {"processed_size": self._processed_size, "limits": self._limits}

    def processed_size(self, size: Size) -> Size:
        """(width, height) of the image that the model sees, for an original of `size`. Raises ModelError as `smart_resize`
        does, unless all images are processed to one size."""
        return self._processed_size or smart_resize(size, *self._limits)

    def grid(self, size: Size) -> Grid:
        """Pixels of the resized image."""
        width, height = self.processed_size(size)
        return Grid.stretched(size, (float(width), float(height)))

    def numbers(self, box: Box, size: Size, like: Sequence[str]) -> list[str]:
        """Rounded to whole pixels of the resized image."""
        return integers(self.grid(size).cells(box, "nearest"), like)


def smart_resize(size: Size, min_pixels: int, max_pixels: int) -> Size:
    """(width, height) after the processor's resize: sides are multiples of 28, near the original's, with an area within the
    limits as far as the multiples allow. Raises ModelError for an image so narrow that the processor refuses it."""
    if max(size) > MAX_RATIO * min(size):
        raise ModelError(
            f"an image of {size[0]}x{size[1]} pixels has one side over {MAX_RATIO} times as long as the other, which "
            "qwen2.5-vl's processor refuses; leave such images out"
        )
    sides = [round(side / FACTOR) * FACTOR for side in size]
    area = size[0] * size[1]
    if sides[0] * sides[1] > max_pixels:
        shrink = math.sqrt(area / max_pixels)
        sides = [max(FACTOR, math.floor(side / shrink / FACTOR) * FACTOR) for side in size]
    elif sides[0] * sides[1] < min_pixels:
        stretch = math.sqrt(min_pixels / area)
        sides = [math.ceil(side * stretch / FACTOR) * FACTOR for side in size]
    return sides[0], sides[1]


def _size(value: Any) -> Size:
    whole = isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_count, value))
    if not whole:
        raise RecipeError(
            f"model.dialect_options.processed_size is {value!r}; it must be [width, height] in whole pixels, such as [644, 476]"
        )
    return value[0], value[1]


def _pixels(key: str, value: Any) -> int:
    if not _is_count(value):
        raise RecipeError(
            f"model.dialect_options.{key} is {value!r}; it must be a whole number of pixels over 0, such as {MAX_PIXELS}"
        )
    return int(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
