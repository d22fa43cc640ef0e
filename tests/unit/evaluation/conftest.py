"""A stage with a scripted model, and photos for it to look at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from bracket_dialect import Bracket
from PIL import Image
from scripted import ScriptedModel

from spr import recipe
from spr.evaluation.asking import AskStage

Make = Callable[..., tuple[AskStage, ScriptedModel]]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with 1.png and 2.png, 100 x 50 each, and no 3.png."""
    for name in ("1", "2"):
        Image.new("RGB", (100, 50), "green").save(tmp_path / f"{name}.png")
    return tmp_path


@pytest.fixture
def ask_stage(photos: Path, bracket: Bracket) -> Make:
    """Make a stage whose model gives these answers to these questions, two at a time."""

    def make(answers: Mapping[str, str], name: str = "rec", **options: Any) -> tuple[AskStage, ScriptedModel]:
        stage = AskStage(name, recipe.Model(name="m", dialect="tiny"), recipe.Evaluation(batch_size=2), photos, **options)
        model = ScriptedModel(bracket, answers)
        stage._policy = model
        return stage, model

    return make
