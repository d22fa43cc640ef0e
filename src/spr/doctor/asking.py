"""One greedy answer for each reference, by the same stage that evaluation asks with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from spr.errors import DataError
from spr.evaluation.asking import AskStage
from spr.evaluation.rec import Rec
from spr.items import RecItem
from spr.models import dialects
from spr.recipe_evaluation import Evaluation
from spr.recipe_model import Model
from spr.records import Dropped
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


def ask(model: Model, items: Sequence[RecItem], image_root: Path) -> list[Answer]:
    """Ask for every reference once, greedily: the server of `model.endpoint`, or else the weights, on the GPU if there is one.
    Shows progress.

    References whose image cannot be used, or that the server refuses, are left out and said so. Raises ModelError for the
    model, DataError where no reference is left.
    """
    (device,) = device_names(["auto"])
    backend: Literal["transformers", "endpoint"] = "endpoint" if model.endpoint else "transformers"
    how = Evaluation(backend=backend, batch_size=_BATCH, max_new_tokens=_MAX_NEW_TOKENS)
    stage = AskStage("rec", model, how, image_root)
    say(f"asking {model.endpoint.url}" if model.endpoint else f"loading {model.name} on {device}")
    stage.setup(device)
    return answers(stage, items)


def answers(stage: AskStage, items: Sequence[RecItem]) -> list[Answer]:
    """The answers of a stage that is set up, in batches as even as can be: a server that refuses all of a batch is taken for
    one that answers nothing, which a single question must not decide."""
    found: list[Answer] = []
    task, dialect = Rec(), dialects.of(stage.model)
    with meter("references", len(items), "answers") as tick:
        for places in np.array_split(np.arange(len(items)), -(-len(items) // _BATCH)):
            batch = [items[place] for place in places.tolist()]
            questions = [task.ask(item, dialect) for item in batch]
            for item, row in zip(batch, stage.process(questions), strict=True):
                if isinstance(row, Dropped):
                    say(f"reference {item.item_id} is left out: {row.reason}, {item.path}")
                else:
                    found.append(Answer(item, row.text))
            tick(len(batch))
    if not found:
        raise DataError(f"none of the {len(items)} references could be asked: their images cannot be used, see above")
    return found
