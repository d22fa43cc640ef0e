"""All scores of texts about regions: read images once, compare words and boxes, judge. What candidates are ranked by.

Here the models are fed; what their answers are worth is said in `judging`. No torch here: a model is loaded when the first
text needs it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from time import monotonic
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from PIL import Image

from spr.boxes import FloatArray
from spr.images import ImageFault, load, loaded
from spr.models.base import Dialect
from spr.models.identity import check_directory, identity
from spr.recipe_score import Score
from spr.records import QueryScores, RegionQuery, ScoredCandidate
from spr.rewards.judging import Evidence, Scores, added_objects, judge, judge_again
from spr.rewards.localization import inside
from spr.rewards.phrases import NounChunks, load_noun_chunks, phrases_of, pipeline_identity

if TYPE_CHECKING:
    from collections import Counter

    from spr.rewards.detector import PhraseDetector
    from spr.rewards.detector_families import Reading
    from spr.rewards.semantic import SemanticScorer, SemanticScores

QUERIES_AT_A_TIME = 64
"""Queries whose images are held in memory together."""
NO_GROUND_TRUTH = "no_ground_truth"

_OF_WORDS = ("text_chunks", "truncated_tokens", "n_phrases", "n_phrases_cut", "n_phrases_unread")
Texts = tuple[RegionQuery, Sequence[str]]
Images = dict[tuple[str, tuple[int, int]], Image.Image | ImageFault]
Photos = Mapping[str, Image.Image]
"""Photos that are in memory already, by the path that their queries give."""
_NO_PHOTOS: Photos = MappingProxyType({})


class Scorer:
    """Scores texts as the recipe's `score` says. `setup` names the device; raises ModelError once a model is needed and cannot
    be loaded. A scorer that has not scored yet can be pickled.

    `coverage` is the share of a detected box that the region must cover, as for annotations. `seconds` counts the time spent
    on decode, semantic and detector.
    """

    def __init__(self, recipe: Score, dialect: Dialect, image_root: Path, coverage: float = 0.5) -> None:
        self._recipe, self._dialect, self._image_root, self._coverage = recipe, dialect, image_root, coverage
        self._device = "cpu"
        self._clip: SemanticScorer | None = None
        self._detector: PhraseDetector | None = None
        self._noun_chunks: NounChunks | None = None
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @cached_property
    def recipe_part(self) -> dict[str, Any]:
        """The recipe's `score`, with the identities of the models in the place of their names, and the dialect with the
        options it was built with: another frame reads other boxes from the same texts. Raises ModelError for a path that is
        no model's."""
        part = self._recipe.model_dump(mode="json")
        for name in ("semantic", "detector"):
            options = getattr(self._recipe, name)
            if options is not None:
                check_directory(f"score.{name}.model {options.model}", options.model)
                part[name] |= {"model": identity(options.model, options.revision)}
        if self._recipe.detector is not None:
            part["coverage"] = self._coverage
            if self._recipe.detector.noun_chunks:
                part["detector"]["noun_chunks"] = pipeline_identity(self._recipe.detector.noun_chunks)
        dialect = {"name": self._dialect.name, "options": dict(self._dialect.options)}
        return {"score": part, "dialect": json.loads(json.dumps(dialect))}

    def setup(self, device: str) -> None:
        """Name the device for the models, which are loaded when the first text needs them."""
        self._device = device

    def score(self, queries: Sequence[Texts], photos: Photos = _NO_PHOTOS) -> Iterator[list[Scores] | str]:
        """Score each query's texts, in order. A query that cannot be scored gets the reason instead: that of its image, or
        no_ground_truth. Images that are not among `photos` are read from disk; without models none is."""
        for (query, _), known in zip(queries, self._evidence(queries, photos), strict=True):
            yield known if isinstance(known, str) else judge(self._recipe, query, known) or NO_GROUND_TRUTH

    def rescore(self, items: Sequence[tuple[QueryScores, ScoredCandidate, str]]) -> list[Scores | str]:
        """Score a changed text of each candidate against the ground truth of its query.

        Where only boxes changed the words are the same, and so are their semantic scores and the detector's boxes: they are
        taken over, not computed again.
        """
        same = [self._words(text, row.query) == self._words(old.text, row.query) for row, old, text in items]
        changed = [(row.query, [text]) for (row, _, text), known in zip(items, same, strict=True) if not known]
        fresh = self._evidence(changed)
        results: list[Scores | str] = []
        for (row, old, text), known in zip(items, same, strict=True):
            evidence = [self._reused(row.query, old, text)] if known else next(fresh)
            if isinstance(evidence, str):
                results.append(evidence)
            else:
                results.append(judge_again(self._recipe, row.query, row.candidates, evidence[0]))
        return results

    def added_objects(self, row: QueryScores) -> FloatArray:
        """The boxes (m, 4) that the detector adds to the query's annotations as ground truth."""
        return added_objects(self._recipe, row.query, [candidate.detections for candidate in row.candidates])

    def _reused(self, query: RegionQuery, old: ScoredCandidate, text: str) -> Evidence:
        """Evidence for a text that has the words of a candidate."""
        detail = {name: value for name, value in old.detail.items() if name in _OF_WORDS}
        mentions = tuple(self._dialect.parse(text, query.size))
        return Evidence(mentions, old.mentions, old.detections, old.semantic_crop, old.semantic_local, detail)

    def _words(self, text: str, query: RegionQuery) -> str:
        return self._dialect.words(text, query.size)

    def _evidence(self, queries: Sequence[Texts], photos: Photos = _NO_PHOTOS) -> Iterator[list[Evidence] | str]:
        """What is known of each query's texts, or why its image cannot be used; some queries at a time, for their images."""
        rows = iter(queries)
        while block := list(islice(rows, QUERIES_AT_A_TIME)):
            yield from self._known(block, photos)

    def _known(self, block: Sequence[Texts], photos: Photos) -> list[list[Evidence] | str]:
        read = [[self._read(query, text) for text in texts] for query, texts in block]
        if not (self._recipe.semantic or self._recipe.detector):
            return list(read)
        images = self._images(block, photos)
        rows: list[_Row | str] = []
        for (query, texts), evidence in zip(block, read, strict=True):
            image = images[(query.path, query.size)]
            words = [self._words(text, query) for text in texts]
            rows.append(image.reason if isinstance(image, ImageFault) else _Row(query, image, words, evidence))
        usable = [row for row in rows if isinstance(row, _Row)]
        self._compare(usable)
        self._detect(usable)
        return [row.evidence if isinstance(row, _Row) else row for row in rows]

    def _read(self, query: RegionQuery, text: str) -> Evidence:
        mentions = tuple(self._dialect.parse(text, query.size))
        return Evidence(mentions, mentions)

    def _compare(self, rows: Sequence[_Row]) -> None:
        """Put the cosines into the rows' evidence."""
        if self._recipe.semantic is None or not rows:
            return
        from spr.rewards.semantic import SemanticItem, SemanticScorer

        if self._clip is None:
            self._clip = SemanticScorer(self._recipe.semantic, self._device)
        with self._timed("semantic"):
            scored = self._clip.score_many([SemanticItem(row.image, row.query.region, row.words) for row in rows])
        for row, found in zip(rows, scored, strict=True):
            row.evidence = [_with_cosines(evidence, found, k) for k, evidence in enumerate(row.evidence)]

    def _detect(self, rows: Sequence[_Row]) -> None:
        """Put the detector's boxes inside the regions into the rows' evidence."""
        options = self._recipe.detector
        if options is None or not rows:
            return
        from spr.rewards.detector import DetectionItem, PhraseDetector

        if self._detector is None:
            self._detector = PhraseDetector(options, self._device)
            self._noun_chunks = load_noun_chunks(options.noun_chunks) if options.noun_chunks else None
        with self._timed("detector"):
            asked = [
                [phrases_of(one.mentions, words, self._noun_chunks) for one, words in zip(row.evidence, row.words, strict=True)]
                for row in rows
            ]
            found = self._detector.detect([DetectionItem(row.image, asks) for row, asks in zip(rows, asked, strict=True)])
        for row, asks, detections in zip(rows, asked, found, strict=True):
            kept = [inside(row.query.region, boxes, self._coverage) for boxes in detections]
            row.evidence = [
                replace(one, detections=boxes, detail=one.detail | _counts(self._detector.reading(phrases)))
                for one, boxes, phrases in zip(row.evidence, kept, asks, strict=True)
            ]

    def _images(self, block: Sequence[Texts], photos: Photos) -> Images:
        """Each image of the block, read once, or why it cannot be used."""
        images: Images = {}
        with self._timed("decode"):
            for query, _ in block:
                key = (path, size) = (query.path, query.size)
                if key not in images:
                    try:
                        images[key] = loaded(photos[path], size) if path in photos else load(self._image_root, path, size)
                    except ImageFault as fault:
                        images[key] = fault
        return images

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        began = monotonic()
        yield
        self.seconds[name] += monotonic() - began


@dataclass(slots=True)
class _Row:
    """A query with its image, and the words and the evidence of each of its texts."""

    query: RegionQuery
    image: Image.Image
    words: list[str]
    evidence: list[Evidence]


def _counts(reading: Counter[Reading]) -> dict[str, float]:
    """How a text's different phrases were read, as parts of its scores."""
    cut, unread = float(reading["part"]), float(reading["none"])
    return {"n_phrases": float(sum(reading.values())), "n_phrases_cut": cut, "n_phrases_unread": unread}


def _with_cosines(evidence: Evidence, found: SemanticScores, k: int) -> Evidence:
    """The evidence of text k with its cosines."""
    detail = {"text_chunks": float(found.chunks[k]), "truncated_tokens": float(found.truncated_tokens[k])}
    return replace(evidence, crop=float(found.crop[k]), local=float(found.local[k]), detail=evidence.detail | detail)
