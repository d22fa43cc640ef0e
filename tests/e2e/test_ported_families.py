"""Families that are brought along here go through the whole pipeline, on real photos with a tiny random model of theirs.

What random weights write holds no box, so that no pair would come of it: the model's own descriptions go as far as their
scores, and pairs, training and evaluation follow from descriptions that were made of the annotations.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from odd_photos import write_odd_photos

import tiny_random
from spr.models import dialects
from spr.pipeline import existing, run
from spr.pipeline.assembly import pair_store
from spr.recipe import Recipe, check_recipe
from spr.record_tables import from_table
from spr.records import RegionQuery
from spr.running.run_dir import RunDir

FAMILIES = {"ferret": tiny_random.build_ferret}
IMAGES = 40
PROMPTS = ["plain", "names", "paraphrase"]


def recipe(name: str, real_data: Path, folder: Path, candidates: dict[str, Any]) -> Recipe:
    photos = real_data / "coco_train128"
    source = {"annotations": str(photos / "instances.json"), "image_root": str(photos / "images"), "limit": IMAGES}
    held_out = {
        "annotations": str(folder / "held_out" / "rec.json"),
        "image_root": str(folder / "held_out" / "images"),
    }
    train = {"max_steps": 3, "gradient_accumulation": 2, "dtype": "float32", "gradient_checkpointing": False}
    return check_recipe(
        {
            "shard_size": 16,
            "source": source,
            "model": {"name": str(folder / "model"), "dialect": name, "dtype": "float32"},
            "candidates": candidates,
            "score": {"weight": 0.0, "localization": {"preset": "annotations_only"}},
            "train": {**train, "lora": {"r": 4, "alpha": 8}},
            "evaluation": {"max_new_tokens": 8, "bootstrap": 100, "rec": held_out},
            "resources": {"devices": ["cpu"]},
        },
        "test",
    )


def write_texts(path: Path, name: str, queries: Sequence[RegionQuery]) -> None:
    """Two texts a query: all its objects with their boxes, and the first one alone."""
    dialect, lines = dialects.get(name), []
    for query in queries:
        for objects in (query.objects, query.objects[:1]):
            text = " and ".join(dialect.ground(f"a {item.category}", item.box, query.size) for item in objects)
            lines.append(json.dumps({"query_id": query.query_id, "text": text, "model": "by hand"}))
    path.write_text("\n".join(lines))


def funnel(out: Path) -> dict[str, Any]:
    return json.loads((out / "metrics.json").read_text())["funnel"]


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_a_run_ends_with_a_trained_policy_and_its_evaluation(name: str, real_data: Path, tmp_path: Path) -> None:
    FAMILIES[name](tmp_path / "model")
    write_odd_photos(real_data / "coco_train128", tmp_path / "held_out")
    described = {"prompts": PROMPTS, "max_new_tokens": 32, "batch_size": 40}
    out = run(recipe(name, real_data, tmp_path, described), tmp_path / "own", until="scores").path
    assert funnel(out)["scores"]["in"] == funnel(out)["queries"]["out"] > 20
    assert funnel(out)["candidates"]["out"] == 5 * funnel(out)["queries"]["out"]

    tables = [pq.read_table(file) for file in sorted((out / "queries").glob("part-*.parquet"))]
    write_texts(tmp_path / "texts.jsonl", name, [query for table in tables for query in from_table(table, RegionQuery)])
    imported = {"source": "file", "path": str(tmp_path / "texts.jsonl")}
    out = run(recipe(name, real_data, tmp_path, imported), tmp_path / "run").path
    pairs = pair_store(RunDir(out)).all_rows()
    assert len(pairs) > 20
    assert len((out / "policy" / "log.jsonl").read_text().splitlines()) == 3
    assert existing(out).policy.joinpath("adapter", "adapter_model.safetensors").is_file()
    references = json.loads((tmp_path / "held_out" / "rec.json").read_text())
    assert json.loads((out / "metrics.json").read_text())["tasks"]["rec"]["n"] == len(references)
    assert (out / "report" / "index.html").is_file()
    if name == "ferret":  # the policy was asked, and trained, with a region's own features
        assert all(pair.prompt.count("<region_fea>") == 1 for pair in pairs)
