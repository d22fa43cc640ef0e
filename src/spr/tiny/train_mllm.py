"""How the bundled tiny MLLM was made: `python -m spr.tiny.train_mllm --out DIR`.

Stage A teaches the vision tower to say, patch by patch, which object lies there and where its box is, through a head
that is thrown away. Stages B to D teach the whole model to answer (see `lessons`): B mostly to describe regions, from which
it learns to read boxes and names off places, C mostly to find things by name, D to say what is there and what is not, and to
find several things at once. Coordinate targets are softened to neighbouring bins; in A and B they sharpen as training goes
on, in C and D they stay soft, and the courses stop before their schedules end: that leaves the model unsure of the last
pixels. Every stage checkpoints and resumes by itself; batches depend on their number alone. `--start DIR` takes the finished
model of stage C from a directory and adds stage D.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from spr.tiny.lessons import Mix
from spr.tiny.mllm import BINS, WIDTH, build_model, build_processor
from spr.tiny.packing import IGNORE, Batch, LessonBatches
from spr.tiny.scenes import COLORS, SHAPES
from spr.tiny.schedule import Schedule, load_checkpoint, make_optimizer, save_checkpoint
from spr.tiny.splits import TRAINING

_NAME_WEIGHT = 3.0
"""Of colour and shape against each coordinate: what a thing is has to be learned before where it ends."""
_HEADS = (len(COLORS), len(SHAPES), BINS, BINS, BINS, BINS)


@dataclass(frozen=True)
class Course:
    """Answer lessons of one mix: the schedule is `steps` long, the course ends at `stop`.

    `softness`, in bins, of the coordinate targets; exact from the share `exact_from` of the schedule on, or never.
    `patches` keeps the loss of stage A's head beside the answers'.
    """

    mix: Mix
    steps: int
    stop: int
    softness: float
    exact_from: float | None
    rate: float = 1e-3
    vision_rate: float = 4e-4
    patches: bool = True

    def softness_at(self, step: int) -> float:
        """Bins."""
        return _softness(self.softness, self.exact_from, step / self.steps)


@dataclass(frozen=True)
class Plan:
    """The numbers of one training."""

    seed: int = 0
    steps_a: int = 3000
    batch_a: int = 32
    rate_a: float = 1.5e-3
    batch: int = 16
    softness_a: float = 1.2
    exact_from_a: float = 0.7
    describing: Course = Course(Mix(6, 2, 1), steps=4000, stop=1900, softness=1.2, exact_from=0.7)
    finding: Course = Course(Mix(10, 2, 2), steps=2000, stop=850, softness=2.5, exact_from=None)
    asking: Course = Course(
        Mix(3, 1, 5, 4), steps=2000, stop=500, softness=4.0, exact_from=None, rate=4e-4, vision_rate=1.5e-4, patches=False
    )
    patch_weights: tuple[float, float] = (0.15, 0.03)


def _softness(start: float, exact_from: float | None, share: float) -> float:
    return start if exact_from is None else start * max(0.0, 1 - share / exact_from)


class PatchHead(nn.Module):
    """Reads colour, shape and box off each projected patch; thrown away after training."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, sum(_HEADS))

    def loss(self, features: torch.Tensor, targets: torch.Tensor, softness: float) -> torch.Tensor:
        """features (B, 64, WIDTH), targets (B, 64, 6) with IGNORE on the ground -> the mean loss of the parts."""
        parts = self.linear(features).split(_HEADS, dim=-1)
        wanted = targets.flatten(0, 1)
        held = wanted[:, 0] != IGNORE
        losses = [
            _NAME_WEIGHT * soft_cross_entropy(part.flatten(0, 1)[held], wanted[held, i], 0.0)
            if i < 2
            else soft_cross_entropy(part.flatten(0, 1)[held], wanted[held, i], softness)
            for i, part in enumerate(parts)
        ]
        return torch.stack([loss.mean() for loss in losses]).sum()


def soft_cross_entropy(logits: torch.Tensor, targets: torch.Tensor, softness: float) -> torch.Tensor:
    """Cross entropy (n,) of logits (n, bins) against a Gaussian of `softness` bins around each target; 0 is exact."""
    if softness < 0.1:
        return functional.cross_entropy(logits.float(), targets, reduction="none")
    bins = torch.arange(logits.shape[-1], device=logits.device)
    wanted = torch.softmax(-((bins[None] - targets[:, None]) ** 2) / (2 * softness**2), dim=-1)
    return -(wanted * functional.log_softmax(logits.float(), dim=-1)).sum(-1)


