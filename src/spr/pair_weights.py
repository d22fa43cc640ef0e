"""What a preference pair weighs in training, from its margin. Values only; how a loss is weighted is the trainer's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from spr.boxes import FloatArray


def pair_weights(margins: Sequence[float], how: Literal["equal", "margin"]) -> FloatArray:
    """The weights (n,) of the pairs of a training, given their margins, with a mean of 1: so the learning rate and the weights
    of other losses mean what they meant. equal: 1 each. margin: in proportion to the margin, also 1 each where all are 0."""
    values = np.asarray(margins, dtype=np.float64)
    if how == "equal" or not values.any():
        return np.ones(len(values))
    return np.asarray(values / values.mean(), dtype=np.float64)
