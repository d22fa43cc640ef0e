"""Stage 3: queries with their candidates in, scored candidates out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from spr.models.base import Dialect
from spr.recipe_score import Score
from spr.records import Candidate, Dropped, QueryCandidates, ScoredCandidate
from spr.rewards.judging import Scores
from spr.rewards.scorer import Scorer

_NOTES = {
    "unreadable_mentions": "n_unreadable",
    "truncated_text_tokens": "truncated_tokens",
    "detections": "n_detections",
    "cut_phrases": "n_phrases_cut",
    "unread_phrases": "n_phrases_unread",
}
"""Counts for the manifest, and the parts of a text's scores that they sum."""


class ScoreStage:
    """Scores all candidates of a query together.

    A query is dropped as `no_ground_truth` when its region holds no annotated object, nor one that a detector found where the
    preset counts those, and under the image's own reason (`image_missing`, `size_mismatch`, ...) when its image cannot be used.
    """

    name = "scores"
    version = 2
    output = ScoredCandidate

    def __init__(self, recipe: Score, dialect: Dialect, image_root: Path, coverage: float = 0.5) -> None:
        self._scorer = Scorer(recipe, dialect, image_root, coverage)
        self._notes: Counter[str] = Counter()

    @property
    def recipe_part(self) -> dict[str, Any]:
        """The score's options, the identities of its models, and the dialect."""
        return self._scorer.recipe_part

    def setup(self, device: str) -> None:
        """Name the device; models are loaded with the first rows."""
        self._scorer.setup(device)

    def process(self, rows: Sequence[QueryCandidates]) -> Iterator[ScoredCandidate | Dropped]:
        """Score the queries in order, some at a time. Raises ModelError when a model cannot be loaded."""
        scored = self._scorer.score([(row.query, [candidate.text for candidate in row.candidates]) for row in rows])
        for row, outcome in zip(rows, scored, strict=True):
            yield from self._rows(row, outcome)

    def _rows(self, row: QueryCandidates, scored: list[Scores] | str) -> Iterator[ScoredCandidate | Dropped]:
        if isinstance(scored, str):
            yield Dropped(row.query.query_id, self.name, scored)
            return
        for candidate, scores in zip(row.candidates, scored, strict=True):
            for note, part in _NOTES.items():
                if part in scores.detail:
                    self._notes[note] += int(scores.detail[part])
            yield ScoredCandidate(**_values(candidate), **_values(scores))

    def row_id(self, row: QueryCandidates) -> str:
        """The query's id."""
        return row.query.query_id

    def parent_id(self, row: ScoredCandidate) -> str:
        """The query's id."""
        return row.query_id

    def notes(self) -> dict[str, int]:
        """Mentions that could not be read, text tokens that the encoder did not read, detections, and phrases that the detector
        read in part or not at all, since the last call."""
        notes, self._notes = dict(self._notes), Counter()
        return notes


def _values(record: Candidate | Scores) -> dict[str, Any]:
    return {item.name: getattr(record, item.name) for item in fields(record)}
