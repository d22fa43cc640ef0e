"""Checkpoints that can be trusted: a marker, written last, says that one is whole and whose it is.

transformers writes a checkpoint file by file; a process killed half-way leaves one that looks right. Not here: what is
in a checkpoint (adapter, optimizer, schedule, random state: transformers' own).
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from spr.errors import ResumeError
from spr.running.files import read_json, write_json
from spr.running.ranks import leads, world
from spr.training.manifest import differences

MARKER = "complete.json"
_NAME = re.compile(r"checkpoint-(\d+)")


class MarkComplete(TrainerCallback):
    """Marks each checkpoint after its last file, with what the training is made of."""

    def __init__(self, parts: Mapping[str, Any]) -> None:
        self._parts = dict(parts)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:  # noqa: ARG002
        """Write the marker of the checkpoint just saved: by the leading process, once all have written what is theirs."""
        if world() > 1:
            PartialState().wait_for_everyone()
        if leads():
            write_json(Path(args.output_dir) / f"checkpoint-{state.global_step}" / MARKER, self._parts)


def last_complete(folder: Path, parts: Mapping[str, Any]) -> tuple[Path | None, int]:
    """The latest whole checkpoint below `folder` and its update; (None, 0) when there is none. Half ones are removed.

    Raises ResumeError when a whole checkpoint belongs to another training than `parts`, and names what differs.
    """
    found: tuple[Path | None, int] = (None, 0)
    for path in sorted(folder.glob("checkpoint-*")):
        name = _NAME.fullmatch(path.name)
        owner = read_json(path / MARKER)
        if name is None:
            continue
        if not isinstance(owner, dict):
            shutil.rmtree(path)
        elif owner != dict(parts):
            raise ResumeError(
                f"{path} belongs to another training ({differences(owner, parts)}); "
                "give --force to start over, or train into another directory"
            )
        elif int(name[1]) > found[1]:
            found = (path, int(name[1]))
    return found


def last_marked(folder: Path) -> tuple[Path | None, int]:
    """The latest whole checkpoint below `folder`, whosever it is, and its update; (None, 0) when there is none."""
    steps = [int(name[1]) for path in folder.glob(f"checkpoint-*/{MARKER}") if (name := _NAME.fullmatch(path.parent.name))]
    return (folder / f"checkpoint-{max(steps)}", max(steps)) if steps else (None, 0)


def forget(folder: Path, step: int) -> None:
    """Remove the checkpoint of an update, where there is one; its marker first, so that no half of it is ever trusted."""
    path = folder / f"checkpoint-{step}"
    (path / MARKER).unlink(missing_ok=True)
    shutil.rmtree(path, ignore_errors=True)
