"""Several pairs a query, and limits on the lengths of their texts.

One object, 10 x 10 pixels: a box of height h has IoU h / 10. Texts are scored by their boxes alone, so the composite of a
candidate is its IoU with that object.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from spr.models.base import Dialect
from spr.pairs import PairStage
from spr.ranking import contests
from spr.recipe import Pairs
from spr.recipe_score import Score
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
from spr.rewards.judging import Scores
from spr.rewards.scorer import Scorer
from spr.rewards.stage import ScoreStage
from spr.running.balance import compute

DOG = SceneObject("1", "dog", (0.0, 0.0, 10.0, 10.0))
QUERY = RegionQuery("7-0", "7", "7.png", 100, 100, (0.0, 0.0, 50.0, 50.0), (DOG,))
SCORE = Score.model_validate({"weight": 0, "localization": {"preset": "annotations_only"}})
FOUR = ("A dog [0, 0, 10, 9].", "Dog [0, 0, 10, 6].", "Hound [0, 0, 10, 8].", "Nothing.")
"""Worth 0.9, 0.6, 0.8 and 0."""


class CountingScorer(Scorer):
    """The scorer, which keeps what it was asked to score again."""

    asked: list[str]

    def rescore(self, items: Sequence[tuple[QueryScores, ScoredCandidate, str]]) -> list[Scores | str]:
        self.asked = [text for *_, text in items]
        return super().rescore(items)


def scored(dialect: Dialect, *texts: str, query: RegionQuery = QUERY) -> QueryScores:
    made = (Candidate(query.query_id, k, "plain", k, text, "stop", 3, 5, "policy@1") for k, text in enumerate(texts))
    rows = ScoreStage(SCORE, dialect, Path()).process([QueryCandidates(query, tuple(made))])
    return QueryScores(query, tuple(item for item in rows if isinstance(item, ScoredCandidate)))


def stage(dialect: Dialect, **recipe: Any) -> PairStage:
    return PairStage(Pairs(**recipe), dialect, Scorer(SCORE, dialect, Path()))


def paired(dialect: Dialect, row: QueryScores, **recipe: Any) -> list[tuple[int, int]] | str:
    """Chosen and rejected of each pair, or why there is none."""
    items = list(stage(dialect, **recipe).process([row]))
    if isinstance(items[0], Dropped):
        assert len(items) == 1
        return items[0].reason
    return [(item.chosen_k, item.rejected_k) for item in items if isinstance(item, PreferencePair)]


def test_all_are_every_two_with_the_margin_the_widest_first(bracket: Dialect) -> None:
    row = scored(bracket, *FOUR)
    # 0.9, 0.8, 0.6, 0.3 and 0.2 apart; 0 and 2 are only 0.1 apart.
    assert paired(bracket, row, per_query="all", min_margin=0.15) == [(0, 3), (2, 3), (1, 3), (0, 1), (2, 1)]
    assert paired(bracket, row, per_query="all", min_margin=0.05) == [(0, 3), (2, 3), (1, 3), (0, 1), (2, 1), (0, 2)]
    assert paired(bracket, row, min_margin=0.15) == [(0, 3)]


def test_each_pair_has_its_own_margin_and_id_and_they_agree_with_best_against_worst(bracket: Dialect) -> None:
    row = scored(bracket, *FOUR)
    pairs = [p for p in stage(bracket, per_query="all", min_margin=0.15).process([row]) if isinstance(p, PreferencePair)]
    assert [pair.pair_id for pair in pairs] == [
        "7-0-pair-0-3",
        "7-0-pair-2-3",
        "7-0-pair-1-3",
        "7-0-pair-0-1",
        "7-0-pair-2-1",
    ]
    assert [pair.margin for pair in pairs] == pytest.approx([0.9, 0.8, 0.6, 0.3, 0.2])
    assert {pair.query_id for pair in pairs} == {"7-0"}
    assert [pair.chosen for pair in pairs[:3]] == ["A dog [0, 0, 10, 10].", "Hound [0, 0, 10, 10].", "Dog [0, 0, 10, 10]."]
    (alone,) = stage(bracket).process([row])
    assert isinstance(alone, PreferencePair)
    assert alone == dataclasses.replace(pairs[0], pair_id="7-0-pair")


@pytest.mark.parametrize(
    ("n", "expected"), [(1, [(0, 3)]), (2, [(0, 3), (2, 3)]), (9, [(0, 3), (2, 3), (1, 3), (0, 1), (2, 1)])]
)
def test_top_n_are_the_widest(bracket: Dialect, n: int, expected: list[tuple[int, int]]) -> None:
    assert paired(bracket, scored(bracket, *FOUR), per_query="top_n", n=n, min_margin=0.15) == expected


def test_what_cannot_be_chosen_leaves_its_place_among_the_top_n_to_the_next(bracket: Dialect) -> None:
    row = scored(bracket, *FOUR)
    cut = dataclasses.replace(row.candidates[0], finish_reason="length")
    row = dataclasses.replace(row, candidates=(cut, *row.candidates[1:]))
    assert paired(bracket, row, per_query="top_n", n=2) == [(2, 3), (1, 3)]
    assert paired(bracket, row) == "chosen_cut_off"


def test_a_chosen_text_is_refined_and_scored_again_once(bracket: Dialect) -> None:
    scorer = CountingScorer(SCORE, bracket, Path())
    pairs = PairStage(Pairs(per_query="all", min_margin=0.15), bracket, scorer)
    assert len(list(pairs.process([scored(bracket, *FOUR)]))) == 5
    assert scorer.asked == ["A dog [0, 0, 10, 10].", "Hound [0, 0, 10, 10].", "Dog [0, 0, 10, 10]."]
    assert pairs.notes() == {"refined_boxes": 3, "stripped_boxes": 0, "not_paired_small_margin": 1}


def test_of_pairs_that_read_the_same_the_widest_counts(bracket: Dialect) -> None:
    row = scored(bracket, "A dog [0, 0, 10, 9].", "A dog [0, 0, 10, 7].", "Nothing.")
    # Refined, 0 and 1 are the same text; against each other they are the refined text and the unrefined one.
    assert paired(bracket, row, per_query="all") == [(0, 2), (0, 1)]
    assert paired(bracket, row, per_query="top_n", n=2) == [(0, 2), (0, 1)]


def test_a_query_without_any_pair_is_dropped_once_for_what_its_widest_lacked(bracket: Dialect) -> None:
    row = scored(bracket, "A dog [50, 50, 60, 60].", "A cat [50, 50, 60, 70].", "Nothing.")
    assert paired(bracket, row, per_query="all", min_margin=0) == "no_box_matched"
    assert paired(bracket, row, per_query="all") == "small_margin"
    assert paired(bracket, scored(bracket, "A dog [0, 0, 10, 9]."), per_query="all") == "too_few_candidates"


def test_a_stage_with_several_pairs_a_query_balances(bracket: Dialect) -> None:
    queries = [dataclasses.replace(QUERY, query_id=f"7-{number}") for number in range(3)]
    rows = [scored(bracket, *(FOUR if number != 1 else FOUR[:1]), query=query) for number, query in enumerate(queries)]
    done: list[int] = []
    result = compute(stage(bracket, per_query="all", min_margin=0.15), rows, done.append)
    assert (len(result.rows), result.parents, len(result.dropped), sum(done)) == (10, 2, 1, 3)
    assert len({pair.pair_id for pair in result.rows}) == 10
    assert {pair.query_id for pair in result.rows} == {"7-0", "7-2"}


def test_contests_of_equal_width_come_in_the_order_of_the_ranking(bracket: Dialect) -> None:
    row = scored(bracket, "A dog.", "A dog [0, 0, 10, 8].", "One dog [0, 0, 10, 8].", "No dog.")
    found = [(better.k, worse.k) for better, worse in contests(row.candidates)]
    # Ranked 1, 2, 0, 3: the best against the worst comes first, and with it the four that are 0.8 apart.
    assert found == [(1, 3), (1, 0), (2, 3), (2, 0), (1, 2), (0, 3)]


@pytest.mark.parametrize(
    ("ratio", "rejected", "outcome"),
    [
        (3.0, "No dog is here at all.", [(0, 1)]),  # 6 words against 2, and the numbers of the box are no words
        (2.9, "No dog is here at all.", "lengths_differ"),
        (2.0, "Dog.", [(0, 1)]),  # 1 word against 2
        (1.9, "Dog.", "lengths_differ"),
        (9.0, "", "lengths_differ"),
        (None, "", [(0, 1)]),
    ],
)
def test_texts_of_too_different_lengths_make_no_pair(
    bracket: Dialect, ratio: float | None, rejected: str, outcome: list[tuple[int, int]] | str
) -> None:
    assert paired(bracket, scored(bracket, "A dog [0, 0, 10, 9].", rejected), max_length_ratio=ratio) == outcome


def test_pairs_of_too_different_lengths_are_counted_where_the_query_gives_others(bracket: Dialect) -> None:
    pairs = stage(bracket, per_query="all", max_length_ratio=2.0)
    row = scored(bracket, "A dog [0, 0, 10, 9].", "A dog [0, 0, 10, 7].", "No dog is here at all.")
    assert [(p.chosen_k, p.rejected_k) for p in pairs.process([row]) if isinstance(p, PreferencePair)] == [(0, 1)]
    assert pairs.notes()["not_paired_lengths_differ"] == 2


@pytest.mark.parametrize(
    ("recipe", "fault"),
    [
        ({"per_query": "top_n"}, "`n` goes with `per_query: top_n`"),
        ({"n": 2}, "`n` goes with `per_query: top_n`"),
        ({"per_query": "all", "rejected": "unrefined"}, "per_query: all compares candidates"),
        ({"max_length_ratio": 0.5}, "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_paired_is_refused(recipe: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        Pairs(**recipe)


def test_what_a_pair_weighs_in_training_changes_no_pair(bracket: Dialect) -> None:
    assert stage(bracket, weights="margin").recipe_part == stage(bracket).recipe_part
    assert stage(bracket, per_query="all").recipe_part != stage(bracket).recipe_part
