"""The data sets on disk with a recipe of them all, and `spr eval` on it.

The recipe names a model that does not exist: nothing may look for it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml
from given_world import SIZE, WIDTHS, Eval, expressions, instances, sentences, write_lines
from PIL import Image

from spr import cli


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("given")
    (folder / "images").mkdir()
    for n in range(len(WIDTHS)):
        Image.new("RGB", SIZE, "white").save(folder / "images" / f"{n}.jpg")
    texts = {"31": "stop", "32": "main street"}
    files = {
        "rec": expressions(),
        "phrase_grounding": sentences(),
        "gqa": {
            "q1": {"imageId": "0", "question": "Which side?", "answer": "left"},
            "q2": {"imageId": "1", "question": "Which colour?", "answer": "blue"},
        },
        "textvqa": {
            "data": [
                {"question_id": int(key), "image_id": "0", "question": "What does it say?", "answers": [text] * 10}
                for key, text in texts.items()
            ]
        },
        "region_description": expressions(),
        "regions": instances(),
    }
    for name, values in files.items():
        (folder / f"{name}.json").write_text(json.dumps(values))
    asked = [
        {"question_id": n, "image": f"{n}.jpg", "text": "Is there a cup in the image?", "label": "yes" if n % 2 else "no"}
        for n in range(4)
    ]
    write_lines(folder / "pope.json", asked)
    sections = {
        name: {"annotations": str(folder / f"{name}.json"), "image_root": str(folder / "images")} for name in (*files, "pope")
    }
    recipe = {
        "source": {"annotations": str(folder / "regions.json"), "image_root": str(folder / "images")},
        "model": {"name": "/nowhere/model", "dialect": "ferret"},
        "queries": {"max_region_area": 1.0},
        "score": {"weight": 0, "localization": {"preset": "annotations_only"}},
        "evaluation": {"bootstrap": 100, **sections},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return folder


@pytest.fixture
def spr_eval(world: Path, monkeypatch: pytest.MonkeyPatch) -> Eval:
    """`spr eval` on the recipe; returns the exit code."""

    def call(*arguments: str | Path, source: Path | None = None) -> int:
        monkeypatch.setattr(sys, "argv", ["spr", "eval", str(source or world / "recipe.yaml"), *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert isinstance(end.value.code, int)
        return end.value.code

    return call
