"""One query as a reader wants it: its pair, all its candidates in the order of the ranking, and the ground truth.

What the page and the terminal both show is put together here; neither invents anything.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from spr.boxes import Box, as_box
from spr.errors import DataError
from spr.ranking import rank
from spr.recipe import Recipe
from spr.records import PreferencePair, RegionQuery, ScoredCandidate
from spr.report.analysis import term_names
from spr.report.data import Run, dropped_queries
from spr.report.texts import visible
from spr.rewards.judging import added_objects

_PLAIN = re.compile(r"[a-z0-9_][a-z0-9_.-]{0,79}")
_SHOWN = 48


@dataclass(frozen=True, slots=True)
class Case:
    """One pair with everything behind it. `candidates` best first, empty where the run no longer holds the scores; `added`
    are the ground-truth boxes that the detector added to the annotations; `others` the ids of its query's other pairs."""

    pair: PreferencePair
    candidates: tuple[ScoredCandidate, ...]
    added: tuple[Box, ...]
    recipe: Recipe
    others: tuple[str, ...] = ()

    @property
    def truth(self) -> list[tuple[Box, str]]:
        """The ground truth with its names: annotations first, then what the detector added."""
        annotated = [(scene.box, scene.category) for scene in self.pair.objects]
        return annotated + [(box, "added by the detector") for box in self.added]

    @property
    def terms(self) -> tuple[str, ...]:
        """The score terms that the candidates have, in the order of reading."""
        return term_names(self.candidates)

    def role(self, candidate: ScoredCandidate) -> str:
        """chosen, rejected, or other; under `rejected: unrefined` the chosen is both and called chosen."""
        if candidate.k == self.pair.chosen_k:
            return "chosen"
        return "rejected" if candidate.k == self.pair.rejected_k else "other"


class Cases:
    """The pairs of a run by name, each with its candidates. Reads nothing: a `Run` is given."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.pairs: list[PreferencePair] = run.pairs or []
        self._by_query: dict[str, list[PreferencePair]] = {}
        for pair in self.pairs:
            self._by_query.setdefault(pair.query_id, []).append(pair)
        first = {query: pairs[0] for query, pairs in self._by_query.items()}
        self._pairs = first | {pair.pair_id: pair for pair in self.pairs}
        self._candidates: dict[str, list[ScoredCandidate]] = {}
        for row in run.scores or []:
            self._candidates.setdefault(row.query_id, []).append(row)

    def of(self, pair: PreferencePair) -> Case:
        """The case of one of the run's pairs."""
        candidates = self._candidates.get(pair.query_id, [])
        added = added_ground_truth(pair, candidates, self.run.recipe)
        others = tuple(one.pair_id for one in self._by_query.get(pair.query_id, []) if one.pair_id != pair.pair_id)
        return Case(pair, tuple(rank(candidates)), added, self.run.recipe, others)

    def find(self, name: str) -> Case:
        """The case of a pair id; by a query's id, of its first pair, the widest. Raises DataError that says what ids look like,
        or why a query has no pair."""
        if name in self._pairs:
            return self.of(self._pairs[name])
        where, shown = self.run.path, visible(name).replace("\n", "\\n")
        if reason := dropped_queries(where).get(name):
            raise DataError(f"query {shown} of {where} made no pair: {reason.stage} dropped it as {reason.reason}")
        if not self.pairs:
            raise DataError(f"{where} holds no pairs; `spr status {where}` shows where they went")
        sample = visible(self.pairs[0].pair_id)[:_SHOWN].replace("\n", "\\n")
        raise DataError(
            f"{where} holds no pair or query '{shown[:_SHOWN]}'; its ids look like {sample}, of {len(self.pairs):,} "
            f"{'pair' if len(self.pairs) == 1 else 'pairs'} in all"
        )


def added_ground_truth(pair: PreferencePair, candidates: Sequence[ScoredCandidate], recipe: Recipe) -> tuple[Box, ...]:
    """The ground-truth boxes that the detector added to the annotations of a pair's query, from all its candidates."""
    query = RegionQuery(**{field: getattr(pair, field) for field in RegionQuery.__dataclass_fields__})
    return tuple(as_box(box) for box in added_objects(recipe.score, query, [row.detections for row in candidates]))


def page_name(pair_id: str) -> str:
    """The file name of a pair's page, without its suffix: safe on any file system, and another for each id.

    A plain id is its own name. Any other (odd characters, capitals that some file systems do not tell apart, too long) is cut
    to what is safe, and bears a digest behind a `~`, which no plain id holds.
    """
    if _PLAIN.fullmatch(pair_id):
        return pair_id
    safe = re.sub(r"[^a-z0-9_]+", "-", pair_id.lower()).strip("-")[:60]
    return f"{safe}~{hashlib.sha256(pair_id.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"


def pages_folder(run: Path) -> Path:
    """Where the report keeps its pairs' pages."""
    return run / "report" / "pairs"