def project(model: LlavaForConditionalGeneration, pixels: torch.Tensor) -> torch.Tensor:
    """Images (I, 3, 96, 96) uint8 -> projected patches (I, 64, WIDTH), as the model's own forward makes them."""
    values = (pixels.float() / 255 - 0.5) / 0.25
    hidden = model.model.vision_tower(values).last_hidden_state[:, 1:]
    return model.model.multi_modal_projector(hidden)  # type: ignore[no-any-return]


def answer_loss(
    model: LlavaForConditionalGeneration, batch: Batch, features: torch.Tensor, first_bin: int, softness: float
) -> torch.Tensor:
    """Mean loss over the answers' tokens of a packed batch."""
    embeddings = model.get_input_embeddings()(batch.input_ids)
    slots = batch.input_ids == model.config.image_token_id
    embeddings = embeddings.masked_scatter(slots[..., None], features.flatten(0, 1).to(embeddings.dtype))
    hidden = model.model.language_model(
        inputs_embeds=embeddings, attention_mask=batch.mask(), position_ids=batch.positions, use_cache=False
    ).last_hidden_state
    asked = batch.labels != IGNORE
    logits, labels = model.lm_head(hidden[asked]), batch.labels[asked]
    coordinate = (labels >= first_bin) & (labels < first_bin + BINS)
    exact = functional.cross_entropy(logits[~coordinate].float(), labels[~coordinate], reduction="sum")
    soft = _coordinate_loss(logits[coordinate], labels[coordinate], first_bin, softness)
    return (exact + soft) / len(labels)


def _coordinate_loss(logits: torch.Tensor, labels: torch.Tensor, first_bin: int, softness: float) -> torch.Tensor:
    log_probs = functional.log_softmax(logits.float(), dim=-1)[:, first_bin : first_bin + BINS]
    bins = torch.arange(BINS, device=logits.device)
    distance = (bins[None] - (labels - first_bin)[:, None]) ** 2
    wanted = torch.softmax(-distance / (2 * max(softness, 0.1) ** 2), dim=-1)
    return -(wanted * log_probs).sum()


def train_vision(
    model: LlavaForConditionalGeneration, head: PatchHead, processor: LlavaProcessor, plan: Plan, run: Run
) -> None:
    """Stage A."""
    groups = [
        {
            "params": [
                *model.model.vision_tower.parameters(),
                *model.model.multi_modal_projector.parameters(),
                *head.parameters(),
            ]
        }
    ]
    schedule = Schedule(plan.steps_a, (plan.rate_a,))
    data = LessonBatches(processor, TRAINING.start, plan.batch_a, None)
    for step, batch in run.steps("A", model, head, make_optimizer(groups), schedule, data, plan.steps_a):
        softness = _softness(plan.softness_a, plan.exact_from_a, step / plan.steps_a)
        run.descend(head.loss(project(model, batch.pixels), batch.patches, softness))


def train_answers(
    stage: str, course: Course, data: LessonBatches, model: LlavaForConditionalGeneration, head: PatchHead, plan: Plan, run: Run
) -> None:
    """Stages B to D: one course."""
    seen = [*model.model.vision_tower.parameters(), *model.model.multi_modal_projector.parameters(), *head.parameters()]
    known = {id(p) for p in seen}
    groups = [{"params": seen}, {"params": [p for p in model.parameters() if id(p) not in known]}]
    schedule = Schedule(course.steps, (course.vision_rate, course.rate))
    first_bin = data.tokenizer.convert_tokens_to_ids("<0>")
    for step, batch in run.steps(stage, model, head, make_optimizer(groups), schedule, data, course.stop):
        share = step / course.steps
        softness = course.softness_at(step)
        features = project(model, batch.pixels)
        loss = answer_loss(model, batch, features, first_bin, softness)
        if course.patches:
            weight = plan.patch_weights[0] + share * (plan.patch_weights[1] - plan.patch_weights[0])
            loss = loss + weight * head.loss(features[batch.first_images], batch.patches, softness)
        run.descend(loss)


