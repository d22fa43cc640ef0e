"""The numbers behind the report's pictures: spreads, correlations, lengths, and which pairs to draw.

Arrays in, plain values out. A statistic that is not defined (a constant column, no rows) is NaN, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import rankdata

from spr.boxes import FloatArray
from spr.models.base import Dialect
from spr.records import PreferencePair, ScoredCandidate
from spr.report.analysis import SCORES, by_query, term, term_names


@dataclass(frozen=True, slots=True)
class ScoreSummary:
    """What the scored candidates of a run look like, term by term (`names`, those that were computed at all).

    `values[name]` (n,) over all candidates. `spread` is the mean over queries of the standard deviation between the
    candidates of one query, `reach` the mean of best minus worst; `rank` is the mean over queries of Spearman's correlation
    with the composite, the order that pairs are made from, and `ranked` the number of queries over which it is defined
    (those in which both the term and the composite vary). `pearson` (m, m) is taken over all candidates, between the m terms
    in `main`: the two cosines, semantic, localization and composite.
    """

    names: tuple[str, ...]
    main: tuple[str, ...]
    values: dict[str, FloatArray]
    spread: dict[str, float]
    reach: dict[str, float]
    rank: dict[str, float]
    ranked: dict[str, int]
    pearson: FloatArray


def summarise_scores(rows: Sequence[ScoredCandidate]) -> ScoreSummary:
    """Scored candidates, queries in a row -> their summary. A score that is NaN throughout was not computed: left out."""
    names = term_names(rows)
    main = tuple(name for name in names if name in SCORES)
    groups = list(by_query(rows))
    within = {name: [np.array([term(row, name) for row in group]) for group in groups] for name in names}
    columns = {name: np.concatenate(values) for name, values in within.items()}
    ranks = {
        name: [correlation(rankdata(v), rankdata(s)) for v, s in zip(values, within["composite"], strict=True)]
        for name, values in within.items()
    }
    return ScoreSummary(
        names=names,
        main=main,
        values={name: values[np.isfinite(values)] for name, values in columns.items()},
        spread={name: _mean([float(np.std(v)) for v in values]) for name, values in within.items()},
        reach={name: _mean([float(np.ptp(v)) for v in values]) for name, values in within.items()},
        rank={name: _mean(found) for name, found in ranks.items()},
        ranked={name: int(np.isfinite(found).sum()) for name, found in ranks.items()},
        pearson=np.array([[correlation(columns[a], columns[b]) for b in main] for a in main]),
    )


def correlation(a: FloatArray, b: FloatArray) -> float:
    """Pearson's correlation of two (n,) arrays; NaN when one of them does not vary or holds a NaN."""
    if len(a) < 2 or not np.ptp(a) > 0 or not np.ptp(b) > 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def spread_over_margins(pairs: Sequence[PreferencePair], count: int) -> list[PreferencePair]:
    """Up to `count` pairs at evenly spaced quantiles of the margin, widest first; ties by pair_id.

    Another image is preferred to one already taken, so that the pictures differ.
    """
    ordered = sorted(pairs, key=lambda pair: (-pair.margin, pair.pair_id))
    if len(ordered) <= count:
        return ordered
    taken: list[int] = []
    images: set[str] = set()
    for slot in np.linspace(0, len(ordered) - 1, count).round().astype(int).tolist():
        nearest = sorted(set(range(len(ordered))) - set(taken), key=lambda i: (abs(i - slot), i))
        reachable = [i for i in nearest[: len(ordered) // count + 1] if ordered[i].image_id not in images]
        taken.append((reachable or nearest)[0])
        images.add(ordered[taken[-1]].image_id)
    return [ordered[i] for i in sorted(taken)]


@dataclass(frozen=True, slots=True)
class Lengths:
    """Words (box mark-up taken away) and readable boxes of each pair's two answers, each (n,)."""

    chosen_words: FloatArray
    rejected_words: FloatArray
    chosen_boxes: FloatArray
    rejected_boxes: FloatArray


def measure_lengths(pairs: Sequence[PreferencePair], dialect: Dialect) -> Lengths:
    """Count words and boxes of the chosen (refined) and the rejected texts."""

    def words(text: str, pair: PreferencePair) -> int:
        return len(dialect.words(text, pair.size).split())

    def boxes(text: str, pair: PreferencePair) -> int:
        return sum(mention.box is not None for mention in dialect.parse(text, pair.size))

    def column(values: list[int]) -> FloatArray:
        return np.array(values, dtype=np.float64)

    return Lengths(
        column([words(pair.chosen, pair) for pair in pairs]),
        column([words(pair.rejected, pair) for pair in pairs]),
        column([boxes(pair.chosen, pair) for pair in pairs]),
        column([boxes(pair.rejected, pair) for pair in pairs]),
    )


def series(log: Sequence[Mapping[str, Any]], key: str) -> tuple[FloatArray, FloatArray]:
    """Updates and values (n,) of one logged quantity, for the log lines that have both."""
    points = [(float(line["step"]), float(line[key])) for line in log if key in line and "step" in line]
    array = np.array(points, dtype=np.float64).reshape(-1, 2)
    return array[:, 0], array[:, 1]


def smooth(values: FloatArray, share: float = 0.1) -> FloatArray:
    """Running mean (n,) over `share` of the points on each side that has them."""
    half = max(1, round(len(values) * share / 2))
    return np.array([values[max(0, i - half) : i + half + 1].mean() for i in range(len(values))])


def chosen_drift(log: Sequence[Mapping[str, Any]], beta: float) -> tuple[float, float]:
    """How far the chosen's log-probability stands from the reference, in nats an answer, as means of rewards/chosen / beta
    over the first and the last quarter of the updates. A fall is likelihood displacement. NaN where it was not logged."""
    _, rewards = series(log, "rewards/chosen")
    quarter = max(1, len(rewards) // 4)
    return _mean(rewards[:quarter].tolist()) / beta, _mean(rewards[-quarter:].tolist()) / beta


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")
