"""TRL's DPO and SFT trainers, with image and prompt computed once a pair, and the adapter switched off as reference.

Stock TRL encodes each image four times a pair (two answers, policy and reference) and hooks the embeddings again at
every reference pass; here the frozen vision tower runs once, outside autograd, and losses and metrics stay TRL's own.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling
from trl import DPOTrainer, SFTTrainer

from spr.training.sharing import can_share, share_prompts

Inputs = dict[str, Any]


def share_images(model: PreTrainedModel, inputs: Inputs, copies: int) -> Inputs:
    """Replace `images`, the fields of B images, by their features, `copies` times in the order of the rows.

    The features come from one pass without gradient: the vision tower and the projector are frozen. What else describes
    the images (grids, sizes) is repeated alike. A model whose forward takes no encoded images gets repeated pixels.
    """
    takes = inspect.signature(type(model).forward).parameters
    rest = {name: value for name, value in inputs.items() if name != "images"}
    repeated = {name: torch.cat([value] * copies) for name, value in inputs["images"].items()}
    if not {"mm_encoder_outputs", "image_embeds"} & takes.keys():
        return {**rest, **repeated}
    del repeated["pixel_values"]
    if "image_embeds" in takes:
        return {**rest, **repeated, "image_embeds": _features(model, inputs["images"], copies).pooler_output}
    return {**rest, **repeated, "mm_encoder_outputs": {"image": _features(model, inputs["images"], copies)}}


def _features(model: PreTrainedModel, images: Inputs, copies: int) -> BaseModelOutputWithPooling:
    encode = model.base_model.get_image_features
    wanted = inspect.signature(encode).parameters
    with torch.no_grad():
        features = encode(**{name: value for name, value in images.items() if name in wanted}, return_dict=True)
    pooled = features.pooler_output  # one tensor, or one an image where images differ in length
    outputs = BaseModelOutputWithPooling(
        pooler_output=torch.cat([pooled] * copies) if isinstance(pooled, Tensor) else list(pooled) * copies
    )
    if (layers := getattr(features, "deepstack_features", None)) is not None:
        outputs["deepstack_features"] = [list(layer) * copies for layer in layers]
    if (maps := getattr(features, "feature_maps", None)) is not None:  # Ferret reads regions from them
        outputs["feature_maps"] = list(maps) * copies
    return outputs


class PolicyDPOTrainer(DPOTrainer):
    """DPO on batches of `PreferenceCollator`; the model must carry a fresh adapter (given as `peft_config`)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # `_compute_loss` then reads the reference log-probabilities from the batch, where the override below puts them.
        self.precompute_ref_logps = True
        base = self.model.get_base_model()
        self._image_copies = 1 if can_share(base) else 2
        if can_share(base):
            share_prompts(base)

    def _compute_loss(self, model: Any, inputs: Inputs, return_outputs: bool) -> Any:
        policy = self.accelerator.unwrap_model(self.model)
        inputs = share_images(policy.get_base_model(), inputs, copies=self._image_copies)
        inputs["ref_chosen_logps"], inputs["ref_rejected_logps"] = self._reference_logps(policy, inputs)
        return super()._compute_loss(model, inputs, return_outputs)

    def _reference_logps(self, policy: Any, inputs: Inputs) -> tuple[Tensor, ...]:
        """Log-probabilities of the answers without the adapter, summed over tokens: chosen (B,), rejected (B,)."""
        fields = {name: value for name, value in inputs.items() if name != "completion_mask"}
        labels = inputs["input_ids"].masked_fill(inputs["completion_mask"] == 0, -100)
        with torch.no_grad(), policy.disable_adapter():
            outputs = policy(**fields, labels=labels, use_cache=False, fused_lm_head=True)
        chosen, rejected = outputs.log_probs.sum(dim=1).chunk(2)
        return chosen, rejected

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """No card: checkpoints are for resuming only."""


class PolicySFTTrainer(SFTTrainer):
    """SFT on batches of `ChosenCollator`, loss on the answers' tokens alone."""

    def compute_loss(
        self, model: Any, inputs: Inputs, return_outputs: bool = False, num_items_in_batch: Tensor | int | None = None
    ) -> Any:
        """TRL's loss, and the mean log-probability of an answer as the metric logps/chosen, as DPO has it."""
        base = self.accelerator.unwrap_model(self.model).get_base_model()
        rows, tokens = len(inputs["labels"]), (inputs["labels"] != -100).sum()
        inputs = share_images(base, inputs, copies=1)
        loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        total = (loss[0] if return_outputs else loss).detach() * (tokens if num_items_in_batch is None else num_items_in_batch)
        self._metrics["train"]["logps/chosen"].append(-total.item() / rows)
        return loss

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """No card: checkpoints are for resuming only."""
