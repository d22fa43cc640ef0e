"""Real photos with their genuine COCO annotations: the bundled model end to end, and imported descriptions."""

from __future__ import annotations

import json
import random
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spr.boxes import Box
from spr.models import dialects
from spr.pipeline import existing, run
from spr.pipeline.assembly import pair_store
from spr.recipe import check_recipe
from spr.record_tables import from_table
from spr.records import RegionQuery
from spr.running.run_dir import RunDir
from tiny_random import build_llava_onevision

ERRORS = (0.01, 0.04, 0.08, 0.15, 0.3)
"""How far each text's boxes are off, as a share of their sides."""


def values(real_data: Path, **sections: Any) -> dict[str, Any]:
    photos = real_data / "coco_train128"
    source = {"annotations": str(photos / "instances.json"), "image_root": str(photos / "images")}
    return {"shard_size": 16, "source": source, "resources": {"devices": ["cpu"]}, **sections}


def read_queries(out: Path) -> list[RegionQuery]:
    import pyarrow.parquet as pq

    tables = [pq.read_table(file) for file in sorted((out / "queries").glob("part-*.parquet"))]
    return [query for table in tables for query in from_table(table, RegionQuery)]


def shifted(box: Box, error: float, rng: random.Random, size: tuple[int, int]) -> Box:
    """The box with each edge moved by at most `error` of its side, inside the image."""
    width, height = box[2] - box[0], box[3] - box[1]
    moves = [rng.uniform(-error, error) * side for side in (width, height, width, height)]
    moved = np.clip(np.array(box) + moves, 0, [*size, *size])
    return (float(moved[0]), float(moved[1]), float(moved[2]), float(moved[3]))


def write_texts(path: Path, queries: list[RegionQuery]) -> None:
    """Five Ferret texts a query, each with larger errors than the one before; the last names half of the objects."""
    dialect = dialects.get("ferret")
    lines = []
    for query in queries:
        rng = random.Random(query.query_id)
        for number, error in enumerate(ERRORS):
            named = query.objects if number < 4 else query.objects[: (len(query.objects) + 1) // 2]
            boxes = [dialect.ground(f"a {o.category}", shifted(o.box, error, rng, query.size), query.size) for o in named]
            lines.append({"query_id": query.query_id, "text": "I see " + ", ".join(boxes) + ".", "model": "by hand"})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.slow
def test_the_bundled_model_on_real_photos_ends_well_and_says_why_few_pairs_survive(real_data: Path, tmp_path: Path) -> None:
    models = Path(str(resources.files("spr.tiny"))) / "models"
    recipe = values(
        real_data,
        model={"name": str(models / "mllm"), "dialect": "tiny", "dtype": "float32"},
        candidates={"max_new_tokens": 96, "batch_size": 80},
        score={"weight": 0.8, "semantic": {"model": str(models / "clip")}, "detector": {"model": str(models / "detector")}},
        train={"max_steps": 2, "dtype": "float32", "gradient_checkpointing": False, "lora": {"r": 4, "alpha": 8}},
    )
    out = run(check_recipe(recipe, "test"), tmp_path / "run").path
    funnel = json.loads((out / "metrics.json").read_text())["funnel"]
    assert funnel["images"]["in"] == 128
    assert funnel["queries"]["dropped"]["too_few_objects"] == 54
    assert funnel["scores"]["in"] == funnel["candidates"]["parents"] == funnel["queries"]["out"] >= 65
    pairs = funnel["pairs"]
    assert pairs["in"] == pairs["parents"] + sum(pairs["dropped"].values())
    assert sum(pairs["dropped"].values()) > pairs["in"] / 2
    assert (out / "report" / "index.html").is_file()


def test_imported_descriptions_become_pairs_refined_to_the_annotations_and_train_a_policy(
    real_data: Path, tmp_path: Path
) -> None:
    model = build_llava_onevision(tmp_path / "model")
    recipe = values(
        real_data,
        model={"name": str(model), "dialect": "ferret", "dtype": "float32"},
        candidates={"source": "file", "path": str(tmp_path / "texts.jsonl")},
        score={"weight": 0, "localization": {"preset": "annotations_only"}},
        train={
            "max_steps": 10,
            "gradient_accumulation": 2,
            "dtype": "float32",
            "gradient_checkpointing": False,
            "lora": {"r": 4, "alpha": 8},
        },
    )
    parsed = check_recipe(recipe, "test")
    run(parsed, tmp_path / "run", until="queries")
    write_texts(tmp_path / "texts.jsonl", read_queries(tmp_path / "run"))
    out = run(parsed, tmp_path / "run").path

    pairs = pair_store(RunDir(out)).all_rows()
    assert len({pair.image_id for pair in pairs}) >= 50
    dialect = dialects.get("ferret")
    for pair in pairs:
        cell = np.array([*pair.size, *pair.size]) / 1000
        boxes = [mention.box for mention in dialect.parse(pair.chosen, pair.size)]
        assert len(boxes) == pair.refined > 0
        for box in boxes:
            assert box is not None
            assert min(np.abs(np.array(box) - one.box).max() for one in pair.objects) <= cell.max()
            assert any((np.abs(np.array(box) - one.box) <= cell + 1e-6).all() for one in pair.objects)
    log = (out / "policy" / "log.jsonl").read_text().splitlines()
    assert len(log) == 10
    assert existing(out).policy.joinpath("adapter", "adapter_model.safetensors").is_file()


def test_a_text_for_an_unknown_query_is_counted(real_data: Path, tmp_path: Path) -> None:
    recipe = values(
        real_data,
        model={"name": str(build_llava_onevision(tmp_path / "model")), "dialect": "ferret", "dtype": "float32"},
        candidates={"source": "file", "path": str(tmp_path / "texts.jsonl")},
        score={"weight": 0, "localization": {"preset": "annotations_only"}},
    )
    parsed = check_recipe(recipe, "test")
    run(parsed, tmp_path / "run", until="queries")
    write_texts(tmp_path / "texts.jsonl", read_queries(tmp_path / "run"))
    with (tmp_path / "texts.jsonl").open("a") as file:
        file.write(json.dumps({"query_id": "nobody", "text": "a cat", "model": "by hand"}) + "\n")
    out = run(parsed, tmp_path / "run", until="pairs").path
    imported = json.loads((out / "metrics.json").read_text())["funnel"]["imported"]
    assert imported["dropped"] == {"unknown_query": 1}
    assert imported["in"] == imported["out"] + 1


@pytest.mark.parametrize("name", ["texts.jsonl"])
def test_a_missing_file_of_texts_is_one_sentence(real_data: Path, tmp_path: Path, name: str) -> None:
    from spr.errors import SprError

    recipe = values(
        real_data,
        model={"name": str(build_llava_onevision(tmp_path / "model")), "dialect": "ferret", "dtype": "float32"},
        candidates={"source": "file", "path": str(tmp_path / name)},
        score={"weight": 0, "localization": {"preset": "annotations_only"}},
    )
    with pytest.raises(SprError, match=name):
        run(check_recipe(recipe, "test"), tmp_path / "run")
