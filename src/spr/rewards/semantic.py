"""The semantic score: does the text say what the region shows? Cosines of a dual encoder such as CLIP or SigLIP.

    S_sem = 1/2 ( S(I_crop, T) + S_local(I, T) )      (arXiv 2510.14374, sec. 3.2)

S embeds the region's crop, S_local the region within the full image (`region_features`). A text longer than the model's
context is read in chunks (`text_chunks`) whose cosines are pooled. Cosines whatever the family: a model trained with a
sigmoid ranks by them as well as one trained with a softmax. Knows nothing of boxes in texts: it is given plain words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from spr.boxes import Box, FloatArray
from spr.recipe_score import Semantic
from spr.rewards.dual_encoder import DualEncoder
from spr.rewards.text_chunks import pack

_POOLS: dict[str, Callable[[FloatArray], FloatArray]] = {
    "mean": lambda cosines: cosines.mean(axis=1),
    "truncate": lambda cosines: cosines[:, 0],
    "min": lambda cosines: cosines.min(axis=1),
    "max": lambda cosines: cosines.max(axis=1),
}


@dataclass(frozen=True, slots=True)
class SemanticItem:
    """A region of an image and n texts about it. Items that share one image object share its trunk."""

    image: Image.Image
    region: Box
    texts: Sequence[str]


@dataclass(frozen=True, slots=True)
class SemanticScores:
    """Cosines of one item's n texts: `crop` and `local`, each (n,) in -1..1; a text without words has 0, no agreement.

    `chunks` (n,) counts the passes a text took, `truncated_tokens` (n,) the tokens the encoder did not read.
    """

    crop: FloatArray
    local: FloatArray
    chunks: FloatArray
    truncated_tokens: FloatArray


@dataclass(frozen=True, slots=True)
class _Text:
    chunks: tuple[str, ...]
    truncated_tokens: int


class SemanticScorer:
    """A dual encoder of transformers, by name or directory, that scores texts against regions.

    Raises ModelError when the model cannot be loaded or is of no family that can.
    """

    def __init__(self, recipe: Semantic, device: str) -> None:
        self._pooling = recipe.text_pooling
        self._encoder = DualEncoder(recipe, device)

    def score(self, image: Image.Image, region: Box, texts: Sequence[str]) -> SemanticScores:
        """Score n texts about one region (xyxy pixels of the RGB image)."""
        return self.score_many([SemanticItem(image, region, texts)])[0]

    @torch.inference_mode()
    def score_many(self, items: Sequence[SemanticItem]) -> list[SemanticScores]:
        """Score several items, in order. Equal texts are read once, and the trunk runs once an image."""
        texts = {text: self._prepare(text) for text in dict.fromkeys(text for item in items for text in item.texts)}
        rows = {chunk: row for row, chunk in enumerate(dict.fromkeys(c for text in texts.values() for c in text.chunks))}
        chunks = self._encoder.embed_texts(list(rows))
        crops = self._encoder.embed_crops([item.image for item in items], [item.region for item in items])
        regions = self._embed_regions(items)
        results = []
        for index, item in enumerate(items):
            cosines = (torch.stack([crops[index], regions[index]]) @ chunks.T).double().cpu().numpy()
            prepared = [texts[text] for text in item.texts]
            pooled = [self._pool(cosines, [rows[chunk] for chunk in text.chunks]) for text in prepared]
            crop_cosines, local_cosines = np.array(pooled, dtype=np.float64).reshape(-1, 2).T
            counts = np.array([(len(text.chunks), text.truncated_tokens) for text in prepared], dtype=np.float64).reshape(-1, 2)
            results.append(SemanticScores(crop_cosines, local_cosines, counts[:, 0], counts[:, 1]))
        return results

    def _prepare(self, text: str) -> _Text:
        """A text's passes. Under `truncate` that is one, of which the encoder reads the beginning."""
        text, context, count = text.strip(), self._encoder.context, self._encoder.count
        whole = [text] if text else []
        chunks = whole if self._pooling == "truncate" else pack(text, context, count)
        return _Text(tuple(chunks), sum(max(0, count(chunk) - context) for chunk in chunks))

    def _pool(self, cosines: FloatArray, rows: list[int]) -> tuple[float, float]:
        """Crop and local cosines (2, all chunks) pooled over one text's chunks, each by itself; without chunks (0, 0)."""
        if not rows:
            return (0.0, 0.0)
        crop_cosine, local_cosine = _POOLS[self._pooling](cosines[:, rows]).tolist()
        return (crop_cosine, local_cosine)

    def _embed_regions(self, items: Sequence[SemanticItem]) -> list[torch.Tensor]:
        """Unit embeddings (d,) of the items' regions within their full images, in order."""
        by_image: dict[int, list[int]] = {}
        for index, item in enumerate(items):
            by_image.setdefault(id(item.image), []).append(index)
        images = [items[indices[0]].image for indices in by_image.values()]
        regions = [[items[index].region for index in indices] for indices in by_image.values()]
        embeddings = {
            index: embedding
            for indices, features in zip(by_image.values(), self._encoder.embed_regions(images, regions), strict=True)
            for index, embedding in zip(indices, features, strict=True)
        }
        return [embeddings[index] for index in range(len(items))]
