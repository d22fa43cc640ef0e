"""Scores of whole texts and the score stage, with a tiny random CLIP. The object is 10 x 10 pixels."""

from __future__ import annotations

import math
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from spr.boxes import coverage
from spr.errors import ModelError
from spr.models.base import Dialect
from spr.pairs import PairStage
from spr.recipe import Pairs
from spr.recipe_score import Score
from spr.record_tables import from_table, to_table
from spr.records import (
    Candidate,
    Dropped,
    PreferencePair,
    QueryCandidates,
    QueryScores,
    RegionQuery,
    SceneObject,
    ScoredCandidate,
)
from spr.rewards.scorer import QUERIES_AT_A_TIME, Scorer
from spr.rewards.semantic import SemanticScorer, SemanticScores
from spr.rewards.stage import ScoreStage
from tiny_detectors import QUERIES, build_grounding_dino

REGION = (0.0, 0.0, 32.0, 24.0)
OBJECTS = (SceneObject("1", "dog", (0.0, 0.0, 10.0, 10.0)), SceneObject("2", "cat", (20.0, 0.0, 30.0, 10.0)))
ANNOTATED = {"preset": "annotations_only"}
BOXES = Score.model_validate({"weight": 0, "localization": ANNOTATED})
TEXT = "A dog [0, 0, 10, 8] and a fish [9, 0, 3, 4]."


def region_query(number: int = 0, path: str = "photo.png", objects: tuple[SceneObject, ...] = OBJECTS) -> RegionQuery:
    return RegionQuery(f"i-{number}", "i", path, 64, 48, REGION, objects)


def candidates(query: RegionQuery, *texts: str) -> QueryCandidates:
    rows = (Candidate(query.query_id, k, "plain", k, text, "stop", 3, 5, "policy@1") for k, text in enumerate(texts))
    return QueryCandidates(query, tuple(rows))


@pytest.fixture
def root(tmp_path: Path, photo: Image.Image) -> Path:
    photo.save(tmp_path / "photo.png")
    return tmp_path


def recipe(clip_dir: Path, **values: Any) -> Score:
    return Score.model_validate({"weight": 0.8, "semantic": {"model": str(clip_dir)}, "localization": ANNOTATED, **values})


def scored(scorer: Scorer, query: RegionQuery, *texts: str) -> Any:
    (result,) = scorer.score([(query, texts)])
    assert not isinstance(result, str)
    return result


def test_without_a_semantic_model_localization_is_all_and_no_image_is_read(bracket: Dialect) -> None:
    (scores,) = scored(Scorer(BOXES, bracket, Path("/nowhere")), region_query(), TEXT)
    assert scores.localization == scores.composite == pytest.approx((0.8 + 0) / 2)
    assert math.isnan(scores.semantic_crop + scores.semantic_local + scores.semantic)
    assert [mention.phrase for mention in scores.mentions] == ["A dog", "and a fish"]
    parts = {"localization_annotations_only": 0.4, "reward_recall_iou": 0.4, "mean_matched_iou": 0.8}
    assert scores.detail == {"n_gt": 2, "n_mentions": 1, "n_unreadable": 1, "n_matched": 1, **parts}


def test_where_nothing_is_matched_there_is_no_mean_overlap(bracket: Dialect) -> None:
    (scores,) = scored(Scorer(BOXES, bracket, Path()), region_query(), "A dog.")
    assert scores.localization == 0
    parts = {"localization_annotations_only": 0, "reward_recall_iou": 0}
    assert scores.detail == {"n_gt": 2, "n_mentions": 0, "n_unreadable": 0, "n_matched": 0, **parts}


def test_threshold_and_binary_of_the_recipe_are_used(bracket: Dialect) -> None:
    for options, expected in (({"binary": True}, 0.5), ({"threshold": 0.9}, 0.0)):
        score = Score.model_validate({"weight": 0, "localization": ANNOTATED | options})
        assert scored(Scorer(score, bracket, Path()), region_query(), TEXT)[0].localization == expected


