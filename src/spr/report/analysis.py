"""What decides which candidate wins: the scores' terms, where they disagree, which queries end where, and what another
preset of the localization score would have chosen.

Records in, plain values out; `docs/report.md` says in words what each number means. Nothing here is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, groupby

from spr.ranking import rank, same_mentions
from spr.recipe import Pairs, Recipe
from spr.records import ScoredCandidate
from spr.report.data import Flow
from spr.rewards.composite import composite_score, normalized

SCORES = ("semantic_crop", "semantic_local", "semantic", "localization", "composite")
"""The terms that every scored candidate has (NaN where it was not computed)."""
PRESETS = ("paper", "strict", "annotations_only")


def presets_of(rows: Sequence[ScoredCandidate]) -> tuple[str, ...]:
    """The presets that these rows hold a localization score under, in a fixed order."""
    return tuple(preset for preset in PRESETS if any(f"localization_{preset}" in row.detail for row in rows))


def term_names(rows: Sequence[ScoredCandidate]) -> tuple[str, ...]:
    """The terms of these rows' scores in the order of reading, the composite last.

    Those of `SCORES` that were computed at all, the normalized terms, and where there are several of them the localization
    under each preset and each box reward: one alone is the localization score itself.
    """
    rewards = sorted({key for row in rows for key in row.detail if key.startswith("reward_")})
    presets = presets_of(rows)
    order = [
        *SCORES[:3],
        "semantic_normalized",
        "localization",
        *(f"localization_{p}" for p in presets if len(presets) > 1),
        "localization_normalized",
        *(name for name in rewards if len(rewards) > 1),
        "composite",
    ]
    return tuple(name for name in order if any(math.isfinite(term(row, name)) for row in rows))


def term(row: ScoredCandidate, name: str) -> float:
    """One term of a candidate's scores; NaN where it was not computed."""
    return float(getattr(row, name)) if name in SCORES else row.detail.get(name, math.nan)


def by_query(rows: Sequence[ScoredCandidate]) -> Iterator[list[ScoredCandidate]]:
    """The candidates of each query; those of one query stand in a row."""
    return (list(group) for _, group in groupby(rows, key=lambda row: row.query_id))


@dataclass(frozen=True, slots=True)
class Disagreement:
    """All pairs of candidates within a query that have both scores, by what semantic and localization say of which is better.

    `opposite`: each names another as the better one; `same`: both name the same; the others are ties of one score or both.
    """

    opposite: int = 0
    same: int = 0
    semantic_tied: int = 0
    localization_tied: int = 0
    both_tied: int = 0

    @property
    def total(self) -> int:
        """All pairs that were compared."""
        return self.opposite + self.same + self.ties

    @property
    def ties(self) -> int:
        """The pairs in which a score, or both, cannot tell the two candidates apart."""
        return self.semantic_tied + self.localization_tied + self.both_tied


def disagreement(rows: Sequence[ScoredCandidate]) -> Disagreement:
    """Compare every two candidates of each query by their semantic and by their localization score."""
    counts = dict.fromkeys(Disagreement.__dataclass_fields__, 0)
    for group in by_query(rows):
        for a, b in combinations(group, 2):
            semantic, localization = a.semantic - b.semantic, a.localization - b.localization
            if math.isfinite(semantic) and math.isfinite(localization):
                counts[_relation(semantic, localization)] += 1
    return Disagreement(**counts)


def _relation(semantic: float, localization: float) -> str:
    if semantic == 0 or localization == 0:
        return "both_tied" if semantic == localization else "semantic_tied" if semantic == 0 else "localization_tied"
    return "same" if (semantic > 0) == (localization > 0) else "opposite"


@dataclass(frozen=True, slots=True)
class Ending:
    """How many queries ended in one way: dropped at `stage` for `reason`, or in a pair or several (stage "pairs", reason ""),
    and which share that is of all queries."""

    stage: str
    reason: str
    queries: int
    share: float


def endings(flows: Mapping[str, Flow]) -> list[Ending]:
    """Where the queries of a run ended, in the order of the flow, the pairs last; empty while there is no query.

    Shares are of all queries that were drawn; on a run that is not finished they do not add up to 1.
    """
    total = flows["queries"].rows_out if "queries" in flows else 0
    if not total:
        return []
    stages = [flows[name] for name in ("candidates", "scores", "pairs") if name in flows]
    ends = [Ending(f.stage, reason, count, count / total) for f in stages for reason, count in f.dropped.items()]
    if "pairs" in flows:
        ends.append(Ending("pairs", "", flows["pairs"].parents, flows["pairs"].parents / total))
    return ends


@dataclass(frozen=True, slots=True)
class OtherPreset:
    """What ranking by another preset would have changed: of `queries`, how many had another chosen, another rejected, and
    either of both."""

    preset: str
    queries: int
    other_chosen: int
    other_rejected: int
    other_pair: int


def compare_presets(rows: Sequence[ScoredCandidate], recipe: Recipe) -> list[OtherPreset]:
    """Rank every query again under each preset that did not rank, at the recipe's weight and normalization.

    Candidates are compared as pairing compares them (`same_mentions`, `rejected: unrefined`), over the queries that have
    enough of them. Whether the pair would then have been kept is not asked. Empty where the rows hold one preset
    only, or no query has enough.
    """
    others = [preset for preset in presets_of(rows) if preset != recipe.score.localization.preset]
    compared = [_compared(preset, rows, recipe) for preset in others]
    return [other for other in compared if other.queries]


def _compared(preset: str, rows: Sequence[ScoredCandidate], recipe: Recipe) -> OtherPreset:
    """One preset against the one that ranked, over the queries whose candidates all have a score under it."""
    queries = chosen = rejected = either = 0
    for group in by_query(rows):
        scored = all(f"localization_{preset}" in row.detail for row in group)
        before = _ends(group, recipe.pairs) if scored else None
        after = _ends(_under(preset, group, recipe), recipe.pairs) if scored else None
        if before is None or after is None:
            continue
        queries += 1
        chosen += before[0] != after[0]
        rejected += before[1] != after[1]
        either += before != after
    return OtherPreset(preset, queries, chosen, rejected, either)


def _ends(group: Sequence[ScoredCandidate], pairs: Pairs) -> tuple[int, int] | None:
    """The k of the best and of the worst as pairing ranks them; None where there are not enough to compare."""
    compared = same_mentions(group) if pairs.same_mentions else group
    unrefined = pairs.rejected == "unrefined"
    if len(compared) < (1 if unrefined else 2):
        return None
    ranked = rank(compared)
    return ranked[0].k, ranked[0].k if unrefined else ranked[-1].k


def _under(preset: str, group: Sequence[ScoredCandidate], recipe: Recipe) -> list[ScoredCandidate]:
    """The candidates of a query with the composite that they would have under another preset."""
    score = recipe.score
    semantic = normalized([row.semantic for row in group], score.normalize)
    localization = normalized([row.detail[f"localization_{preset}"] for row in group], score.normalize)
    return [
        replace(row, composite=composite_score(float(words), float(places), score.weight))
        for row, words, places in zip(group, semantic, localization, strict=True)
    ]
