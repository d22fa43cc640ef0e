"""How the bundled tiny Grounding DINO was made: `python -m spr.tiny.train_detector --out DIR`.

First the encoder alone learns to propose boxes, three for each object. Then the whole model is trained, with the loss on
every layer of the decoder and on the proposals. A caption names objects that are there, by colour and shape or by one of
both, and about as many that are not, most of which share a word with one that is. Last come sparing captions, which name
few or none of the things that are there: a wrong name must be turned down also where no right one stands beside it.

Objects of the pairs UNSEEN are repainted, and no caption names these pairs: what the model makes of them shows how far it reads
words one by one.
"""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import GroundingDinoForObjectDetection, PreTrainedTokenizerBase
from transformers.models.grounding_dino.modeling_grounding_dino import GroundingDinoDecoderOutput

from spr.rewards.captions import Caption, pack
from spr.tiny.commands import command, finish
from spr.tiny.detection_loss import Targets, detection_loss
from spr.tiny.detector import TEXT_LENGTH, build_model, build_processor
from spr.tiny.language import Kind
from spr.tiny.packing import to_pixels
from spr.tiny.scenes import COLORS, SHAPES, SIDE, TinyObject, layout, render
from spr.tiny.schedule import Schedule, load_checkpoint, make_optimizer, save_checkpoint
from spr.tiny.splits import TRAINING

UNSEEN = frozenset({("red", "cross"), ("green", "star"), ("blue", "triangle"), ("pink", "diamond")})
"""Colours with shapes that the training neither shows nor names."""
_MATCHES_A_PROPOSAL = 3
_SHARE = 0.85
_SPARING_SHARES = (0.0, 0.0, 0.3, _SHARE)
"""Of the things that are there, how many a caption names."""


@dataclass(frozen=True)
class Plan:
    """The numbers of one training."""

    seed: int = 0
    steps_proposals: int = 900
    steps: int = 1700
    steps_sparing: int = 800
    batch: int = 32
    rate_proposals: float = 1e-3
    rate: float = 7e-4
    rate_sparing: float = 4e-4

    @property
    def ends(self) -> tuple[int, int, int]:
        """The steps at which the phases end."""
        whole = self.steps_proposals + self.steps
        return (self.steps_proposals, whole, whole + self.steps_sparing)


@dataclass
class Scenes:
    """B scenes with a caption each: pixels (B, 3, 96, 96) uint8, `input_ids` and `attention_mask` (B, T), and the targets."""

    pixels: torch.Tensor
    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    targets: Targets

    def to(self, device: str) -> Scenes:
        """The batch on a device."""
        moved = {name: value.to(device) for name, value in vars(self).items() if name != "targets"}
        targets = {name: value.to(device) for name, value in vars(self.targets).items() if name != "counts"}
        return Scenes(**moved, targets=Targets(**targets, counts=self.targets.counts))


def repainted(objects: Sequence[TinyObject]) -> tuple[TinyObject, ...]:
    """The scene without the pairs UNSEEN: their objects take the next colour."""
    colors = list(COLORS)

    def paint(item: TinyObject) -> TinyObject:
        color = item.color
        while (color, item.shape) in UNSEEN:
            color = colors[(colors.index(color) + 1) % len(colors)]
        return dataclasses.replace(item, color=color)

    return tuple(paint(item) for item in objects)


def asked(objects: Sequence[TinyObject], rng: random.Random, sparing: bool) -> list[Kind]:
    """The kinds that a caption names, in random order: of what is there, and about as many that match nothing. A `sparing`
    caption names a few, some or most of what is there, and at least one thing that is not."""
    share = rng.choice(_SPARING_SHARES) if sparing else _SHARE
    there = {_named(item, rng) for item in objects if rng.random() < share}
    absent: set[Kind] = set()
    wanted = rng.randint(1 if sparing else 2, 7)
    for _ in range(60 if sparing else 6 * wanted):
        if len(absent) == wanted:
            break
        kind = _wrong(rng.choice(objects), rng)
        if not kind.matches(objects) and (kind.color, kind.shape) not in UNSEEN:
            absent.add(kind)
    kinds = sorted({*there, *absent}, key=str)
    rng.shuffle(kinds)
    return kinds


def _named(item: TinyObject, rng: random.Random) -> Kind:
    parts = rng.choices(("both", "shape", "color"), (0.8, 0.1, 0.1))[0]
    return Kind(item.color if parts != "shape" else None, item.shape if parts != "color" else None)


def _wrong(item: TinyObject, rng: random.Random) -> Kind:
    """A kind that shares a word with an object, or none."""
    changed = rng.choices(("color", "shape", "both"), (0.4, 0.4, 0.2))[0]
    color = item.color if changed == "shape" else rng.choice(tuple(COLORS))
    shape = item.shape if changed == "color" else rng.choice(SHAPES)
    return _named(TinyObject(color, shape, item.box), rng)