def test_clip_reads_the_words_without_boxes(bracket: Dialect, clip_dir: Path, root: Path, photo: Image.Image) -> None:
    (scores,) = scored(Scorer(recipe(clip_dir), bracket, root), region_query(), TEXT)
    score = recipe(clip_dir)
    assert score.semantic is not None
    words = SemanticScorer(score.semantic, "cpu").score(photo, REGION, ["A dog and a fish."])
    assert scores.semantic_crop == pytest.approx(words.crop[0], abs=1e-6)
    assert scores.semantic_local == pytest.approx(words.local[0], abs=1e-6)
    assert scores.semantic == (scores.semantic_crop + scores.semantic_local) / 2
    assert scores.composite == pytest.approx(0.8 * scores.semantic + 0.2 * 0.4)
    assert (scores.detail["text_chunks"], scores.detail["truncated_tokens"]) == (1, 0)


def test_same_words_keep_their_semantic_scores_and_other_words_are_read_again(
    bracket: Dialect, clip_dir: Path, root: Path
) -> None:
    scorer, query = Scorer(recipe(clip_dir), bracket, root), region_query()
    (candidate,) = ScoreStage(recipe(clip_dir), bracket, root).process([candidates(query, TEXT)])
    assert isinstance(candidate, ScoredCandidate)
    moved, fewer = "A dog [0, 0, 10, 10] and a fish.", "A dog [0, 0, 10, 10]."
    row = QueryScores(query, (candidate,))
    same, other = scorer.rescore([(row, candidate, moved), (row, candidate, fewer)])
    fresh, fresh_fewer = scored(scorer, query, moved, fewer)
    assert not isinstance(same, str)
    assert (same.semantic_crop, same.semantic_local) == (candidate.semantic_crop, candidate.semantic_local)
    assert same.detail == fresh.detail
    assert same.composite == pytest.approx(fresh.composite, abs=1e-6)
    assert not isinstance(other, str)
    assert other.composite == pytest.approx(fresh_fewer.composite, abs=1e-6)
    assert other.semantic != same.semantic


def test_moved_boxes_alone_need_neither_model_nor_image(bracket: Dialect, clip_dir: Path, root: Path, tmp_path: Path) -> None:
    (candidate,) = ScoreStage(recipe(clip_dir), bracket, root).process([candidates(region_query(), TEXT)])
    assert isinstance(candidate, ScoredCandidate)
    scorer = Scorer(recipe(tmp_path / "gone"), bracket, tmp_path / "gone")
    row = QueryScores(region_query(), (candidate,))
    (scores,) = scorer.rescore([(row, candidate, TEXT.replace("10, 8", "10, 10"))])
    assert not isinstance(scores, str)
    assert scores.localization == 0.5


def test_the_stage_keeps_order_and_counts_what_it_drops(bracket: Dialect, clip_dir: Path, root: Path) -> None:
    Image.new("RGB", (10, 10)).save(root / "small.png")
    rows = [
        candidates(region_query(0), TEXT, "A dog."),
        candidates(region_query(1, path="gone.png"), TEXT, "A dog."),
        candidates(region_query(2, objects=()), TEXT, "A dog."),
        candidates(region_query(3, path="small.png"), TEXT, "A dog."),
        candidates(region_query(4), "A cat [20, 0, 30, 10].", "a" * 100),
    ]
    stage = pickle.loads(pickle.dumps(ScoreStage(recipe(clip_dir), bracket, root)))
    stage.setup("cpu")
    items = list(stage.process(rows))
    assert [item if isinstance(item, Dropped) else (item.query_id, item.k) for item in items] == [
        ("i-0", 0),
        ("i-0", 1),
        Dropped("i-1", "scores", "image_missing"),
        Dropped("i-2", "scores", "no_ground_truth"),
        Dropped("i-3", "scores", "size_mismatch"),
        ("i-4", 0),
        ("i-4", 1),
    ]
    assert items[0].text == TEXT
    assert items[5].model == "policy@1"
    # 100 letters and two special tokens against a context of 77.
    assert stage.notes() == {"unreadable_mentions": 1, "truncated_text_tokens": 25}
    assert stage.notes() == {}
    assert [stage.row_id(row) for row in rows] == [f"i-{number}" for number in range(5)]
    kept = [item for item in items if isinstance(item, ScoredCandidate)]
    assert from_table(to_table(kept, ScoredCandidate), ScoredCandidate) == kept


