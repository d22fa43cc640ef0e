"""The semantic score: does the text say what the region shows? Cosines of a CLIP or SigLIP model.

    S_sem = 1/2 ( S(I_crop, T) + S_local(I, T) )      (arXiv 2510.14374, sec. 3.2)

S embeds the region's crop, S_local the region within the full image (`region_features`). Both cosines are taken in
float32 whatever the weights' type: steps of bfloat16 are as large as the gaps between candidates. Knows nothing of boxes
in texts: it is given plain words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from safetensors import SafetensorError
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoTokenizer

from spr.boxes import Box, FloatArray
from spr.errors import ModelError
from spr.images import crop
from spr.models.quiet import quiet_from_disk
from spr.recipe import Semantic
from spr.rewards.region_features import clip_region_features, region_masks, siglip_region_features
from spr.rewards.text_chunks import pack

_IMAGES_AT_A_TIME = 64
_TEXTS_AT_A_TIME = 256
_REGION_FEATURES = {"clip": clip_region_features, "siglip": siglip_region_features}


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
    """A CLIP or SigLIP model of transformers, by name or directory, that scores texts against regions.

    Raises ModelError when the model cannot be loaded or is of neither family.
    """

    def __init__(self, recipe: Semantic, device: str) -> None:
        self._crop, self._pooling, self._device = recipe.crop, recipe.text_pooling, torch.device(device)
        self._tokenizer, self._processor, model = _load(recipe)
        self._model: Any = model.eval().requires_grad_(False).to(self._device)
        config = model.config
        self._region_features = _REGION_FEATURES[config.model_type]
        self._context = int(config.text_config.max_position_embeddings)
        self._side = int(config.vision_config.image_size)
        self._grid = self._side // int(config.vision_config.patch_size)
        # SigLIP was trained on texts padded to the full context and reads the last position; CLIP reads the end token.
        self._padding: bool | str = "max_length" if config.model_type == "siglip" else True

    def score(self, image: Image.Image, region: Box, texts: Sequence[str]) -> SemanticScores:
        """Score n texts about one region (xyxy pixels of the RGB image)."""
        return self.score_many([SemanticItem(image, region, texts)])[0]

    @torch.inference_mode()
    def score_many(self, items: Sequence[SemanticItem]) -> list[SemanticScores]:
        """Score several items, in order. Equal texts are read once, and the trunk runs once an image."""
        texts = {text: self._prepare(text) for text in dict.fromkeys(text for item in items for text in item.texts)}
        rows = {chunk: row for row, chunk in enumerate(dict.fromkeys(c for text in texts.values() for c in text.chunks))}
        chunks = self._embed_texts(list(rows))
        crops = self._embed_crops(items)
        regions = self._embed_regions(items)
        results = []
        for index, item in enumerate(items):
            cosines = (torch.stack([crops[index], regions[index]]) @ chunks.T).double().cpu().numpy()
            prepared = [texts[text] for text in item.texts]
            pooled = [_pool(cosines, [rows[chunk] for chunk in text.chunks]) for text in prepared]
            crop_cosines, local_cosines = np.array(pooled, dtype=np.float64).reshape(-1, 2).T
            counts = np.array([(len(text.chunks), text.truncated_tokens) for text in prepared], dtype=np.float64).reshape(-1, 2)
            results.append(SemanticScores(crop_cosines, local_cosines, counts[:, 0], counts[:, 1]))
        return results

    def _count(self, text: str) -> int:
        return len(self._tokenizer(text, verbose=False)["input_ids"])

    def _prepare(self, text: str) -> _Text:
        text = text.strip()
        whole = (text,) if text else ()
        chunks = tuple(pack(text, self._context, self._count)) if self._pooling == "mean" else whole
        return _Text(chunks, sum(max(0, self._count(chunk) - self._context) for chunk in chunks))

    def _embed_texts(self, chunks: list[str]) -> torch.Tensor:
        """Unit embeddings (n, d) in float32; texts of like length share a batch, so that little is padded."""
        order = sorted(range(len(chunks)), key=lambda row: (len(chunks[row]), chunks[row]))
        embeddings = torch.zeros(len(chunks), self._dimension, device=self._device)
        for batch in _batches(order, _TEXTS_AT_A_TIME):
            inputs = self._tokenizer(
                [chunks[row] for row in batch],
                padding=self._padding,
                truncation=True,
                max_length=self._context,
                return_attention_mask=False,
                return_tensors="pt",
            )
            features = self._model.get_text_features(input_ids=inputs["input_ids"].to(self._device)).pooler_output
            embeddings[batch] = _unit(features)
        return embeddings

    @property
    def _dimension(self) -> int:
        config = self._model.config
        return int(config.projection_dim if config.model_type == "clip" else config.text_config.projection_size)

    def _embed_crops(self, items: Sequence[SemanticItem]) -> torch.Tensor:
        """Unit embeddings (n, d) of the items' crops."""
        features = [
            self._model.get_image_features(self._pixels([self._square(crop(i.image, i.region)) for i in batch])).pooler_output
            for batch in _batches(items, _IMAGES_AT_A_TIME)
        ]
        return _unit(torch.cat(features)) if features else torch.zeros(0, self._dimension, device=self._device)

    def _embed_regions(self, items: Sequence[SemanticItem]) -> torch.Tensor:
        """Unit embeddings (n, d) of the items' regions within their full images, squashed to the model's square.

        Squashing keeps every pixel, the map from boxes to patches linear and the position embeddings the trained ones; a
        centre crop, the stock preprocessing of CLIP, would lose regions at the edge.
        """
        by_image: dict[int, list[int]] = {}
        for index, item in enumerate(items):
            by_image.setdefault(id(item.image), []).append(index)
        embeddings = torch.zeros(len(items), self._dimension, device=self._device)
        for batch in _batches(list(by_image.values()), _IMAGES_AT_A_TIME):
            images = [items[indices[0]].image for indices in batch]
            masks = torch.ones(len(batch), max(map(len, batch)), self._grid**2, dtype=torch.bool)
            for row, indices in enumerate(batch):
                regions = [items[index].region for index in indices]
                masks[row, : len(indices)] = torch.from_numpy(region_masks(regions, images[row].size, self._grid))
            pixels = self._pixels([self._resize(image) for image in images])
            features = _unit(self._region_features(self._model, pixels, masks.to(self._device)))
            for row, indices in enumerate(batch):
                embeddings[indices] = features[row, : len(indices)]
        return embeddings

    def _pixels(self, squares: list[Image.Image]) -> torch.Tensor:
        """Images of the model's own size -> (n, 3, S, S), rescaled and normalised as the processor's config says."""
        inputs = self._processor(images=squares, do_resize=False, do_center_crop=False, return_tensors="pt")
        pixels: torch.Tensor = inputs["pixel_values"].to(self._device, self._model.dtype)
        return pixels

    def _resize(self, image: Image.Image) -> Image.Image:
        return image.resize((self._side, self._side), self._resampling)

    def _square(self, image: Image.Image) -> Image.Image:
        """A crop as a square of the model's side: squashed, padded with the mean colour, or cut at its longer side."""
        side = (self._side, self._side)
        if self._crop == "pad":
            mean = tuple(round(255 * value) for value in self._processor.image_mean)
            return ImageOps.pad(image, side, self._resampling, color=mean)
        return ImageOps.fit(image, side, self._resampling) if self._crop == "center_crop" else self._resize(image)

    @property
    def _resampling(self) -> Image.Resampling:
        return Image.Resampling(int(self._processor.resample))


