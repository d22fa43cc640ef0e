"""The language model's head where FSDP parts it over processes.

TRL's fused head multiplies by the head's weights itself and so gathers them itself, in a way whose gradient stays in each
process: a head that is trained would learn from one process's pairs in each of its parts. Gathered here instead, with a
gradient that is averaged over the processes as FSDP does everywhere else.
"""

from __future__ import annotations

import types
from typing import Any

from torch import nn
from torch.distributed.tensor import DTensor, Partial
from transformers import PreTrainedModel


def gather_head(model: PreTrainedModel) -> None:
    """Let `model`'s output embeddings be whole where they are parted and trained. `model` must carry TRL's fused head, which
    asks for them at every call."""
    parted = model.get_output_embeddings

    def whole(self: PreTrainedModel) -> Any:  # noqa: ARG001
        head = parted()
        return _Whole(head) if isinstance(head.weight, DTensor) and head.weight.requires_grad else head

    model.get_output_embeddings = types.MethodType(whole, model)


class _Whole:
    """A head's gathered weights under the names that a linear layer has for them."""

    def __init__(self, head: nn.Module) -> None:
        self.weight = _gathered(head.weight)
        self.bias = None if head.bias is None else _gathered(head.bias)


def _gathered(part: Any) -> Any:
    processes = part.device_mesh.size()
    whole = part.full_tensor(grad_placements=[Partial("sum")])
    if whole.requires_grad:
        whole.register_hook(lambda gradient: gradient / processes)
    return whole
