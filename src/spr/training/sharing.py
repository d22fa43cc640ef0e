"""One sequence a pair: the prompt with its image once, then both answers, each seeing the prompt and itself alone.

Stock DPO computes the prompt twice, for the chosen and for the rejected answer. Here the two rows of a pair are packed
into `[prompt, chosen, last prompt token, rejected]` with a block mask and the positions each row had, and the results
are put back where the rows had them: losses and metrics see what they always saw, up to the rounding of sums.
"""

from __future__ import annotations

import types
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

IGNORED = -100
FAMILIES = frozenset(
    {"llava", "llava_next", "llava_onevision", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "internvl", "cogvlm", "ferret"}
)
"""Families (`config.model_type`) whose language model attends causally at every layer, so that a mask can branch it."""


def can_share(model: PreTrainedModel) -> bool:
    """Whether a model's two answers can be branched by a mask: a family known to allow it, on sdpa attention."""
    return model.config.model_type in FAMILIES and model.config.get_text_config()._attn_implementation == "sdpa"


@dataclass(frozen=True, slots=True)
class Packing:
    """Where the tokens of B pairs go. `prompt`, `chosen`, `rejected`: lengths (B,); `width`: the longest packed row."""

    prompt: Tensor
    chosen: Tensor
    rejected: Tensor
    width: int

    @classmethod
    def of(cls, labels: Tensor) -> Packing:
        """From labels (2B, length), chosen rows first, -100 off the answers; rows are padded on the right."""
        is_answer = labels != IGNORED
        prompt = is_answer.int().argmax(dim=1)[: len(labels) // 2]
        chosen, rejected = is_answer.sum(dim=1).chunk(2)
        return cls(prompt, chosen, rejected, int((prompt + chosen + 1 + rejected).max()))

    def pack(self, rows: Tensor) -> Tensor:
        """(..., 2B, length) -> (..., B, width): the chosen row, then the rejected one from its last prompt token on."""
        chosen, rejected = rows.chunk(2, dim=-2)
        place = torch.arange(self.width, device=rows.device).expand(len(self.prompt), -1)
        from_rejected = place >= (self.prompt + self.chosen)[:, None]
        last = rows.shape[-1] - 1
        shifted = (place - (self.chosen + 1)[:, None]).clamp(0, last).expand(*rows.shape[:-2], -1, -1)
        straight = place.clamp(max=last).expand(*rows.shape[:-2], -1, -1)
        return torch.where(from_rejected, rejected.gather(-1, shifted), chosen.gather(-1, straight))

    def unpack(self, packed: Tensor, labels: Tensor) -> Tensor:
        """Values at the packed positions (B, width) -> (2B, length - 1) as the rows had them, 0 where no label is next."""
        place = torch.arange(labels.shape[1] - 1, device=packed.device).expand(len(labels), -1)
        offset = torch.cat([torch.zeros_like(self.chosen), self.chosen + 1])
        values = torch.cat([packed, packed]).gather(1, (place + offset[:, None]).clamp(max=self.width - 1))
        return values.masked_fill(labels[:, 1:] == IGNORED, 0)

    def mask(self) -> Tensor:
        """Which packed position sees which, bool (B, 1, width, width): its past, but of the other answer nothing."""
        place = torch.arange(self.width, device=self.prompt.device)
        branch = (place >= (self.prompt - 1)[:, None]).int() + (place >= (self.prompt + self.chosen)[:, None]).int()
        same = (branch[:, None, :] == 0) | (branch[:, None, :] == branch[:, :, None])
        return (same & (place[:, None] >= place))[:, None]


def share_prompts(model: PreTrainedModel) -> None:
    """Make `model(..., labels, fused_lm_head=True)` compute each pair's prompt once.

    `model` must carry TRL's fused head. It then takes 2B rows of tokens with the fields of B images (or their features),
    and returns the fused head's fields for the 2B rows. Other calls are left as they are.
    """
    fused = model.forward

    def forward(
        self: PreTrainedModel, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None, **kwargs: Any
    ) -> Any:
        if not kwargs.get("fused_lm_head"):
            return fused(input_ids=input_ids, attention_mask=attention_mask, labels=labels, **kwargs)
        assert labels is not None
        packing = Packing.of(labels)
        next_labels = torch.cat([labels[:, 1:], torch.full_like(labels[:, :1], IGNORED)], dim=1)
        types_of_tokens = kwargs.pop("mm_token_type_ids", None)
        outputs = fused(
            input_ids=packing.pack(input_ids),
            attention_mask=packing.mask(),
            position_ids=packing.pack(_positions(self, input_ids, attention_mask, types_of_tokens, kwargs)),
            shift_labels=packing.pack(next_labels),
            **kwargs,
        )
        for name in ("log_probs", "entropy", "mean_logits", "is_top1"):
            outputs[name] = packing.unpack(outputs[name], labels)
        return outputs

    model.forward = types.MethodType(forward, model)


def _positions(
    model: PreTrainedModel, input_ids: Tensor, attention_mask: Tensor, types_of_tokens: Tensor | None, kwargs: dict[str, Any]
) -> Tensor:
    """Positions of the unpacked rows: (2B, length), or (3, 2B, length) where an image spans time, height and width."""
    if (own := getattr(model.base_model, "get_position_ids", None)) is not None:  # CogVLM: patches share one
        shared: Tensor = own(input_ids, attention_mask)
        return shared
    rope_index = getattr(model.base_model, "get_rope_index", None)
    if rope_index is None:
        return torch.arange(input_ids.shape[1], device=input_ids.device).expand_as(input_ids)
    grid = torch.cat([kwargs["image_grid_thw"]] * 2)
    positions: Tensor = rope_index(
        input_ids, image_grid_thw=grid, mm_token_type_ids=types_of_tokens, attention_mask=attention_mask
    )[0]
    return positions
