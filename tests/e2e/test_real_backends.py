"""Real photos of odd sizes, turned, grey, transparent and tiny, through the backend of every family that runs here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from odd_photos import CHANGES, write_odd_photos

import spr.tiny
import tiny_random
from served import transformers_serve
from spr import images
from spr.boxes import iou
from spr.models import dialects
from spr.models.base import Request, Sampling
from spr.models.opening import open_model
from spr.pipeline import evaluate, run
from spr.recipe import check_recipe
from spr.recipe_model import Endpoint, Model

BUNDLED = Path(spr.tiny.__file__).parent / "models" / "mllm"

FAMILIES = {
    "ferret": "build_ferret",
    "llava-onevision": "build_llava_onevision",
    "qwen2-vl": "build_qwen2_vl",
    "qwen2.5-vl": "build_qwen2_5_vl",
    "qwen3-vl": "build_qwen3_vl",
    "internvl": "build_internvl",
    "cogvlm": "build_cogvlm",
    "kosmos-2": "build_kosmos2",
    "paligemma": "build_paligemma",
    "florence-2": "build_florence2",
}
COARSEST = 0.5
"""What a box of 60 pixels keeps at least of itself on any of the families' grids; Kosmos-2's cells are 20 pixels wide here."""


@pytest.fixture(scope="module")
def photos(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("odd") / "photos"
    write_odd_photos(real_data / "coco_train128", out)
    return out


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_odd_real_photos_are_described_and_their_references_asked(photos: Path, tmp_path: Path, name: str) -> None:
    model = getattr(tiny_random, FAMILIES[name])(tmp_path / "model")
    pixels = {"min_pixels": 56 * 56, "max_pixels": 28 * 28 * 16}
    recipe = check_recipe(
        {
            "source": {"annotations": str(photos / "instances.json"), "image_root": str(photos / "images")},
            "model": {
                "name": str(model),
                "dialect": name,
                "dialect_options": pixels if name == "qwen2.5-vl" else {},
                "dtype": "float32",
            },
            "queries": {"max_region_area": 1.0},
            "candidates": {"k": 2, "prompts": ["plain"], "max_new_tokens": 6},
            "score": {"weight": 0, "localization": {"preset": "annotations_only"}},
            "evaluation": {
                "max_new_tokens": 6,
                "bootstrap": 100,
                "rec": {"annotations": str(photos / "rec.json"), "image_root": str(photos / "images")},
            },
            "resources": {"devices": ["cpu"]},
        },
        "test",
    )
    out = run(recipe, tmp_path / "run", until="candidates").path
    funnel = json.loads((out / "metrics.json").read_text())["funnel"]
    assert funnel["queries"]["out"] == len(CHANGES)
    assert (funnel["candidates"]["out"], funnel["candidates"]["dropped"]) == (2 * len(CHANGES), {})
    references = json.loads((photos / "rec.json").read_text())
    assert evaluate(recipe, out, "rec")["rec"]["n"] == len(references) >= len(CHANGES)


@pytest.mark.parametrize("name", sorted(dialects.FAMILIES))
def test_annotated_boxes_of_odd_photos_survive_being_written_and_read(photos: Path, name: str) -> None:
    dialect = dialects.get(name)
    coco = json.loads((photos / "instances.json").read_text())
    sizes = {image["id"]: (image["width"], image["height"]) for image in coco["images"]}
    for item in coco["annotations"]:
        x, y, w, h = item["bbox"]
        if min(w, h) < 50:
            continue
        (mention,) = dialect.parse(dialect.format((x, y, x + w, y + h), sizes[item["image_id"]]), sizes[item["image_id"]])
        assert iou([mention.box], [(x, y, x + w, y + h)])[0, 0] > COARSEST


@pytest.mark.slow
def test_a_served_model_answers_about_odd_photos_as_it_does_here(photos: Path, tmp_path: Path) -> None:
    coco = json.loads((photos / "instances.json").read_text())
    greedy = Sampling(temperature=0.0, top_p=1.0, max_new_tokens=24)
    local = Model(name=str(BUNDLED), dialect="tiny", dtype="float32")
    requests = [
        Request(
            (images.load(photos / "images", image["file_name"], (image["width"], image["height"])),),
            dialects.get("tiny").rec_prompt("the red circle"),
            (0,),
        )
        for image in coco["images"]
    ]
    with transformers_serve(BUNDLED, tmp_path) as url:
        served = open_model(local.model_copy(update={"endpoint": Endpoint(url=url)}), "cpu").generate(requests, greedy)
    here = open_model(local, "cpu").generate(requests, greedy)
    assert [answers[0].text for answers in served] == [answers[0].text for answers in here]
    assert len({answers[0].text for answers in here}) > 1
