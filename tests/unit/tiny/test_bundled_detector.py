"""The bundled detector as it is shipped, on development scenes."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from spr.models import dialects
from spr.recipe_score import Score
from spr.records import RegionQuery
from spr.rewards.scorer import Scorer
from spr.tiny.detection_quality import detector_quality
from spr.tiny.lessons import describe, scene_objects
from spr.tiny.scenes import SIDE, layout, render
from spr.tiny.splits import DEVELOPMENT

FOLDER = Path(str(resources.files("spr.tiny"))) / "models" / "detector"


@pytest.fixture(scope="module")
def quality() -> dict[str, dict[str, float]]:
    return detector_quality(FOLDER, 100)


def test_it_finds_what_it_is_asked_for_and_leaves_what_is_absent_alone(quality: dict[str, dict[str, float]]) -> None:
    figures = quality["all"]
    assert figures["ap50"] > 95
    assert figures["recall"] > 90
    assert figures["precision"] > 95
    assert figures["mean_iou"] > 0.8
    assert figures["absent_found"] < 2
    assert figures["absent_found_alone"] < 2


def test_it_reads_words_one_by_one_so_that_pairs_it_never_saw_are_found(quality: dict[str, dict[str, float]]) -> None:
    assert quality["unseen pairs"]["objects"] > 20
    assert quality["unseen pairs"]["ap50"] > 85


def test_a_text_that_misplaces_all_it_names_is_rescued_under_paper_and_worth_nothing_under_strict(tmp_path: Path) -> None:
    seed = next(s for s in DEVELOPMENT if len(layout(s)) == 8)
    objects = layout(seed)
    render(seed, objects).save(tmp_path / "scene.png")
    dialect, whole = dialects.get("tiny"), (0.0, 0.0, float(SIDE), float(SIDE))
    annotated = scene_objects(objects)
    query = RegionQuery("q", str(seed), "scene.png", SIDE, SIDE, whole, annotated)
    corner = (0.0, 0.0, 5.0, 5.0)  # Too small to meet any object.
    wrong = " , ".join(dialect.ground(item.category, corner, (SIDE, SIDE)) for item in annotated)
    scores, texts = {}, [wrong, describe(annotated, dialect)]
    for preset in ("paper", "strict"):
        recipe = {"weight": 0, "detector": {"model": str(FOLDER)}, "localization": {"preset": preset}}
        (scored,) = Scorer(Score.model_validate(recipe), dialect, tmp_path).score([(query, texts)])
        assert not isinstance(scored, str)
        scores[preset] = [text.localization for text in scored]
    assert scores["paper"][0] > 0.6
    assert scores["strict"][0] == 0
    assert min(scores["paper"][1], scores["strict"][1]) > 0.9
