"""Where the scores disagree, where the queries end, and what another preset would have chosen, by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from spr.recipe import Recipe, check_recipe
from spr.records import Mention, ScoredCandidate
from spr.report.analysis import Disagreement, OtherPreset, compare_presets, disagreement, endings, term_names
from spr.report.data import Flow

ROW = ScoredCandidate("q", 0, "plain", 0, "", "stop", 1, 1, "m", (), 0.1, 0.1, 0.1, 0.0, 0.0)


def rows(query: str, semantics: list[float], localizations: list[float]) -> list[ScoredCandidate]:
    both = zip(semantics, localizations, strict=True)
    return [replace(ROW, query_id=query, k=k, semantic=s, localization=loc) for k, (s, loc) in enumerate(both)]


def presets(query: str, paper: list[float], strict: list[float], semantic: float = 0.0) -> list[ScoredCandidate]:
    """Candidates ranked by `paper` at weight 0.5, so that their composite is (semantic + paper) / 2."""
    found = []
    for k, (one, other) in enumerate(zip(paper, strict, strict=True)):
        detail = {"localization_paper": one, "localization_strict": other}
        score = (semantic + one) / 2
        found.append(replace(ROW, query_id=query, k=k, semantic=semantic, localization=one, composite=score, detail=detail))
    return found


def recipe(normalize: str = "none", weight: float = 0.5, **pairs: Any) -> Recipe:
    score = {"weight": weight, "normalize": normalize, "semantic": {"model": "m"}, "detector": {"model": "d"}}
    source = {"annotations": "a", "image_root": "i"}
    return check_recipe({"source": source, "model": {"name": "m", "dialect": "tiny"}, "score": score, "pairs": pairs}, "test")


def test_scores_that_name_another_better_one_are_opposite() -> None:
    assert disagreement(rows("a", [0.1, 0.2, 0.3], [0.9, 0.5, 0.7])) == Disagreement(opposite=2, same=1)


def test_ties_are_told_apart() -> None:
    found = disagreement(rows("a", [0.1, 0.2], [0.5, 0.5]) + rows("b", [0.1, 0.1], [0.4, 0.5]) + rows("c", [1, 1], [2, 2]))
    assert found == Disagreement(semantic_tied=1, localization_tied=1, both_tied=1)
    assert (found.ties, found.total) == (3, 3)


def test_candidates_of_two_queries_are_not_compared() -> None:
    assert disagreement(rows("a", [0.1], [0.9]) + rows("b", [0.2], [0.5])).total == 0


def test_without_a_semantic_score_there_is_nothing_to_disagree_with() -> None:
    assert disagreement(rows("a", [float("nan")] * 2, [0.1, 0.2])).total == 0


def test_queries_end_dropped_or_as_a_pair() -> None:
    flows = {
        "queries": Flow("queries", 10, 8, 8, {"too_few_objects": 2}, {}),
        "scores": Flow("scores", 8, 6, 30, {"image_missing": 2}, {}),
        "pairs": Flow("pairs", 6, 2, 2, {"equal_texts": 1, "small_margin": 3}, {}),
    }
    found = [(end.stage, end.reason, end.queries, end.share) for end in endings(flows)]
    assert found == [
        ("scores", "image_missing", 2, 0.25),
        ("pairs", "equal_texts", 1, 0.125),
        ("pairs", "small_margin", 3, 0.375),
        ("pairs", "", 2, 0.25),
    ]
    assert sum(share for *_, share in found) == 1
    assert endings({}) == []


def test_another_preset_that_orders_alike_changes_nothing() -> None:
    assert compare_presets(presets("a", [0.9, 0.5, 0.1], [0.3, 0.2, 0.1]), recipe()) == [OtherPreset("strict", 1, 0, 0, 0)]


def test_another_best_and_another_worst_are_counted_by_themselves_and_together() -> None:
    found = presets("a", [0.9, 0.5, 0.1], [0.1, 0.9, 0.0])  # best 0 -> 1, worst 2 -> 2
    found += presets("b", [0.9, 0.5, 0.1], [0.9, 0.0, 0.1])  # best 0 -> 0, worst 2 -> 1
    found += presets("c", [0.9, 0.5, 0.1], [0.1, 0.5, 0.9])  # best 0 -> 2, worst 2 -> 0
    found += presets("d", [0.9, 0.5, 0.1], [0.9, 0.5, 0.1])
    assert compare_presets(found, recipe()) == [OtherPreset("strict", 4, 2, 2, 3)]


def test_the_weight_of_the_recipe_counts() -> None:
    """Semantic 0.0 and 0.4: strict turns localization by 0.3, which moves the order at weight 0.2 and not at 0.8."""
    one, two = presets("a", [0.9, 0.5], [0.2, 0.5])
    for weight, changed in ((0.2, 1), (0.8, 0)):
        best, worst = 0.8 * 0.9 + 0.2 * 0.4, 0.8 * 0.5
        group = [replace(one, semantic=0.4, composite=best), replace(two, semantic=0.0, composite=worst)]
        assert compare_presets(group, recipe(weight=weight))[0].other_chosen == changed


def test_the_normalization_of_the_recipe_counts() -> None:
    """By rank, the semantic order 0, 1, 2 and the strict order 1, 0, 2 tie at the top: the smaller k stays chosen."""
    one, two, three = presets("a", [0.9, 0.5, 0.1], [0.2, 0.9, 0.1])
    group = [replace(one, semantic=0.33), replace(two, semantic=0.32), replace(three, semantic=0.31)]
    assert compare_presets(group, recipe())[0].other_chosen == 1
    assert compare_presets(group, recipe("rank"))[0].other_chosen == 0


def test_with_unrefined_rejected_the_pair_is_the_chosen() -> None:
    found = presets("a", [0.9, 0.5, 0.1], [0.9, 0.0, 0.1])
    assert compare_presets(found, recipe(rejected="unrefined")) == [OtherPreset("strict", 1, 0, 0, 0)]
    assert compare_presets(presets("b", [0.9], [0.1]), recipe(rejected="unrefined"))[0].queries == 1
    assert compare_presets(presets("b", [0.9], [0.1]), recipe()) == []


def test_only_candidates_that_name_the_same_things_are_compared_where_pairing_does() -> None:
    cup, bowl = (Mention(name, (0, 0, 1, 1), "ok", "", (0, 1)) for name in ("cup", "bowl"))
    named = [(bowl,), (cup,), (cup,)]
    found = [replace(row, mentions=m) for row, m in zip(presets("a", [0.9, 0.5, 0.1], [0.0, 0.5, 0.4]), named, strict=True)]
    assert compare_presets(found, recipe(same_mentions=True)) == [OtherPreset("strict", 1, 0, 0, 0)]
    assert compare_presets(found, recipe())[0].other_pair == 1
    assert compare_presets(found[:2], recipe(same_mentions=True)) == []


def test_a_query_without_a_score_under_the_other_preset_is_not_compared() -> None:
    bare = [replace(row, detail={"localization_paper": row.localization}) for row in presets("b", [0.9, 0.1], [0.0, 0.0])]
    assert compare_presets(presets("a", [0.9, 0.1], [0.1, 0.9]) + bare, recipe()) == [OtherPreset("strict", 1, 1, 1, 1)]


def test_one_preset_alone_is_not_compared_and_is_no_term_of_its_own() -> None:
    alone = [replace(ROW, detail={"localization_paper": 0.5, "reward_recall_iou": 0.5})]
    assert compare_presets(alone, recipe()) == []
    assert term_names(alone) == ("semantic_crop", "semantic_local", "semantic", "localization", "composite")


@pytest.mark.parametrize("detail", [{}, {"n_gt": 3.0}])
def test_old_rows_without_details_have_their_main_terms(detail: dict[str, float]) -> None:
    assert "localization" in term_names([replace(ROW, detail=detail)])
    assert compare_presets([replace(ROW, detail=detail)], recipe()) == []
