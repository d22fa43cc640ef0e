"""Pairs that count more or less: their weights act on the gradients of the answers' log-probabilities.

TRL's losses take no weights, but a pair's loss depends on the log-probabilities of its own two answers alone. So scaling
their gradients is the same as scaling the loss, whichever of TRL's losses it is; the losses that are logged stay unweighted.
"""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedModel


def weigh_pairs(model: PreTrainedModel) -> None:
    """Let `model(..., pair_weights=w)`, B numbers, scale the gradients of its 2B rows of log-probabilities, chosen rows first.

    `model` must carry TRL's fused head. Without `pair_weights`, and without gradients, calls are as they were.
    """
    unweighted = model.forward

    def forward(self: PreTrainedModel, *args: Any, pair_weights: Sequence[float] | None = None, **kwargs: Any) -> Any:  # noqa: ARG001
        outputs = unweighted(*args, **kwargs)
        if pair_weights is not None and outputs.log_probs.requires_grad:
            rows = outputs.log_probs.new_tensor([*pair_weights, *pair_weights])[:, None]
            outputs.log_probs.register_hook(lambda gradient: gradient * rows)
        return outputs

    model.forward = types.MethodType(forward, model)
