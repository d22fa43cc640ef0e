"""Images of a batch: each encoded once, outside autograd, and handed to every row that shows it.

While the vision tower and the projector are frozen, policy and reference, chosen and rejected see the same features. Where
they are trained, or are not to be shared, rows get pixels and the model encodes them itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

Fields = dict[str, Any]


class Images:
    """The fields of G images, joined along their first axis, of which image i takes `sizes[name][i]`. Where they are to be
    `reused` their features are kept for the next pass over the same batch.

    No dataclass: FSDP2 makes those anew when it casts what a model is called with, and what is kept would be lost.
    """

    def __init__(self, fields: Fields, sizes: Mapping[str, Sequence[int]], reused: bool) -> None:
        self.fields, self.sizes, self.reused = fields, sizes, reused
        self._features: Any = None

    def inputs(self, model: PreTrainedModel, rows: Sequence[int]) -> Fields:
        """What `model` takes of images for rows that show the images `rows`, features in place of pixels where they are
        reused and its forward takes them."""
        takes = inspect.signature(type(model).forward).parameters
        name = next((name for name in ("mm_encoder_outputs", "image_embeds") if name in takes), None)
        if name is None or not self.reused:
            return {key: self._rows(key, value, rows) for key, value in self.fields.items()}
        rest = {key: self._rows(key, value, rows) for key, value in self.fields.items() if key != "pixel_values"}
        if self._features is None:
            self._features = encode(model, self.fields)
        features = self._spread(rows)
        return {**rest, name: features.pooler_output if name == "image_embeds" else {"image": features}}

    def _rows(self, name: str, value: Tensor, rows: Sequence[int]) -> Tensor:
        parts = torch.split(value, list(self.sizes[name]))
        return torch.cat([parts[row] for row in rows])

    def _spread(self, rows: Sequence[int]) -> BaseModelOutputWithPooling:
        pooled = self._features.pooler_output  # one tensor, or one an image where images differ in length
        whole = isinstance(pooled, Tensor)
        outputs = BaseModelOutputWithPooling(
            pooler_output=self._rows("pixel_values", pooled, rows) if whole else [pooled[row] for row in rows]
        )
        if (layers := getattr(self._features, "deepstack_features", None)) is not None:
            outputs["deepstack_features"] = [[layer[row] for row in rows] for layer in layers]
        if (maps := getattr(self._features, "feature_maps", None)) is not None:  # Ferret reads regions from them
            outputs["feature_maps"] = [maps[row] for row in rows]
        return outputs


def encode(model: PreTrainedModel, fields: Fields) -> Any:
    """The features of all images in one pass without gradient, as the model's own encoder gives them."""
    encoder = model.base_model.get_image_features
    wanted = inspect.signature(encoder).parameters
    with torch.no_grad():
        return encoder(**{name: value for name, value in fields.items() if name in wanted}, return_dict=True)
