"""Which pair is seen when: a stream of shuffled epochs, drawn from the pairs' ids alone.

So neither the order of the input nor the size of the micro-batch moves a pair to another update.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from spr.recipe import Train
from spr.seeds import derive_seed


def updates(pairs: int, train: Train) -> int:
    """Optimizer steps of a training: `max_steps`, or as many as `epochs` over `pairs` pairs take, the last one filled up
    from a further epoch."""
    return train.max_steps or math.ceil(train.epochs * pairs / (train.batch_size * train.gradient_accumulation))


def stream(pair_ids: Sequence[str], seed: int, length: int) -> list[int]:
    """Indices into `pair_ids`, `length` of them: epoch after epoch, each in an order of its own."""
    order: list[int] = []
    epoch = 0
    while len(order) < length:
        order += sorted(range(len(pair_ids)), key=lambda i: derive_seed(seed, "training order", epoch, pair_ids[i]))
        epoch += 1
    return order[:length]


def warmup(count: int, train: Train) -> int:
    """Updates over which the learning rate rises, of `count` in all."""
    return math.ceil(train.warmup_ratio * count)
