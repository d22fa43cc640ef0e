"""TRL's DPO and SFT trainers on batches of our collators, with what their rows share computed once.

The losses, the metrics and the reference (the adapter switched off) are TRL's. Not here: how rows share (`once`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from peft import PeftModel
from torch import Tensor
from transformers import Trainer
from trl import DPOTrainer, SFTTrainer

from spr.training.base import bare, still_reference, words_alone_require_gradients
from spr.training.features import Images
from spr.training.head import gather_head
from spr.training.internals import no_second_model
from spr.training.once import compute_once, encode_inside
from spr.training.sharing import IGNORED, Sharing, unshared
from spr.training.weighting import weigh_pairs

Inputs = dict[str, Any]


class _Resuming(Trainer):
    """Goes on from the weights of a checkpoint, whatever they are called in it."""

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """As transformers does, but for whole models: these it saves under the names of their hub files and reads by those of
        their modules, and what it misses then keeps the base's weights without a word."""
        if isinstance(self.model, PeftModel) or self.is_fsdp_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        there = type(self.model).from_pretrained(resume_from_checkpoint, dtype=self.model.dtype)
        self.model.load_state_dict(there.state_dict())


class SPRDPOTrainer(_Resuming, DPOTrainer):
    """DPO on batches of `PreferenceCollator`, of a model that gets a fresh adapter (`peft_config`), goes on with one that is
    there (a PeftModel with one adapter, `default`), or is trained whole.

    `prefix_sharing` says what of a prompt is computed once: nothing (`off`), a pair's prompt (`pair`), or what the prompts
    of all pairs of a batch about one image begin with (`tree`). With `reuse_image_features` the frozen vision tower encodes an
    image once for all rows, policy and reference. Losses, metrics and gradients are those of TRL up to the rounding of sums.

    The reference is the model as it begins: without the fresh adapter, with a copy of the one that was there; a model that is
    trained whole keeps no copy, so its batches must bring the reference's log-probabilities.
    Raises ValueError where the model's attention cannot branch; `sharing.unshared` says so beforehand.
    """

    def __init__(
        self,
        model: Any,
        *args: Any,
        prefix_sharing: Sharing = "pair",
        reuse_image_features: bool = True,
        **kwargs: Any,
    ) -> None:
        if prefix_sharing != "off" and (reason := unshared(bare(model))):
            raise ValueError(f"prefix_sharing {prefix_sharing}: {reason}")
        words_alone_require_gradients(bare(model))
        with no_second_model():
            super().__init__(model, *args, **kwargs)
        still_reference(self.model)
        self._reuse = reuse_image_features
        compute_once(bare(self.model), prefix_sharing)
        weigh_pairs(bare(self.model))
        gather_head(bare(self.model))

    def score_reference(self, rows: Sequence[int]) -> list[tuple[float, float]]:
        """The reference's log-probabilities of the answers of the collator's `rows`: chosen, rejected, of each.

        Where several processes hold parts of the model, all must ask at the same time, each for as many calls.
        """
        inputs = self._prepare_inputs(self.data_collator([{"row": row} for row in rows]))
        chosen, rejected = self.compute_ref_log_probs(self.model_wrapped, inputs)
        return list(zip(chosen.tolist(), rejected.tolist(), strict=True))

    def compute_ref_log_probs(self, model: Any, inputs: Inputs) -> Any:
        """Sums of log-probabilities of the answers by the reference: chosen (B,), rejected (B,)."""
        return super().compute_ref_log_probs(model, self._with_images(inputs))

    def _compute_loss(self, model: Any, inputs: Inputs, *args: Any, **kwargs: Any) -> Any:
        self.precompute_ref_logps = "ref_chosen_logps" in inputs
        return super()._compute_loss(model, self._with_images(inputs), *args, **kwargs)

    def _with_images(self, inputs: Inputs) -> Inputs:
        return {**inputs, "images": Images(inputs["images"], inputs["layout"].sizes, self._reuse)}

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG002
        """Nothing: the collator makes tokens of rows."""
        return dataset

    def _precompute_ref_logps(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG002
        """Nothing: `score_reference` is asked for them when the model is where it will be trained."""
        return dataset

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """No card: checkpoints are for resuming only."""


class PolicySFTTrainer(_Resuming, SFTTrainer):
    """SFT on batches of `ChosenCollator`, loss on the answers' tokens alone."""

    def __init__(self, model: Any, *args: Any, reuse_image_features: bool = True, **kwargs: Any) -> None:
        words_alone_require_gradients(bare(model))
        super().__init__(model, *args, **kwargs)
        self._reuse = reuse_image_features
        encode_inside(bare(self.model))
        gather_head(bare(self.model))

    def compute_loss(
        self, model: Any, inputs: Inputs, return_outputs: bool = False, num_items_in_batch: Tensor | int | None = None
    ) -> Any:
        """TRL's loss, and the mean log-probability of an answer as the metric logps/chosen, as DPO has it."""
        rows, tokens = len(inputs["labels"]), (inputs["labels"] != IGNORED).sum()
        images = Images(inputs["images"], inputs["layout"].sizes, self._reuse)
        loss = super().compute_loss(model, {**inputs, "images": images}, return_outputs, num_items_in_batch)
        found = (loss[0] if return_outputs else loss).detach()
        # Of several processes each divides by the tokens of all, and TRL makes up for the mean over them that follows.
        total = found * tokens if num_items_in_batch is None else found * num_items_in_batch / self.accelerator.num_processes
        self._metrics["train"]["logps/chosen"].append(-self.accelerator.gather(total / rows).mean().item())
        return loss

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """No card: checkpoints are for resuming only."""
