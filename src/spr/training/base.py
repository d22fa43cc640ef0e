"""The frozen base model as the trainers need it: a kind that can be trained, without dropout, with a backbone of its own.

Not here: the adapter, or what TRL does with them.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import Kosmos2ForConditionalGeneration, Kosmos2Model, PreTrainedModel

from spr.errors import ModelError
from spr.models.loading import load_config
from spr.recipe_model import Model

_DROPPING = ("dropout", "attention_dropout", "activation_dropout", "layerdrop")


def check_trainable(model: Model) -> None:
    """Refuse, by its configuration alone, what cannot be trained. Raises ModelError for 4-bit weights and for an
    encoder-decoder, whose answers TRL's losses cannot score."""
    if model.quantization != "none":
        raise ModelError("model.quantization is 4bit, and quantized weights are not trained here; train with it set to none")
    config = load_config(model)
    if config.is_encoder_decoder:
        raise ModelError(
            f"model.name {model.name} is an encoder-decoder ({config.model_type}), which DPO and SFT by TRL cannot train; "
            "name a decoder-only model, or stop before it with --until pairs"
        )


def prepare_base(model: PreTrainedModel) -> None:
    """Switch off the model's own dropout (policy and reference must differ by the adapter alone), and give TRL's fused
    head the backbone it calls where the model's class has none."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name in _DROPPING:
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    if isinstance(model, Kosmos2ForConditionalGeneration):
        # Past nn.Module's own attributes: registered, the same weights would be saved under two names.
        object.__setattr__(model, "backbone", _Kosmos2Backbone(model))
        model.base_model_prefix = "backbone"


class _Kosmos2Backbone:
    """Kosmos-2 without its head: encoded images and tokens to hidden states. What `Kosmos2Model` is on weights that
    `Kosmos2ForConditionalGeneration` keeps under other names (transformers, modeling_kosmos2.py)."""

    def __init__(self, model: Kosmos2ForConditionalGeneration) -> None:
        self._model = model

    def get_image_features(self, pixel_values: Tensor, **kwargs: Any) -> Any:
        """Pixels (B, 3, height, width) -> an output whose pooler_output is (B, latent queries, width)."""
        return Kosmos2Model.get_image_features(self._model, pixel_values, **kwargs)

    def __call__(self, input_ids: Tensor, image_embeds: Tensor, image_embeds_position_mask: Tensor, **fields: Any) -> Any:
        """Tokens (rows, length), padded on the right -> an output whose last_hidden_state is (rows, length, width).

        The model's own way writes the images into its embeddings in place, which autograd refuses where the embeddings
        require gradients, as under gradient checkpointing.
        """
        decoder = self._model.text_model.model
        embeddings = decoder.embed_tokens(input_ids)
        places = image_embeds_position_mask.bool()[..., None]
        fields["inputs_embeds"] = embeddings.masked_scatter(places, image_embeds.to(embeddings.dtype))  # PEFT passes None
        return decoder(**fields)
