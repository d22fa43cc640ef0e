"""The training job: preference pairs in, a LoRA adapter with its log and manifest out; it resumes where it was stopped.

Below `out`: adapter/ (LoRA weights and processor) or model/ (the whole model, where all of it was trained), log.jsonl,
checkpoints/, reference.json (where it is computed beforehand), manifest.json (last; it marks the end).
A launcher may have started several processes: they train together, and the leading one writes.
Not here: what a pair is worth, or how the tuned policy is judged.
"""

from __future__ import annotations

import platform
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import peft
import torch
import transformers
import trl
from datasets import Dataset
from peft import LoraConfig, PeftModel
from transformers import PreTrainedModel, PrinterCallback, ProcessorMixin, Trainer

from spr._version import __version__
from spr.errors import ResumeError
from spr.models.loading import load_config, load_model_and_processor, load_processor
from spr.models.quiet import quiet
from spr.recipe import Recipe
from spr.records import PreferencePair
from spr.running.progress import say
from spr.running.ranks import leads
from spr.training import faults, order
from spr.training import manifest as manifests
from spr.training.arguments import arguments
from spr.training.base import check_trainable, prepare_base
from spr.training.checkpoints import MarkComplete, check_left_out, forget_all, last_complete, last_marked
from spr.training.collator import ChosenCollator, PreferenceCollator
from spr.training.context import positions
from spr.training.displacement import first_displaced, standing
from spr.training.encoding import PairEncoder
from spr.training.log import Progress, UpdateLog, check_log, cut_log, quarters, read_log
from spr.training.manifest import TrainReport
from spr.training.optimizer import check_optimizer
from spr.training.outlook import Pace, outlook
from spr.training.parameters import loaded_dtype, reused_features, trainable
from spr.training.preflight import Preflight, preflight
from spr.training.reference import FILE, Cache, ReferenceFirst, reference_parts
from spr.training.reporting import check_reporting
from spr.training.saving import POLICIES, policy_name, save_policy
from spr.training.sharing import Sharing, shared_as
from spr.training.together import accumulation, in_turn, part_by_layers, placed
from spr.training.trainers import PolicySFTTrainer, SPRDPOTrainer
from spr.training.watch import DisplacementWatch

Foresee = Callable[[Preflight, int], Sequence[str]]
"""What so many updates on these pairs will take, as lines for people."""


@dataclass(frozen=True, slots=True)
class _Job:
    """One training: its recipe, its directory, its device and what it is made of."""

    recipe: Recipe
    out: Path
    device: str
    parts: Mapping[str, Any]
    progress: Progress | None
    foresee: Foresee | None
    start: Path | None
    anew: bool

    @property
    def checkpoints(self) -> Path:
        return self.out / "checkpoints"

    @property
    def log(self) -> Path:
        return self.out / "log.jsonl"

    def saved(self) -> int:
        """The update that this training would go on from, and not another that it is to replace."""
        return last_marked(self.checkpoints, self.parts)[1]

    @property
    def batch(self) -> int:
        """Pairs an update."""
        return self.recipe.train.batch_size * self.recipe.train.gradient_accumulation


