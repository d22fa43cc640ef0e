"""A dual encoder: texts, crops and regions of images as unit vectors of one space, in float32.

Normalised in float32 whatever the weights' type: steps of bfloat16 are as large as the gaps between candidates. Works on
values; which texts are compared with which regions is `semantic`'s matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import isqrt
from typing import Any

import torch
from PIL import Image, ImageOps

from spr.boxes import Box
from spr.images import crop
from spr.recipe_score import Semantic
from spr.rewards.dual_encoder_loading import load
from spr.rewards.region_features import region_masks

_IMAGES_AT_A_TIME = 64
_TEXTS_AT_A_TIME = 256


class DualEncoder:
    """A model of one of `dual_encoder_loading.FAMILIES`, by name or directory.

    `context` is how many tokens of a text, special ones included, it reads in one pass. Raises ModelError when the model
    cannot be loaded or is of no such family.
    """

    def __init__(self, recipe: Semantic, device: str) -> None:
        loaded = load(recipe)
        self.context, self._device = loaded.context, torch.device(device)
        self._family, self._tokenizer, self._processor = loaded.family, loaded.tokenizer, loaded.processor
        self._model: Any = loaded.model.to(self._device)
        self._crop = recipe.crop
        self._start_layer = None if recipe.region_attention == "last" else recipe.start_layer or 0
        vision = loaded.model.config.vision_config
        if self._family.native_aspect:
            self._patch = int(self._processor.patch_size)
            self._side = isqrt(int(self._processor.max_num_patches)) * self._patch
        else:
            self._patch, self._side = int(vision.patch_size), int(vision.image_size)

    def count(self, text: str) -> int:
        """How many tokens a text has, special ones included."""
        return len(self._tokenizer(self._read(text), verbose=False)["input_ids"])

    def _read(self, text: str) -> str:
        # Not every SigLIP checkpoint's tokenizer lowers the case by itself.
        return text.lower() if self._family.siglip_texts else text

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Unit embeddings (n, d), each of a text's first `context` tokens."""
        # Texts of like length share a batch, so that little is padded.
        order = sorted(range(len(texts)), key=lambda row: (len(texts[row]), texts[row]))
        embeddings = torch.zeros(len(texts), self._dimension, device=self._device)
        for batch in _batches(order, _TEXTS_AT_A_TIME):
            inputs = self._tokenizer(
                [self._read(texts[row]) for row in batch],
                padding="max_length" if self._family.siglip_texts else True,
                padding_side="right",  # As in training; some classes of tokenizers pad left by default.
                truncation=True,
                max_length=self.context,
                return_attention_mask=self._family.hides_padding,
                return_token_type_ids=False,
                return_tensors="pt",
            )
            embeddings[batch] = _unit(self._model.get_text_features(**inputs.to(self._device)).pooler_output)
        return embeddings

    @torch.inference_mode()
    def embed_crops(self, images: Sequence[Image.Image], regions: Sequence[Box]) -> torch.Tensor:
        """Unit embeddings (n, d) of the pixels of one region of each image, xyxy pixels."""
        features = [
            self._model.get_image_features(**self._inputs([self._shaped(crop(*pair)) for pair in batch])).pooler_output
            for batch in _batches(zip(images, regions, strict=True), _IMAGES_AT_A_TIME)
        ]
        return _unit(torch.cat(features)) if features else torch.zeros(0, self._dimension, device=self._device)

    @torch.inference_mode()
    def embed_regions(self, images: Sequence[Image.Image], regions: Sequence[Sequence[Box]]) -> Iterator[torch.Tensor]:
        """Unit embeddings (R, d) of each image's R >= 1 regions (xyxy pixels) within the full image, image by image.

        The image is squashed to the model's square, or for a family of native aspect resized as that does. Squashing keeps
        every pixel, the map from boxes to patches linear and the position embeddings the trained ones; a centre crop, the
        stock preprocessing of CLIP, would lose regions at the edge.
        """
        for batch in _batches(zip(images, regions, strict=True), _IMAGES_AT_A_TIME):
            inputs = self._inputs([image if self._family.native_aspect else self._squashed(image) for image, _ in batch])
            masks = self._masks(batch, inputs).to(self._device)
            features = self._family.region_features(self._model, masks=masks, start_layer=self._start_layer, **inputs)
            for row, (_, boxes) in enumerate(batch):
                yield _unit(features[row, : len(boxes)])

    @property
    def _dimension(self) -> int:
        config = self._model.config
        return int(config.text_config.projection_size if self._family.siglip_texts else config.projection_dim)

    def _masks(self, batch: list[tuple[Image.Image, Sequence[Box]]], inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Masks (B, R, patches) of the images' regions; a row too many reads one patch, and nobody reads the row."""
        across = down = self._side / self._patch
        patches = inputs["pixel_values"].shape[1] if self._family.native_aspect else int(across) * int(down)
        masks = torch.zeros(len(batch), max(len(boxes) for _, boxes in batch), patches, dtype=torch.bool)
        masks[..., 0] = True
        for row, (image, boxes) in enumerate(batch):
            if self._family.native_aspect:
                down, across = inputs["spatial_shapes"][row].tolist()
            covered = torch.from_numpy(region_masks(boxes, image.size, (across, down)))
            masks[row, : len(boxes), 0] = False
            masks[row, : len(boxes), : covered.shape[1]] = covered
        return masks

    def _inputs(self, images: list[Image.Image]) -> dict[str, torch.Tensor]:
        """Images -> what `get_image_features` takes, rescaled and normalised as the processor's config says.

        Those of a family with native aspect may have any size; others must have the model's own.
        """
        own_size = {} if self._family.native_aspect else {"do_resize": False, "do_center_crop": False}
        inputs = dict(self._processor(images=images, return_tensors="pt", **own_size).to(self._device))
        return inputs | {"pixel_values": inputs["pixel_values"].to(self._model.dtype)}

    def _shaped(self, image: Image.Image) -> Image.Image:
        """A crop as the recipe shapes it: squashed to what the model reads, padded with the mean colour to a square, or cut
        to one at its longer side. A model of native aspect squashes by less than a patch, by itself."""
        side = (self._side, self._side)
        if self._crop == "pad":
            mean = tuple(round(255 * value) for value in self._processor.image_mean)
            return ImageOps.pad(image, side, self._resampling, color=mean)
        if self._crop == "center_crop":
            return ImageOps.fit(image, side, self._resampling)
        return image if self._family.native_aspect else self._squashed(image)

    def _squashed(self, image: Image.Image) -> Image.Image:
        return image.resize((self._side, self._side), self._resampling)

    @property
    def _resampling(self) -> Image.Resampling:
        return Image.Resampling(int(self._processor.resample))


def _unit(features: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(features.float(), dim=-1)


def _batches(rows: Iterable[Any], size: int) -> Iterator[list[Any]]:
    listed = list(rows)
    for start in range(0, len(listed), size):
        yield listed[start : start + size]