class CaptionedScenes(torch.utils.data.Dataset[Scenes]):
    """Batch i of the training: a function of i alone."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, first_seed: int, rows: int, sparing_from: int) -> None:
        self.tokenizer, self.first_seed, self.rows, self.sparing_from = tokenizer, first_seed, rows, sparing_from

    def __getitem__(self, index: int) -> Scenes:
        """The batch."""
        pixels, captions, scenes = [], [], []
        for seed in range(self.first_seed + index * self.rows, self.first_seed + (index + 1) * self.rows):
            objects = repainted(layout(seed))
            kinds = {str(kind): kind for kind in asked(objects, random.Random(seed), index >= self.sparing_from)}
            caption = pack(list(kinds), lambda text: self.tokenizer(text, add_special_tokens=False).input_ids, TEXT_LENGTH)[0]
            pixels.append(torch.from_numpy(to_pixels(render(seed, objects))))
            captions.append(caption)
            scenes.append((objects, [kinds[phrase] for phrase in caption.phrases]))
        longest = max(len(caption.input_ids) for caption in captions)
        ids = torch.tensor([[*c.input_ids, *[0] * (longest - len(c.input_ids))] for c in captions])
        return Scenes(torch.stack(pixels), ids, (ids != 0).long(), _targets(scenes, captions, ids != 0))


def _targets(
    scenes: Sequence[tuple[Sequence[TinyObject], list[Kind]]], captions: Sequence[Caption], text: torch.Tensor
) -> Targets:
    named = []
    for (objects, kinds), caption in zip(scenes, captions, strict=True):
        tokens = np.zeros((len(objects), text.shape[1]), dtype=np.float32)
        for kind, (start, stop) in zip(kinds, caption.spans, strict=True):
            tokens[kind.matches(objects), start:stop] = 1
        named.append([(item, tokens[i]) for i, item in enumerate(objects) if tokens[i].any()])
    counts = [len(items) for items in named]
    boxes = torch.full((len(named), max(1, *counts), 4), 0.5)
    wanted = torch.zeros(len(named), boxes.shape[1], text.shape[1])
    for row, items in enumerate(named):
        for i, (item, tokens) in enumerate(items):
            x0, y0, x1, y1 = (value / SIDE for value in item.box)
            boxes[row, i] = torch.tensor([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0])
            wanted[row, i] = torch.from_numpy(tokens)
    return Targets(boxes, wanted, counts, text)


class _NoDecoder(nn.Module):
    """Stands in for the decoder while only proposals are trained."""

    def forward(self, inputs_embeds: torch.Tensor, reference_points: torch.Tensor, **_: object) -> GroundingDinoDecoderOutput:
        return GroundingDinoDecoderOutput(
            last_hidden_state=inputs_embeds,
            intermediate_hidden_states=inputs_embeds[:, None],
            intermediate_reference_points=reference_points[:, None],
        )


def loss_of(model: GroundingDinoForObjectDetection, scenes: Scenes, proposals_only: bool) -> torch.Tensor:
    """The loss of the proposals, and of every decoder layer unless `proposals_only`."""
    decoder = model.model.decoder
    inputs = {
        "pixel_values": (scenes.pixels.float() / 255 - 0.5) / 0.25,
        "input_ids": scenes.input_ids,
        "attention_mask": scenes.attention_mask,
    }
    try:
        if proposals_only:
            model.model.decoder = _NoDecoder()
        out = model.model(**inputs)
    finally:
        model.model.decoder = decoder
    loss = detection_loss(
        out.enc_outputs_class,
        out.enc_outputs_coord_logits.sigmoid(),
        scenes.targets,
        _MATCHES_A_PROPOSAL if proposals_only else 1,
    )
    if proposals_only:
        return loss
    references = [out.init_reference_points, *out.intermediate_reference_points.unbind(1)]
    for level, hidden in enumerate(out.intermediate_hidden_states.unbind(1)):
        logits = model.class_embed[level](hidden, out.encoder_last_hidden_state_text, scenes.attention_mask.bool())
        boxes = (model.bbox_embed[level](hidden) + torch.special.logit(references[level], eps=1e-5)).sigmoid()
        loss = loss + detection_loss(logits, boxes, scenes.targets)
    return loss


def train(plan: Plan, out: Path, device: str, workers: int, save_every: int) -> None:
    """All phases; the finished model lies in `out / "model"`."""
    out.mkdir(parents=True, exist_ok=True)
    processor = build_processor()
    model = build_model(plan.seed).to(device)
    optimizer = make_optimizer([{"params": [p for p in model.parameters() if p.requires_grad]}])
    path = out / "checkpoint.pt"
    start, before = load_checkpoint(path, model, optimizer, device)
    (proposals, whole, total), began, seconds = plan.ends, time.monotonic(), before
    data = CaptionedScenes(processor.tokenizer, TRAINING.start, plan.batch, sparing_from=whole)
    for step, scenes in _batches(data, start, total, workers, device):
        _set_rate(plan, optimizer, step)
        with torch.autocast(device.split(":")[0], torch.bfloat16):
            loss = loss_of(model, scenes, step < proposals)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds = before + time.monotonic() - began
        if (step + 1) % 50 == 0:
            rate = (step + 1 - start) / (time.monotonic() - began)
            print(f"step {step + 1}/{total} loss {float(loss):.3f} {rate:.2f} steps/s", flush=True)
        if (step + 1) % save_every == 0 or step + 1 == total:
            save_checkpoint(path, model, optimizer, step + 1, seconds)
    finish(model, processor, plan, out, device, seconds)


def _set_rate(plan: Plan, optimizer: torch.optim.Optimizer, step: int) -> None:
    """Each phase has a warm-up and a cosine of its own."""
    begin = 0
    for end, rate in zip(plan.ends, (plan.rate_proposals, plan.rate, plan.rate_sparing), strict=True):
        if step < end:
            Schedule(end - begin, (rate,)).apply(optimizer, step - begin)
            return
        begin = end


def _batches(data: CaptionedScenes, start: int, stop: int, workers: int, device: str) -> Iterator[tuple[int, Scenes]]:
    loader = torch.utils.data.DataLoader(data, batch_size=None, sampler=range(start, stop), num_workers=workers)
    for step, scenes in enumerate(loader, start=start):
        yield step, scenes.to(device)


if __name__ == "__main__":
    command(__doc__, Plan, train)
