"""Which tokens are an image's, and what that means for experts and positions. Integers only; no weights here.

Source: `utils/utils/language.py` of THUDM/CogVLM (vision_expert_mask, image_rope_mask). An image is a run of equal tokens:
its beginning, its patches, its end.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def patches(is_image: Tensor) -> Tensor:
    """Of image tokens, bool (rows, length), those between the first and the last of a run."""
    before = torch.nn.functional.pad(is_image[:, :-1], (1, 0))
    after = torch.nn.functional.pad(is_image[:, 1:], (0, 1))
    return is_image & before & after


def position_ids(is_image: Tensor, attention_mask: Tensor | None = None) -> Tensor:
    """Rotary positions (rows, length): all patches of an image share one; its beginning and end, and every word, have their
    own. Pads, 0 in `attention_mask` (rows, length), count nothing, and stand at 0 before the first token."""
    inner = patches(is_image)
    steps = ~(inner & torch.nn.functional.pad(inner[:, :-1], (1, 0)))
    if attention_mask is not None:
        steps &= attention_mask.bool()
    return (steps.long().cumsum(dim=1) - 1).clamp(min=0)


@dataclass(frozen=True, slots=True)
class Split:
    """Places of a flattened batch by expert, int (count,) each; `back` puts vision before language in order again."""

    vision: Tensor
    language: Tensor
    back: Tensor

    @classmethod
    def of(cls, is_image: Tensor) -> Split | None:
        """Image tokens but the last of a run are the vision expert's. None where there are none: all is language."""
        vision = (is_image & torch.nn.functional.pad(is_image[:, 1:], (0, 1))).flatten()
        if not vision.any():
            return None
        to_vision, to_language = vision.nonzero()[:, 0], (~vision).nonzero()[:, 0]
        return cls(to_vision, to_language, torch.cat([to_vision, to_language]).argsort())
