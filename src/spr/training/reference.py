"""The reference's log-probabilities of all answers, computed once and kept on disk beside the policy.

The reference never changes, so its pass over the pairs need not be repeated in every epoch, nor by a second training on the
same pairs. Not here: how a batch is scored.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from accelerate.utils import gather_object
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from spr.errors import ModelError, ResumeError
from spr.records import PreferencePair
from spr.running.files import read_json, write_json
from spr.running.progress import say
from spr.running.ranks import leads, rank, world
from spr.training.manifest import differences
from spr.training.order import stream_by_image

FILE = "reference.json"
SECONDS_BETWEEN_SAVES = 60.0
Logps = tuple[float, float]
"""Sums of log-probabilities over the tokens of the chosen and of the rejected answer, in nats."""
Score = Callable[[Sequence[int]], Sequence[Logps]]
"""Scores pairs by their indices."""
Told = Callable[[int, int], None]
"""Told how many of how many pairs are done."""
_PARTS = (
    "pairs",
    "model",
    "start",
    "train.method",
    "train.dtype",
    "train.trl.ld_alpha",
    "train.prefix_sharing",
    "train.batch_size",
    "train.threads",
)
"""What the numbers depend on, of what a training is made of: data, model, the adapter it starts with, dtype, and how far the
longer answer's tail counts. What is computed in one batch moves their last bits."""


def reference_parts(parts: Mapping[str, Any]) -> dict[str, Any]:
    """What of a training's `parts` the reference's log-probabilities depend on."""
    return {name: value for name, value in parts.items() if name in _PARTS or name.startswith("model.")}


@dataclass(frozen=True, slots=True)
class Cache:
    """Where the numbers are kept, what they depend on, the pairs they are of, and how many of these are scored at a time."""

    path: Path
    parts: Mapping[str, Any]
    pairs: Sequence[PreferencePair]
    batch: int


class Holder(Protocol):
    """What hands the numbers to the trainer: the collator."""

    reference: Mapping[int, Logps] | None


class ReferenceFirst(TrainerCallback):
    """Computes what `cache` lacks when the model is where it will be trained, before its first update, and gives all of it to
    `holder`. `moving`: the model is its own reference, and so none once it has been updated."""

    def __init__(self, cache: Cache, score: Score, holder: Holder, moving: bool, progress: Told | None = None) -> None:
        self._cache, self._score, self._holder, self._moving, self._progress = cache, score, holder, moving, progress

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:  # noqa: ARG002
        """Read or compute. Raises ModelError where a log-probability is not finite, ResumeError where it is too late."""
        known = stored(self._cache)
        missing = sum(pair.pair_id not in known for pair in self._cache.pairs)
        if missing and self._moving and state.global_step:
            raise ResumeError(
                f"{self._cache.path} lacks the reference of {missing} pairs, and the model has been updated "
                f"{state.global_step} times since; put the file back, or start over with --force"
            )
        self._holder.reference = reference_logps(self._cache, known, self._score, self._progress)


def stored(cache: Cache) -> dict[str, Logps]:
    """What the cache's file holds of its parts, by pair; that it is of something else is said."""
    if not cache.path.is_file():
        return {}
    try:
        found: Any = read_json(cache.path)
        logps = {name: (float(chosen), float(rejected)) for name, (chosen, rejected) in found["logps"].items()}
        changed = differences(found["parts"], cache.parts) if found["parts"] != dict(cache.parts) else ""
    except (TypeError, KeyError, AttributeError, ValueError):
        say(f"train: {cache.path} cannot be read; it is computed again")
        return {}
    if changed:
        say(f"train: {cache.path} is of another reference ({changed}); it is computed again")
        return {}
    return logps


def reference_logps(cache: Cache, known: dict[str, Logps], score: Score, progress: Told | None = None) -> dict[int, Logps]:
    """Log-probabilities of every pair by its index: those that are `known`, and the others computed by `score` and kept in the
    cache's file, `batch` pairs of one image, as far as there are, at a time.

    Several processes share the batches, and ask `score` equally often. Raises ModelError where a log-probability is not finite.
    """
    batches = [rows for rows in _batches(cache) if not {cache.pairs[row].pair_id for row in rows} <= known.keys()]
    total, ranks, saved = len(cache.pairs), world(), time.monotonic()
    if progress and batches:
        progress(len(known), total)
    for at in range(0, len(batches), ranks):
        mine = batches[min(at + rank(), len(batches) - 1)]
        for rows, values in gather_object([(mine, score(mine))]):
            _keep(known, [cache.pairs[row].pair_id for row in rows], values, cache.parts.get("train.dtype"))
        if leads() and (at + ranks >= len(batches) or time.monotonic() - saved > SECONDS_BETWEEN_SAVES):
            write_json(cache.path, {"parts": dict(cache.parts), "logps": known})
            saved = time.monotonic()
        if progress:
            progress(len(known), total)
    return {row: known[pair.pair_id] for row, pair in enumerate(cache.pairs)}


def _batches(cache: Cache) -> list[list[int]]:
    ids, images = [pair.pair_id for pair in cache.pairs], [pair.path for pair in cache.pairs]
    rows = stream_by_image(ids, images, 0, len(ids), cache.batch)
    return [rows[at : at + cache.batch] for at in range(0, len(rows), cache.batch)]


def _keep(known: dict[str, Logps], names: Sequence[str], values: Sequence[Logps], dtype: str | None) -> None:
    for name, value in zip(names, values, strict=True):
        if not all(map(math.isfinite, value)):
            helps = (
                "set train.dtype to float32" if dtype == "bfloat16" else "leave that pair out, or look at the model's weights"
            )
            raise ModelError(f"the reference's log-probability of pair {name} is not finite; {helps}")
        known[name] = value
