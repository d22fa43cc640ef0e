"""A model's scored forward over batches of pairs that computes what rows share once.

Stock DPO computes an image four times a pair (two answers, policy and reference) and a prompt four times as well, and on a
CPU its head scores every token. Here the model's forward is wrapped after TRL has given it its fused head: rows are
packed, encoded images are handed in, the head sees the places that predict an answer, and the results are put back where
the rows had them. Losses and metrics stay TRL's own.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from spr.training.branching import Branches, let_branch
from spr.training.features import Fields, Images
from spr.training.internals import FIELDS
from spr.training.sharing import IGNORED, Layout, Sharing


def compute_once(model: PreTrainedModel, sharing: Sharing) -> None:
    """Make `model(..., labels, images, layout, fused_lm_head=True)` share prompts as `sharing` says.

    `model` must carry TRL's fused head. It takes 2B rows of tokens, the `Images` of the batch and its `Layout`, and returns the
    fused head's fields for the 2B rows. Calls without a layout are left as they are.
    """
    scored = model.forward
    if sharing != "off":
        let_branch(model)

    def forward(self: PreTrainedModel, *args: Any, layout: Layout | None = None, **fields: Any) -> Any:
        if layout is None:
            return scored(*args, **fields)
        if sharing == "off":
            shown = _of_rows(self, layout, fields, answers=2)
            return scored(**fields, **shown)
        return _packed(self, scored, layout if sharing == "tree" else layout.by_pair(), layout.image_of, fields)

    model.forward = types.MethodType(forward, model)


def encode_inside(model: PreTrainedModel) -> None:
    """Make `model(..., images, layout)` take the `Images` of B rows that each show one, with their regions.

    They are encoded inside the call: where weights are parted over processes they are put together for a call alone.
    """
    plain = model.forward

    def forward(self: PreTrainedModel, *args: Any, layout: Layout | None = None, **fields: Any) -> Any:
        shown = {} if layout is None else _of_rows(self, layout, fields, answers=1)
        return plain(*args, **fields, **shown)

    model.forward = types.MethodType(forward, model)


def _of_rows(model: PreTrainedModel, layout: Layout, fields: Fields, answers: int) -> Fields:
    """The images and regions of so many answers to each prompt, each row for itself."""
    images: Images = fields.pop("images")
    regions = {name: torch.cat([value] * answers) for name, value in fields.pop("regions", {}).items()}
    return {**images.inputs(model, layout.image_of * answers), **regions}


def _packed(model: PreTrainedModel, scored: Any, layout: Layout, image_of: list[int], fields: Fields) -> Any:
    ids, labels = fields.pop("input_ids"), fields.pop("labels")
    images: Images = fields.pop("images")
    regions = _by_group(layout, fields.pop("regions", {}))
    positions = _positions(model, ids, fields.pop("attention_mask"), fields.pop("mm_token_type_ids", None), images, image_of)
    source = layout.sources(ids.shape[1]).to(ids.device)
    predicting = layout.predictions().to(ids.device)
    answers = labels[:, 1:] != IGNORED
    with _head_sees(model.base_model, predicting):
        outputs = scored(
            **fields,
            **images.inputs(model, [image_of[group.pairs[0]] for group in layout.groups]),
            **regions,
            input_ids=ids.flatten()[source],
            position_ids=positions.flatten(-2)[..., source],
            attention_mask=torch.ones(1, 1, 1, 1, dtype=torch.bool, device=ids.device),  # given, so that none is made
            shift_labels=labels[:, 1:][answers][None],
            branches=Branches.of(layout, ids.device),
        )
    for name in FIELDS:
        if (values := getattr(outputs, name)) is not None:
            outputs[name] = values.new_zeros(answers.shape).masked_scatter(answers, values)
    return outputs


@contextmanager
def _head_sees(backbone: nn.Module, places: Tensor) -> Iterator[None]:
    """While it is open, a backbone's hidden states (rows, length, width) are those at the `places`, (1, places, width)."""

    def keep(module: nn.Module, args: Any, output: Any) -> Any:  # noqa: ARG001
        output.last_hidden_state = output.last_hidden_state.flatten(0, 1)[places][None]
        return output

    handle = backbone.register_forward_hook(keep)
    try:
        yield
    finally:
        handle.remove()


def _by_group(layout: Layout, regions: Fields) -> Fields:
    """Ferret's regions (B, regions, ...) of all pairs of a group side by side, (groups, regions, ...)."""
    together = {}
    for name, value in regions.items():
        rows = [value[list(group.pairs)].flatten(0, 1) for group in layout.groups]
        together[name] = nn.utils.rnn.pad_sequence(rows, batch_first=True)
    return together


def _positions(
    model: PreTrainedModel,
    ids: Tensor,
    attention_mask: Tensor,
    types_of_tokens: Tensor | None,
    images: Images,
    image_of: list[int],
) -> Tensor:
    """Positions of the unpacked rows: (2B, length), or (3, 2B, length) where an image spans time, height and width."""
    if (own := getattr(model.base_model, "get_position_ids", None)) is not None:  # CogVLM: patches share one
        shared: Tensor = own(ids, attention_mask)
        return shared
    rope_index = getattr(model.base_model, "get_rope_index", None)
    if rope_index is None:
        return torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    grid = images.fields["image_grid_thw"][image_of * 2]
    positions: Tensor = rope_index(ids, image_grid_thw=grid, mm_token_type_ids=types_of_tokens, attention_mask=attention_mask)[
        0
    ]
    return positions
