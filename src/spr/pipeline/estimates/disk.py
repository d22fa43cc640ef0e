"""Bytes of a run directory: shards by row, the policy with its checkpoints, the report.

What a row takes was measured on the bundled demo, whose texts are short; longer ones add what their tokens take. Finished
shards are not estimated: their files are there.
"""

from __future__ import annotations

import math
from pathlib import Path

from spr.models.shapes import Shape
from spr.pipeline.estimates.costs import NUMBER, Pairs, moving, trained
from spr.recipe_train import Train
from spr.running.steps import DONE, Step, StepState

ROW = {
    "queries": 400,
    "items": 400,
    "candidates": 120,
    "scores": 450,
    "pairs": 800,
    "base": 500,
    "tuned": 500,
    "base-judged": 500,
    "tuned-judged": 500,
}
"""Bytes of an output row without its text, by the last part of the step's name; predictions are kept twice, and
a review is a page of words."""
TEXTS = {"candidates": 1, "scores": 1, "pairs": 3, "base": 2, "tuned": 2}
"""Texts in a row; others have none."""
TOKEN = 2.0
"""Bytes of a token of text, compressed."""
SHARD = 5000
"""Bytes of a shard whatever it holds: its manifest, its dropped rows, the frames of its files."""
TOKENIZER = 80
"""Bytes of a word of the vocabulary in the tokenizer's files, which lie beside every policy and checkpoint."""
CHECKPOINTS = 2
REPORT = 2 * 2**20
"""Bytes of the report: its page, and a dozen pages of pairs with their photos."""


def shards(step: Step, state: StepState, rows: int, tokens: float) -> float:
    """Bytes of a step's shards when all are made, with texts of so many tokens."""
    done = [index for index, value in state.shards.items() if value == DONE]
    there = sum(path.stat().st_size for index in done for path in _files(step, index))
    kind = step.name.rsplit("/", 1)[-1]
    left = len(state.shards) - len(done)
    each = ROW[kind] + TEXTS.get(kind, 0) * TOKEN * tokens
    return there + left * SHARD + each * rows * left / max(1, len(state.shards))


def policy(shape: Shape, step: Pairs, train: Train, updates: int, dtype: str) -> float:
    """Bytes of what is left of a training, and of the last checkpoints, which hold AdamW's two moments as well: of the adapter,
    or of the whole model, which is in float32 there and in the end in its base's precision, taken to be `dtype`."""
    kept = min(CHECKPOINTS, math.ceil(updates / train.save_steps))
    moments = 2 * moving(step) * trained(shape, step)
    if step.full:
        parameters = shape.language + shape.vision
        files = NUMBER[dtype] * parameters + kept * (NUMBER["float32"] * parameters + moments)
    else:
        weights = moving(step) * trained(shape, step)
        files = weights + kept * (weights + moments)
    return files + (1 + kept) * TOKENIZER * shape.vocabulary


def _files(step: Step, index: int) -> list[Path]:
    store = step.store
    return [store.part(index), store.dropped_part(index), store.manifest_file(index)]
