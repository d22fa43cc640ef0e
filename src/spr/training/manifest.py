"""What a training is (its key), what it left behind (its manifest), and what it reports. Reads and writes json only.

Light on purpose: a plan asks whether a policy is stale without loading torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spr.errors import ResumeError
from spr.models.identity import directory_digest, identity
from spr.recipe import Recipe
from spr.records import Dropped, PreferencePair
from spr.running.files import canonical, digest, read_json, write_json
from spr.training.lengths import Histogram

VERSION = 1
MANIFEST = "manifest.json"
MARKER = "complete.json"
_IDLE = frozenset({"save_steps", "report_to"})
"""Keys of `train` that do not change the policy."""


@dataclass(frozen=True, slots=True)
class TrainReport:
    """What came of a training.

    `updates` optimizer steps over `pairs` pairs; `dropped` the pairs the preflight refused; `lengths` tokens by part
    (prompt, chosen, rejected, sequence) and statistic (min, median, p95, max), `histogram` the sequences by tokens
    (`spr.training.lengths`); `final` the means of the last quarter of the log. `chosen_first` and `chosen_last` are the
    mean log-probability of the chosen answers in the first and the last quarter of the updates, under DPO relative to the
    reference, in nats an answer. `displaced` says that the policy gained its margin by making the chosen answers unlikely
    too (`spr.training.displacement`), and `displaced_at` is the first update at which the watch saw that, if any, whatever
    came after. `resumed_from` is the update of the checkpoint it went on from (0: none), `fresh` whether this call did any
    work. `prefix_sharing` is what was shared of prompts, with the reason where that is less than the recipe asks for; SFT
    shares nothing.
    """

    adapter: Path
    updates: int
    pairs: int
    dropped: tuple[Dropped, ...]
    lengths: dict[str, dict[str, float]]
    final: dict[str, float]
    chosen_first: float
    chosen_last: float
    displaced: bool
    seconds: float
    resumed_from: int
    fresh: bool
    prefix_sharing: str
    displaced_at: int | None = None
    histogram: Histogram = field(default_factory=dict)


def key_parts(pairs: Sequence[PreferencePair], recipe: Recipe, start: Path | None = None) -> dict[str, Any]:
    """Everything that changes the policy, as plain json values by dotted name. `start` is the adapter it begins with."""
    train = recipe.train.model_dump(mode="json", exclude=set(_IDLE))
    lora = train.pop("lora")
    del train["trl"]
    model = recipe.model.model_dump(mode="json", include={"attention", "processor", "quantization", "trust_remote_code"})
    return {
        "version": VERSION,
        "seed": recipe.seed,
        "pairs": pairs_digest(pairs),
        **_weights(pairs, recipe),
        "model": identity(recipe.model.name, recipe.model.revision),
        **({"start": directory_digest(start)} if start else {}),
        **{f"model.{name}": value for name, value in model.items()},
        **{f"train.{name}": value for name, value in train.items()},
        **{f"train.lora.{name}": value for name, value in lora.items()},
        **{f"train.trl.{name}": value for name, value in recipe.train.trl.given().items()},
    }


def _weights(pairs: Sequence[PreferencePair], recipe: Recipe) -> dict[str, Any]:
    """What the pairs weigh, where it is not the same: the margins, which training reads then."""
    how = recipe.pairs.weights
    margins = sorted((pair.pair_id, pair.margin) for pair in pairs)
    return {} if how == "equal" else {"pairs.weights": how, "margins": digest(canonical(margins))}


def pairs_digest(pairs: Sequence[PreferencePair]) -> str:
    """Sha256 over what training reads of the pairs, in the order of their ids."""
    rows = sorted((p.pair_id, p.path, p.width, p.height, p.prompt, p.chosen, p.rejected) for p in pairs)
    return digest(canonical(rows))


def key(parts: Mapping[str, Any]) -> str:
    """The training key: sha256 over `key_parts`."""
    return digest(canonical(dict(parts)))


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Names and values of what differs between two keys, for people; of keys that name other things, only that."""
    if old.get("version") != new.get("version"):
        return "made by another version of spr"
    names = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
    return "; ".join(name if name == "pairs" else f"{name} was {old.get(name)!r}, is now {new.get(name)!r}" for name in names)


@dataclass(frozen=True, slots=True)
class Mark:
    """What the marker of a whole checkpoint says: what the training is made of, and the ids of the pairs that it left out."""

    parts: Mapping[str, Any]
    left_out: tuple[str, ...]


def read_mark(checkpoint: Path) -> Mark | None:
    """The marker of a checkpoint, or None where it has none; one that an earlier version wrote is of no known training."""
    marked: Any = read_json(checkpoint / MARKER)
    if not isinstance(marked, dict):
        return None
    known = {"parts", "left_out"} <= marked.keys()
    return Mark(marked["parts"], tuple(marked["left_out"])) if known else Mark({}, ())


def write_mark(checkpoint: Path, mark: Mark) -> None:
    """Write the marker, the last file of a checkpoint, whole or not at all."""
    write_json(checkpoint / MARKER, {"parts": dict(mark.parts), "left_out": sorted(mark.left_out)})


def read_manifest(out: Path) -> dict[str, Any] | None:
    """The manifest below `out`, or None when there is none. Raises ResumeError for one that cannot be read."""
    path = out / MANIFEST
    if not path.exists():
        return None
    manifest = read_json(path)
    if not isinstance(manifest, dict) or not {"key", "parts", "report"} <= manifest.keys():
        raise ResumeError(f"{path} is not a manifest of a training; remove it, or train under another directory")
    return manifest


def write_manifest(out: Path, parts: Mapping[str, Any], report: TrainReport, versions: Mapping[str, str]) -> None:
    """Write the manifest, the last file of a training, whole or not at all."""
    plain = dataclasses.asdict(report)
    plain["adapter"] = report.adapter.name
    write_json(out / MANIFEST, {"key": key(parts), "parts": dict(parts), "report": plain, "versions": dict(versions)})


def stored_report(out: Path, manifest: Mapping[str, Any]) -> TrainReport:
    """The report of a finished training, marked as not fresh."""
    plain = dict(manifest["report"])
    dropped = tuple(Dropped(**row) for row in plain.pop("dropped"))
    return TrainReport(**{**plain, "adapter": out / plain["adapter"], "dropped": dropped, "fresh": False})
