from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from bracket_dialect import Bracket

from spr.records import PreferencePair, ScoredCandidate
from spr.report.summaries import (
    chosen_drift,
    correlation,
    measure_lengths,
    series,
    smooth,
    spread_over_margins,
    summarise_scores,
)

ROW = ScoredCandidate("q0", 0, "plain", 0, "", "stop", 1, 1, "m", (), 0.1, 0.1, 0.1, 0.0, 0.0)
PAIR = PreferencePair(
    "p", "q", "i", "i.png", 10, 10, (0, 0, 9, 9), (), "?", "", "", "", 0, 1, 0.5, 0.6, 0.4, 0, 0, 0, 0.1, 0, 0, "m"
)


def rows(query: str, localizations: list[float], composites: list[float]) -> list[ScoredCandidate]:
    pairs = zip(localizations, composites, strict=True)
    return [replace(ROW, query_id=query, k=k, localization=loc, composite=com) for k, (loc, com) in enumerate(pairs)]


def test_the_spread_is_within_queries_not_between_them() -> None:
    summary = summarise_scores(rows("a", [0.0, 0.2], [0, 1]) + rows("b", [0.8, 1.0], [0, 1]))
    assert summary.spread["localization"] == pytest.approx(0.1)
    assert summary.reach["localization"] == pytest.approx(0.2)


def test_the_rank_correlation_is_taken_in_each_query_and_averaged() -> None:
    summary = summarise_scores(rows("a", [1, 2, 30], [5, 6, 7]) + rows("b", [3, 2, 1], [5, 6, 7]))
    assert summary.rank["localization"] == pytest.approx(0.0)
    assert summary.rank["composite"] == pytest.approx(1.0)
    assert summary.ranked["localization"] == 2


def test_a_query_whose_candidates_tie_is_not_counted_among_the_ranked() -> None:
    summary = summarise_scores(rows("a", [1, 2, 30], [5, 6, 7]) + rows("b", [2, 2, 2], [5, 6, 7]))
    assert summary.rank["localization"] == pytest.approx(1.0)
    assert summary.ranked == {"semantic_crop": 0, "semantic_local": 0, "semantic": 0, "localization": 1, "composite": 2}


def test_every_preset_and_every_reward_has_its_spread() -> None:
    one, two = rows("a", [0.5, 0.7], [0, 1])
    extra = {"localization_paper": 0.5, "localization_strict": 0.0, "reward_count_penalty": 1.0, "reward_recall_iou": 0.5}
    other = {"localization_paper": 0.7, "localization_strict": 0.4, "reward_count_penalty": 0.0, "reward_recall_iou": 0.7}
    summary = summarise_scores([replace(one, detail=extra), replace(two, detail=other)])
    assert summary.spread["localization_paper"] == pytest.approx(0.1)
    assert summary.spread["localization_strict"] == pytest.approx(0.2)
    assert summary.rank["reward_count_penalty"] == pytest.approx(-1.0)
    assert summary.main == ("semantic_crop", "semantic_local", "semantic", "localization", "composite")


def test_a_constant_score_has_no_correlation() -> None:
    summary = summarise_scores(rows("a", [1, 2], [5, 6]))
    i = summary.main.index("semantic")
    assert np.isnan(summary.pearson[i]).all()
    assert np.isnan(summary.rank["semantic"])
    assert summary.ranked["semantic"] == 0


def test_a_score_that_was_not_computed_is_left_out() -> None:
    summary = summarise_scores([replace(row, semantic_local=float("nan")) for row in rows("a", [1, 2], [5, 6])])
    assert summary.names == ("semantic_crop", "semantic", "localization", "composite")


def test_pearson_by_hand() -> None:
    assert correlation(np.array([1.0, 2, 3]), np.array([2.0, 4, 6])) == pytest.approx(1)
    assert correlation(np.array([1.0, 2, 3]), np.array([1.0, 0, 1])) == pytest.approx(0)


def test_pairs_to_draw_span_the_margins_and_prefer_other_images() -> None:
    pairs = [replace(PAIR, pair_id=str(i), image_id=str(i % 5), margin=i / 10) for i in range(10)]
    drawn = spread_over_margins(pairs, 4)
    assert [pair.margin for pair in drawn] == sorted((pair.margin for pair in drawn), reverse=True)
    assert drawn[0].margin == 0.9
    assert drawn[-1].margin <= 0.2
    assert len({pair.image_id for pair in drawn}) == 4
    assert spread_over_margins(pairs[::-1], 4) == drawn


def test_few_pairs_are_all_drawn() -> None:
    assert spread_over_margins([PAIR], 12) == [PAIR]
    assert spread_over_margins([], 12) == []


def test_lengths_count_words_without_boxes_and_readable_boxes() -> None:
    pair = replace(PAIR, chosen="a red cup [1, 1, 3, 3]", rejected="a cup [1, 1, 3, 3], a bowl [5, 5, 5, 5]")
    lengths = measure_lengths([pair], Bracket())
    assert lengths.chosen_words.tolist() == [3]
    assert lengths.chosen_boxes.tolist() == [1]
    assert lengths.rejected_boxes.tolist() == [1]


def test_series_takes_the_lines_that_log_the_quantity() -> None:
    steps, values = series([{"step": 1, "loss": 0.7}, {"step": 2}, {"step": 3, "loss": 0.5}], "loss")
    assert steps.tolist() == [1, 3]
    assert values.tolist() == [0.7, 0.5]


def test_smoothing_keeps_a_constant_and_the_length() -> None:
    assert smooth(np.full(7, 2.0)).tolist() == [2.0] * 7
    assert len(smooth(np.zeros(0))) == 0


def test_drift_is_the_change_of_the_chosen_in_nats() -> None:
    log = [{"step": i, "rewards/chosen": value} for i, value in enumerate([0.0, -0.1, -0.2, -0.3])]
    assert chosen_drift(log, beta=0.1) == (pytest.approx(0.0), pytest.approx(-3.0))
    assert np.isnan(chosen_drift([], beta=0.1)).all()
