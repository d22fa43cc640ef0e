"""Boxes for the phrases of texts, by an open-vocabulary detector of transformers.

A phrase's box is its own evidence that the thing is there, whatever box the text gave. Boxes come in float32 pixels of the
original image; a box belongs to the phrase it fits best, and of boxes that overlap the best stays. Images of one size share
a batch, never padded ones: their padding would change what is found. What an image looks like is computed once, however
many captions it is asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from transformers import AutoConfig, AutoImageProcessor, AutoModelForZeroShotObjectDetection, AutoTokenizer

from spr import boxes
from spr.boxes import FloatArray
from spr.errors import ModelError
from spr.models.identity import check_directory
from spr.models.quiet import quiet_from_disk
from spr.recipe_score import Detector
from spr.records import Detection
from spr.rewards.captions import normal_set
from spr.rewards.detector_families import FAMILIES, Ask, Family, Reading, Seen

Phrases = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DetectionItem:
    """An image, and the phrases of each text about it. Items that share one image object are seen once."""

    image: Image.Image
    texts: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class _Found:
    """What one pass found for `phrases`: boxes (n, 4) in pixels, scores (n, phrases)."""

    phrases: Phrases
    boxes: FloatArray
    scores: FloatArray


class PhraseDetector:
    """A detector by name or directory. Raises ModelError when it cannot be loaded or is of no family known here."""

    def __init__(self, recipe: Detector, device: str) -> None:
        self._recipe, self._device = recipe, torch.device(device)
        self._processor, self._family = _load(recipe, self._device)
        self._reading = lru_cache(maxsize=100_000)(self._family.reading)

    @torch.inference_mode()
    def detect(self, items: Sequence[DetectionItem]) -> list[list[tuple[Detection, ...]]]:
        """For each item and each of its texts the boxes found for the text's phrases, best first.

        With `captions: per_candidate` a text's phrases are looked for among themselves; with `per_query` together with those
        of the item's other texts. Equal sets of phrases about one image are looked for once.
        """
        wanted: dict[int, dict[Phrases, list[_Found]]] = {}
        images: dict[int, Image.Image] = {}
        asked = [self._sets(item) for item in items]
        for item, sets in zip(items, asked, strict=True):
            images[id(item.image)] = item.image
            wanted.setdefault(id(item.image), {}).update({phrases: [] for phrases in sets})
        for group in self._same_size(images):
            self._look(group, [images[key] for key in group], wanted)
        return [
            [
                self._choose(normal_set(text), wanted[id(item.image)][phrases])
                for text, phrases in zip(item.texts, sets, strict=True)
            ]
            for item, sets in zip(items, asked, strict=True)
        ]

    def reading(self, text: Sequence[str]) -> Counter[Reading]:
        """How many of a text's different phrases the model reads whole, in part (too long for a pass), or not at all (a word
        of another script or a sign that its vocabulary lacks; such a phrase is not looked for)."""
        return Counter(self._reading(phrase) for phrase in normal_set(text))

    def _sets(self, item: DetectionItem) -> list[Phrases]:
        """The set of phrases that each text of an item is looked for in."""
        if self._recipe.captions == "per_candidate":
            return [normal_set(text) for text in item.texts]
        return [normal_set(phrase for text in item.texts for phrase in text)] * len(item.texts)

    def _same_size(self, images: dict[int, Image.Image]) -> list[list[int]]:
        """Keys of images of one size, at most a batch together."""
        groups: dict[boxes.Size, list[int]] = {}
        for key, image in images.items():
            groups.setdefault(image.size, []).append(key)
        size = self._recipe.batch_size
        return [keys[i : i + size] for keys in groups.values() for i in range(0, len(keys), size)]

    def _look(self, keys: list[int], images: list[Image.Image], wanted: dict[int, dict[Phrases, list[_Found]]]) -> None:
        """Ask everything that is wanted of some images of one size."""
        jobs: list[tuple[int, Phrases, Ask]] = [
            (row, phrases, ask) for row, key in enumerate(keys) for phrases in wanted[key] for ask in self._family.asks(phrases)
        ]
        if not jobs:
            return
        seen = self._see(images)
        # Captions of like length share a batch: what is padded is computed for nothing.
        jobs.sort(key=lambda job: job[2].tokens)
        for start in range(0, len(jobs), self._recipe.batch_size):
            batch = jobs[start : start + self._recipe.batch_size]
            places, scores = self._family.find(seen, [row for row, _, _ in batch], [ask for _, _, ask in batch])
            for (row, phrases, ask), place, score in zip(batch, places.cpu().numpy(), scores, strict=True):
                found = self._found(ask.phrases, place, score.cpu().numpy(), images[row].size)
                wanted[keys[row]][phrases].append(found)

    def _see(self, images: list[Image.Image]) -> Seen:
        inputs = self._processor(images=images, return_tensors="pt")
        return self._family.see(inputs["pixel_values"].to(self._device, self._recipe_dtype))

    @property
    def _recipe_dtype(self) -> torch.dtype:
        return torch.float16 if self._recipe.dtype == "float16" else torch.float32

    def _found(self, phrases: Phrases, place: NDArray[Any], scores: NDArray[Any], size: boxes.Size) -> _Found:
        """The boxes that any phrase scores enough for, in pixels."""
        kept = scores.max(axis=1) >= self._recipe.threshold
        width, height = self._family.frame(size)
        pixels = place[kept].astype(np.float64) * [width, height, width, height]
        return _Found(phrases, boxes.clip(pixels, size), scores[kept].astype(np.float64))

    def _choose(self, phrases: Phrases, found: Sequence[_Found]) -> tuple[Detection, ...]:
        """A text's detections: each box to its best phrase, overlapping ones suppressed."""
        named: list[Detection] = []
        for one in found:
            columns = [i for i, phrase in enumerate(one.phrases) if phrase in phrases]
            if not columns:
                continue
            own = one.scores[:, columns]
            for box, row in zip(one.boxes, own, strict=True):
                if row.max() >= self._recipe.threshold and boxes.area([box])[0] > 0:
                    named.append(Detection(one.phrases[columns[int(row.argmax())]], boxes.as_box(box), float(row.max())))
        kept = boxes.nms([d.box for d in named], [d.score for d in named], self._recipe.nms)
        return tuple(named[i] for i in kept)


