"""Lessons to tensors: the turns of one image in one row, each attending to the image and to itself.

Row: `<s> [image] | turn | turn | ...`; a turn is `[further images] question <answer> answer </s>`. Positions of every turn
count on from the end of the shared prefix, as if it stood there alone; only answers carry a loss.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from transformers import LlavaProcessor

from spr.models import dialects
from spr.tiny.lessons import Mix, turns
from spr.tiny.mllm import PATCH, PATCHES
from spr.tiny.scenes import COLORS, SHAPES, SIDE, TinyObject, layout, render

IGNORE = -100
ROW_TOKENS = 288
"""Tokens a row at most; a turn that does not fit any more is left out."""
_COLOR_IDS = {c: i for i, c in enumerate(COLORS)}
_SHAPE_IDS = {s: i for i, s in enumerate(SHAPES)}


@dataclass
class Batch:
    """Packed lessons. B rows of T tokens, I images in the order of their tokens.

    pixels (I, 3, 96, 96) uint8; input_ids, labels, positions, segments (B, T); labels are shifted: the label at t is the token
    to come. `segments` is 0 for the prefix, -1 for padding. `first_images` (B,) indexes each row's own scene among the
    images; `patches` (B, 64, 6): colour, shape, x0, y0, x1, y1 of the object on each patch's centre, IGNORE where none.
    """

    pixels: torch.Tensor
    input_ids: torch.Tensor
    labels: torch.Tensor
    positions: torch.Tensor
    segments: torch.Tensor
    first_images: torch.Tensor
    patches: torch.Tensor

    def to(self, device: str) -> Batch:
        """The batch on a device."""
        return Batch(**{name: value.to(device, non_blocking=True) for name, value in vars(self).items()})

    def mask(self) -> torch.Tensor:
        """(B, 1, T, T), added to attention scores: 0 where a token may look (causal, the prefix or its own turn)."""
        keys, queries = self.segments[:, None, :], self.segments[:, :, None]
        causal = torch.ones(keys.shape[-1], keys.shape[-1], dtype=torch.bool, device=keys.device).tril()
        own = torch.eye(keys.shape[-1], dtype=torch.bool, device=keys.device)
        seen = (causal & ((keys == 0) | (keys == queries))) | own
        return torch.zeros(seen.shape, device=keys.device).masked_fill(~seen, -1e9)[:, None]


def patch_targets(objects: tuple[TinyObject, ...]) -> np.ndarray:
    """(64, 6) labels of the patches: the front-most object over each patch's centre."""
    targets = np.full((SIDE // PATCH, SIDE // PATCH, 6), IGNORE, dtype=np.int64)
    centers = np.arange(SIDE // PATCH) * PATCH + PATCH / 2
    for item in objects:
        x0, y0, x1, y1 = item.box
        rows = np.flatnonzero((centers + PATCH / 2 > y0) & (centers - PATCH / 2 < y1))
        columns = np.flatnonzero((centers + PATCH / 2 > x0) & (centers - PATCH / 2 < x1))
        best = np.ix_(_most(rows, centers, y0, y1), _most(columns, centers, x0, x1))
        targets[best] = (_COLOR_IDS[item.color], _SHAPE_IDS[item.shape], x0, y0, x1, y1)
    return targets.reshape(PATCHES, 6)


def _most(cells: np.ndarray, centers: np.ndarray, low: int, high: int) -> np.ndarray:
    """The cells of which at least half lies in [low, high], or else the one that lies in it most."""
    inside = np.minimum(centers[cells] + PATCH / 2, high) - np.maximum(centers[cells] - PATCH / 2, low)
    kept = cells[inside >= PATCH / 2]
    return kept if len(kept) else cells[[int(inside.argmax())]]


class LessonBatches(torch.utils.data.Dataset[Batch]):
    """Batch i of a training, from the seeds [first_seed + i * rows, ...): a function of i alone, so training resumes."""

    def __init__(self, processor: LlavaProcessor, first_seed: int, rows: int, mix: Mix | None) -> None:
        self.tokenizer = processor.tokenizer
        self.first_seed, self.rows, self.mix = first_seed, rows, mix
        self.dialect = dialects.get("tiny")

    def __getitem__(self, index: int) -> Batch:
        """The batch; with `mix` None it holds images and patch targets only."""
        seeds = [self.first_seed + index * self.rows + row for row in range(self.rows)]
        scenes = [layout(seed) for seed in seeds]
        images = [render(seed, objects) for seed, objects in zip(seeds, scenes, strict=True)]
        packed = [self._pack(s, o, i) for s, o, i in zip(seeds, scenes, images, strict=True)]
        pixels = [image for _, extra in packed for image in extra]
        firsts = np.cumsum([0] + [len(extra) for _, extra in packed[:-1]])
        columns = [_pad([rows[c] for rows, _ in packed], fill) for c, fill in enumerate((0, IGNORE, 0, -1))]
        return Batch(
            pixels=torch.from_numpy(np.stack([to_pixels(image) for image in pixels])),
            input_ids=columns[0],
            labels=columns[1],
            positions=columns[2],
            segments=columns[3],
            first_images=torch.from_numpy(firsts),
            patches=torch.from_numpy(np.stack([patch_targets(objects) for objects in scenes])),
        )

    def _pack(
        self, seed: int, objects: tuple[TinyObject, ...], image: Image.Image
    ) -> tuple[tuple[list[int], list[int], list[int], list[int]], list[Image.Image]]:
        tokenizer = self.tokenizer
        image_ids = [tokenizer.image_token_id] * PATCHES
        ids, labels = [tokenizer.bos_token_id, *image_ids], [IGNORE] * (1 + PATCHES)
        positions, segments = list(range(1 + PATCHES)), [0] * (1 + PATCHES)
        images = [image]
        made = turns(objects, image, self.dialect, random.Random(seed), self.mix) if self.mix else []
        for number, turn in enumerate(made, start=1):
            question = image_ids * len(turn.extra_images) + self._encode(turn.question) + [tokenizer.answer_token_id]
            answer = [*self._encode(turn.answer), tokenizer.eos_token_id]
            block = question + answer
            if len(ids) + len(block) > ROW_TOKENS:
                continue
            ids += block
            labels += [IGNORE] * (len(question) - 1) + answer + [IGNORE]
            positions += range(1 + PATCHES, 1 + PATCHES + len(block))
            segments += [number] * len(block)
            images += turn.extra_images
        return (ids, labels, positions, segments), images

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False).input_ids)


def _pad(rows: list[list[int]], fill: int) -> torch.Tensor:
    length = max(map(len, rows))
    return torch.tensor([row + [fill] * (length - len(row)) for row in rows])


def to_pixels(image: Image.Image) -> np.ndarray:
    """Any RGB image squashed to 96 x 96, (3, 96, 96) uint8."""
    square = image if image.size == (SIDE, SIDE) else image.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(square).transpose(2, 0, 1))
