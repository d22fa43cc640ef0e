"""A dozen drawn photos with annotations, expressions, questions, and imported descriptions, for runs that end in seconds."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import yaml
from PIL import Image, ImageDraw

from spr.models import dialects
from spr.recipe import Recipe, check_recipe
from spr.records import RegionQuery

WIDTH, HEIGHT = 96, 80
NAMES = ("cup", "dog", "kite", "boat")


def draw_world(folder: Path, count: int = 12) -> None:
    """`count` photos with five objects each (the last photo has two), as COCO json, as referring expressions, and as yes/no
    questions: two a photo, the first of which is right to say yes."""
    generator = random.Random(0)
    (folder / "images").mkdir(parents=True)
    images, annotations, expressions, questions = [], [], [], []
    for number in range(count):
        photo = Image.new("RGB", (WIDTH, HEIGHT), "white")
        name = f"{number:03d}.png"
        images.append({"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT})
        for _ in range(2 if number == count - 1 else 5):
            x, y, w, h = (
                generator.randrange(60),
                generator.randrange(45),
                generator.randrange(12, 30),
                generator.randrange(12, 30),
            )
            category = generator.randrange(4)
            ImageDraw.Draw(photo).rectangle((x, y, x + w, y + h), fill=(60 * category, 90, 200))
            annotation = {
                "id": len(annotations),
                "image_id": number,
                "category_id": category,
                "bbox": [x, y, w, h],
                "iscrowd": 0,
            }
            annotations.append(annotation)
        box = annotations[-1]["bbox"]
        expressions.append(
            {"img_id": str(number), "sents": "the last one", "bbox": box, "width": WIDTH, "height": HEIGHT, "file_name": name}
        )
        for label, asked in (("yes", NAMES[annotations[-1]["category_id"]]), ("no", "zebra")):
            questions.append({"question_id": len(questions), "image": name, "text": f"Is there a {asked}?", "label": label})
        photo.save(folder / "images" / name)
    categories = [{"id": i, "name": name} for i, name in enumerate(NAMES)]
    coco = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(coco))
    (folder / "rec.json").write_text(json.dumps(expressions))
    (folder / "pope.json").write_text("".join(json.dumps(question) + "\n" for question in questions))


def recipe_values(world: Path, model: Path, dialect: str, **changes: Any) -> dict[str, Any]:
    """A recipe of small numbers; `changes` replace whole sections."""
    values: dict[str, Any] = {
        "shard_size": 3,
        "source": {"annotations": str(world / "instances.json"), "image_root": str(world / "images")},
        "model": {"name": str(model), "dialect": dialect, "dtype": "float32"},
        "queries": {"max_region_area": 1.0},
        "candidates": {"k": 2, "prompts": ["plain", "names"], "max_new_tokens": 4},
        "score": {"weight": 0, "localization": {"preset": "annotations_only"}},
        "train": {
            "max_steps": 2,
            "gradient_accumulation": 2,
            "dtype": "float32",
            "gradient_checkpointing": False,
            "lora": {"r": 2, "alpha": 4},
        },
        "evaluation": {
            "max_new_tokens": 4,
            "bootstrap": 100,
            "rec": {"annotations": str(world / "rec.json"), "image_root": str(world / "images"), "limit": 8},
            "regions": {"annotations": str(world / "instances.json"), "image_root": str(world / "images"), "limit": 4},
        },
        "resources": {"devices": ["cpu"]},
    }
    return values | changes


def described_recipe(world: Path, **changes: Any) -> Recipe:
    """The recipe of a run on the descriptions that are imported from WORLD/texts.jsonl, with the model in WORLD/model."""
    imported = {"source": "file", "path": str(world / "texts.jsonl")}
    values = recipe_values(world, world / "model", "llava-onevision", candidates=imported)
    return check_recipe(values | changes, "test")


def data_set(world: Path, file: str = "rec.json", **changes: Any) -> dict[str, Any]:
    """A section of the evaluation."""
    return {"annotations": str(world / file), "image_root": str(world / "images"), **changes}


def write_recipe(path: Path, values: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(values))
    return path


def write_candidates(path: Path, queries: list[RegionQuery], dialect_name: str) -> Path:
    """Two texts a query: the annotations moved by 1 px, and the first object alone moved by 20 px; and one stray text."""
    dialect = dialects.get(dialect_name)
    lines = [{"query_id": "nobody", "text": "a cup", "model": "by hand"}]
    for query in queries:
        for objects, shift in ((query.objects, 1), (query.objects[:1], 20)):
            moved = [
                dialect.ground(o.category, (o.box[0] + shift, *o.box[1:2], o.box[2] + shift, o.box[3]), query.size)
                for o in objects
            ]
            lines.append({"query_id": query.query_id, "text": " , ".join(moved), "model": "by hand"})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path
