"""Scoring against what one would write with transformers alone: `python benchmarks/scoring.py --annotations J --image-root D`.

Both sides score the same five texts about one region of each photo by crop cosine, region cosine and detector, with the
bundled tiny models, in one process and in turns. The plain side treats every text by itself, as the model cards show it:
open the photo, run the processors, run the models. Prints images a second, the ratio, where the time goes and how far the
two sides' numbers lie apart.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModel, AutoModelForZeroShotObjectDetection, AutoProcessor, AutoTokenizer

from spr.images import crop
from spr.models import dialects
from spr.queries import QueryStage
from spr.recipe import Queries, Source
from spr.recipe_score import Score
from spr.records import RegionQuery
from spr.rewards.captions import normal_set
from spr.rewards.region_features import clip_region_features, region_masks
from spr.rewards.scorer import Scorer
from spr.sources.coco import read_scenes

TEXTS = 5
MODELS = Path(str(resources.files("spr.tiny"))) / "models"


def read_queries(annotations: Path, image_root: Path, photos: int) -> list[RegionQuery]:
    """One region of each of the first photos that have one."""
    options = Queries(min_objects=1, max_region_area=1.0)
    scenes = read_scenes(Source(annotations=annotations, image_root=image_root), options, print).scenes
    stage = QueryStage(options, image_root, seed=0)
    found = [row for row in stage.process(scenes) if isinstance(row, RegionQuery)]
    return found[:photos]


def write_texts(query: RegionQuery) -> list[str]:
    """Five texts: some of the objects each, in another order, with their boxes."""
    dialect, rng = dialects.get("tiny"), random.Random(query.query_id)
    texts = []
    for _ in range(TEXTS):
        named = rng.sample(query.objects, rng.randint(1, len(query.objects)))
        texts.append(" , ".join(dialect.ground(o.category, o.box, query.size) for o in named))
    return texts


class Plain:
    """One text at a time with the stock classes."""

    def __init__(self, image_root: Path) -> None:
        self.root = image_root
        self.clip = AutoModel.from_pretrained(MODELS / "clip", dtype=torch.float32).eval()
        self.clip_images = AutoImageProcessor.from_pretrained(MODELS / "clip")
        self.clip_words = AutoTokenizer.from_pretrained(MODELS / "clip")
        self.detector = AutoModelForZeroShotObjectDetection.from_pretrained(MODELS / "detector", dtype=torch.float32).eval()
        self.detector_inputs = AutoProcessor.from_pretrained(MODELS / "detector")

    @torch.inference_mode()
    def score(self, query: RegionQuery, text: str) -> tuple[float, float, int]:
        """Crop cosine, region cosine, and the number of detections."""
        dialect = dialects.get("tiny")
        image = Image.open(self.root / query.path).convert("RGB")
        words = self.clip_words(dialect.words(text, query.size), truncation=True, max_length=77, return_tensors="pt")
        embedding = self.clip.get_text_features(**words).pooler_output
        part = self.clip_images(crop(image, query.region), return_tensors="pt")["pixel_values"]
        crop_features = self.clip.get_image_features(part).pooler_output
        whole = self.clip_images(image, return_tensors="pt")["pixel_values"]
        grid = self.clip.config.vision_config.image_size // self.clip.config.vision_config.patch_size
        mask = torch.from_numpy(region_masks([query.region], query.size, grid))[None]
        region_features = clip_region_features(self.clip, whole, mask)[:, 0]
        cosine = torch.nn.functional.cosine_similarity
        phrases = normal_set(mention.phrase or "" for mention in dialect.parse(text, query.size))
        inputs = self.detector_inputs(images=image, text=". ".join(phrases) + ".", return_tensors="pt")
        out = self.detector(**inputs)
        (found,) = self.detector_inputs.post_process_grounded_object_detection(
            out, inputs.input_ids, threshold=0.35, text_threshold=0.25, target_sizes=[image.size[::-1]]
        )
        return float(cosine(embedding, crop_features)), float(cosine(embedding, region_features)), len(found["boxes"])


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds and result."""
    began = time.monotonic()
    result = work()
    return time.monotonic() - began, result


def compare(queries: Sequence[RegionQuery], image_root: Path, repeats: int) -> None:
    """Time both sides in turns and print medians."""
    asked = [(query, write_texts(query)) for query in queries]
    recipe = Score.model_validate(
        {"semantic": {"model": str(MODELS / "clip")}, "detector": {"model": str(MODELS / "detector"), "batch_size": 64}}
    )
    plain, scorer = Plain(image_root), Scorer(recipe, dialects.get("tiny"), image_root)
    list(scorer.score(asked[:2]))
    scorer.seconds.clear()
    ratios, ours, theirs = [], [], []
    for _ in range(repeats):
        slow, singles = timed(lambda: [[plain.score(query, text) for text in texts] for query, texts in asked])
        fast, scored = timed(lambda: list(scorer.score(asked)))
        ratios.append(slow / fast)
        ours.append(len(asked) / fast)
        theirs.append(len(asked) / slow)
    total = sum(scorer.seconds.values())
    gaps = [
        abs(s.semantic_crop - p[0]) for row, one in zip(scored, singles, strict=True) for s, p in zip(row, one, strict=True)
    ]
    print(f"{len(asked)} photos x {TEXTS} texts, {torch.get_num_threads()} threads, median of {repeats}")
    print(f"ours  {statistics.median(ours):7.1f} images/s")
    print(f"plain {statistics.median(theirs):7.1f} images/s")
    print(f"ratio {statistics.median(ratios):7.1f}")
    print("time  " + ", ".join(f"{name} {100 * seconds / total:.0f} %" for name, seconds in scorer.seconds.items()))
    print(f"crop cosines differ by at most {max(gaps):.1e}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotations", type=Path, required=True)
    parser.add_argument("--image-root", type=Path, required=True)
    parser.add_argument("--photos", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    compare(read_queries(args.annotations, args.image_root, args.photos), args.image_root, args.repeats)


if __name__ == "__main__":
    main()
