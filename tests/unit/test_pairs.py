"""Which candidates make a pair, and why others do not. One object, 10 x 10 pixels: a box of height h has IoU h / 10.

Texts are scored by their boxes alone, so the composite of a candidate is its best IoU with that object.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from spr.errors import RecipeError
from spr.models.base import Dialect
from spr.models.dialects import get
from spr.pairs import PairStage
from spr.ranking import rank, same_mentions
from spr.recipe import Pairs, check_recipe
from spr.recipe_score import Detector, Localization, Score
from spr.records import (
    Candidate,
    Detection,
    Dropped,
    PreferencePair,
    QueryCandidates,
    QueryScores,
    RegionQuery,
    SceneObject,
    ScoredCandidate,
)
from spr.rewards.scorer import Scorer
from spr.rewards.stage import ScoreStage

DOG = SceneObject("1", "dog", (0.0, 0.0, 10.0, 10.0))
QUERY = RegionQuery("7-0", "7", "7.png", 100, 100, (0.0, 0.0, 50.0, 50.0), (DOG,))
SCORE = Score.model_validate({"weight": 0, "localization": {"preset": "annotations_only"}})


def candidate(k: int, text: str, finish_reason: str = "stop") -> Candidate:
    return Candidate("7-0", k, "plain", k, text, finish_reason, 3, 5, "policy@1")


def scored(dialect: Dialect, *texts: str, query: RegionQuery = QUERY, **options: str) -> QueryScores:
    row = QueryCandidates(query, tuple(candidate(k, text, **options) for k, text in enumerate(texts)))
    rows = list(ScoreStage(SCORE, dialect, Path()).process([row]))
    return QueryScores(query, tuple(item for item in rows if isinstance(item, ScoredCandidate)))


def outcome(dialect: Dialect, row: QueryScores, **recipe: Any) -> PreferencePair | str:
    stage = PairStage(Pairs(**recipe), dialect, Scorer(SCORE, dialect, Path()))
    (item,) = stage.process([row])
    if isinstance(item, Dropped):
        assert (item.row_id, item.stage) == ("7-0", "pairs")
        return item.reason
    return item


def test_best_against_worst_and_the_best_refined(bracket: Dialect) -> None:
    row = scored(bracket, "A dog [0, 0, 10, 6].", "A dog [0, 0, 10, 8] and a cat [50, 50, 60, 60].", "A dog.")
    assert outcome(bracket, row) == PreferencePair(
        pair_id="7-0-pair",
        query_id="7-0",
        image_id="7",
        path="7.png",
        width=100,
        height=100,
        region=(0.0, 0.0, 50.0, 50.0),
        objects=(DOG,),
        prompt="Describe [0, 0, 50, 50].",
        chosen="A dog [0, 0, 10, 10] and a cat.",
        chosen_unrefined="A dog [0, 0, 10, 8] and a cat [50, 50, 60, 60].",
        rejected="A dog.",
        chosen_k=1,
        rejected_k=2,
        chosen_score=0.8,
        refined_score=1.0,
        rejected_score=0.0,
        chosen_localization=0.8,
        refined_localization=1.0,
        rejected_localization=0.0,
        margin=0.8,
        refined=1,
        stripped=1,
        model="policy@1",
    )


def test_a_box_that_meets_what_the_detector_added_is_refined_to_it(bracket: Dialect) -> None:
    row = scored(bracket, "A dog [0, 0, 10, 8] and a cat [30, 30, 40, 38].", "A dog [0, 0, 10, 6].")
    cat = Detection("and a cat", (30.0, 30.0, 40.0, 40.0), 0.9)
    row = dataclasses.replace(row, candidates=(dataclasses.replace(row.candidates[0], detections=(cat,)), row.candidates[1]))
    paper = SCORE.model_copy(update={"detector": Detector(model="not loaded"), "localization": Localization(preset="paper")})
    (pair,) = PairStage(Pairs(), bracket, Scorer(paper, bracket, Path())).process([row])
    assert isinstance(pair, PreferencePair)
    assert pair.chosen == "A dog [0, 0, 10, 10] and a cat [30, 30, 40, 40]."
    assert (pair.refined, pair.stripped, pair.refined_localization) == (2, 0, 1)
    without = outcome(bracket, row)
    assert isinstance(without, PreferencePair)
    assert without.chosen == "A dog [0, 0, 10, 10] and a cat."


def test_unrefined_pairs_the_best_with_itself_before_refinement(bracket: Dialect) -> None:
    pair = outcome(bracket, scored(bracket, "A dog [0, 0, 10, 8].", "A dog."), rejected="unrefined")
    assert isinstance(pair, PreferencePair)
    assert (pair.chosen, pair.rejected) == ("A dog [0, 0, 10, 10].", "A dog [0, 0, 10, 8].")
    assert (pair.chosen_k, pair.rejected_k) == (0, 0)
    assert pair.margin == pytest.approx(1.0 - 0.8)


def test_unrefined_needs_one_candidate_only(bracket: Dialect) -> None:
    row = scored(bracket, "A dog [0, 0, 10, 8].")
    assert isinstance(outcome(bracket, row, rejected="unrefined"), PreferencePair)
    assert outcome(bracket, row) == "too_few_candidates"


@pytest.mark.parametrize(
    ("texts", "recipe", "reason"),
    [
        (["A dog [0, 0, 10, 8].", "One dog [0, 0, 10, 8]."], {}, "small_margin"),
        (["A dog [0, 0, 10, 8].", "A dog [0, 0, 10, 6]."], {"min_margin": 0.3}, "small_margin"),
        (["A dog [0, 0, 10, 8].", "A dog [0, 0, 10, 8]."], {}, "equal_texts"),
        (["A dog [50, 50, 60, 60].", "A dog."], {"min_margin": 0}, "no_box_matched"),
        (["A dog [0, 0, 10, 10]."], {"rejected": "unrefined"}, "equal_texts"),
        (["A dog [0, 0, 10, 8]."], {"rejected": "unrefined", "min_margin": 0.3}, "small_margin"),
        (["A dog [0, 0, 10, 8].", "A dog [0, 0, 10, 6]."], {"min_iou": 0.9}, "no_box_matched"),
        (["A dog [0, 0, 10, 8].", "A cat [0, 0, 10, 6]."], {"same_mentions": True}, "no_same_mentions"),
    ],
)
def test_why_there_is_no_pair(bracket: Dialect, texts: list[str], recipe: dict[str, Any], reason: str) -> None:
    assert outcome(bracket, scored(bracket, *texts), **recipe) == reason


def test_a_refinement_that_strips_what_the_score_paid_for_makes_no_pair(bracket: Dialect) -> None:
    """Two objects. The best text earns (0.7 + 0.55) / 2 and keeps 1 / 2 when its second box is stripped; the worst has 0.6."""
    cat = SceneObject("2", "cat", (20.0, 0.0, 40.0, 20.0))
    query = dataclasses.replace(QUERY, objects=(DOG, cat))
    row = scored(
        bracket, "A dog [0, 0, 10, 7], a cat [20, 0, 40, 11].", "A dog [0, 0, 10, 6], a cat [20, 0, 40, 12].", query=query
    )
    assert outcome(bracket, row, min_iou=0.6) == "refined_worse"


def test_a_chosen_text_that_was_cut_off_makes_no_pair(bracket: Dialect) -> None:
    row = scored(bracket, "A dog [0, 0, 10, 8], a", "A dog.", finish_reason="length")
    assert outcome(bracket, row) == "chosen_cut_off"
    whole = dataclasses.replace(row.candidates[0], finish_reason="stop")
    assert isinstance(outcome(bracket, QueryScores(QUERY, (whole, row.candidates[1]))), PreferencePair)


def test_of_equal_scores_the_smaller_k_ranks_first(bracket: Dialect) -> None:
    row = scored(bracket, "A dog.", "A dog [0, 0, 10, 8].", "One dog [0, 0, 10, 8].", "No dog.")
    assert [item.k for item in rank(row.candidates[::-1])] == [1, 2, 0, 3]


def test_same_mentions_picks_the_group_with_the_largest_spread(bracket: Dialect) -> None:
    texts = [
        "A dog [0, 0, 10, 8].",  # 0.8
        "Cat [0, 0, 10, 6].",  # 0.6
        "cat  [0, 0, 10, 10].",  # 1.0, the same name but for case and spaces
        "A dog [0, 0, 10, 7].",  # 0.7
        "A dog [0, 0, 10, 9], A dog [50, 50, 60, 60].",  # two dogs are not one dog
        "Nothing.",
        "Nothing at all.",
        "[0, 0, 10, 9]",  # a box without a name
        "[0, 0, 10, 1]",
    ]
    assert [item.k for item in same_mentions(scored(bracket, *texts).candidates)] == [1, 2]


def test_rows_come_out_in_order_and_are_counted(bracket: Dialect) -> None:
    good = scored(bracket, "A dog [0, 0, 10, 8] and a cat [50, 50, 60, 60].", "A dog.")
    rows = []
    for number in range(4):
        query = dataclasses.replace(QUERY, query_id=f"7-{number}")
        rows.append(QueryScores(query, good.candidates if number % 2 else good.candidates[:1]))
    stage = PairStage(Pairs(), bracket, Scorer(SCORE, bracket, Path()))
    stage.setup("cpu")
    items = list(stage.process(rows))
    assert [getattr(item, "row_id", None) or stage.parent_id(item) for item in items] == [stage.row_id(row) for row in rows]  # type: ignore[arg-type]
    assert [type(item) for item in items] == [Dropped, PreferencePair, Dropped, PreferencePair]
    assert stage.notes() == {"refined_boxes": 2, "stripped_boxes": 2}
    assert stage.notes() == {}


def test_the_key_of_the_stage_holds_its_options_and_those_of_the_scores(bracket: Dialect) -> None:
    part = PairStage(Pairs(min_margin=0.1), bracket, Scorer(SCORE, bracket, Path("/a"))).recipe_part
    assert part["pairs"]["min_margin"] == 0.1
    assert part["score"]["weight"] == 0
    assert part["dialect"] == {"name": "bracket", "options": {}}
    assert part == PairStage(Pairs(min_margin=0.1), bracket, Scorer(SCORE, bracket, Path("/b"))).recipe_part


def test_another_frame_of_the_dialect_is_another_key() -> None:
    parts = [Scorer(SCORE, get("llava-onevision", frame=frame), Path()).recipe_part for frame in ("original", "padded")]
    assert parts[0] != parts[1]


def test_recipe_refuses_both_same_mentions_and_unrefined() -> None:
    data = {
        "source": {"annotations": "a", "image_root": "b"},
        "model": {"name": "m", "dialect": "ferret"},
        "score": {"weight": 0, "localization": {"preset": "annotations_only"}},
        "pairs": {"same_mentions": True, "rejected": "unrefined"},
    }
    with pytest.raises(RecipeError, match="same_mentions compares candidates"):
        check_recipe(data, "r.yaml")