def train(
    pairs: Sequence[PreferencePair],
    recipe: Recipe,
    image_root: Path,
    out: Path,
    *,
    device: str = "cpu",
    progress: Progress | None = None,
    force: bool = False,
    foresee: Foresee | None = None,
    start: Path | None = None,
) -> TrainReport:
    """Train a policy on preference pairs, by DPO or by SFT on the chosen answers, as `recipe.train` says: an adapter, or all
    of the model. `start` is an adapter to go on from; the reference is then the policy as it begins.

    A finished training of the same pairs and recipe is not done again; an unfinished one goes on from its last whole
    checkpoint and ends with the same policy as if it had never stopped. `force` starts over whatever `out` holds, which is
    removed when everything is ready for the first update. What `foresee` says is said before that.
    Raises ResumeError when `out` holds another training, DataError when no pair can be used or the processor loses images,
    RecipeError when LoRA hits nothing, no optimizer can be made or the processes cannot share an update, ModelError when the
    model cannot be loaded, is of a kind that cannot be trained, or its loss is not finite.
    """
    check_trainable(recipe.model, recipe.train)
    check_optimizer(recipe)
    check_reporting(recipe.train.report_to)
    parts = manifests.key_parts(pairs, recipe, start)
    with in_turn(device):
        finished = None if force else _finished(out, parts)
    if finished is not None:
        return finished
    accumulation(recipe.train)
    started = time.monotonic()
    job = _Job(recipe, out, device, parts, progress, foresee, start, force)
    if device != "cpu":
        torch.cuda.set_device(device)
    with faults.told(out, recipe.train, job.saved), quiet():
        fitted = _fit(job, pairs, image_root)
    report = _report(job, fitted, time.monotonic() - started)
    if leads():
        manifests.write_manifest(out, parts, report, _versions())
    return report


@dataclass(frozen=True, slots=True)
class _Fitted:
    """What was trained on, the update it went on from, and what was shared of prompts, in words."""

    ready: Preflight
    step: int
    sharing: str


def _fit(job: _Job, pairs: Sequence[PreferencePair], image_root: Path) -> _Fitted:
    """Train from the last whole checkpoint to the policy."""
    train = job.recipe.train
    with in_turn(job.device):
        checkpoint, step = (None, 0) if job.anew else last_complete(job.checkpoints, job.parts)
    check_log(job.log, step)
    config, told = load_config(job.recipe.model), _phase(job.progress, "preflight")
    encoder = PairEncoder(load_processor(job.recipe.model), image_root)
    image_token = getattr(config, "image_token_id", None)
    ready = preflight(pairs, encoder, train.max_tokens, image_token, told, positions(config))
    if checkpoint:
        check_left_out(checkpoint, [row.row_id for row in ready.dropped])
    # Before the weights: ZeRO-3 parts them while they are read, which it learns from these.
    settings = arguments(job.recipe, order.updates(len(ready.pairs), train), job.checkpoints, job.device)
    for line in outlook(ready, train, settings.max_steps, step):
        say(line)
    if job.foresee is not None and leads():
        for line in job.foresee(ready, settings.max_steps - step):
            say(line)
    policy, processor = load_model_and_processor(job.recipe.model, placed(job.device), loaded_dtype(train))
    prepare_base(policy)
    sharing, shared = shared_as(policy, train.prefix_sharing, train.batch_size) if train.objective == "dpo" else ("off", "off")
    adapted = trainable(policy, train, job.start, encoder.prompt(ready.pairs[0]).images)
    with in_turn(job.device):
        if leads():
            _make_room(job, step)
    trainer = _trainer(job, settings, adapted, processor, encoder, ready, sharing)
    part_by_layers(trainer, policy)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    save_policy(trainer, processor, job.out / policy_name(train), job.recipe.model)
    return _Fitted(ready, step, shared)


def _finished(out: Path, parts: Mapping[str, Any]) -> TrainReport | None:
    manifest = manifests.read_manifest(out)
    if manifest is None:
        return None
    if manifest["key"] == manifests.key(parts):
        return manifests.stored_report(out, manifest)
    raise ResumeError(
        f"{out} holds another training ({manifests.differences(manifest['parts'], parts)}); "
        "give --force to start over, or train into another directory"
    )


def _make_room(job: _Job, step: int) -> None:
    """What a training that begins with update `step` finds: nothing of another one, and a log that ends there."""
    if job.anew:
        (job.out / manifests.MANIFEST).unlink(missing_ok=True)
        forget_all(job.checkpoints)  # before their log, without which none could be gone on from
        for name in POLICIES:
            shutil.rmtree(job.out / name, ignore_errors=True)
        job.log.unlink(missing_ok=True)
    job.checkpoints.mkdir(parents=True, exist_ok=True)
    cut_log(job.log, step)


