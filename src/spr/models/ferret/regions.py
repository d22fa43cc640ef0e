"""From the regions of a prompt to places in the image: what a box, a point or a mask covers, and 512 pixels drawn from it.

Everything random about a region is drawn here, from a generator that the region itself seeds: the same region of an image
of the same size is read at the same places in every batch, order and process. Sources: `rand_sample_repeat` of the authors'
ferret_arch.py for the draws, `generate_mask_for_feature` of their gradio_web_server.py for what is covered.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spr.boxes import Size
from spr.errors import RegionError
from spr.models.ferret.sampler import POINTS, STAGES
from spr.seeds import derive_seed

REGION_TOKEN = "<region_fea>"
FRAME = 1000
"""Coordinates count thousandths of the image, each axis alone."""
SPAN = 5
"""A point covers so many pixels to either side: a window of 11 x 11."""
_REGION = re.compile(r"(\[[^\[\]]*\])?\s*" + REGION_TOKEN)
_NUMBERS = re.compile(r"\[\s*(\d+)\s*,\s*(\d+)\s*(?:,\s*(\d+)\s*,\s*(\d+)\s*)?\]", re.ASCII)


@dataclass(frozen=True, slots=True)
class Area:
    """The pixels that a region covers, numbered column by column: `places` gives x and y (n, 2) of numbers (n,) below
    `count`, and `seed` is the region's own."""

    count: int
    places: Callable[[Tensor], Tensor]
    seed: int


def areas(text: str, size: Size, masks: Sequence[Any] | None = None) -> list[Area]:
    """What the regions of a prompt cover, in their order, for an image of `size` = (width, height).

    Each `<region_fea>` stands behind its `[x1, y1, x2, y2]` or `[x, y]`, unless `masks` holds a mask (height, width) at its
    place. Raises RegionError, with what stands before the mark, for a region without either or outside the image, and for
    a mask that does not fit or is empty.
    """
    found = list(_REGION.finditer(text))
    given = [None] * len(found) if masks is None else list(masks)
    if len(given) != len(found):
        raise RegionError(f"a prompt with {len(found)} {REGION_TOKEN} was given {len(given)} region_masks; give one a region")
    return [_area(text, match, size, mask) for match, mask in zip(found, given, strict=True)]


def _area(text: str, match: re.Match[str], size: Size, mask: Any) -> Area:
    try:
        return covered(match[1] or "", size) if mask is None else painted(mask, size)
    except RegionError as error:
        raise RegionError(f"{error}; in the prompt {text[max(0, match.end() - 80) : match.end() + 20]!r}") from None


def covered(written: str, size: Size) -> Area:
    """What `[x1, y1, x2, y2]` or `[x, y]` covers. Raises RegionError where that is no pixel of the image."""
    match = _NUMBERS.fullmatch(written)
    if match is None:
        raise RegionError(
            f"{REGION_TOKEN} stands behind {written or 'no coordinates'}; write [x1, y1, x2, y2] {REGION_TOKEN} or "
            f"[x, y] {REGION_TOKEN} in whole thousandths of the image, or give region_masks"
        )
    numbers = [int(number) for number in match.groups() if number is not None]
    pixels = [number * size[axis % 2] // FRAME for axis, number in enumerate(numbers)]
    if len(pixels) == 2:
        pixels = [*(pixel - SPAN for pixel in pixels), *(pixel + SPAN for pixel in pixels)]
    left, top = (max(0, pixel) for pixel in pixels[:2])
    width, height = (min(side, last + 1) - first for side, first, last in zip(size, (left, top), pixels[2:], strict=True))
    if max(numbers) > FRAME or width < 1 or height < 1:
        raise RegionError(
            f"the region {written} holds no pixel of an image of {size[0]} x {size[1]}; coordinates go from 0 to {FRAME}, "
            "the left and upper ones first"
        )
    corner = torch.tensor([left, top])
    return Area(
        width * height,
        lambda chosen: torch.stack([chosen // height, chosen % height], dim=-1) + corner,
        derive_seed("ferret region", *size, left, top, width, height),
    )


def painted(mask: Any, size: Size) -> Area:
    """What a mask (height, width) covers, where it is not 0. Raises RegionError for one of another size, or empty."""
    painted_in = np.asarray(mask) != 0
    if painted_in.shape != (size[1], size[0]):
        raise RegionError(f"a region mask is {painted_in.shape}, and {size[1], size[0]} in an image of {size[0]} x {size[1]}")
    if not painted_in.any():
        raise RegionError("a region mask is empty; mark at least one pixel")
    pixels = torch.from_numpy(np.argwhere(painted_in.T))
    content = hashlib.sha256(np.packbits(painted_in).tobytes()).hexdigest()
    return Area(len(pixels), lambda chosen: pixels[chosen], derive_seed("ferret mask", *size, content))


def draw(regions: Sequence[Area], generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """Places in pixels (regions, POINTS, 2) and the sampler's first points (regions, stages), each region from its own seed.

    With a `generator` all are drawn from that one, in the authors' order: the points of all regions, then the first points
    of each stage. Seeded like torch's global one, it gives the numbers that their code draws.
    """
    if generator is not None:
        points = [_points(region, generator) for region in regions]
        starts = [torch.randint(0, count, (len(regions),), generator=generator) for count in (POINTS, *STAGES[:-1])]
        return _stacked(points, (POINTS, 2)), torch.stack(starts, dim=1)
    drawn = [draw([region], torch.Generator().manual_seed(region.seed)) for region in regions]
    points, firsts = [one[0] for one, _ in drawn], [first[0] for _, first in drawn]
    return _stacked(points, (POINTS, 2)), _stacked(firsts, (len(STAGES),))


def _points(region: Area, generator: torch.Generator) -> Tensor:
    """POINTS of the pixels: some of many, each once, or all of fewer and some of them again."""
    if region.count > POINTS:
        return region.places(torch.randperm(region.count, generator=generator)[:POINTS])
    chosen = torch.arange(region.count)
    if region.count < POINTS:
        again = torch.randint(0, region.count, (POINTS - region.count,), generator=generator)
        chosen = torch.cat([chosen, again])
    return region.places(chosen)


def _stacked(parts: Sequence[Tensor], shape: tuple[int, ...]) -> Tensor:
    return torch.stack(list(parts)) if parts else torch.zeros(0, *shape, dtype=torch.long)
