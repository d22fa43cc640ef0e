"""All scores of texts about regions: parse, compare boxes, compare words, mix. What candidates are ranked by.

Works on values; `stage` makes a stage of it. No torch here: the CLIP is loaded when a text is first compared with pixels.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from spr.images import ImageFault, load
from spr.models.base import Dialect
from spr.models.identity import identity
from spr.recipe import Score
from spr.records import Mention, RegionQuery, ScoredCandidate
from spr.rewards.composite import composite_score
from spr.rewards.localization import annotations_only, best_overlaps, localization_score

if TYPE_CHECKING:
    from spr.rewards.semantic import SemanticScorer, SemanticScores

QUERIES_AT_A_TIME = 64
"""Queries whose images are held in memory together."""

_SEMANTIC_DETAIL = ("text_chunks", "truncated_tokens")
Texts = tuple[RegionQuery, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Scores:
    """What one text is worth. Semantic values are NaN where the recipe names no semantic model.

    `detail`: n_gt, n_mentions (readable), n_unreadable, n_matched (ground-truth boxes recovered), mean_matched_iou (absent
    where none was), text_chunks and truncated_tokens (absent without a semantic model).
    """

    mentions: tuple[Mention, ...]
    semantic_crop: float
    semantic_local: float
    semantic: float
    localization: float
    composite: float
    detail: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Semantic:
    """The semantic part of one text's scores."""

    crop: float = math.nan
    local: float = math.nan
    detail: dict[str, float] = field(default_factory=dict)


class Scorer:
    """Scores texts as the recipe's `score` says. `setup` names the device; raises ModelError once the CLIP is needed and
    cannot be loaded. A scorer that has not scored yet can be pickled."""

    def __init__(self, recipe: Score, dialect: Dialect, image_root: Path) -> None:
        self._recipe, self._dialect, self._image_root = recipe, dialect, image_root
        self._device = "cpu"
        self._clip: SemanticScorer | None = None

    @cached_property
    def recipe_part(self) -> dict[str, Any]:
        """The recipe's `score`, with the identity of the semantic model in the place of its name, and the dialect with the
        options it was built with: another frame reads other boxes from the same texts."""
        part = self._recipe.model_dump(mode="json")
        semantic = self._recipe.semantic
        if semantic is not None:
            part["semantic"] |= {"model": identity(semantic.model, semantic.revision)}
        dialect = {"name": self._dialect.name, "options": vars(self._dialect)}
        return {"score": part, "dialect": json.loads(json.dumps(dialect))}

    def setup(self, device: str) -> None:
        """Name the device for the semantic model, which is loaded when the first text is compared with pixels."""
        self._device = device

    def score(self, queries: Sequence[Texts]) -> list[list[Scores] | ImageFault]:
        """Score each query's texts, in order; a query whose image cannot be used gets its ImageFault instead.

        Without a semantic model no image is read. Raises ValueError for a query without annotated objects.
        """
        results: list[list[Scores] | ImageFault] = []
        rows = iter(queries)
        while block := list(islice(rows, QUERIES_AT_A_TIME)):
            semantics = self._semantics(block)
            results.extend(
                semantic if isinstance(semantic, ImageFault) else self._mix(query, texts, semantic)
                for (query, texts), semantic in zip(block, semantics, strict=True)
            )
        return results

    def rescore(self, items: Sequence[tuple[RegionQuery, ScoredCandidate, str]]) -> list[Scores | ImageFault]:
        """Score a changed text of each candidate. Where only boxes changed the words are the same, and so are their
        semantic scores: they are taken over, not computed again."""
        same = [self._recipe.semantic is None or self._words(text, q) == self._words(c.text, q) for q, c, text in items]
        changed = [(query, [text]) for (query, _, text), known in zip(items, same, strict=True) if not known]
        fresh = iter(self.score(changed))
        return [self._reuse(*item) if known else _only(next(fresh)) for item, known in zip(items, same, strict=True)]

    def _reuse(self, query: RegionQuery, candidate: ScoredCandidate, text: str) -> Scores:
        """Scores of a text that has the words of a candidate."""
        detail = {name: value for name, value in candidate.detail.items() if name in _SEMANTIC_DETAIL}
        semantic = _Semantic(candidate.semantic_crop, candidate.semantic_local, detail)
        return self._mix(query, [text], [semantic])[0]

    def _words(self, text: str, query: RegionQuery) -> str:
        return self._dialect.words(text, query.size)

    def _mix(self, query: RegionQuery, texts: Sequence[str], semantics: Sequence[_Semantic]) -> list[Scores]:
        """One query's scores, from its texts and their semantic parts."""
        options = self._recipe.localization
        mentions = [tuple(self._dialect.parse(text, query.size)) for text in texts]
        boxes = annotations_only(query, mentions)
        scores = []
        for found, predicted, semantic in zip(mentions, boxes.predicted, semantics, strict=True):
            localization = localization_score(boxes.gt, predicted, options.threshold, options.binary)
            mean = (semantic.crop + semantic.local) / 2
            overlaps = best_overlaps(boxes.gt, predicted, options.threshold)
            matched = overlaps[overlaps > 0]
            detail = {
                "n_gt": float(len(boxes.gt)),
                "n_mentions": float(len(predicted)),
                "n_unreadable": float(len(found) - len(predicted)),
                "n_matched": float(len(matched)),
                **({"mean_matched_iou": float(matched.mean())} if len(matched) else {}),
                **semantic.detail,
            }
            composite = composite_score(mean, localization, self._recipe.weight)
            scores.append(Scores(found, semantic.crop, semantic.local, mean, localization, composite, detail))
        return scores

    def _semantics(self, block: Sequence[Texts]) -> list[list[_Semantic] | ImageFault]:
        """The semantic parts of each query's texts, or the fault of its image."""
        if self._recipe.semantic is None:
            return [[_Semantic()] * len(texts) for _, texts in block]
        from spr.rewards.semantic import SemanticItem, SemanticScorer

        if self._clip is None:
            self._clip = SemanticScorer(self._recipe.semantic, self._device)
        images = self._images(block)
        items, faults = [], {}
        for index, (query, texts) in enumerate(block):
            image = images[(query.path, query.size)]
            if isinstance(image, ImageFault):
                faults[index] = image
            else:
                items.append(SemanticItem(image, query.region, [self._words(text, query) for text in texts]))
        scored: Iterator[SemanticScores] = iter(self._clip.score_many(items))
        return [faults[index] if index in faults else _split(next(scored)) for index in range(len(block))]

    def _images(self, block: Sequence[Texts]) -> dict[tuple[str, tuple[int, int]], Image.Image | ImageFault]:
        """Each image of the block, read once, or why it cannot be used."""
        images: dict[tuple[str, tuple[int, int]], Image.Image | ImageFault] = {}
        for query, _ in block:
            key = (query.path, query.size)
            if key not in images:
                try:
                    images[key] = load(self._image_root, *key)
                except ImageFault as fault:
                    images[key] = fault
        return images


def _only(scores: list[Scores] | ImageFault) -> Scores | ImageFault:
    return scores if isinstance(scores, ImageFault) else scores[0]


def _split(scores: SemanticScores) -> list[_Semantic]:
    """Arrays over texts -> one value a text."""
    columns = zip(scores.crop, scores.local, scores.chunks, scores.truncated_tokens, strict=True)
    return [
        _Semantic(float(crop), float(local), {"text_chunks": float(chunks), "truncated_tokens": float(lost)})
        for crop, local, chunks, lost in columns
    ]