def _trainer(
    job: _Job,
    settings: trl.DPOConfig | trl.SFTConfig,
    adapted: tuple[PreTrainedModel | PeftModel, LoraConfig | None],
    processor: ProcessorMixin,
    encoder: PairEncoder,
    ready: Preflight,
    sharing: Sharing,
) -> Trainer:
    train, (model, adapter) = job.recipe.train, adapted
    rows = order.rows(ready.pairs, job.recipe, settings.max_steps, by_image=sharing == "tree")
    seen = [ready.pairs[row].pair_id for row in rows]
    reused = reused_features(train)
    callbacks = [
        UpdateLog(job.log, len(ready.pairs), job.batch, job.progress, seen),
        DisplacementWatch(train, read_log(job.log)),
        MarkComplete(job.parts, [row.row_id for row in ready.dropped]),
        Pace(),
    ]
    common: dict[str, Any] = {
        "model": model,
        "args": settings,
        "processing_class": processor,
        "peft_config": adapter,
        "callbacks": callbacks,
    }
    trainer: Trainer
    if train.objective == "dpo":
        collator = PreferenceCollator(ready, encoder, job.recipe.pairs.weights)
        data = Dataset.from_dict({"row": rows})
        trainer = SPRDPOTrainer(
            **common, train_dataset=data, data_collator=collator, prefix_sharing=sharing, reuse_image_features=reused
        )
        if train.reference_first:
            trainer.add_callback(_reference(job, ready, trainer, collator))
    else:
        # TRL takes vision mode from a column named `image`; our collators read `row` alone.
        data = Dataset.from_dict({"image": [ready.pairs[row].path for row in rows], "row": rows})
        chosen = ChosenCollator(ready, encoder)
        trainer = PolicySFTTrainer(**common, train_dataset=data, data_collator=chosen, reuse_image_features=reused)
    trainer.remove_callback(PrinterCallback)
    return trainer


def _reference(job: _Job, ready: Preflight, trainer: SPRDPOTrainer, collator: PreferenceCollator) -> ReferenceFirst:
    train = job.recipe.train
    cache = Cache(job.out / FILE, reference_parts(job.parts), ready.pairs, train.batch_size)
    begun = train.method == "full"  # once it has moved, a model that is trained whole is its own reference no more
    return ReferenceFirst(cache, trainer.score_reference, collator, begun, _phase(job.progress, "reference"))


def _report(job: _Job, fitted: _Fitted, seconds: float) -> TrainReport:
    ready = fitted.ready
    lines = read_log(job.log)
    beta = job.recipe.train.beta
    dpo = job.recipe.train.objective == "dpo"
    # Relative to the reference the pairs' own difficulty cancels, which from batch to batch is larger than any drift.
    first, last = quarters(lines, lambda line: line["rewards/chosen"] / beta if dpo else line["logps/chosen"])
    names = [name for name in lines[-1] if name not in ("step", "epoch")]
    at_end = standing(lines, beta)
    return TrainReport(
        adapter=job.out / policy_name(job.recipe.train),
        updates=int(lines[-1]["step"]),
        pairs=len(ready.pairs),
        dropped=ready.dropped,
        lengths=ready.lengths,
        final={name: quarters(lines, itemgetter(name))[1] for name in names},
        chosen_first=first,
        chosen_last=last,
        displaced=at_end is not None and at_end.displaced,
        seconds=round(seconds, 3),
        resumed_from=fitted.step,
        fresh=True,
        prefix_sharing=fitted.sharing,
        displaced_at=first_displaced(lines, beta),
        histogram=ready.histogram,
    )


def _phase(progress: Progress | None, name: str) -> Any:
    return None if progress is None else lambda done, total: progress(name, done, total, {})


def _versions() -> dict[str, str]:
    return {
        "spr": __version__,
        "python": platform.python_version(),
        **{module.__name__: str(module.__version__) for module in (torch, transformers, trl, peft)},
    }
