"""What the bundled models can do, on development scenes: `python -m spr.tiny.measure mllm|clip|detector DIR [--scenes N]`.

Prints json. The figures of the model cards come from here; held-out scenes are never touched.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from spr.candidates import build_prompt, variant_images
from spr.evaluation.rec import rec_accuracy
from spr.evaluation.regions import names_right
from spr.models.base import Request, Sampling
from spr.models.transformers import TransformersModel
from spr.recipe_model import Model
from spr.recipe_score import Semantic
from spr.records import RegionQuery
from spr.rewards.localization import localization_score
from spr.rewards.semantic import SemanticItem, SemanticScorer
from spr.tiny.detection_quality import detector_quality
from spr.tiny.language import expressions, yes_no
from spr.tiny.lessons import as_box, draw_region, scene_objects
from spr.tiny.scenes import SIDE, TinyObject, layout, render
from spr.tiny.splits import DEVELOPMENT
from spr.tiny.train_clip import negatives
from spr.tiny.vocabulary import prompt_variants

_SIZE = (SIDE, SIDE)
_GREEDY = Sampling(temperature=0.0, top_p=1.0, max_new_tokens=96, batch_size=256)
NEGATIVE_KINDS = ("colour changed", "shape changed", "object missing", "object added")


def mllm_quality(directory: Path, scenes: int) -> dict[str, object]:
    """Accuracy of references at five thresholds and by kind, of yes/no answers, and of descriptions by prompt variant."""
    model = TransformersModel(Model(name=str(directory), dialect="tiny", dtype="float32"), "cpu")
    drawn = [(seed, layout(seed)) for seed in DEVELOPMENT[:scenes]]
    pictures = [render(seed, objects) for seed, objects in drawn]
    return {
        "scenes": scenes,
        "rec": _references(model, drawn, pictures),
        "yes_no": _yes_no(model, drawn, pictures),
        "descriptions": {variant: _descriptions(model, drawn, pictures, variant) for variant in prompt_variants()},
    }


def clip_quality(directory: Path, scenes: int) -> dict[str, dict[str, float]]:
    """How often the right words score above each kind of wrong ones, percent, for crops and for regions of full scenes."""
    scorer = SemanticScorer(Semantic(model=str(directory)), "cpu")
    items = [_contrast(seed) for seed in DEVELOPMENT[:scenes]]
    scores = scorer.score_many(items)
    crop, local = (np.array([getattr(s, side) for s in scores]) for side in ("crop", "local"))
    return {
        kind: {
            "crop": round(100 * float((crop[:, 0] > crop[:, i]).mean()), 1),
            "region": round(100 * float((local[:, 0] > local[:, i]).mean()), 1),
        }
        for i, kind in enumerate(NEGATIVE_KINDS, start=1)
    }


Scenes = list[tuple[int, tuple[TinyObject, ...]]]


def _ask(model: TransformersModel, images: list[tuple[Image.Image, ...]], prompts: list[str]) -> list[str]:
    requests = [Request(shown, prompt, (0,)) for shown, prompt in zip(images, prompts, strict=True)]
    return [answers[0].text for answers in model.generate(requests, _GREEDY)]


def _references(model: TransformersModel, drawn: Scenes, pictures: list[Image.Image]) -> dict[str, object]:
    asked = [(i, e) for i, (seed, objects) in enumerate(drawn) for e in expressions(objects, random.Random(seed), 3)]
    answers = _ask(model, [(pictures[i],) for i, _ in asked], [model.dialect.rec_prompt(e.text) for _, e in asked])
    truth = np.array([as_box(drawn[i][1][e.target]) for i, e in asked])
    found = np.full(truth.shape, np.nan)
    for row, answer in enumerate(answers):
        mentions = model.dialect.parse(answer, _SIZE)
        if mentions and mentions[0].box is not None:
            found[row] = mentions[0].box
    kinds = np.array([e.kind for _, e in asked])
    return {
        "n": len(asked),
        **rec_accuracy(found, truth),
        "acc_by_kind": {str(k): rec_accuracy(found[kinds == k], truth[kinds == k])["acc"] for k in np.unique(kinds)},
    }


def _yes_no(model: TransformersModel, drawn: Scenes, pictures: list[Image.Image]) -> float:
    asked = [yes_no(objects, random.Random(seed)) for seed, objects in drawn]
    answers = _ask(model, [(p,) for p in pictures], [question for question, _ in asked])
    return round(100 * float(np.mean([a.strip() == right for a, (_, right) in zip(answers, asked, strict=True)])), 1)


def _descriptions(model: TransformersModel, drawn: Scenes, pictures: list[Image.Image], variant: str) -> dict[str, float]:
    queries = [_query(seed, objects) for seed, objects in drawn]
    prompts = [build_prompt(variant, query, model.dialect, 0) for query in queries]  # type: ignore[arg-type]
    shown = [variant_images(variant, p, q) for p, q in zip(pictures, queries, strict=True)]  # type: ignore[arg-type]
    totals: dict[str, list[float]] = defaultdict(list)
    for query, answer in zip(queries, _ask(model, shown, prompts), strict=True):
        mentions = [m for m in model.dialect.parse(answer, _SIZE) if m.box is not None]
        boxes = [m.box for m in mentions if m.box is not None]
        totals["localization"].append(localization_score([o.box for o in query.objects], boxes))
        totals["right_count"].append(100.0 * (len(boxes) == len(query.objects)))
        totals["names_right"].append(100.0 * names_right([m.phrase for m in mentions], [o.category for o in query.objects]))
    return {name: round(float(np.mean(values)), 3) for name, values in totals.items()}


def _query(seed: int, objects: tuple[TinyObject, ...]) -> RegionQuery:
    region, held = draw_region(scene_objects(objects), random.Random(seed))
    return RegionQuery(f"{seed}-0", str(seed), "", SIDE, SIDE, region, held)


def _contrast(seed: int) -> SemanticItem:
    """A region of a scene with its right words first, then one wrong reading of each kind."""
    rng = random.Random(seed)
    objects = layout(seed)
    annotated = scene_objects(objects)
    region, held = draw_region(annotated, rng)
    names = [o.category for o in held]
    others = [o.category for o in annotated if o not in held]
    return SemanticItem(render(seed, objects), region, [" , ".join(names), *negatives(names, others, rng)])


_MEASURES: dict[str, Callable[[Path, int], object]] = {
    "mllm": mllm_quality,
    "clip": clip_quality,
    "detector": detector_quality,
}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=sorted(_MEASURES))
    parser.add_argument("directory", type=Path)
    parser.add_argument("--scenes", type=int, default=1000)
    args = parser.parse_args()
    print(json.dumps(_MEASURES[args.model](args.directory, args.scenes), indent=2))


if __name__ == "__main__":
    main()
