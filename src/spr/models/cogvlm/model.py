"""The whole model: pixels and words to logits, in the shape that transformers' `generate`, PEFT and TRL expect.

Which tokens are an image's is read from the ids, in the base model: whoever calls it gets experts and positions alike.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn
from transformers import Cache, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast, BaseModelOutputWithPooling, CausalLMOutputWithPast

from spr.models.cogvlm import tokens
from spr.models.cogvlm.config import CogVLMConfig
from spr.models.cogvlm.language import CogVLMTextModel
from spr.models.cogvlm.vision import CogVLMProjector, CogVLMVisionTower

_NOT_GIVEN = ("output_hidden_states", "output_attentions")


class CogVLMPreTrainedModel(PreTrainedModel):
    """What transformers has to know of the family."""

    config_class = CogVLMConfig
    base_model_prefix = "model"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    _no_split_modules: ClassVar[list[str]] = ["CogVLMDecoderLayer", "VisionLayer"]
    _skip_keys_device_placement: ClassVar[list[str]] = ["past_key_values"]
    _supports_sdpa = True
    _supports_attention_backend = True


class CogVLMModel(CogVLMPreTrainedModel):
    """Tower, projector and language model without its head."""

    def __init__(self, config: CogVLMConfig) -> None:
        super().__init__(config)
        self.vision_tower = CogVLMVisionTower(config.vision_config)
        self.multi_modal_projector = CogVLMProjector(config.vision_config, config.text_config)
        self.language_model = CogVLMTextModel(config.text_config)
        self.post_init()

    def get_image_features(self, pixel_values: Tensor, **_: Any) -> BaseModelOutputWithPooling:
        """Pixels (B, 3, side, side) -> pooler_output (B, image tokens, width), what stands in for the image's tokens."""
        patches = self.vision_tower(pixel_values).last_hidden_state
        return BaseModelOutputWithPooling(last_hidden_state=patches, pooler_output=self.multi_modal_projector(patches))

    def get_position_ids(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Positions (rows, length) of whole rows (rows, length): an image's patches share one, and pads have none."""
        return tokens.position_ids(input_ids == self.config.image_token_id, attention_mask)

    def forward(
        self,
        input_ids: Tensor,
        pixel_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """Tokens (rows, length) and the images of all rows in order, as pixels or encoded -> hidden states (rows, length,
        width). Raises ValueError where image tokens and images differ in number, and where positions or image tokens would be
        guessed, and for outputs that are not given here."""
        if refused := [name for name in _NOT_GIVEN if kwargs.get(name)]:
            raise ValueError(f"CogVLM gives no {' and no '.join(name.removeprefix('output_') for name in refused)}")
        if inputs_embeds is not None:
            raise ValueError("CogVLM tells image tokens by their ids; give it input_ids, and no inputs_embeds")
        if position_ids is None:
            position_ids = self._positions(input_ids, attention_mask, past_key_values)
        images = (mm_encoder_outputs or {}).get("image")
        if pixel_values is not None:
            images = self.get_image_features(pixel_values)
        is_image = input_ids == self.config.image_token_id
        return self.language_model(
            inputs_embeds=self._embedded(input_ids, is_image, images),
            is_image=is_image,
            position_ids=position_ids,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            **kwargs,
        )

    def _embedded(self, input_ids: Tensor, is_image: Tensor, images: BaseModelOutputWithPooling | None) -> Tensor:
        """Words from the table, which has no row for image tokens, and images in their places."""
        words: Tensor = self.get_input_embeddings()(input_ids.masked_fill(is_image, 0))
        given = 0 if images is None else images.pooler_output.shape[:2].numel()
        if (marked := int(is_image.sum())) != given:
            raise ValueError(f"the rows hold {marked} image tokens, and the images given take {given}")
        return words if images is None else words.masked_scatter(is_image[..., None], images.pooler_output.to(words))

    def _positions(self, input_ids: Tensor, attention_mask: Tensor | None, past: Cache | None) -> Tensor:
        if past is not None and past.get_seq_length():
            raise ValueError("going on from a cache needs position_ids: how many patches shared one is not known to it")
        flat = attention_mask is not None and attention_mask.ndim == 2
        return self.get_position_ids(input_ids, attention_mask if flat else None)


class CogVLMForConditionalGeneration(CogVLMPreTrainedModel, GenerationMixin):
    """CogVLM with its head."""

    def __init__(self, config: CogVLMConfig) -> None:
        super().__init__(config)
        self.model = CogVLMModel(config)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        self.post_init()

    def get_output_embeddings(self) -> nn.Module:
        """The head."""
        return self.lm_head

    def forward(
        self,
        input_ids: Tensor,
        pixel_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        labels: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
        mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits (rows, length or `logits_to_keep` last, vocabulary), and the loss where labels (rows, length) are given."""
        if kwargs.pop("return_dict", None) is False:
            raise ValueError("CogVLM gives no tuples; leave return_dict out")
        outputs = self.model(
            input_ids,
            pixel_values=pixel_values,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            mm_encoder_outputs=mm_encoder_outputs,
            **kwargs,
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(outputs.last_hidden_state[:, kept])
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.text_config.vocab_size)
        return CausalLMOutputWithPast(loss=loss, logits=logits, past_key_values=outputs.past_key_values)

    def _prepare_position_ids_for_generation(self, inputs_tensor: Tensor, model_kwargs: dict[str, Any]) -> Tensor:
        """Positions of the prompt by its image; `generate` goes on from the last one by itself."""
        return self.model.get_position_ids(inputs_tensor, model_kwargs.get("attention_mask"))


__all__ = ["CogVLMForConditionalGeneration", "CogVLMModel", "CogVLMPreTrainedModel"]
