"""The training job: preference pairs in, a LoRA adapter with its log and manifest out; it resumes where it was stopped.

Below `out`: adapter/ (LoRA weights and processor), log.jsonl, checkpoints/, manifest.json (last; it marks the end).
Not here: what a pair is worth, or how the tuned policy is judged.
"""

from __future__ import annotations

import os
import platform
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # TRL reports every trainer it builds; read when it is imported

import peft
import torch
import transformers
import trl
from datasets import Dataset
from transformers import PreTrainedModel, PrinterCallback, ProcessorMixin, Trainer

from spr._version import __version__
from spr.errors import DataError, ResumeError
from spr.images import ImageFault
from spr.models.loading import load_model_and_processor
from spr.models.quiet import quiet
from spr.recipe import Recipe
from spr.records import PreferencePair
from spr.running.files import writing
from spr.seeds import derive_seed
from spr.training import manifest as manifests
from spr.training import order
from spr.training.base import check_trainable, prepare_base
from spr.training.checkpoints import MarkComplete, last_complete
from spr.training.collator import ChosenCollator, PreferenceCollator
from spr.training.encoding import PairEncoder
from spr.training.log import Progress, UpdateLog, cut_log, quarters, read_log
from spr.training.lora import lora_config
from spr.training.manifest import TrainReport
from spr.training.preflight import Preflight, preflight
from spr.training.trainers import PolicyDPOTrainer, PolicySFTTrainer


@dataclass(frozen=True, slots=True)
class _Job:
    """One training: its recipe, its directory, its device and what it is made of."""

    recipe: Recipe
    out: Path
    device: str
    parts: Mapping[str, Any]
    progress: Progress | None

    @property
    def checkpoints(self) -> Path:
        return self.out / "checkpoints"

    @property
    def log(self) -> Path:
        return self.out / "log.jsonl"

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
) -> TrainReport:
    """Train a LoRA adapter on preference pairs, by DPO or by SFT on the chosen answers, as `recipe.train` says.

    A finished training of the same pairs and recipe is not done again; an unfinished one goes on from its last whole
    checkpoint and ends with the same adapter as if it had never stopped. `force` starts over whatever `out` holds.
    Raises ResumeError when `out` holds another training, DataError when no pair can be used, RecipeError when LoRA hits
    nothing, ModelError when the model cannot be loaded, is of a kind that cannot be trained, or its loss is not finite.
    """
    check_trainable(recipe.model)
    parts = manifests.key_parts(pairs, recipe)
    if force:
        _clear(out)
    finished = _finished(out, parts)
    if finished is not None:
        return finished
    started = time.monotonic()
    job = _Job(recipe, out, device, parts, progress)
    if device != "cpu":
        torch.cuda.set_device(device)
    with _faults(out), quiet():
        ready, step = _fit(job, pairs, image_root)
    report = _report(job, ready, step, time.monotonic() - started)
    manifests.write_manifest(out, parts, report, _versions())
    return report


def _fit(job: _Job, pairs: Sequence[PreferencePair], image_root: Path) -> tuple[Preflight, int]:
    """Train from the last whole checkpoint to the adapter; returns what was trained on and the update it went on from."""
    train, progress = job.recipe.train, job.progress
    job.checkpoints.mkdir(parents=True, exist_ok=True)
    checkpoint, step = last_complete(job.checkpoints, job.parts)
    cut_log(job.log, step)
    policy, processor = load_model_and_processor(job.recipe.model, job.device, train.dtype)
    prepare_base(policy)
    encoder = PairEncoder(processor, image_root)
    image_token = getattr(policy.config, "image_token_id", None)
    ready = preflight(pairs, encoder, train.max_tokens, image_token, _phase(progress, "preflight"))
    trainer = _trainer(job, policy, processor, encoder, ready)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    _save_adapter(trainer, processor, job.out)
    return ready, step


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


def _clear(out: Path) -> None:
    (out / manifests.MANIFEST).unlink(missing_ok=True)
    (out / "log.jsonl").unlink(missing_ok=True)
    for name in ("adapter", "checkpoints"):
        shutil.rmtree(out / name, ignore_errors=True)


