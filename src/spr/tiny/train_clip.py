"""How the bundled tiny CLIP was made: `python -m spr.tiny.train_clip --out DIR`.

First the vision tower says colour and shape patch by patch, through a head that is thrown away. Then crops of regions, and
regions of full scenes seen through the local attention of the last layer, are drawn to the words of their
descriptions and away from the other texts of the batch and from hard negatives: one colour or shape changed, one object
missing, one added.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import CLIPModel, CLIPProcessor

from spr.images import crop
from spr.rewards.region_features import clip_region_features, region_masks
from spr.tiny.clip import GRID, build_model, build_processor
from spr.tiny.commands import command, finish
from spr.tiny.lessons import draw_region, scene_objects
from spr.tiny.packing import IGNORE, patch_targets, to_pixels
from spr.tiny.scenes import COLORS, SHAPES, SIDE, layout, render
from spr.tiny.schedule import Schedule, load_checkpoint, make_optimizer, save_checkpoint
from spr.tiny.splits import TRAINING

NEGATIVES = 4


@dataclass(frozen=True)
class Plan:
    """The numbers of one training."""

    seed: int = 0
    steps_patches: int = 1600
    steps: int = 2000
    batch: int = 32
    rate: float = 1.5e-3


@dataclass
class Views:
    """B regions: pixels (B, 3, 96, 96) uint8 of a crop or of the full scene, `masks` (B, 64) bool of the patches to attend
    to, texts B * (1 + NEGATIVES) with the right one first, `patches` (B, 64, 6) for full scenes (IGNORE for crops)."""

    pixels: torch.Tensor
    masks: torch.Tensor
    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    patches: torch.Tensor


def negatives(categories: list[str], others: list[str], rng: random.Random) -> list[str]:
    """NEGATIVES wrong readings of a region's categories: a colour, a shape, a missing and an added object."""
    wrong = [_change(categories, 0, tuple(COLORS), rng), _change(categories, 1, SHAPES, rng)]
    gone = list(categories)
    gone.pop(rng.randrange(len(gone)))
    wrong.append(gone or [f"{rng.choice(tuple(COLORS))} {rng.choice(SHAPES)}"])
    added = list(categories)
    added.insert(rng.randrange(len(added) + 1), rng.choice(others or [f"{rng.choice(tuple(COLORS))} {rng.choice(SHAPES)}"]))
    return [" , ".join(names) for names in [*wrong, added]]


def _change(categories: list[str], word: int, choices: tuple[str, ...], rng: random.Random) -> list[str]:
    changed = list(categories)
    i = rng.randrange(len(changed))
    parts = changed[i].split()
    parts[word] = rng.choice([c for c in choices if c != parts[word]])
    changed[i] = " ".join(parts)
    return changed


class RegionViews(torch.utils.data.Dataset[Views]):
    """Batch i of the training: a function of i alone. Even rows are crops, odd rows full scenes with a region mask."""

    def __init__(self, processor: CLIPProcessor, first_seed: int, rows: int) -> None:
        self.tokenizer, self.first_seed, self.rows = processor.tokenizer, first_seed, rows

    def __getitem__(self, index: int) -> Views:
        """The batch."""
        made = [self._view(self.first_seed + index * self.rows + row, row % 2 == 0) for row in range(self.rows)]
        pixels, masks, texts, patches = zip(*made, strict=True)
        tokens = self.tokenizer([t for group in texts for t in group], padding=True, truncation=True, return_tensors="pt")
        return Views(
            torch.from_numpy(np.stack(pixels)),
            torch.from_numpy(np.stack(masks)),
            tokens.input_ids,
            tokens.attention_mask,
            torch.from_numpy(np.stack(patches)),
        )

    def _view(self, seed: int, cropped: bool) -> tuple[np.ndarray, np.ndarray, list[str], np.ndarray]:
        rng = random.Random(seed)
        objects = layout(seed)
        image = render(seed, objects)
        annotated = scene_objects(objects)
        region, held = draw_region(annotated, rng)
        names = [o.category for o in held]
        rng.shuffle(names)
        others = [o.category for o in annotated if o not in held]
        texts = [" , ".join(names), *negatives(names, others, rng)]
        if cropped:
            mask, patches = np.ones(GRID * GRID, dtype=bool), np.full((GRID * GRID, 6), IGNORE)
            return to_pixels(crop(image, region)), mask, texts, patches
        return to_pixels(image), region_masks([region], (SIDE, SIDE), GRID)[0], texts, patch_targets(objects)


