"""Stage 3: queries with their candidates in, scored candidates out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from spr.images import ImageFault
from spr.models.base import Dialect
from spr.recipe import Score
from spr.records import Candidate, Dropped, QueryCandidates, ScoredCandidate
from spr.rewards.scorer import QUERIES_AT_A_TIME, Scorer, Scores


class ScoreStage:
    """Scores all candidates of a query together.

    A query is dropped as `no_ground_truth` when no annotated object lies inside its region, and under the image's own
    reason (`image_missing`, `size_mismatch`, ...) when its image cannot be used.
    """

    name = "scores"
    version = 1
    output = ScoredCandidate

    def __init__(self, recipe: Score, dialect: Dialect, image_root: Path) -> None:
        self._scorer = Scorer(recipe, dialect, image_root)
        self._notes: Counter[str] = Counter()

    @property
    def recipe_part(self) -> dict[str, Any]:
        """The score's options, the semantic model's identity and the dialect."""
        return self._scorer.recipe_part

    def setup(self, device: str) -> None:
        """Name the device; the semantic model is loaded with the first rows."""
        self._scorer.setup(device)

    def process(self, rows: Sequence[QueryCandidates]) -> Iterator[ScoredCandidate | Dropped]:
        """Score the queries in order, some at a time. Raises ModelError when the semantic model cannot be loaded."""
        for start in range(0, len(rows), QUERIES_AT_A_TIME):
            block = rows[start : start + QUERIES_AT_A_TIME]
            usable = [(row.query, [candidate.text for candidate in row.candidates]) for row in block if row.query.objects]
            scored = iter(self._scorer.score(usable))
            for row in block:
                yield from self._rows(row, next(scored) if row.query.objects else None)

    def _rows(self, row: QueryCandidates, scored: list[Scores] | ImageFault | None) -> Iterator[ScoredCandidate | Dropped]:
        if scored is None:
            yield Dropped(row.query.query_id, self.name, "no_ground_truth")
        elif isinstance(scored, ImageFault):
            yield Dropped(row.query.query_id, self.name, scored.reason)
        else:
            for candidate, scores in zip(row.candidates, scored, strict=True):
                self._notes["unreadable_mentions"] += int(scores.detail["n_unreadable"])
                self._notes["truncated_text_tokens"] += int(scores.detail.get("truncated_tokens", 0))
                yield ScoredCandidate(**_values(candidate), **_values(scores))

    def row_id(self, row: QueryCandidates) -> str:
        """The query's id."""
        return row.query.query_id

    def parent_id(self, row: ScoredCandidate) -> str:
        """The query's id."""
        return row.query_id

    def notes(self) -> dict[str, int]:
        """Mentions that could not be read and text tokens that the encoder did not read, since the last call."""
        notes, self._notes = dict(self._notes), Counter()
        return notes


def _values(record: Candidate | Scores) -> dict[str, Any]:
    return {item.name: getattr(record, item.name) for item in fields(record)}
