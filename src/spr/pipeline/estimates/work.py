"""How much there is to ask and to train on: batches and pairs, from a recipe and the sizes of the images.

Not here: what that costs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from spr.boxes import Size
from spr.models.image_tokens import ImageRule, Seen, showing
from spr.pipeline.estimates.costs import Batch, Pairs
from spr.recipe import Recipe
from spr.training.order import updates
from spr.training.sharing import FAMILIES

QUESTION = 60
"""Tokens of a question without its image, region and names included."""
BOX_ANSWER = 24
"""Tokens of an answer to a referring expression: one box, with some words."""
WORDS = 4
"""Tokens of an answer in a word or two."""


@dataclass(frozen=True, slots=True)
class Photos:
    """The images of one source as the model sees them: in the mean, and the one with the most tokens."""

    mean: Seen
    largest: Seen


def photos(sizes: Iterable[Size], rule: ImageRule) -> Photos:
    """What the images of these sizes are to a model. Raises ModelError for a shape that its processor refuses."""
    counts = Counter(sizes)
    seen = {}
    for size in counts:
        with showing(size):
            seen[size] = rule(size)
    total = max(1, counts.total())
    tokens = sum(seen[size].tokens * count for size, count in counts.items()) / total
    patches = sum(seen[size].patches * count for size, count in counts.items()) / total
    return Photos(Seen(round(tokens), round(patches)), max(seen.values(), key=lambda one: one.tokens, default=Seen(0, 0)))


@dataclass(frozen=True, slots=True)
class Asking:
    """Questions of one shard that are answered together: about `images` images each, `variants` rows a question's images
    bring, of which `different` have prompts of their own."""

    images: int
    variants: int
    different: int


def candidate_askings(recipe: Recipe) -> list[Asking]:
    """The candidates of one query, by the number of images they show: the crop variants show two."""
    prompts = recipe.candidates.prompts
    cycle = [(prompts[k % len(prompts)], k) for k in range(recipe.candidates.k)]
    found = []
    for images in (1, 2):
        group = [(name, k) for name, k in cycle if name.startswith("crop") == (images == 2)]
        if group:
            same = {name if name in ("plain", "crop") else f"{name} {k}" for name, k in group}
            found.append(Asking(images, len(group), len(same)))
    return found


def batches(
    asking: Asking, questions: float, size: int, seen: Seen, family: str, answer: float, most: int, sampled: bool
) -> tuple[Batch, int]:
    """The batches of a shard with so many questions (queries or items): one of them, and how many there are.

    Families that attend causally read an image once for all rows that begin with it, others once for each different prompt.
    """
    rows = max(1, math.ceil(questions * asking.variants))
    count = math.ceil(rows / size)
    each = math.ceil(rows / count)
    asked = each / asking.variants
    shown = asked * (1 if family in FAMILIES else asking.different) * asking.images
    words = QUESTION * (each if family in FAMILIES else asked * asking.different)
    longest = asking.images * seen.tokens + QUESTION
    encoded = math.ceil(shown * seen.tokens + words)
    return Batch(each, encoded, longest, math.ceil(shown * seen.patches), answer, most, sampled), count


def training_step(recipe: Recipe, seen: Seen, family: str, answer: float) -> Pairs:
    """One micro-batch of training."""
    train = recipe.train
    shared = train.prefix_sharing != "off" and family in FAMILIES and recipe.model.attention == "sdpa"
    return Pairs(
        rows=train.batch_size,
        prompt=seen.tokens + QUESTION,
        answer=answer,
        patches=seen.patches,
        rank=train.lora.r,
        shared=shared,
        sft=train.objective == "sft",
        checkpointed=train.gradient_checkpointing,
        full=train.method == "full",
        quantized=recipe.model.quantization != "none",
    )


def update_count(recipe: Recipe, pairs: int) -> int:
    """Updates of a training on so many pairs; none without pairs."""
    return updates(pairs, recipe.train) if pairs else 0
