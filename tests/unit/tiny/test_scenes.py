"""The tiny world: exact boxes, expressions that name one object, disjoint splits, files in Objects365's format."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spr.boxes import area, intersection
from spr.recipe import Queries, Source
from spr.sources.coco import read_scenes
from spr.sources.expressions import read_rec
from spr.sources.flickr30k import read_sentences
from spr.sources.pope import read_pope
from spr.tiny import splits
from spr.tiny.language import RELATIONS, SIDES, expressions, named_together, yes_no
from spr.tiny.lessons import Mix, as_box, turns
from spr.tiny.packing import IGNORE, patch_targets
from spr.tiny.scenes import CATEGORIES, COLORS, SHAPES, SIDE, TinyObject, layout, render
from spr.tiny.tasks import write_tasks

SEEDS = range(40)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_touches_all_four_sides_of_its_box(shape: str) -> None:
    item = TinyObject("blue", shape, (20, 30, 50, 70))
    drawn = np.asarray(render(1, (item,)), dtype=int)
    empty = np.asarray(render(1, ()), dtype=int)
    rows, columns = np.nonzero(np.abs(drawn - empty).sum(axis=2) > 105)
    # Edges are soft and tips are thin: what is clearly drawn ends within two pixels of the box, inside it.
    assert 20 <= columns.min() <= 22
    assert 30 <= rows.min() <= 32
    assert 47 <= columns.max() < 50
    assert 67 <= rows.max() < 70


def test_a_scene_is_a_function_of_its_seed() -> None:
    assert layout(7) == layout(7) != layout(8)
    assert np.array_equal(np.asarray(render(7, layout(7))), np.asarray(render(7, layout(7))))


@pytest.mark.parametrize("seed", SEEDS)
def test_scenes_hold_four_to_nine_objects_that_hide_little_of_each_other(seed: int) -> None:
    objects = layout(seed)
    assert 4 <= len(objects) <= 9
    boxes = np.array([o.box for o in objects], dtype=float)
    assert (boxes >= 0).all()
    assert (boxes <= SIDE).all()
    hidden = intersection(boxes, boxes) / np.minimum(area(boxes)[:, None], area(boxes)[None])
    assert (hidden[~np.eye(len(boxes), dtype=bool)] <= 0.12).all()


def names_exactly(text: str, objects: tuple[TinyObject, ...]) -> list[int]:
    """An independent reading of an expression: the indices of all objects it fits."""
    words = text.removeprefix("the ")
    for relation, (axis, sign) in RELATIONS.items():
        if f" {relation} the " in words:
            own, anchor = words.split(f" {relation} the ")
            (at,) = fits(anchor, objects)
            start = middle(objects[at], axis)
            return [i for i in fits(own, objects) if i != at and sign * (middle(objects[i], axis) - start) > 0]
    first, _, rest = words.partition(" ")
    if first in ("largest", "smallest"):
        sizes = {i: objects[i].area * (1 if first == "largest" else -1) for i in fits(rest, objects)}
        return [i for i, size in sizes.items() if size == max(sizes.values())]
    if first in SIDES:
        axis, sign = SIDES[first]
        places = {i: sign * middle(objects[i], axis) for i in fits(rest, objects)}
        return [i for i, place in places.items() if place == max(places.values())]
    return fits(words, objects)


def fits(kind: str, objects: tuple[TinyObject, ...]) -> list[int]:
    return [i for i, o in enumerate(objects) if all(word in (o.color, o.shape, "object") for word in kind.split())]


def middle(item: TinyObject, axis: int) -> float:
    return (item.box[axis] + item.box[axis + 2]) / 2


@pytest.mark.parametrize("seed", SEEDS)
def test_an_expression_names_exactly_one_object(seed: int) -> None:
    objects = layout(seed)
    made = expressions(objects, random.Random(seed), 6)
    assert made
    for expression in made:
        assert names_exactly(expression.text, objects) == [expression.target], expression.text


def test_all_kinds_of_expressions_occur() -> None:
    kinds = {e.kind for seed in SEEDS for e in expressions(layout(seed), random.Random(seed), 6)}
    assert kinds == {"name", "size", "side", "relation"}


@pytest.mark.parametrize("seed", SEEDS)
def test_yes_no_questions_are_answered_truly(seed: int) -> None:
    objects = layout(seed)
    question, answer = yes_no(objects, random.Random(seed))
    asked = next(c for c in CATEGORIES if question.endswith(f" {c} in the image?"))
    assert (asked in {o.category for o in objects}) == (answer == "yes")


def test_every_prompt_variant_is_taught() -> None:
    from spr.models import dialects

    dialect = dialects.get("tiny")
    questions = []
    for seed in range(60):
        objects = layout(seed)
        questions += turns(objects, render(seed, objects), dialect, random.Random(seed), Mix())
    said = [t.question for t in questions]
    assert any("objects :" in q and "second image" not in q for q in said)
    assert any("objects :" in q and "second image" in q for q in said)
    assert any("second image" in q and "objects :" not in q for q in said)
    assert any(q.startswith(("describe", "list", "which", "name")) for q in said)
    assert all(bool(t.extra_images) == ("second image" in t.question) for t in questions)


def test_patch_targets_name_the_front_most_object() -> None:
    targets = patch_targets((TinyObject("red", "square", (0, 0, 24, 24)), TinyObject("blue", "circle", (12, 12, 36, 36))))
    grid = targets.reshape(8, 8, 6)
    assert grid[0, 0].tolist() == [list(COLORS).index("red"), SHAPES.index("square"), 0, 0, 24, 24]
    assert grid[1, 1].tolist() == [list(COLORS).index("blue"), SHAPES.index("circle"), 12, 12, 36, 36]
    assert (grid[5, 5] == IGNORE).all()


def test_the_four_splits_are_disjoint() -> None:
    ranges = sorted((splits.TRAINING, splits.PREFERENCE, splits.DEVELOPMENT, splits.HELD_OUT), key=lambda r: r.start)
    assert all(a.stop <= b.start for a, b in itertools.pairwise(ranges))


def test_a_split_is_written_in_formats_that_the_readers_take(tmp_path: Path) -> None:
    splits.write_split(splits.DEVELOPMENT, 5, tmp_path)
    write_tasks(splits.DEVELOPMENT, 5, tmp_path)
    reading = read_scenes(Source(annotations=tmp_path / "annotations.json", image_root=tmp_path), Queries())
    assert len(reading.scenes) == 5
    assert reading.annotations["usable"] == sum(len(layout(seed)) for seed in splits.DEVELOPMENT[:5])
    for scene in reading.scenes:
        with Image.open(tmp_path / scene.path) as image:
            assert image.size == scene.size == (SIDE, SIDE)
    rec = json.loads((tmp_path / "rec.json").read_text())
    items = read_rec(tmp_path / "rec.json", tmp_path).items
    assert len(items) == len(rec) > 0
    for seed, sentence in zip(splits.DEVELOPMENT, read_sentences(tmp_path / "sentences.json", tmp_path).items, strict=False):
        asked = [
            (name, {as_box(layout(seed)[i]) for i in held}) for name, held in named_together(layout(seed), random.Random(seed))
        ]
        assert [(phrase.phrase, set(phrase.boxes)) for phrase in sentence.phrases] == asked
    probes = read_pope(tmp_path / "probe.json", tmp_path).items
    assert [one.label for one in probes] == ["yes", "no"] * 5
