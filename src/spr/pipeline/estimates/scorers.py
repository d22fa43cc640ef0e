"""What scoring takes by the published models that the recipes name; of others nothing is known before their first shard.

The products were counted by torch on the real architectures; a test counts them again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from spr.boxes import Size
from spr.pipeline.estimates.costs import LIBRARIES, NUMBER
from spr.recipe_score import Detector, Score


@dataclass(frozen=True, slots=True)
class Encoder:
    """A dual encoder: its parameters, and FLOPs of an image and of a text of `context` tokens."""

    parameters: int
    image: float
    text: float
    context: int


@dataclass(frozen=True, slots=True)
class Finder:
    """A detector: its parameters; FLOPs to see an image of `pixels` once and to look for one caption in it; bytes of
    activations a pass over such an image, in float32 (measured on a CPU)."""

    parameters: int
    see: float
    look: float
    activations: float
    pixels: int


ENCODERS = {"openai/clip-vit-large-patch14-336": Encoder(427_944_193, 381.9e9, 13.3e9, 77)}
FINDERS = {"IDEA-Research/grounding-dino-base": Finder(232_315_264, 564.7e9, 549.4e9, 1.13e9, 800 * 1066)}
_SHORT, _LONG = 800, 1333
"""Grounding DINO's processor: the short side, unless the long one would be longer."""


@dataclass(frozen=True, slots=True)
class Scoring:
    """FLOPs of one query with all its candidates, and bytes at the peak."""

    products: float
    memory: float


def scoring(score: Score, sizes: Iterable[Size], k: int, tokens: float) -> Scoring | None:
    """What the scorers take for k texts of so many tokens about images of these sizes; None for models not in the tables."""
    products, memory = 0.0, float(LIBRARIES)
    if score.semantic is not None:
        if score.semantic.model not in ENCODERS:
            return None
        products += _semantic(ENCODERS[score.semantic.model], k, tokens)
        memory += ENCODERS[score.semantic.model].parameters * NUMBER[score.semantic.dtype]
    if score.detector is not None:
        if score.detector.model not in FINDERS:
            return None
        finder, areas = FINDERS[score.detector.model], [_area(size) for size in sizes] or [0.0]
        products += _detection(finder, score.detector, sum(areas) / len(areas), k)
        memory += _held(finder, score.detector, max(areas))
    return Scoring(products, memory)


def _semantic(encoder: Encoder, k: int, tokens: float) -> float:
    """The crop, the region within the whole image, and every text in chunks."""
    return 2 * encoder.image + k * math.ceil(tokens / encoder.context) * encoder.text


def _detection(finder: Finder, detector: Detector, area: float, k: int) -> float:
    captions = k if detector.captions == "per_candidate" else 1
    return (finder.see + captions * finder.look) * area / finder.pixels


def _held(finder: Finder, detector: Detector, area: float) -> float:
    number = NUMBER[detector.dtype]
    activations = finder.activations * number / NUMBER["float32"] * area / finder.pixels
    return finder.parameters * number + detector.batch_size * activations


def _area(size: Size) -> float:
    """Pixels of the image as the detector sees it."""
    scale = min(_SHORT / min(size), _LONG / max(size))
    return size[0] * size[1] * scale**2
