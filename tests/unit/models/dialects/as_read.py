"""What tests of dialects have in common: mentions as tuples, and boxes drawn from one seed."""

from __future__ import annotations

import random


def texts(mentions):
    return [(m.phrase, m.box and tuple(round(v, 3) for v in m.box), m.reason) for m in mentions]


def some_boxes(count, size=(1.0, 1.0)):
    draw = random.Random(7)
    for _ in range(count):
        (x0, x1), (y0, y1) = (sorted((draw.uniform(0, side), draw.uniform(0, side))) for side in size)
        yield x0, y0, x1, y1