def _trainer(job: _Job, policy: PreTrainedModel, processor: ProcessorMixin, encoder: PairEncoder, ready: Preflight) -> Trainer:
    count = order.updates(len(ready.pairs), job.recipe.train)
    ids = [pair.pair_id for pair in ready.pairs]
    rows = order.stream(ids, job.recipe.seed, count * job.batch)
    # TRL takes vision mode from a column named `image`; our collators read `row` alone.
    data = Dataset.from_dict({"image": [ready.pairs[row].path for row in rows], "row": rows})
    dpo = job.recipe.train.objective == "dpo"
    trainer = (PolicyDPOTrainer if dpo else PolicySFTTrainer)(
        model=policy,
        args=_arguments(job, count),
        train_dataset=data,
        data_collator=(PreferenceCollator if dpo else ChosenCollator)(ready, encoder),
        processing_class=processor,
        peft_config=lora_config(policy, job.recipe.train.lora),
        callbacks=[MarkComplete(job.parts), UpdateLog(job.log, len(ids), job.batch, job.progress)],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _arguments(job: _Job, count: int) -> trl.DPOConfig | trl.SFTConfig:
    recipe = job.recipe.train
    common: dict[str, Any] = {
        "output_dir": str(job.checkpoints),
        "max_steps": count,
        "per_device_train_batch_size": recipe.batch_size,
        "gradient_accumulation_steps": recipe.gradient_accumulation,
        "learning_rate": recipe.learning_rate,
        "lr_scheduler_type": recipe.scheduler,
        "warmup_steps": order.warmup(count, recipe),
        "weight_decay": recipe.weight_decay,
        "bf16": recipe.dtype == "bfloat16",
        "gradient_checkpointing": recipe.gradient_checkpointing,
        "use_cpu": job.device == "cpu",
        "seed": derive_seed(job.recipe.seed, "training") % 2**31,
        "train_sampling_strategy": "sequential",
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": job.device != "cpu",
        "remove_unused_columns": False,
        "max_length": None,
        "save_steps": recipe.save_steps,
        "save_total_limit": 2,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "report_to": "none",
        "disable_tqdm": True,
    }
    if recipe.objective == "sft":
        return _one_device(trl.SFTConfig(**common))
    weights = list(recipe.loss_weights) if recipe.loss_weights else None
    return _one_device(
        trl.DPOConfig(
            **common,
            beta=recipe.beta,
            loss_type=list(recipe.loss_type),
            loss_weights=weights,
            disable_dropout=recipe.lora.dropout == 0,  # TRL would switch off the adapter's own dropout as well
        )
    )


def _one_device(arguments: trl.DPOConfig | trl.SFTConfig) -> trl.DPOConfig | trl.SFTConfig:
    """Keep to the one device that was asked for; with several in sight transformers would split batches over them."""
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def _save_adapter(trainer: Trainer, processor: ProcessorMixin, out: Path) -> None:
    partial, adapter = out / "adapter.partial", out / "adapter"
    shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(adapter, ignore_errors=True)
    trainer.accelerator.unwrap_model(trainer.model).save_pretrained(partial, save_embedding_layers=False)
    processor.save_pretrained(partial)
    partial.rename(adapter)


def _report(job: _Job, ready: Preflight, resumed_from: int, seconds: float) -> TrainReport:
    lines = read_log(job.log)
    beta = job.recipe.train.beta
    dpo = job.recipe.train.objective == "dpo"
    # Relative to the reference the pairs' own difficulty cancels, which from batch to batch is larger than any drift.
    first, last = quarters(lines, lambda line: line["rewards/chosen"] / beta if dpo else line["logps/chosen"])
    names = [name for name in lines[-1] if name not in ("step", "epoch")]
    return TrainReport(
        adapter=job.out / "adapter",
        updates=int(lines[-1]["step"]),
        pairs=len(ready.pairs),
        dropped=ready.dropped,
        lengths=ready.lengths,
        final={name: quarters(lines, itemgetter(name))[1] for name in names},
        chosen_first=first,
        chosen_last=last,
        displaced=last < first,
        seconds=round(seconds, 3),
        resumed_from=resumed_from,
        fresh=True,
    )


@contextmanager
def _faults(out: Path) -> Iterator[None]:
    """What can go wrong long after the preflight, as errors that say what to do."""
    with writing(out):
        try:
            yield
        except ImageFault as error:
            raise DataError(f"a photo changed while training ({error}); put it back and give the same command again") from None


def _phase(progress: Progress | None, name: str) -> Any:
    return None if progress is None else lambda done, total: progress(name, done, total, {})


def _versions() -> dict[str, str]:
    return {
        "spr": __version__,
        "python": platform.python_version(),
        **{module.__name__: str(module.__version__) for module in (torch, transformers, trl, peft)},
    }
