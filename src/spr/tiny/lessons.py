"""What the tiny MLLM is taught about one scene: turns of question and answer, every prompt variant among them.

A turn is made by the very functions that the pipeline uses (prompt family, dialect, region growth), so that the model
meets at inference what it met in training. Lessons are packed: one image, then all turns about it, each of which sees
the image and itself only.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from spr.boxes import Box
from spr.candidates import build_prompt, variant_images
from spr.models.base import Dialect
from spr.queries import grow
from spr.records import RegionQuery, SceneObject
from spr.tiny.language import expressions, named_together, yes_no
from spr.tiny.scenes import SIDE, TinyObject
from spr.tiny.vocabulary import prompt_variants

_SIZE = (SIDE, SIDE)
_COVERAGE = 0.5


@dataclass(frozen=True, slots=True)
class Turn:
    """One question, its answer, and the images after the first that the question shows."""

    question: str
    answer: str
    extra_images: tuple[Image.Image, ...] = ()


@dataclass(frozen=True, slots=True)
class Mix:
    """How many turns of each kind one scene brings."""

    references: int = 6
    descriptions: int = 2
    yes_no: int = 1
    sentences: int = 0


def scene_objects(objects: Sequence[TinyObject]) -> tuple[SceneObject, ...]:
    """The scene's annotations as the pipeline sees them; ids count from 1 within the scene."""
    return tuple(SceneObject(str(i + 1), o.category, as_box(o)) for i, o in enumerate(objects))


def as_box(item: TinyObject) -> Box:
    """The box as floats."""
    x0, y0, x1, y1 = item.box
    return (float(x0), float(y0), float(x1), float(y1))


def describe(objects: Sequence[SceneObject], dialect: Dialect) -> str:
    """The right description of a region: every object with its box, from left to right."""
    ordered = sorted(objects, key=lambda o: (o.box[0] + o.box[2], o.box[1] + o.box[3]))
    return " , ".join(dialect.ground(o.category, o.box, _SIZE) for o in ordered)


def turns(objects: Sequence[TinyObject], image: Image.Image, dialect: Dialect, rng: random.Random, mix: Mix) -> list[Turn]:
    """The turns about one scene, in random order."""
    made = [
        Turn(dialect.rec_prompt(e.text), dialect.format(as_box(objects[e.target]), _SIZE))
        for e in expressions(objects, rng, mix.references)
    ]
    made += [_description(objects, image, dialect, rng) for _ in range(mix.descriptions)]
    made += [Turn(*yes_no(objects, rng)) for _ in range(mix.yes_no)]
    made += [_sentence(objects, dialect, rng) for _ in range(mix.sentences)]
    rng.shuffle(made)
    return made


def draw_region(annotated: Sequence[SceneObject], rng: random.Random) -> tuple[Box, tuple[SceneObject, ...]]:
    """A region grown from a random object to a random number of them, and the objects inside."""
    boxes = [o.box for o in annotated]
    region, inside = grow(boxes, rng.randrange(len(boxes)), rng.randint(1, len(boxes)), _COVERAGE)
    return region, tuple(o for o, held in zip(annotated, inside, strict=True) if held)


def _sentence(objects: Sequence[TinyObject], dialect: Dialect, rng: random.Random) -> Turn:
    """Several names at once: the answer gives every object of each, in the order asked, from left to right."""
    asked = named_together(objects, rng)
    boxes = [(name, sorted(as_box(objects[i]) for i in held)) for name, held in asked]
    answer = " , ".join(dialect.ground(name, box, _SIZE) for name, held in boxes for box in held)
    return Turn(dialect.phrases_prompt([name for name, _ in asked]), answer)


def _description(objects: Sequence[TinyObject], image: Image.Image, dialect: Dialect, rng: random.Random) -> Turn:
    annotated = scene_objects(objects)
    region, named = draw_region(annotated, rng)
    query = RegionQuery(f"lesson-{rng.random()}", "lesson", "", SIDE, SIDE, region, named)
    variant = rng.choice(("plain", *prompt_variants()))
    question = build_prompt(variant, query, dialect, rng.randrange(100))
    return Turn(question, describe(named, dialect), variant_images(variant, image, query)[1:])