def test_a_pair_whose_words_changed_needs_its_image_again(bracket: Dialect, clip_dir: Path, root: Path) -> None:
    rows = candidates(region_query(), TEXT, "A dog.")
    scores = [item for item in ScoreStage(recipe(clip_dir), bracket, root).process([rows]) if isinstance(item, ScoredCandidate)]
    ranked = QueryScores(rows.query, tuple(scores))
    (root / "photo.png").unlink()
    outcomes = []
    for unmatched in ("strip_box", "drop_phrase"):
        pairs = Pairs.model_validate({"min_margin": 0, "unmatched": unmatched})
        outcomes += PairStage(pairs, bracket, Scorer(recipe(clip_dir), bracket, root)).process([ranked])
    assert isinstance(outcomes[0], PreferencePair)
    assert outcomes[1] == Dropped("i-0", "pairs", "image_missing")


def test_the_key_names_the_weights_and_not_their_place(bracket: Dialect, clip_dir: Path, tmp_path: Path) -> None:
    before = ScoreStage(recipe(clip_dir), bracket, Path("/a")).recipe_part
    moved = tmp_path / "elsewhere" / clip_dir.name
    shutil.copytree(clip_dir, moved)
    assert ScoreStage(recipe(moved), bracket, Path("/b")).recipe_part == before
    (moved / "preprocessor_config.json").write_text("{}")
    assert ScoreStage(recipe(moved), bracket, Path("/b")).recipe_part != before
    assert before["score"]["semantic"]["dtype"] == "float32"


@pytest.fixture(scope="module")
def detector_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_grounding_dino(tmp_path_factory.mktemp("dino"))


def with_detector(detector_dir: Path, **options: Any) -> Score:
    localization = {"preset": "paper", **options}
    return Score.model_validate(
        {"weight": 0, "detector": {"model": str(detector_dir), "threshold": 0.0}, "localization": localization}
    )


def test_the_detectors_boxes_are_kept_if_the_region_covers_them_and_counted(
    bracket: Dialect, detector_dir: Path, root: Path
) -> None:
    stage = ScoreStage(with_detector(detector_dir), bracket, root, coverage=0.9)
    rows = [
        item for item in stage.process([candidates(region_query(), TEXT, "Nothing.", "")]) if isinstance(item, ScoredCandidate)
    ]
    first = rows[0]
    assert {d.phrase for d in first.detections} <= {"a dog", "and a fish"}
    assert 0 < len(first.detections) < QUERIES
    assert (coverage([d.box for d in first.detections], [REGION]) >= 0.9).all()
    assert [row.detail["n_phrases"] for row in rows] == [2, 1, 0]
    assert rows[2].detections == ()
    assert stage.notes()["detections"] == sum(len(row.detections) for row in rows)
    stored = from_table(to_table(rows, ScoredCandidate), ScoredCandidate)
    assert [row.detections for row in stored] == [row.detections for row in rows]


def test_a_refined_text_with_the_same_words_keeps_its_detections_and_other_words_are_looked_for_again(
    bracket: Dialect, detector_dir: Path, root: Path
) -> None:
    recipe = with_detector(detector_dir)
    (old,) = ScoreStage(recipe, bracket, root).process([candidates(region_query(), TEXT)])
    assert isinstance(old, ScoredCandidate)
    row = QueryScores(region_query(), (old,))
    same, other = Scorer(recipe, bracket, root).rescore(
        [(row, old, "A dog [0, 0, 10, 10] and a fish."), (row, old, "A cat [0, 0, 10, 10].")]
    )
    assert not isinstance(same, str)
    assert not isinstance(other, str)
    assert same.detections == old.detections
    assert {d.phrase for d in other.detections} == {"a cat"}
    assert same.detail["n_gt"] == other.detail["n_gt"] == old.detail["n_gt"]