def _load(recipe: Semantic) -> tuple[Any, Any, Any]:
    """Tokenizer, image processor and model; the family is checked before any weights are read. Raises ModelError."""
    options = {"revision": recipe.revision}
    try:
        config = AutoConfig.from_pretrained(recipe.model, **options)
        if config.model_type not in _REGION_FEATURES or not getattr(config.vision_config, "vision_use_head", True):
            raise ModelError(
                f"score.semantic.model {recipe.model} is of type {config.model_type}; name a CLIP model, or a SigLIP model "
                "with its attention-pooling head"
            )
        tokenizer = AutoTokenizer.from_pretrained(recipe.model, **options)
        processor = AutoImageProcessor.from_pretrained(recipe.model, **options)
        dtype = getattr(torch, recipe.dtype)
        with quiet_from_disk(recipe.model):
            model, loading = AutoModel.from_pretrained(
                recipe.model, dtype=dtype, attn_implementation="sdpa", output_loading_info=True, **options
            )
    except (OSError, ValueError, ImportError, RuntimeError, SafetensorError) as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ModelError(f"score.semantic.model {recipe.model} cannot be loaded: {first}") from None
    if missing := sorted(loading["missing_keys"]):
        raise ModelError(
            f"score.semantic.model {recipe.model}: its weights lack {len(missing)} of the architecture's tensors, e.g. "
            f"{missing[0]}; download or save it again"
        )
    return tokenizer, processor, model


def _pool(cosines: FloatArray, rows: list[int]) -> tuple[float, float]:
    """The mean over a text's chunks of (crop, local) cosines (2, all chunks); without chunks (0, 0)."""
    if not rows:
        return (0.0, 0.0)
    crop_cosine, local_cosine = cosines[:, rows].mean(axis=1).tolist()
    return (crop_cosine, local_cosine)


def _unit(features: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(features.float(), dim=-1)


def _batches(rows: Iterable[Any], size: int) -> Iterator[list[Any]]:
    listed = list(rows)
    for start in range(0, len(listed), size):
        yield listed[start : start + size]
