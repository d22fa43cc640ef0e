"""What leaves a run: its results in numbers, the policy's card, the merged model, and the way to the hub.

Not here: how weights are added up (`spr.training.merge`), what a card says (`spr.report.card`), or how the hub is spoken to
(`spr.export.hub`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from spr.errors import RecipeError
from spr.models.identity import directory_digest
from spr.pipeline.metrics import write_metrics
from spr.pipeline.rounds import adapter_of
from spr.running.files import write_atomic
from spr.running.run_dir import RunDir

if TYPE_CHECKING:
    from spr.training.merge import Precision
    from spr.training.merged import Merged

_CONFIG = "adapter_config.json"


def write_results(run: RunDir) -> None:
    """Write metrics.json and, where a policy is finished, its card beside it. Raises DiskError."""
    from spr.report.card import Subject, policy_card

    write_metrics(run)
    adapter = adapter_of(run)
    if adapter and _is_there(adapter):
        card = policy_card(run.path, Subject(adapter, run.path.resolve().name))
        if not (path := adapter / "README.md").is_file() or path.read_text(encoding="utf-8") != card:
            write_atomic(path, card.encode())


def merge(out: Path, to: Path, dtype: str = "bfloat16") -> Merged:
    """Merge the adapter of the run in `out` into its base, as a model directory `to` with a card of its own.

    `dtype` is bfloat16, float32 or stored (the base's). Returns what rounding to it left of the adapter. Raises RecipeError for
    a run without a finished policy, and what `spr.training.merge.merge` raises.
    """
    from spr.report.card import Subject, policy_card
    from spr.training.merge import merge as merge_adapter

    run, adapter = _finished(out)

    def card(merged: Merged) -> str:
        return policy_card(run.path, Subject(adapter, to.expanduser().resolve().name, merged=merged))

    return merge_adapter(run.recipe().model, adapter, to, cast("Precision", dtype), card)


def push(out: Path, repository: str, merged: Path | None = None, private: bool = False) -> str:
    """Upload the policy of the run in `out`, or the model `merged` made of it, with a card written anew; returns its address.

    One commit, which is whole or not there. Raises RecipeError for a name that is not owner/name, a run without a finished
    policy, or a folder that was merged from another one; DataError for a folder that `merge` did not make; HubError where
    the hub cannot be reached or refuses.
    """
    from spr.export.hub import check_ready, upload
    from spr.report.card import Subject, policy_card
    from spr.report.card_header import merged_of

    run, adapter = _finished(out)
    subject = Subject(adapter, repository.rpartition("/")[2], repository)
    if merged is not None:
        of, how = merged_of(merged)
        if of != directory_digest(adapter):
            raise RecipeError(f"{merged} was merged from another policy than that of {run.path}; merge again, or name its run")
        subject = Subject(adapter, subject.name, repository, how)
    check_ready(repository)
    texts = {"README.md": policy_card(run.path, subject).encode()}
    if merged is None:
        texts |= _public_config(adapter / _CONFIG)
    return upload(merged or adapter, repository, texts, private)


def _finished(out: Path) -> tuple[RunDir, Path]:
    """The run in `out` and its policy. Raises RecipeError while that is not finished, ResumeError where there is no run."""
    run = RunDir(out)
    run.check()
    adapter = adapter_of(run)
    if adapter is None or not _is_there(adapter):
        raise RecipeError(f"{out} holds no policy of a finished training; finish it with `spr run` or `spr train {out}`")
    return run, adapter


def _is_there(policy: Path) -> bool:
    """Whether the folder of a policy holds one: an adapter, or a model that was trained whole."""
    return any((policy / name).is_file() for name in (_CONFIG, "config.json"))


def _public_config(config: Path) -> dict[str, bytes]:
    """The adapter's config for everyone, where it says in which folder its base lay: that folder's name is left."""
    from spr.report.public import public

    if not config.is_file():  # a model that was trained whole
        return {}
    values: Any = json.loads(config.read_text(encoding="utf-8"))
    base = values.get("base_model_name_or_path")
    if public(base) == base:
        return {}
    return {config.name: json.dumps({**values, "base_model_name_or_path": public(base)}, indent=2).encode()}
