"""Stages with a scripted model, and photos for them to look at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from bracket_dialect import Bracket
from PIL import Image
from scripted import ScriptedModel

from spr import recipe
from spr.evaluation.greedy import GreedyStage
from spr.evaluation.rec import RecStage
from spr.evaluation.regions import RegionsStage

Make = Callable[..., tuple[Any, ScriptedModel]]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with 1.png and 2.png, 100 x 50 each, and no 3.png."""
    for name in ("1", "2"):
        Image.new("RGB", (100, 50), "green").save(tmp_path / f"{name}.png")
    return tmp_path


def _stage(kind: type[GreedyStage[Any]], photos: Path, bracket: Bracket) -> Make:
    def make(answers: Mapping[str, str], **options: Any) -> tuple[GreedyStage[Any], ScriptedModel]:
        stage = kind(recipe.Model(name="m", dialect="tiny"), recipe.Evaluation(batch_size=2), photos, **options)
        model = ScriptedModel(bracket, answers)
        stage._policy = model
        return stage, model

    return make


@pytest.fixture
def rec_stage(photos: Path, bracket: Bracket) -> Make:
    """Make a RecStage whose model gives these answers to these questions."""
    return _stage(RecStage, photos, bracket)


@pytest.fixture
def regions_stage(photos: Path, bracket: Bracket) -> Make:
    """Make a RegionsStage whose model gives these answers to these questions."""
    return _stage(RegionsStage, photos, bracket)
