"""Evaluated data sets put into a made-up run: predictions about its photos by hand, numbers by the project's own counting."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from spr.boxes import Box, as_box, clip
from spr.evaluation.metrics import Counting, task_metrics
from spr.evaluation.registry import make_task
from spr.items import Answer, CaptionItem, Phrase, RecItem, SentenceItem, VqaItem, YesNoItem
from spr.models import dialects
from spr.models.base import Dialect
from spr.recipe import check_recipe
from spr.records import Prediction, RegionQuery
from spr.running.files import write_atomic, write_json
from spr.running.run_dir import RunDir
from spr.running.shards import ShardStore, parquet_bytes

DIALECT = dialects.get("ferret")
Sides = tuple[list[Prediction], list[Prediction]]


def add_evaluation(run: Path, task_id: str, sides: Sides, image_root: Path | None = None, protocol: str = "plain") -> None:
    """Put one data set's predictions, its metrics and its section of the recipe into RUN, as `spr eval` does."""
    directory, kind = RunDir(run), task_id.split("/")[0]
    base, tuned = sides
    for side, rows in (("base", base), ("tuned", tuned)):
        write_atomic(directory.evaluation(task_id, side) / "predictions.parquet", parquet_bytes(rows, Prediction))
    metrics = task_metrics(make_task(kind, protocol), base, tuned, Counting(200, 0, protocol))
    write_json(run / "eval" / task_id / "metrics.json", metrics)
    stated = json.loads(directory.metrics_file.read_text()) if directory.metrics_file.is_file() else {"tasks": {}}
    stated["tasks"][task_id] = metrics
    write_json(directory.metrics_file, stated)
    if image_root is not None:
        add_section(directory, task_id, image_root)


def add_section(directory: RunDir, task_id: str, image_root: Path) -> None:
    """Name a data set in the recipe."""
    values = directory.recipe_values() or {}
    kind, _, name = task_id.partition("/")
    old = values["evaluation"][kind]
    listed = old if isinstance(old, list) else [old] if old else []
    new = {"annotations": str(image_root / "items.json"), "image_root": str(image_root), "name": name or None}
    values["evaluation"][kind] = [*listed, new] if listed else new
    directory.write_recipe(check_recipe(values, "synthetic"))


def scenes(run: Path) -> list[RegionQuery]:
    """The scenes of a made-up run."""
    return list(ShardStore(run / "queries", run / "dropped" / "queries", RegionQuery).all_rows())


def rec_sides(queries: Sequence[RegionQuery], seed: int = 0, noise: tuple[float, float] = (0.16, 0.1)) -> Sides:
    """Every object asked for by its name and place; base is off by more than tuned, and either may miss."""
    rng = np.random.default_rng(seed)
    items = [
        RecItem(
            f"{query.query_id}-{one.annotation_id}",
            query.path,
            *query.size,
            f"the {one.category} {_WORDS[place % len(_WORDS)]}",
            one.box,
            one.category,
        )
        for query in queries
        for place, one in enumerate(query.objects)
    ]
    return _answered("rec", items, lambda item, side: _said(item.box, item.size, rng, noise[side]))


def phrase_sides(queries: Sequence[RegionQuery], seed: int = 1) -> Sides:
    """One sentence a scene about its first objects."""
    rng = np.random.default_rng(seed)
    items = []
    for query in queries:
        phrases = tuple(Phrase(f"a {one.category}", (one.box,), (one.category.split()[-1],)) for one in query.objects[:3])
        items.append(SentenceItem(query.query_id, query.path, *query.size, "There they are.", phrases))

    def answer(item: SentenceItem, side: int) -> str:
        found = [
            DIALECT.ground(one.phrase, _shaken(one.boxes[0], item.size, rng, (0.14, 0.09)[side]), item.size)
            for one in item.phrases
            if rng.random() > 0.04
        ]
        return ", ".join(found)

    return _answered("phrase_grounding", items, answer)


def pope_sides(queries: Sequence[RegionQuery], seed: int = 2) -> Sides:
    """Two questions a photo, one about something that is not there."""
    rng = np.random.default_rng(seed)
    items = []
    for query in queries:
        asked = [(query.objects[0].category, "yes"), ("snowboard", "no")]
        items += [
            YesNoItem(f"{query.query_id}-{label}", query.path, *query.size, f"Is there a {name} in the image?", label)
            for name, label in asked
        ]
    return _answered("pope", items, lambda item, side: item.label if rng.random() > (0.16, 0.1)[side] else "Yes")


def textvqa_sides(queries: Sequence[RegionQuery]) -> Sides:
    """One question a photo; base knows half of them."""
    items = [
        VqaItem(query.query_id, query.path, *query.size, "what does the sign say?", ("stop",) * 8 + ("go",) * 2)
        for query in queries
    ]
    place = {item.item_id: number for number, item in enumerate(items)}
    return _answered("textvqa", items, lambda item, side: "stop" if place[item.item_id] % 2 or side else "go")


def caption_sides(queries: Sequence[RegionQuery]) -> Sides:
    """One region a photo; tuned uses the people's words."""
    items = [
        CaptionItem(query.query_id, query.path, *query.size, query.objects[0].box, (f"a {query.objects[0].category} here",))
        for query in queries
    ]
    return _answered("region_description", items, lambda item, side: item.references[0] if side else "a thing")


def rec_prediction(item_id: str, iou: float, path: str = "a.jpg", **given: Any) -> Prediction:
    """A prediction of which only the IoU matters; the photo is 100 x 100 pixels."""
    plain = Prediction("rec", item_id, path, "said", (0, 0, 50, 50), "ok", iou, {"boxes": 1.0, "cut_off": 0.0})
    return replace(plain, **{"question": f"item {item_id}", "path": path, "width": 100, "height": 100, **given})


def _answered(kind: str, items: Sequence[Any], answer: Callable[[Any, int], str]) -> Sides:
    task = make_task(kind, "plain")
    base, tuned = (_scored(task, items, [answer(item, side) for item in items], DIALECT) for side in (0, 1))
    return base, tuned


def _scored(task: Any, items: Sequence[Any], texts: Sequence[str], dialect: Dialect) -> list[Prediction]:
    answers = {item.item_id: Answer(item.item_id, text) for item, text in zip(items, texts, strict=True)}
    found = task.score_all(items, answers, dialect, lambda _: None)
    return [row for rows in found.values() for row in rows]


def _said(box: Box, size: tuple[int, int], rng: np.random.Generator, noise: float) -> str:
    return DIALECT.ground("it", _shaken(box, size, rng, noise), size) if rng.random() > 0.03 else "I do not see it."


def _shaken(box: Box, size: tuple[int, int], rng: np.random.Generator, noise: float) -> Box:
    sides = np.array([box[2] - box[0], box[3] - box[1]] * 2)
    moved = clip([np.array(box) + rng.normal(0, noise, 4) * sides], size)[0]
    x0, y0, x1, y1 = moved
    return as_box(np.array([min(x0, x1 - 2), min(y0, y1 - 2), x1, y1]))


_WORDS = ("on the left", "in the middle of the picture", "over there", "that you see first when you come in from behind", "")
