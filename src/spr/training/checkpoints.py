"""Checkpoints that can be trusted: a marker, written last, says that one is whole, whose it is, and which pairs it lacks.

transformers writes a checkpoint file by file; a process killed half-way leaves one that looks right. Not here: what is
in a checkpoint (adapter, optimizer, schedule, random state: transformers' own).
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from spr.errors import ResumeError
from spr.running.ranks import leads, world
from spr.training.manifest import MARKER, Mark, differences, read_mark, write_mark

_NAMED = 3
"""Pairs that are named."""
_NAME = re.compile(r"checkpoint-(\d+)")


class MarkComplete(TrainerCallback):
    """Marks each checkpoint after its last file, with what the training is made of and the pairs that were left out."""

    def __init__(self, parts: Mapping[str, Any], left_out: Sequence[str]) -> None:
        self._mark = Mark(parts, tuple(left_out))

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:  # noqa: ARG002
        """Write the marker of the checkpoint just saved: by the leading process, once all have written what is theirs."""
        if world() > 1:
            PartialState().wait_for_everyone()
        if leads():
            write_mark(Path(args.output_dir) / f"checkpoint-{state.global_step}", self._mark)


def last_complete(folder: Path, parts: Mapping[str, Any]) -> tuple[Path | None, int]:
    """The latest whole checkpoint below `folder` and its update; (None, 0) when there is none. Half ones are removed.

    Raises ResumeError when a whole checkpoint belongs to another training than `parts`, and names what differs.
    """
    found: tuple[Path | None, int] = (None, 0)
    for path in sorted(folder.glob("checkpoint-*")):
        name = _NAME.fullmatch(path.name)
        if name is None:
            continue
        mark = read_mark(path)
        if mark is None:
            shutil.rmtree(path)
        elif mark.parts != parts:
            raise ResumeError(
                f"{path} belongs to another training ({differences(mark.parts, parts)}); "
                "give --force to start over, or train into another directory"
            )
        elif int(name[1]) > found[1]:
            found = (path, int(name[1]))
    return found


def check_left_out(checkpoint: Path, left_out: Sequence[str]) -> None:
    """Raises ResumeError where the preflight now leaves out other pairs than those that `checkpoint` was trained without: the
    updates to come would be others."""
    mark = read_mark(checkpoint)
    then, now = set(mark.left_out if mark else ()), set(left_out)
    if then != now:
        gone = f"{_some(now - then)} cannot be trained on any more" if now - then else ""
        back = f"{_some(then - now)} could not be trained on then, and can be now" if then - now else ""
        raise ResumeError(
            f"{checkpoint} was trained on other pairs: {' and '.join(filter(None, (gone, back)))}; put the photos back as they "
            "were, or give --force to start over"
        )


def _some(ids: set[str]) -> str:
    first = sorted(ids)[:_NAMED]
    return f"{len(ids):,} ({', '.join(first)}{', ...' if len(ids) > _NAMED else ''})"


def last_marked(folder: Path, parts: Mapping[str, Any] | None = None) -> tuple[Path | None, int]:
    """The latest whole checkpoint below `folder`, whosever it is or that of one training, and its update; (None, 0) when there
    is none."""
    marked = {int(name[1]): read_mark(path) for path in folder.glob("*") if (name := _NAME.fullmatch(path.name))}
    steps = [step for step, mark in marked.items() if mark and (parts is None or mark.parts == parts)]
    return (folder / f"checkpoint-{max(steps)}", max(steps)) if steps else (None, 0)


def forget_all(folder: Path) -> None:
    """Remove all checkpoints, their markers first."""
    for marker in folder.glob(f"checkpoint-*/{MARKER}"):
        marker.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def forget(folder: Path, step: int) -> None:
    """Remove the checkpoint of an update, where there is one; its marker first, so that no half of it is ever trusted."""
    path = folder / f"checkpoint-{step}"
    (path / MARKER).unlink(missing_ok=True)
    shutil.rmtree(path, ignore_errors=True)
