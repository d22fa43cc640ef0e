"""A run on real photos with their genuine annotations: the project's own stages and measure, on texts and detections made
up around the annotations. So the pages are seen as they will be, without a model."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from synthetic_run import write_stage

from spr.boxes import Box, FloatArray
from spr.models import dialects
from spr.pairs import PairStage
from spr.queries import QueryStage
from spr.recipe import Recipe, check_recipe
from spr.records import (
    Candidate,
    Detection,
    Dropped,
    PreferencePair,
    QueryScores,
    RegionQuery,
    ScoredCandidate,
)
from spr.rewards.judging import Evidence, Scores, added_objects, judge, judge_again
from spr.running.run_dir import RunDir
from spr.sources.coco import read_scenes

FERRET = dialects.get("ferret")
ERRORS = (0.04, 0.12, 0.2, 0.3, 0.45)
"""How far the boxes of candidate k are off, as a share of their sides."""
_VARIANTS = ("plain", "crop", "names", "crop_names", "paraphrase")
_WORDS = ("on the left", "in the middle", "nearby", "further back", "at the edge")


def write_real_run(root: Path, real_data: Path, photos: int = 40) -> Path:
    """Write RUN below `root` from the first annotated photos; returns it."""
    folder = real_data / "coco_train128"
    values = {
        "source": {"annotations": str(folder / "instances.json"), "image_root": str(folder / "images"), "limit": photos},
        "model": {"name": "models/ferret-7b", "dialect": "ferret"},
        "queries": {"max_region_area": 1.0},
        "score": {"semantic": {"model": "models/clip"}, "detector": {"model": "models/detector"}},
        "pairs": {"min_margin": 0},
    }
    recipe = check_recipe(values, "real photos")
    run = RunDir(root / "street-and-kitchen")
    run.prepare()
    run.write_recipe(recipe)
    scenes = read_scenes(recipe.source, recipe.queries).scenes
    drawn = list(QueryStage(recipe.queries, recipe.source.image_root, recipe.seed).process(scenes))
    queries = [row for row in drawn if isinstance(row, RegionQuery)]
    scored = [_scored(recipe, query) for query in queries]
    made = list(PairStage(recipe.pairs, FERRET, ByHand(recipe)).process(scored))
    pairs = [row for row in made if isinstance(row, PreferencePair)]
    rows = [row for group in scored for row in group.candidates]
    write_stage(run.path, "queries", queries, [row for row in drawn if isinstance(row, Dropped)], RegionQuery, len(queries))
    write_stage(run.path, "scores", rows, [], ScoredCandidate, len(queries))
    write_stage(run.path, "pairs", pairs, [row for row in made if isinstance(row, Dropped)], PreferencePair, len(pairs))
    return run.path


class ByHand:
    """Scores refined texts by the project's own measure, with the detections and cosines of their originals."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe.score
        self.recipe_part: dict[str, object] = {}

    def setup(self, device: str) -> None: ...

    def rescore(self, items: Sequence[tuple[QueryScores, ScoredCandidate, str]]) -> list[Scores]:
        found = []
        for row, old, text in items:
            mentions = tuple(FERRET.parse(text, row.query.size))
            evidence = Evidence(mentions, old.mentions, old.detections, old.semantic_crop, old.semantic_local)
            found.append(judge_again(self._recipe, row.query, row.candidates, evidence))
        return found

    def added_objects(self, row: QueryScores) -> FloatArray:
        return added_objects(self._recipe, row.query, [candidate.detections for candidate in row.candidates])


def _scored(recipe: Recipe, query: RegionQuery) -> QueryScores:
    rng = random.Random(query.query_id)
    evidence, texts = [], []
    for error in rng.sample(ERRORS, len(ERRORS)):
        texts.append(_text(query, error, rng))
        mentions = tuple(FERRET.parse(texts[-1], query.size))
        detail = {"n_phrases": float(len(mentions))}
        found = _detections(query, rng)
        evidence.append(Evidence(mentions, mentions, found, rng.gauss(0.29, 0.01), rng.gauss(0.25, 0.01), detail))
    scores = judge(recipe.score, query, evidence)
    assert scores is not None
    rows = []
    for k, (text, score) in enumerate(zip(texts, scores, strict=True)):
        candidate = Candidate(query.query_id, k, _VARIANTS[k], k, text, "stop", 300, len(text) // 4, "models/ferret-7b")
        values = {name: getattr(score, name) for name in Scores.__dataclass_fields__}
        rows.append(ScoredCandidate(**{name: getattr(candidate, name) for name in Candidate.__dataclass_fields__}, **values))
    return QueryScores(query, tuple(rows))


def _text(query: RegionQuery, error: float, rng: random.Random) -> str:
    """A description of most of the objects, its boxes off by about `error`."""
    named = [one for one in query.objects[:9] if rng.random() > 0.15] or list(query.objects[:1])
    said = [
        f"a {FERRET.ground(one.category, _shaken(one.box, error, rng, query.size), query.size)} {rng.choice(_WORDS)}"
        for one in named
    ]
    return f"The region shows {', '.join(said[:-1])} and {said[-1]}." if len(said) > 1 else f"The region shows {said[0]}."


def _detections(query: RegionQuery, rng: random.Random) -> tuple[Detection, ...]:
    """What a good detector finds: most objects nearly in place, now and then a part of one that nobody annotated."""
    found = []
    for one in query.objects[:9]:
        if rng.random() > 0.25:
            found.append(Detection(one.category, _shaken(one.box, 0.03, rng, query.size), rng.uniform(0.4, 0.9)))
    if rng.random() < 0.4:
        x0, y0, x1, y1 = query.objects[0].box
        found.append(Detection(f"part of {query.objects[0].category}", (x0, y0, (x0 + x1) / 2, (y0 + y1) / 2), 0.38))
    return tuple(found)


def _shaken(box: Box, error: float, rng: random.Random, size: tuple[int, int]) -> Box:
    """The box with each edge moved by at most `error` of its side, inside the image."""
    width, height = box[2] - box[0], box[3] - box[1]
    moves = [rng.uniform(-error, error) * side for side in (width, height, width, height)]
    x0, y0, x1, y1 = np.clip(np.array(box) + moves, 0, [*size, *size]).tolist()
    return (x0, y0, x1, y1)
