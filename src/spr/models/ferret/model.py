"""Ferret: LLaVA with one linear projector, and region tokens whose embeddings are the sampler's features.

All that knows regions is in the base model: trainers call that one, and `generate` encodes images before it calls anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, LlavaForConditionalGeneration, LlavaModel
from transformers.modeling_outputs import ModelOutput
from transformers.modeling_utils import slice_logits_to_keep
from transformers.models.llava.modeling_llava import LlavaCausalLMOutputWithPast, LlavaModelOutputWithPast
from transformers.utils.generic import can_return_tuple

from spr.models.ferret.config import FerretConfig
from spr.models.ferret.sampler import RegionSampler


@dataclass
class FerretImages(ModelOutput):
    """Encoded images, one tensor an image: `pooler_output` (tokens, text width) is what the language model reads, and
    `feature_maps` (tokens, vision width) the same tokens before the projector, which regions are read from."""

    pooler_output: list[Tensor] | None = None
    feature_maps: list[Tensor] | None = None


@dataclass(frozen=True, slots=True)
class Regions:
    """A batch's regions: places in pixels (B, regions, POINTS, 2), (width, height) of the images they count in (B, regions, 2),
    0 where a row has fewer, and the sampler's first points (B, regions, stages)."""

    points: Tensor
    sizes: Tensor
    starts: Tensor


class FerretModel(LlavaModel):
    """Tower, projector, sampler and language model without its head."""

    config_class = FerretConfig

    def __init__(self, config: FerretConfig) -> None:
        super(LlavaModel, self).__init__(config)  # LLaVA's own would build its two-layer projector
        seen, said = config.vision_config.hidden_size, config.text_config.hidden_size
        self.vision_tower = AutoModel.from_config(config.vision_config)
        self.multi_modal_projector = nn.Linear(seen, said)
        self.region_geo_sampler = RegionSampler(seen, said)
        self.language_model = AutoModel.from_config(config.text_config)
        self.post_init()

    def get_image_features(self, pixel_values: Tensor, **_: Any) -> FerretImages:
        """Pixels (B, 3, side, side) -> the images' tokens and feature maps, without the class token."""
        hidden = self.vision_tower(pixel_values, output_hidden_states=True).hidden_states
        maps = hidden[self.config.vision_feature_layer][:, 1:]
        return FerretImages(pooler_output=list(self.multi_modal_projector(maps)), feature_maps=list(maps))

    @can_return_tuple  # type: ignore[untyped-decorator]
    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        mm_encoder_outputs: dict[str, FerretImages] | None = None,
        region_points: Tensor | None = None,
        region_sizes: Tensor | None = None,
        region_starts: Tensor | None = None,
        **kwargs: Any,
    ) -> LlavaModelOutputWithPast:
        """Tokens (B, length), each row with its image, and the fields of its regions as `Regions` has them.

        Raises ValueError where tokens do not match images or regions.
        """
        images = (mm_encoder_outputs or {}).get("image")
        if images is None and pixel_values is not None:
            images = self.get_image_features(pixel_values)
        if inputs_embeds is None:
            assert input_ids is not None
            inputs_embeds = self._with_images(input_ids, images)
            # A single token after a prompt is an answer's own, and keeps its embedding whichever it is.
            written = past_key_values is not None and past_key_values.get_seq_length() > 0 and input_ids.shape[1] == 1
            if not written:
                given: Any = (region_points, region_sizes, region_starts)
                regions = None if region_points is None else Regions(*given)
                inputs_embeds = self._with_regions(inputs_embeds, input_ids, images, regions)
        outputs = self.language_model(
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            **kwargs,
        )
        return LlavaModelOutputWithPast(
            last_hidden_state=outputs.last_hidden_state,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def _with_images(self, input_ids: Tensor, images: Any) -> Tensor:
        is_image = input_ids == self.config.image_token_id
        embeddings: Tensor = self.get_input_embeddings()(input_ids.masked_fill(is_image, 0))  # the image token has none
        features = [] if images is None else list(images.pooler_output)
        if (tokens := int(is_image.sum())) != (given := sum(map(len, features))):
            raise ValueError(f"there are {tokens} image tokens and features for {given}")
        return embeddings.masked_scatter(is_image[..., None], torch.cat(features).to(embeddings)) if tokens else embeddings

    def _with_regions(self, embeddings: Tensor, input_ids: Tensor, images: Any, regions: Regions | None) -> Tensor:
        is_region = input_ids == self.config.region_token_id
        real = is_region[:, :0] if regions is None else (regions.sizes > 0).all(dim=-1)
        tokens, given = is_region.sum(dim=1), real.sum(dim=1)
        if not torch.equal(tokens, given):
            raise ValueError(f"the prompts hold {tokens.tolist()} region tokens, and points for {given.tolist()} regions")
        if regions is None or not real.any():
            return embeddings
        if images is None or len(images.feature_maps) != len(input_ids):
            raise ValueError("regions are read from one image a prompt")
        side = round(len(images.feature_maps[0]) ** 0.5)
        maps = torch.stack(list(images.feature_maps)).transpose(1, 2).reshape(len(input_ids), -1, side, side)
        places = regions.points[real] / regions.sizes[real][:, None].float()
        features = self.region_geo_sampler(maps[real.nonzero()[:, 0]], places, regions.starts[real])
        return embeddings.masked_scatter(is_region[..., None], features.to(embeddings))


class FerretForConditionalGeneration(LlavaForConditionalGeneration):
    """The base model with its language head, of the text model's vocabulary: it cannot write an image token."""

    config_class = FerretConfig

    def __init__(self, config: FerretConfig) -> None:
        super(LlavaForConditionalGeneration, self).__init__(config)
        self.model = FerretModel(config)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        self.post_init()

    def get_image_features(self, pixel_values: Tensor, **kwargs: Any) -> FerretImages:
        """As the base model's."""
        return self.model.get_image_features(pixel_values, **kwargs)

    @can_return_tuple  # type: ignore[untyped-decorator]
    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
        mm_encoder_outputs: dict[str, FerretImages] | None = None,
        region_points: Tensor | None = None,
        region_sizes: Tensor | None = None,
        region_starts: Tensor | None = None,
        **kwargs: Any,
    ) -> LlavaCausalLMOutputWithPast:
        """The base model's fields, and labels (B, length) -> logits (B, length, vocabulary), and the loss."""
        outputs = self.model(
            input_ids=input_ids,
            pixel_values=pixel_values,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            mm_encoder_outputs=mm_encoder_outputs,
            region_points=region_points,
            region_sizes=region_sizes,
            region_starts=region_starts,
            **kwargs,
        )
        logits = self.lm_head(slice_logits_to_keep(outputs.last_hidden_state, logits_to_keep))
        size = self.config.text_config.vocab_size
        return LlavaCausalLMOutputWithPast(
            loss=None if labels is None else self.loss_function(logits=logits, labels=labels, vocab_size=size, **kwargs),
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def _expand_multimodal_outputs(self, *args: Any, expand_size: int = 1, **kwargs: Any) -> Any:
        """Several answers a prompt: its feature map is repeated with its tokens."""
        encoded = super()._expand_multimodal_outputs(*args, expand_size=expand_size, **kwargs)
        if (images := encoded.get("image")) is not None:
            images.feature_maps = [one for one in images.feature_maps for _ in range(expand_size)]
        return encoded
