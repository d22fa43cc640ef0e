"""The genuine referring expressions whose photos are at hand, from the official rows to tables, through the bundled model."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from spr.pipeline import evaluate
from spr.recipe import Recipe, check_recipe
from spr.sources.expressions import read_rec

MODELS = Path(str(resources.files("spr.tiny"))) / "models"


@pytest.fixture
def splits(real_data: Path, tmp_path: Path) -> dict[str, Path]:
    """The official rows by split, a file each."""
    rows = json.loads((real_data / "slices" / "refcoco_on_coco_train128.json").read_text())
    assert sum(map(len, rows.values())) == 30
    files = {name: tmp_path / f"{name}.json" for name in rows}
    for name, file in files.items():
        file.write_text(json.dumps(rows[name]))
    return files


def recipe(real_data: Path, splits: dict[str, Path], **evaluation: Any) -> Recipe:
    photos = str(real_data / "coco_train128" / "images")
    values = {
        "source": {"annotations": str(real_data / "coco_train128" / "instances.json"), "image_root": photos},
        "model": {"name": str(MODELS / "mllm"), "dialect": "tiny", "dtype": "float32"},
        "score": {"semantic": {"model": str(MODELS / "clip")}, "localization": {"preset": "annotations_only"}},
        "evaluation": {
            "rec": [{"annotations": str(file), "image_root": photos} for file in splits.values()],
            "region_description": [{"annotations": str(file), "image_root": photos} for file in splits.values()],
            "max_new_tokens": 24,
            "bootstrap": 200,
            **evaluation,
        },
        "resources": {"devices": ["cpu"]},
    }
    return check_recipe(values, "test")


def test_all_thirty_are_asked_about_their_own_photos_and_counted_by_split(
    real_data: Path, splits: dict[str, Path], tmp_path: Path
) -> None:
    found = evaluate(recipe(real_data, splits), tmp_path / "out", "rec")
    assert {f"rec/{name}": len(json.loads(file.read_text())) for name, file in splits.items()} == {
        name: metrics["n"] for name, metrics in found.items()
    }
    assert sum(metrics["n"] for metrics in found.values()) == 30
    assert all("dropped" not in metrics for metrics in found.values())
    # The bundled model has never seen a photo: most of what it writes are boxes, of which hardly any is right.
    assert sum(metrics["n"] * metrics["base"]["parse_rate"] for metrics in found.values()) >= 30 * 60
    assert sum(metrics["n"] * metrics["base"]["acc"]["0.9"] for metrics in found.values()) <= 30 * 20
    assert sum(sizes["n"] for metrics in found.values() for sizes in metrics["by"]["size"].values()) == 30


def test_regions_with_several_expressions_are_one_item(real_data: Path, splits: dict[str, Path], tmp_path: Path) -> None:
    found = evaluate(recipe(real_data, splits), tmp_path / "out", "region_description")
    for name, file in splits.items():
        regions = {(row["img_id"], tuple(row["bbox"])) for row in json.loads(file.read_text())}
        assert found[f"region_description/{name}"]["n"] == len(regions)
    assert sum(metrics["n"] for metrics in found.values()) < 30


def test_official_boxes_read_back_as_they_are(real_data: Path, splits: dict[str, Path]) -> None:
    for file in splits.values():
        rows = json.loads(file.read_text())
        items = read_rec(file, real_data / "coco_train128" / "images").items
        for row, item in zip(rows, items, strict=True):
            x, y, width, height = row["bbox"]
            assert item.box == pytest.approx((x, y, x + width, y + height))
            assert item.expression == row["sents"].strip()
