"""What our Ferret and its authors' are both given: the same tiny weights, photo, prompts, masks and seeds.

Nothing here is the authors'; `ferret_authors.py` asks their code and writes `ferret.npz`, which the tests hold ours to.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

EXPECTED = Path(__file__).with_name("ferret.npz")
CHANNELS, WIDTH = 32, 48
"""Of the sampler that is asked alone, on a map of SIDE x SIDE tokens."""
SIDE = 6
SIZE = (80, 60)
NEW_TOKENS = 8


@dataclass(frozen=True)
class Case:
    """A question, the seed of its draws, and how many pixels each of its regions covers in an image of SIZE."""

    question: str
    seed: int
    pixels: tuple[int, ...] = ()
    mask: bool = False


CASES = {
    "no_region": Case("What is the location of the dog in the image?", 1),
    "many_pixels": Case("What is in the region [100, 100, 900, 900] <region_fea>? Describe it.", 2, (65 * 49,)),
    "few_pixels": Case("Is the object [0, 0, 200, 200] <region_fea> of the image a dog?", 3, (17 * 13,)),
    "as_many_pixels": Case("What is [0, 0, 390, 260] <region_fea>", 4, (32 * 16,)),
    "point": Case("What is at [0, 500] <region_fea>?", 5, (6 * 11,)),
    "two_regions": Case("Is [100, 50, 700, 400] <region_fea> left of [990, 980] <region_fea> or not?", 6, (49 * 22, 6 * 7)),
    "mask": Case("What is in [250, 250, 750, 750] <region_fea>", 7, (), mask=True),
}


def photo() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 255, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def disc() -> np.ndarray:
    """A mask (height, width): the disc of radius 15 about the middle."""
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    return (x - 40) ** 2 + (y - 30) ** 2 <= 15**2


def feature_map() -> Tensor:
    """(SIDE * SIDE, CHANNELS)."""
    return drawn("map", (SIDE * SIDE, CHANNELS))


def weights(shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """A value for every parameter by its published name, each from a generator that the name seeds; norms about 1."""
    return {name: (1.0 if _is_norm(name) else 0.0) + 0.3 * drawn(name, tuple(shape)) for name, shape in shapes.items()}


def drawn(name: str, shape: tuple[int, ...]) -> Tensor:
    values = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape, dtype=np.float32)
    return torch.from_numpy(values)


def _is_norm(name: str) -> bool:
    return name.endswith(".weight") and "norm" in name.split(".")[-2]