class PatchHead(nn.Module):
    """Colour and shape of each patch; thrown away after training."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, len(COLORS) + len(SHAPES))

    def loss(self, hidden: torch.Tensor, patches: torch.Tensor) -> torch.Tensor:
        """hidden (B, 64, width), patches (B, 64, 6) -> scalar."""
        held = patches[..., 0] != IGNORE
        logits = self.linear(hidden[held]).float()
        wanted = patches[held]
        colors = functional.cross_entropy(logits[:, : len(COLORS)], wanted[:, 0])
        return colors + functional.cross_entropy(logits[:, len(COLORS) :], wanted[:, 1])


def normalise(pixels: torch.Tensor) -> torch.Tensor:
    """uint8 -> the image processor's scale."""
    return (pixels.float() / 255 - 0.5) / 0.25


def contrast(model: CLIPModel, views: Views) -> torch.Tensor:
    """Both directions of CLIP's loss; hard negatives stand among the texts only."""
    rows = len(views.pixels)
    images = clip_region_features(model, normalise(views.pixels), views.masks[:, None])[:, 0]
    texts = model.get_text_features(input_ids=views.input_ids, attention_mask=views.attention_mask).pooler_output
    images, texts = functional.normalize(images.float(), dim=-1), functional.normalize(texts.float(), dim=-1)
    logits = model.logit_scale.exp() * images @ texts.T
    right = torch.arange(rows, device=logits.device) * (1 + NEGATIVES)
    own = logits.view(rows, rows, 1 + NEGATIVES)[torch.arange(rows), torch.arange(rows)]
    hard = functional.cross_entropy(own, torch.zeros_like(right))
    among = torch.arange(rows, device=logits.device)
    return functional.cross_entropy(logits, right) + functional.cross_entropy(logits[:, right].T, among) + hard


def train(plan: Plan, out: Path, device: str, workers: int, save_every: int) -> None:
    """Both phases; the finished model lies in `out / "model"`."""
    out.mkdir(parents=True, exist_ok=True)
    processor = build_processor()
    model = build_model(processor.tokenizer, plan.seed).to(device)
    # Plain attention is faster on a CPU than the fused kernel for rows this short.
    model.set_attn_implementation("eager")
    head = PatchHead(model.config.vision_config.hidden_size).to(device)
    modules = nn.ModuleDict({"model": model, "head": head})
    optimizer = make_optimizer([{"params": list(modules.parameters())}])
    path = out / "checkpoint.pt"
    start, before = load_checkpoint(path, modules, optimizer, device)
    total, began, seconds = plan.steps_patches + plan.steps, time.monotonic(), before
    schedule = Schedule(total, (plan.rate,))
    for step, views in _batches(RegionViews(processor, TRAINING.start, plan.batch), start, total, workers, device):
        schedule.apply(optimizer, step)
        with torch.autocast(device.split(":")[0], torch.bfloat16):
            loss = 0.3 * head.loss(_patch_features(model, views.pixels), views.patches)
            loss = loss if step < plan.steps_patches else loss + contrast(model, views)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(modules.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        model.logit_scale.data.clamp_(max=4.6)
        seconds = before + time.monotonic() - began
        if (step + 1) % 50 == 0:
            rate = (step + 1 - start) / (time.monotonic() - began)
            print(f"step {step + 1}/{total} loss {float(loss):.3f} {rate:.1f} steps/s", flush=True)
        if (step + 1) % save_every == 0 or step + 1 == total:
            save_checkpoint(path, modules, optimizer, step + 1, seconds)
    finish(model, processor, plan, out, device, seconds)


def _patch_features(model: CLIPModel, pixels: torch.Tensor) -> torch.Tensor:
    return model.vision_model(normalise(pixels)).last_hidden_state[:, 1:]  # type: ignore[no-any-return]


def _batches(data: RegionViews, start: int, stop: int, workers: int, device: str) -> Iterator[tuple[int, Views]]:
    loader = torch.utils.data.DataLoader(data, batch_size=None, sampler=range(start, stop), num_workers=workers)
    for step, views in enumerate(loader, start=start):
        yield step, Views(**{name: value.to(device, non_blocking=True) for name, value in vars(views).items()})


if __name__ == "__main__":
    command(__doc__, Plan, train)
