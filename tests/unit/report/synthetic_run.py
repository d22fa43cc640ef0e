"""A run directory made up from the real records and stores, with small drawn photos and plausible numbers.

Whole at first; `write_run(..., parts=...)` leaves stages out. The same arguments give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from synthetic_metrics import make_log, make_metrics

from spr.boxes import Box, as_box, clip, iou
from spr.models import dialects
from spr.models.writing import describe
from spr.recipe import Recipe, check_recipe
from spr.records import Candidate, Detection, Dropped, PreferencePair, RegionQuery, SceneObject, ScoredCandidate
from spr.running.run_dir import RunDir
from spr.running.shards import Manifest, Origin, ShardStore, reasons

SIZE = (320, 240)
ALL = ("queries", "candidates", "scores", "pairs", "log", "metrics")
_COLOURS = {"red": "#c8433b", "blue": "#3b66c8", "green": "#4d9a4a", "yellow": "#e0b93c", "purple": "#84529c"}
_VARIANTS = ("plain", "crop", "names", "crop_names", "paraphrase")


def write_run(
    root: Path,
    photos: int = 40,
    parts: Collection[str] = ALL,
    kept_pairs: bool = True,
    text: str = "",
    metrics: dict[str, Any] | None = None,
    detector: bool = True,
    query_id: str = "img-{:03d}-0",
) -> Path:
    """Write photos and RUN below `root`, return RUN. `text` is put before each description, `query_id` names the queries by
    their number; without a detector the scores are by annotations only."""
    run = RunDir(root / "shapes-demo")
    run.prepare()
    recipe = make_recipe(root / "photos", detector)
    run.write_recipe(recipe)
    rng = np.random.default_rng(7)
    drawn = [_draw_scene(rng, root / "photos", i) for i in range(photos)]
    scenes = [replace(scene, query_id=query_id.format(i)) for i, scene in enumerate(drawn)]
    empty = [Dropped(f"img-{i:03d}", "queries", "too_few_objects") for i in range(photos, photos + 4)]
    scored = [_candidates(rng, recipe, query, text) for query in scenes]
    made = [_pair(recipe, query, group) for query, group in zip(scenes, scored, strict=True)]
    pairs = [pair for pair in made if pair.margin >= 0.02 and kept_pairs]
    unpaired = [Dropped(pair.query_id, "pairs", "margin_too_small") for pair in made if pair not in pairs]
    rows = [row for group in scored for row in group]
    stages: dict[str, tuple[list[Any], list[Dropped], type[Any], int]] = {
        "queries": (scenes, empty, RegionQuery, len(scenes)),
        "candidates": ([_unscored(row) for row in rows], [], Candidate, len(scenes)),
        "scores": (rows, [], ScoredCandidate, len(scenes)),
        "pairs": (pairs, unpaired, PreferencePair, len(pairs)),
    }
    for stage, (out, dropped, record, parents) in stages.items():
        if stage in parts:
            write_stage(run.path, stage, out, dropped, record, parents)
            if stage == "queries":
                _write_source(run.path, photos + 4)
    if "log" in parts:
        run.policy.mkdir()
        (run.policy / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in make_log(rng)))
    if "metrics" in parts:
        queries = {query.query_id: query for query in scenes}
        writing = describe([(row.text, queries[row.query_id]) for row in rows], dialects.of(recipe.model)).values()
        run.metrics_file.write_text(json.dumps(metrics or {**make_metrics(), "writing": writing}))
    return run.path


def make_recipe(photos: Path, detector: bool = True) -> Recipe:
    score: dict[str, Any] = {"semantic": {"model": "models/shapes-clip"}}
    if detector:
        score |= {"detector": {"model": "models/shapes-detector"}}
    else:
        score |= {"localization": {"preset": "annotations_only"}}
    return check_recipe(
        {
            "source": {"annotations": str(photos / "instances.json"), "image_root": str(photos)},
            "model": {"name": "models/shapes-mllm", "dialect": "ferret"},
            "score": score,
        },
        "synthetic",
    )


def _draw_scene(rng: np.random.Generator, folder: Path, number: int) -> RegionQuery:
    """A photo of five shapes on a grid's cells, and the region around four or five of them."""
    folder.mkdir(parents=True, exist_ok=True)
    ground = np.linspace(205, 235, SIZE[0])[None, :, None] + rng.normal(0, 7, (SIZE[1], SIZE[0], 3))
    photo = Image.fromarray(ground.clip(0, 255).astype(np.uint8))
    brush = ImageDraw.Draw(photo)
    objects = []
    for i, cell in enumerate(rng.permutation(12)[:5]):
        w, h = rng.integers(34, 66, 2)
        x, y = (cell % 4) * 80 + rng.integers(0, 79 - w), (cell // 4) * 80 + rng.integers(0, 79 - h)
        colour, shape = rng.choice(list(_COLOURS)), rng.choice(["circle", "square"])
        paint = brush.ellipse if shape == "circle" else brush.rectangle
        paint((int(x), int(y), int(x + w), int(y + h)), fill=_COLOURS[str(colour)])
        objects.append(SceneObject(f"a{number}-{i}", f"{colour} {shape}", (float(x), float(y), float(x + w), float(y + h))))
    name = f"img-{number:03d}.jpg"
    photo.save(folder / name, quality=88)
    inside = np.array([scene.box for scene in objects[: 4 + number % 2]])
    region = as_box([*inside[:, :2].min(axis=0), *inside[:, 2:].max(axis=0)])
    return RegionQuery(f"img-{number:03d}-0", f"img-{number:03d}", name, *SIZE, region, tuple(objects[: 4 + number % 2]))


def _candidates(rng: np.random.Generator, recipe: Recipe, query: RegionQuery, text: str) -> list[ScoredCandidate]:
    dialect = dialects.get(recipe.model.dialect)
    rows = []
    for k, variant in enumerate(_VARIANTS):
        noise = rng.uniform(1, 11)
        seen = [scene for scene in query.objects if rng.random() > 0.12]
        boxes = [_shaken(rng, scene.box, noise) for scene in seen]
        named = [dialect.ground(f"a {scene.category}", box, query.size) for scene, box in zip(seen, boxes, strict=True)]
        written = f"{text}In this region there is {', '.join(named)}." if named else f"{text}There is nothing here."
        crop, local = 0.29 + rng.normal(0, 0.012) + 0.004 * len(seen), 0.25 + rng.normal(0, 0.01) + 0.003 * len(seen)
        detections = _detections(rng, query) if recipe.score.detector else None
        detail = _localizations(query, boxes, detections)
        localization = detail[f"localization_{recipe.score.localization.preset}"]
        semantic = (crop + local) / 2
        rows.append(
            ScoredCandidate(
                query_id=query.query_id,
                k=k,
                variant=variant,
                seed=k,
                text=written,
                finish_reason="stop",
                prompt_tokens=80,
                completion_tokens=len(written) // 3,
                model="shapes-mllm",
                mentions=tuple(dialect.parse(written, query.size)),
                semantic_crop=crop,
                semantic_local=local,
                semantic=semantic,
                localization=localization,
                composite=0.8 * semantic + 0.2 * localization,
                detections=detections or (),
                detail=detail,
            )
        )
    return rows


def _detections(rng: np.random.Generator, query: RegionQuery) -> tuple[Detection, ...]:
    """What a good detector finds of the region's objects: nearly all, nearly in place."""
    seen = [scene for scene in query.objects if rng.random() > 0.2]
    return tuple(Detection(scene.category, _shaken(rng, scene.box, 1.5), float(rng.uniform(0.4, 0.9))) for scene in seen)


def _localizations(query: RegionQuery, written: list[Box], detections: tuple[Detection, ...] | None) -> dict[str, float]:
    """The localization score under each preset, and the counts that go with it; without a detector there are no detections,
    not even none. Nothing is found beyond the annotations."""
    truth = [scene.box for scene in query.objects]

    def score(predicted: list[Box]) -> float:
        found = iou(truth, predicted)
        return float(np.where(found >= 0.5, found, 0).max(axis=1, initial=0).mean())

    found = [detection.box for detection in detections or ()]
    own, any_box = (iou(truth, given).max(axis=1, initial=0) for given in (written, written + found))
    detail = {"n_gt": len(truth), "n_mentions": len(written), "n_unreadable": 0, "n_matched": int((any_box >= 0.5).sum())}
    detail |= {"localization_annotations_only": score(written)}
    if detections is not None:
        detail |= {"localization_paper": score(written + found), "localization_strict": score(written), "n_gt_detected": 0}
        detail |= {"n_detections": len(found), "n_phrases": len(written), "reward_recall_iou": score(written + found)}
        detail |= {"reward_f1_hungarian": float(own.mean())}
    return {name: float(value) for name, value in detail.items()}


def _pair(recipe: Recipe, query: RegionQuery, rows: list[ScoredCandidate]) -> PreferencePair:
    dialect = dialects.get(recipe.model.dialect)
    best, worst = (pick(rows, key=lambda row: row.composite) for pick in (max, min))
    moved: dict[int, Box | None] = {}
    for i, mention in enumerate(best.mentions):
        overlaps = iou([mention.box], [scene.box for scene in query.objects])[0]
        moved[i] = query.objects[int(overlaps.argmax())].box if overlaps.max() > 0.5 else None
    stripped = sum(box is None for box in moved.values())
    kept = [box for box in moved.values() if box is not None]
    refined = _localizations(query, kept, best.detections if recipe.score.detector else None)[
        f"localization_{recipe.score.localization.preset}"
    ]
    return PreferencePair(
        pair_id=f"{query.query_id}-pair",
        query_id=query.query_id,
        image_id=query.image_id,
        path=query.path,
        width=query.width,
        height=query.height,
        region=query.region,
        objects=query.objects,
        prompt=dialect.region_prompt(query.region, query.size),
        chosen=dialect.rewrite(best.text, query.size, moved),
        chosen_unrefined=best.text,
        rejected=worst.text,
        chosen_k=best.k,
        rejected_k=worst.k,
        chosen_score=best.composite,
        refined_score=0.8 * best.semantic + 0.2 * refined,
        rejected_score=worst.composite,
        chosen_localization=best.localization,
        refined_localization=refined,
        rejected_localization=worst.localization,
        margin=best.composite - worst.composite,
        refined=len(moved) - stripped,
        stripped=stripped,
        model=best.model,
    )


def _shaken(rng: np.random.Generator, box: Box, noise: float) -> Box:
    x0, y0, x1, y1 = clip([np.array(box) + rng.normal(0, noise, 4)], SIZE)[0]
    return (min(x0, x1 - 4), min(y0, y1 - 4), max(x1, x0 + 4), max(y1, y0 + 4))


def _unscored(row: ScoredCandidate) -> Candidate:
    return Candidate(**{name: getattr(row, name) for name in Candidate.__dataclass_fields__})


def _write_source(run: Path, images: int) -> None:
    funnel = {
        "images": {"in": images + 2, "out": images, "parents": images, "dropped": {"image_missing": 2}},
        "annotations": {"in": 230, "out": 221, "parents": 221, "dropped": {"crowd": 6, "box_too_small": 3}},
    }
    (run / "source.json").write_text(json.dumps({"digest": "", "funnel": funnel}))


def write_stage(run: Path, stage: str, rows: list[Any], dropped: list[Dropped], record: type[Any], parents: int) -> None:
    manifest = Manifest(
        shard=0,
        key="",
        origin=Origin(stage, 1, {}, 64, ""),
        digest="",
        dropped_digest="",
        rows_in=parents + len(dropped),
        rows_out=len(rows),
        parents=parents,
        dropped=reasons(dropped),
        seconds=1.0,
        notes={"not_selected": 3 * parents} if stage == "pairs" else {},
        versions={},
    )
    ShardStore(run / stage, run / "dropped" / stage, record).write(0, rows, dropped, manifest)