def test_each_query_is_looked_for_in_its_own_image(bracket: Dialect, detector_dir: Path, root: Path) -> None:
    Image.effect_noise((64, 48), 90).convert("RGB").save(root / "other.png")
    scorer = Scorer(with_detector(detector_dir), bracket, root)
    asked = [(region_query(0), [TEXT]), (region_query(1, path="other.png"), [TEXT])]
    together = [scores[0].detections for scores in scorer.score(asked) if not isinstance(scores, str)]
    alone = [scored(scorer, query, TEXT)[0].detections for query, _ in asked]
    boxes = [[[*d.box, d.score] for d in found] for found in (*together, *alone)]
    assert np.allclose(boxes[0], boxes[2], atol=1e-3)
    assert np.allclose(boxes[1], boxes[3], atol=1e-3)
    assert boxes[0] != boxes[1]


def test_a_text_without_marked_phrases_is_looked_for_by_its_noun_chunks(
    bracket: Dialect, detector_dir: Path, root: Path, pipeline: Path
) -> None:
    plain = with_detector(detector_dir)
    assert plain.detector is not None
    named = plain.model_copy(update={"detector": plain.detector.model_copy(update={"noun_chunks": str(pipeline)})})
    for recipe, phrases in ((plain, {"the red dog sees a cat"}), (named, {"the red dog", "a cat"})):
        (scores,) = scored(Scorer(recipe, bracket, root), region_query(), "the red dog sees a cat")
        assert {d.phrase for d in scores.detections} == phrases
    part = ScoreStage(named, bracket, root).recipe_part
    assert part["score"]["detector"]["noun_chunks"].startswith("sha256:")


def test_phrases_that_were_cut_or_not_read_are_noted(bracket: Dialect, detector_dir: Path, root: Path) -> None:
    stage = ScoreStage(with_detector(detector_dir), bracket, root)
    list(stage.process([candidates(region_query(), "word " * 300, "собака", "A dog.")]))
    notes = stage.notes()
    assert (notes["cut_phrases"], notes["unread_phrases"]) == (1, 1)


def test_images_are_held_some_at_a_time_also_when_texts_are_scored_again(
    bracket: Dialect, clip_dir: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = []
    monkeypatch.setattr(SemanticScorer, "score_many", lambda self, items: held.append(len(items)) or _no_scores(items))
    scorer, old = Scorer(recipe(clip_dir), bracket, root), candidates(region_query(), TEXT)
    (candidate,) = ScoreStage(recipe(clip_dir), bracket, root).process([old])
    assert isinstance(candidate, ScoredCandidate)
    row = QueryScores(region_query(), (candidate,))
    held.clear()
    scorer.rescore([(row, candidate, f"Word {i}.") for i in range(QUERIES_AT_A_TIME + 3)])
    assert held == [QUERIES_AT_A_TIME, 3]


def _no_scores(items: list[Any]) -> list[SemanticScores]:
    return [SemanticScores(*[np.zeros(len(item.texts))] * 4) for item in items]


@pytest.mark.parametrize("name", ["semantic", "detector"])
def test_a_path_that_is_no_model_is_refused_before_anything_is_scored(bracket: Dialect, tmp_path: Path, name: str) -> None:
    gone = {"weight": 0, "localization": ANNOTATED, name: {"model": str(tmp_path / "gone")}}
    with pytest.raises(ModelError, match=rf"score.{name}.model \S*gone does not exist"):
        _ = ScoreStage(Score.model_validate(gone), bracket, tmp_path).recipe_part


def test_the_key_knows_the_detectors_weights_and_the_coverage_test(bracket: Dialect, detector_dir: Path) -> None:
    part = ScoreStage(with_detector(detector_dir), bracket, Path("/a"), coverage=0.4).recipe_part
    assert part["score"]["coverage"] == 0.4
    assert part["score"]["detector"]["model"].startswith(f"{detector_dir.name}@sha256:")
