"""Which pair is seen when: a stream of shuffled epochs, drawn from the pairs' ids alone.

So neither the order of the input nor the size of the micro-batch moves a pair to another update. Where pairs about one
image are to meet, the size of the batch decides which do.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence

from spr.recipe import Recipe
from spr.recipe_train import Train
from spr.records import PreferencePair
from spr.seeds import derive_seed


def updates(pairs: int, train: Train) -> int:
    """Optimizer steps of a training: `max_steps`, or as many as `epochs` over `pairs` pairs take, the last one filled up
    from a further epoch."""
    return train.max_steps or math.ceil(train.epochs * pairs / (train.batch_size * train.gradient_accumulation))


def rows(pairs: Sequence[PreferencePair], recipe: Recipe, count: int, by_image: bool) -> list[int]:
    """Indices into `pairs` in the order of a training of `count` updates."""
    train, ids = recipe.train, [pair.pair_id for pair in pairs]
    length = count * train.batch_size * train.gradient_accumulation
    if by_image:
        return stream_by_image(ids, [pair.path for pair in pairs], recipe.seed, length, train.batch_size)
    return stream(ids, recipe.seed, length)


def stream(pair_ids: Sequence[str], seed: int, length: int) -> list[int]:
    """Indices into `pair_ids`, `length` of them: epoch after epoch, each in an order of its own."""
    order: list[int] = []
    epoch = 0
    while len(order) < length:
        order += sorted(range(len(pair_ids)), key=lambda i: derive_seed(seed, "training order", epoch, pair_ids[i]))
        epoch += 1
    return order[:length]


def stream_by_image(pair_ids: Sequence[str], images: Sequence[str], seed: int, length: int, batch: int) -> list[int]:
    """As `stream`, but pairs of one image, `images` (n,), come in the same batch of `batch` pairs as far as they fit.

    In each epoch the images come in an order of their own, and so do the pairs of an image; one with more than `batch` pairs
    fills batches. A batch takes the next image, then the largest ones that fit, and parts one only where none fits.
    """
    order: list[int] = []
    epoch = 0
    while len(order) < length:
        shuffled = sorted(range(len(pair_ids)), key=lambda i: derive_seed(seed, "training order", epoch, pair_ids[i]))
        by_image = defaultdict(list)
        for i in shuffled:
            by_image[images[i]].append(i)
        chunks = [pairs[at : at + batch] for pairs in by_image.values() for at in range(0, len(pairs), batch)]
        order += _filled(chunks, batch, len(order) % batch)
        epoch += 1
    return order[:length]


def _filled(chunks: Sequence[list[int]], batch: int, taken: int) -> Iterator[int]:
    """The members of all chunks, each of at most `batch`, so that few of them cross the end of a batch, of which the first has
    `taken` places filled."""
    waiting: dict[int, deque[tuple[int, list[int]]]] = defaultdict(deque)
    for rank, chunk in enumerate(chunks):
        waiting[len(chunk)].append((rank, chunk))
    while any(waiting.values()):
        left = batch - taken
        first = [queue[0] for queue in waiting.values() if queue]
        fitting = [one for one in first if len(one[1]) <= left]
        rank, chunk = max(fitting, key=lambda one: len(one[1])) if taken and fitting else min(first)
        waiting[len(chunk)].popleft()
        if len(chunk) > left:
            waiting[len(chunk) - left].appendleft((rank, chunk[left:]))
            chunk = chunk[:left]
        yield from chunk
        taken = (taken + len(chunk)) % batch


def warmup(count: int, train: Train) -> int:
    """Updates over which the learning rate rises, of `count` in all."""
    return math.ceil(train.warmup_ratio * count)
