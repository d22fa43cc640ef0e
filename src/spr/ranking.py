"""The order of a query's candidates, and who of them stands against whom. Scores only; what makes a pair is `spr.pairs`'."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations

from spr.records import ScoredCandidate


def rank(candidates: Sequence[ScoredCandidate]) -> list[ScoredCandidate]:
    """Best first by composite score; of equals the one with the smaller k comes first."""
    return sorted(candidates, key=lambda candidate: (-candidate.composite, candidate.k))


def contests(candidates: Sequence[ScoredCandidate]) -> list[tuple[ScoredCandidate, ScoredCandidate]]:
    """Every two candidates, the better one first, by the difference of their composite scores: best against worst comes first.
    Of equal differences the one with the higher ranked better candidate comes first, then that with the lower ranked worse."""
    ranked = list(enumerate(rank(candidates)))
    order = sorted(combinations(ranked, 2), key=lambda two: (two[1][1].composite - two[0][1].composite, two[0][0], -two[1][0]))
    return [(better, worse) for (_, better), (_, worse) in order]


def same_mentions(candidates: Sequence[ScoredCandidate]) -> list[ScoredCandidate]:
    """The candidates of the group with the largest spread of scores, all of which name the same things equally often.

    Names are compared as written but for case and spacing; texts that name nothing are in no group. Of equal spreads the
    group with the smallest k comes first. Empty when no group has two members.
    """
    groups: defaultdict[tuple[str, ...], list[ScoredCandidate]] = defaultdict(list)
    for candidate in sorted(candidates, key=lambda candidate: candidate.k):
        names = sorted(" ".join((mention.phrase or "").casefold().split()) for mention in candidate.mentions)
        groups[tuple(names)].append(candidate)
    usable = [group for names, group in groups.items() if any(names) and len(group) > 1]
    return max(usable, key=_spread, default=[])


def _spread(group: Sequence[ScoredCandidate]) -> float:
    scores = [candidate.composite for candidate in group]
    return max(scores) - min(scores)