def _load(recipe: Detector, device: torch.device) -> tuple[Any, Family]:
    """Image processor and family; the kind is checked before any weights are read. Raises ModelError."""
    where, options = f"score.detector.model {recipe.model}", {"revision": recipe.revision}
    check_directory(where, recipe.model)
    folder = Path(recipe.model).expanduser()
    name = str(folder) if folder.is_dir() else recipe.model
    try:
        config = AutoConfig.from_pretrained(name, **options)
        if config.model_type not in FAMILIES:
            raise ModelError(f"{where} is of type {config.model_type}; name a detector of type {', '.join(FAMILIES)}")
        tokenizer = AutoTokenizer.from_pretrained(name, **options)
        processor = AutoImageProcessor.from_pretrained(name, **options)
        with quiet_from_disk(name):
            model, loading = AutoModelForZeroShotObjectDetection.from_pretrained(
                name, dtype=getattr(torch, recipe.dtype), output_loading_info=True, **options
            )
    except (OSError, ValueError, ImportError, KeyError, RuntimeError, SafetensorError) as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ModelError(
            f"{where} cannot be loaded: {first[:300]}; check the directory, or the name and the connection"
        ) from None
    if missing := sorted(loading["missing_keys"]):
        raise ModelError(
            f"{where}: its weights lack {len(missing)} of the architecture's tensors, e.g. {missing[0]}; "
            "download or save it again"
        )
    try:
        return processor, FAMILIES[config.model_type](model.eval().requires_grad_(False).to(device), tokenizer)
    except ModelError as error:
        raise ModelError(f"{where}: {error}") from None
