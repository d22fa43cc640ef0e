"""Attention over packed rows: what is shared attends causally to itself, each pair to it and to itself alone.

A dense mask over a packed row would cost its length squared, most of it masked out. Here the shared part runs by the
causal kernel, and each pair's own tokens against the shared ones and their own. Where rows are so short that many small
calls cost more than what is masked out, all rows are one call after all. It is registered with transformers beside sdpa under
a name of its own; without branches it is sdpa.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from spr.training.sharing import Group, Layout, Span

NAME = "spr_branches"
NARROW = 384
"""Tokens of a row up to which one call over all rows is faster: measured on a CPU, forward and backward, for batches of 1 to
16 rows, the two are even at 430 to 690 tokens, and at 110 tokens one call takes two thirds of the time."""


@dataclass(frozen=True, slots=True)
class Branches:
    """Of each packed row: the length of its prefix, and where each pair's own tokens begin and what they see, bool
    (1, 1, own, prefix + own). Of narrow rows also who sees whom in them, bool (rows, 1, width, width)."""

    rows: tuple[tuple[int, tuple[tuple[int, Tensor], ...]], ...]
    whole: Tensor | None

    @classmethod
    def of(cls, layout: Layout, device: torch.device) -> Branches:
        """The branches of a batch."""
        rows = tuple(
            (group.prefix, tuple((start, seen(group, span).to(device)) for _, start, span in group.blocks(layout.spans)))
            for group in layout.groups
        )
        return cls(rows, _whole(rows, layout.width).to(device) if layout.width <= NARROW else None)


def _whole(rows: Sequence[tuple[int, Sequence[tuple[int, Tensor]]]], width: int) -> Tensor:
    """Who sees whom in packed rows; tokens that fill up a row see its first one, as a softmax over nothing is no number."""
    mask = torch.zeros(len(rows), 1, width, width, dtype=torch.bool)
    mask[..., 0] = True
    for row, (prefix, blocks) in zip(mask[:, 0], rows, strict=True):
        row[:prefix, :prefix] = torch.ones(prefix, prefix, dtype=torch.bool).tril()
        for start, sees in blocks:
            own = slice(start, start + sees.shape[2])
            row[own, :prefix], row[own, own] = sees[0, 0, :, :prefix], sees[0, 0, :, prefix:]
    return mask


def seen(group: Group, span: Span) -> Tensor:
    """What a pair's own tokens see, bool (1, 1, own, prefix + own): the prefix and their own past, but of the other answer
    nothing; the token that is there twice is seen once."""
    own, rest = group.own(span), span.prompt - group.prefix
    inside = torch.ones(own, own, dtype=torch.bool).tril()
    rejected = rest + span.chosen
    inside[rejected:, rest - 1 : rejected] = False
    return torch.cat([torch.ones(own, group.prefix, dtype=torch.bool), inside], dim=1)[None, None]


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    branches: Branches | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """transformers' attention: queries, keys, values (rows, heads, length, width) -> (rows, length, heads, width).

    With `branches` the mask is not read, and what tokens give that only fill up a row means nothing.
    """
    if branches is None or branches.whole is not None:
        mask = attention_mask if branches is None else branches.whole
        plain: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, mask, **options)
        return plain
    rows = []
    for row, (prefix, blocks) in enumerate(branches.rows):
        q, k, v = query[row : row + 1], key[row : row + 1], value[row : row + 1]
        parts = [_sdpa(module, q[:, :, :prefix], k[:, :, :prefix], v[:, :, :prefix], None, options)]
        for start, mask in blocks:
            own = slice(start, start + mask.shape[2])
            both = _of_branch(k, prefix, own), _of_branch(v, prefix, own)
            parts.append(_sdpa(module, q[:, :, own], *both, mask, options))
        missing = query.shape[2] - sum(part.shape[1] for part in parts)
        rows.append(nn.functional.pad(torch.cat(parts, dim=1), (0, 0, 0, 0, 0, missing)))
    return torch.cat(rows), None


def _of_branch(x: Tensor, prefix: int, own: slice) -> Tensor:
    """Keys or values of the prefix and of one pair, without a copy where they lie side by side."""
    return x[:, :, : own.stop] if own.start == prefix else torch.cat([x[:, :, :prefix], x[:, :, own]], dim=2)


def _sdpa(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, options: dict[str, Any]) -> Tensor:
    seen: Tensor = sdpa_attention_forward(module, query, key, value, mask, **options)[0]
    return seen


def let_branch(model: PreTrainedModel) -> None:
    """Make a model's language model attend by `attend`; the vision tower stays as it is."""
    config = model.config.get_text_config()
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    config._attn_implementation = NAME
