"""Ferret's processor: LLaVA's, and for every `<region_fea>` of a prompt the places where the model reads the region.

The tokenizer's own settings cut a prompt as the authors do (see `tokenizer`), so texts need nothing here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import BatchFeature, LlavaProcessor
from transformers.image_utils import get_image_size, make_flat_list_of_images

from spr.boxes import Size
from spr.errors import ModelError
from spr.models.ferret.regions import REGION_TOKEN, areas, draw
from spr.models.ferret.sampler import POINTS, STAGES

SYSTEM = (
    "A chat between a human and an AI that understands visuals. In images, [x, y] denotes points: top-left [0, 0], "
    "bottom-right [width-1, height-1]. Increasing x moves right; y moves down. Bounding box: [x1, y1, x2, y2]. "
    "Image size: 1000x1000. Follow instructions. "
)
"""What stands before every conversation (`ferret_v1` of the authors' conversation.py), a blank behind it and one more."""
CHAT_TEMPLATE = (
    "{{ '" + SYSTEM + " ' }}"
    "{%- for message in messages -%}"
    "{%- set role = 'ASSISTANT' if message['role'] == 'assistant' else 'USER' -%}"
    "{{ role + ': ' }}"
    "{%- if message['content'] is string %}{{ message['content'] }}{% else -%}"
    "{%- for part in message['content'] -%}"
    "{%- if part['type'] == 'image' %}{{ '<image>\\n' }}{% else %}{{ part['text'] }}{% endif -%}"
    "{%- endfor -%}"
    "{%- endif -%}"
    "{{ '</s>' if role == 'ASSISTANT' else ' ' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif -%}"
)


class FerretProcessor(LlavaProcessor):
    """Images and texts, one image a text, to the model's fields.

    Beside LLaVA's fields come `region_points` (B, regions, POINTS, 2), `region_sizes` (B, regions, 2) and `region_starts`
    (B, regions, stages), int64, as the model takes them; rows of fewer regions end in zeros.
    """

    region_token = REGION_TOKEN

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        patch_size: int | None = None,
        chat_template: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            image_processor,
            tokenizer,
            patch_size=patch_size,
            vision_feature_select_strategy="default",  # the tower's class token, which LLaVA counts, is left out
            num_additional_image_tokens=1,
            chat_template=chat_template,
            **kwargs,
        )
        self.region_token_id = tokenizer.convert_tokens_to_ids(REGION_TOKEN)

    def __call__(
        self,
        images: Any = None,
        text: str | list[str] | None = None,
        region_masks: Sequence[Sequence[Any] | None] | None = None,
        generator: torch.Generator | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """The fields of texts and images. `region_masks` has an entry a text: None, where its regions are those of its
        coordinates, or an entry a region, a mask (height, width) of the original image or None again. `generator`
        draws the places in place of the regions' own seeds: see `regions.draw`.

        Raises ModelError for a text without its one image before its regions, RegionError as `regions.areas` does.
        """
        fields = super().__call__(images=images, text=text, **kwargs)
        if text is None:
            return fields
        texts = [text] if isinstance(text, str) else list(text)
        for one in texts:
            if one.count(self.image_token) != 1 or one.find(REGION_TOKEN, 0, one.index(self.image_token)) >= 0:
                raise ModelError(f"Ferret takes one image a prompt, before its regions; a prompt is {one[-200:]!r}")
        given = [None] * len(texts) if region_masks is None else list(region_masks)
        if len(given) != len(texts):
            raise ModelError(f"{len(texts)} prompts were given {len(given)} lists of region_masks; give one a prompt")
        pictures = [] if images is None else make_flat_list_of_images(images)
        sizes = [_size(picture) if REGION_TOKEN in one else (0, 0) for one, picture in zip(texts, pictures, strict=True)]
        found = [areas(one, size, masks) for one, size, masks in zip(texts, sizes, given, strict=True)]
        points, starts = draw([region for row in found for region in row], generator)
        counts = [len(row) for row in found]
        frames = torch.tensor([size for size, row in zip(sizes, found, strict=True) for _ in row]).view(-1, 2)
        fields["region_points"] = _rows(points, counts, (POINTS, 2))
        fields["region_sizes"] = _rows(frames.long(), counts, (2,))
        fields["region_starts"] = _rows(starts, counts, (len(STAGES),))
        return fields


def _rows(parts: Tensor, counts: Sequence[int], shape: tuple[int, ...]) -> Tensor:
    """Parts of all regions (regions, *shape) -> (rows, most regions, *shape), int64, zeros after each row's own."""
    rows = torch.zeros(len(counts), max(counts), *shape, dtype=torch.long)
    for row, own in zip(rows, torch.split(parts, list(counts)), strict=True):
        row[: len(own)] = own
    return rows


def _size(image: Any) -> Size:
    if isinstance(image, Image.Image):
        return image.size
    height, width = get_image_size(image)
    return int(width), int(height)