class Run:
    """The state of one training on disk and on the device: steps, checkpoints, snapshots, the log."""

    def __init__(self, out: Path, device: str, workers: int, save_every: int, snapshots: tuple[int, ...]) -> None:
        self.out, self.device, self.workers, self.save_every, self.snapshots = out, device, workers, save_every, snapshots
        out.mkdir(parents=True, exist_ok=True)
        self.seconds = 0.0
        self._loss = torch.zeros((), device=device)

    def descend(self, loss: torch.Tensor) -> None:
        """Back-propagate the loss of the current step."""
        loss.backward()  # type: ignore[no-untyped-call]
        self._loss = loss.detach()

    def steps(
        self,
        stage: str,
        model: LlavaForConditionalGeneration,
        head: PatchHead,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        data: LessonBatches,
        stop: int,
    ) -> Iterator[tuple[int, Batch]]:
        """Yield (step, batch) from the last checkpoint on; between two yields the caller calls `descend` once."""
        modules = nn.ModuleDict({"model": model, "head": head})
        start, self.seconds = load_checkpoint(self.out / f"{stage}.pt", modules, optimizer, self.device)
        loader = torch.utils.data.DataLoader(
            data,
            batch_size=None,
            sampler=range(start, stop),
            num_workers=self.workers,
            prefetch_factor=4 if self.workers else None,
        )
        began, before = time.monotonic(), self.seconds
        for step, batch in enumerate(loader, start=start):
            schedule.apply(optimizer, step)
            with torch.autocast(self.device.split(":")[0], torch.bfloat16):
                yield step, batch.to(self.device)
            nn.utils.clip_grad_norm_(modules.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            self.seconds = before + time.monotonic() - began
            done = step + 1
            if done % 50 == 0 or done == stop:
                rate = (done - start) / (time.monotonic() - began)
                print(f"stage {stage} step {done}/{stop} loss {float(self._loss):.3f} {rate:.1f} steps/s", flush=True)
            if stage == "D" and done in self.snapshots:
                save_model(model, build_processor(), self.out / f"step-{done}")
            if done % self.save_every == 0 or done == stop:
                save_checkpoint(self.out / f"{stage}.pt", modules, optimizer, done, self.seconds)


def save_model(model: LlavaForConditionalGeneration, processor: LlavaProcessor, out: Path) -> None:
    """Write model and processor in the ordinary layout, weights in fp16; the model in memory stays as it is."""
    half = {name: value.detach().half().cpu().contiguous() for name, value in model.state_dict().items()}
    model.save_pretrained(out, state_dict=half)
    processor.save_pretrained(out)


def train(plan: Plan, run: Run, start: Path | None = None) -> None:
    """All stages, or the last one from the model in `start`; the finished model lies in `run.out / "model"`."""
    processor = build_processor()
    model = build_model(processor.tokenizer, plan.seed)
    if start is not None:
        model.load_state_dict(LlavaForConditionalGeneration.from_pretrained(start, dtype=torch.float32).state_dict())
    # Plain attention is faster on a CPU than the fused kernel for rows this short: 0.41 s a step of stage A against 0.68 s.
    model.set_attn_implementation("eager")
    model.to(run.device)
    head = PatchHead().to(run.device)
    seconds, seed = 0.0, TRAINING.start + plan.steps_a * plan.batch_a
    if start is None:
        train_vision(model, head, processor, plan, run)
        seconds = run.seconds
    for stage, course in (("B", plan.describing), ("C", plan.finding), ("D", plan.asking)):
        if start is None or stage == "D":
            train_answers(stage, course, LessonBatches(processor, seed, plan.batch, course.mix), model, head, plan, run)
            seconds += run.seconds
        seed += course.steps * plan.batch
    save_model(model, processor, run.out / "model")
    facts: dict[str, Any] = {"plan": asdict(plan), "device": run.device, "minutes": round(seconds / 60, 1)}
    facts["start"] = str(start) if start is not None else None
    facts["parameters"] = sum(p.numel() for p in model.parameters())
    (run.out / "training.json").write_text(json.dumps(facts, indent=2) + "\n")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=1, help="processes that draw scenes")
    parser.add_argument("--save-every", type=int, default=200)
    parser.add_argument("--snapshots", type=int, nargs="*", default=[], help="steps of stage D to keep as models")
    parser.add_argument("--start", type=Path, help="a finished model of stage C; only stage D is run")
    parser.add_argument("--seed", type=int, default=Plan.seed)
    args = parser.parse_args()
    run = Run(args.out, args.device, args.workers, args.save_every, tuple(args.snapshots))
    train(Plan(seed=args.seed), run, args.start)


if __name__ == "__main__":
    main()
