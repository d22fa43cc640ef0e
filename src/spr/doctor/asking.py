"""One greedy answer for each reference, by the same stage that evaluates referring expressions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from spr.errors import DataError
from spr.evaluation.rec import RecStage
from spr.recipe import Evaluation
from spr.recipe_model import Model
from spr.records import Dropped, RecItem
from spr.running.devices import device_names
from spr.running.progress import meter, say

_BATCH = 8
_MAX_NEW_TOKENS = 128
"""More than any family needs for one box."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A reference and what the model wrote when it was asked for its box."""

    item: RecItem
    text: str


def ask(model: str, dialect: str, items: Sequence[RecItem], image_root: Path) -> list[Answer]:
    """Ask for every reference once, greedily, on the GPU if there is one. Shows progress.

    A GPU computes in bfloat16, a CPU in float32, which is the faster there. References whose image cannot be used are left
    out and said so. Raises ModelError for the model, DataError where no reference is left.
    """
    (device,) = device_names(["auto"])
    part = Model(name=model, dialect=dialect, dtype="float32" if device == "cpu" else "bfloat16")
    stage = RecStage(part, Evaluation(batch_size=_BATCH, max_new_tokens=_MAX_NEW_TOKENS), image_root)
    say(f"loading {model} on {device}")
    stage.setup(device)
    return answers(stage, items)


def answers(stage: RecStage, items: Sequence[RecItem]) -> list[Answer]:
    """The answers of a stage that is set up, batch by batch."""
    found: list[Answer] = []
    with meter("references", len(items), "answers") as tick:
        for start in range(0, len(items), _BATCH):
            batch = items[start : start + _BATCH]
            for item, row in zip(batch, stage.process(batch), strict=True):
                if isinstance(row, Dropped):
                    say(f"reference {item.item_id} is left out: {row.reason}, {item.path}")
                else:
                    found.append(Answer(item, row.answer))
            tick(len(batch))
    if not found:
        raise DataError(f"none of the {len(items)} references could be asked: their images cannot be used, see above")
    return found
