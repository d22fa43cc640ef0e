"""The whole pipeline with a tiny CogVLM on real photos: taught to write a box, merged, and then rewarded for its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from odd_photos import write_odd_photos
from test_real_photos import read_queries, values

from spr.models import dialects
from spr.pipeline import existing, run
from spr.pipeline.assembly import pair_store
from spr.recipe import Recipe, check_recipe
from spr.running.run_dir import RunDir
from spr.training.merge import merge
from tiny_random import build_cogvlm

TRAIN = {"dtype": "float32", "gradient_checkpointing": False, "gradient_accumulation": 1}
LESSON = {
    **TRAIN,
    "objective": "sft",
    "learning_rate": 2e-2,
    "max_steps": 60,
    "batch_size": 8,
    "lora": {"r": 32, "alpha": 64},
}
TEXTS = ("a [[010,020,990,980]]", "a [[001,002,300,400]]")


def recipe(real_data: Path, model: Path, **sections: Any) -> Recipe:
    part = {"name": str(model), "dialect": "cogvlm", "dtype": "float32"}
    score = {"weight": 0, "localization": {"preset": "annotations_only"}}
    return check_recipe(values(real_data, model=part, score=score, **sections), "test")


def taught(real_data: Path, folder: Path) -> Path:
    """A random CogVLM that has learnt two texts well enough to write a box now and then."""
    lesson = recipe(
        real_data,
        build_cogvlm(folder / "random"),
        candidates={"source": "file", "path": str(folder / "texts.jsonl")},
        train=LESSON,
    )
    run(lesson, folder / "lesson", until="queries")
    rows = [{"query_id": query.query_id, "text": text} for query in read_queries(folder / "lesson") for text in TEXTS]
    (folder / "texts.jsonl").write_text("".join(json.dumps({**row, "model": "by hand"}) + "\n" for row in rows))
    done = run(lesson, folder / "lesson").path
    merge(lesson.model, done / "policy" / "adapter", folder / "taught")
    return folder / "taught"


@pytest.mark.slow
def test_cogvlm_describes_real_photos_learns_from_its_own_texts_and_is_evaluated(real_data: Path, tmp_path: Path) -> None:
    photos = tmp_path / "odd" / "photos"
    write_odd_photos(real_data / "coco_train128", photos)
    held_out = {"annotations": str(photos / "instances.json"), "image_root": str(photos / "images")}
    whole = recipe(
        real_data,
        taught(real_data, tmp_path),
        candidates={"k": 4, "prompts": ["plain"], "temperature": 0.4, "max_new_tokens": 48, "batch_size": 32},
        train={**TRAIN, "max_steps": 2, "batch_size": 2, "lora": {"r": 4, "alpha": 8}},
        evaluation={
            "max_new_tokens": 32,
            "bootstrap": 100,
            "rec": {**held_out, "annotations": str(photos / "rec.json"), "limit": 8},
            "regions": {**held_out, "limit": 4},
        },
    )
    out = run(whole, tmp_path / "run").path
    funnel = json.loads((out / "metrics.json").read_text())["funnel"]
    assert funnel["candidates"]["out"] == funnel["scores"]["out"] == 4 * funnel["queries"]["out"] >= 4 * 65
    assert {name: funnel[f"eval/{name}"]["out"] for name in ("rec/base", "rec/tuned", "regions/base", "regions/tuned")} == {
        "rec/base": 8,
        "rec/tuned": 8,
        "regions/base": 4,
        "regions/tuned": 4,
    }
    pairs = pair_store(RunDir(out)).all_rows()
    assert pairs
    for pair in pairs:
        assert any(mention.box for mention in dialects.get("cogvlm").parse(pair.chosen, pair.size))
    log = [json.loads(line) for line in (out / "policy" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in log] == [1, 2]
    assert existing(out).policy.joinpath("adapter", "adapter_model.safetensors").is_file()
    assert (out / "report" / "index.html").is_file()
