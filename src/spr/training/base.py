"""The base model as the trainers need it: a kind that can be trained, without dropout, with a backbone of its own.

Not here: the adapter, or what TRL does with them.
"""

from __future__ import annotations

import types
from typing import Any

from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers import Kosmos2ForConditionalGeneration, Kosmos2Model, PreTrainedModel

from spr.errors import ModelError, RecipeError
from spr.models.loading import load_config
from spr.recipe_model import Model
from spr.recipe_train import Train

_DROPPING = ("dropout", "attention_dropout", "activation_dropout", "layerdrop")


def check_trainable(model: Model, train: Train) -> None:
    """Refuse, by its configuration alone, what cannot be trained. Raises ModelError for an encoder-decoder, whose answers TRL's
    losses cannot score, and RecipeError where 4-bit weights themselves would be trained."""
    if model.quantization != "none" and (train.method == "full" or train.vision_tower == "tuned"):
        key = "method: full" if train.method == "full" else "vision_tower: tuned"
        raise RecipeError(
            f"model.quantization is 4bit and train.{key} trains the weights themselves, which 4 bits cannot hold; set "
            "quantization: none, or train an adapter on the language model alone"
        )
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


def words_alone_require_gradients(model: PreTrainedModel) -> None:
    """Limit what gradient checkpointing asks of a frozen model, that its inputs require gradients, to the embeddings of words.

    transformers hooks every embedding, so that the frozen vision tower is recorded for a backward pass that it has no
    part in, and hooks them again each time checkpointing is switched on, as TRL does after every reference pass.
    """
    hooked: list[Any] = []

    def enable(self: PreTrainedModel) -> None:
        if not hooked:
            hooked.append(self.get_input_embeddings().register_forward_hook(lambda _, __, output: output.requires_grad_(True)))

    model.enable_input_require_grads = types.MethodType(enable, model)


def bare(model: Any) -> Any:
    """A model without the adapter around it."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def still_reference(model: Any) -> None:
    """Switch off the dropout of the adapter's copy that TRL keeps as reference: it must say the same every time."""
    for module in model.modules():
        if isinstance(module, LoraLayer) and "ref" in module.lora_dropout:
            module.lora_dropout["ref"] = nn.Identity()


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
