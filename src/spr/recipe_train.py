"""The recipe's section `train`: what is optimized, by which updates, and what of a batch is computed once.

What TRL would refuse, or would not look at, is refused here, where nothing has been computed yet.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from spr.recipe_part import OR_ONE, Fraction, Part


class Lora(Part):
    """LoRA on the language model's projections; `target_modules` overrides the table by family (a regular expression)."""

    r: int = Field(128, ge=1, description="ours")
    alpha: int = Field(256, ge=1, description="ours")
    dropout: float = Field(0.0, ge=0, lt=1)
    target_modules: str | None = None


LossType = Literal[
    "sigmoid",
    "hinge",
    "ipo",
    "exo_pair",
    "nca_pair",
    "robust",
    "bco_pair",
    "sppo_hard",
    "aot",
    "aot_unpaired",
    "apo_zero",
    "apo_down",
    "discopop",
    "sft",
    "sigmoid_norm",
]
"""The losses of TRL's DPOTrainer, by its names."""
SORTED: frozenset[LossType] = frozenset({"aot", "aot_unpaired"})
"""Losses that sort the pairs of a batch, so that no pair has a loss of its own."""
UNWEIGHED: frozenset[LossType] = SORTED | {"hinge", "sft"}
"""Losses that TRL's WPO weights do not go with: sorted pairs, a mean over tokens, and one whose result autograd still needs."""
_OF_DIFFERENCE: frozenset[LossType] = frozenset(
    {"sigmoid", "sigmoid_norm", "hinge", "ipo", "exo_pair", "robust", "discopop", "sft"}
)
"""Losses of the difference of two rewards, in which the unknown part of an f-divergence's reward cancels."""
_READ_BY: dict[str, frozenset[LossType]] = {
    "label_smoothing": frozenset({"exo_pair", "robust", *SORTED}),
    "discopop_tau": frozenset({"discopop"}),
}
_ELSEWHERE = {
    **{
        name: f"train.{name}"
        for name in ("loss_type", "loss_weights", "beta", "learning_rate", "weight_decay", "max_steps", "save_steps")
    },
    "gradient_checkpointing": "train.gradient_checkpointing",
    "per_device_train_batch_size": "train.batch_size",
    "gradient_accumulation_steps": "train.gradient_accumulation",
    "num_train_epochs": "train.epochs",
    "lr_scheduler_type": "train.scheduler",
    "warmup_steps": "train.warmup_ratio",
    "bf16": "train.dtype",
    "fp16": "train.dtype",
    "max_length": "train.max_tokens",
    "precompute_ref_log_probs": "train.precompute_reference",
    "disable_dropout": "train.lora.dropout",
    "seed": "seed",
    "data_seed": "seed",
    "use_cpu": "resources.devices",
    "report_to": "train.report_to",
    "model_init_kwargs": "model",
    "trust_remote_code": "model.trust_remote_code",
}
"""Names of TRL for what the recipe has a key of its own for."""
_NEVER = {
    "output_dir": "the run directory holds all that training writes",
    "sync_ref_model": "the reference is the policy as training begins, and never moves",
    "ref_model_mixup_alpha": "the reference is the policy as training begins, and never moves",
    "ref_model_sync_steps": "the reference is the policy as training begins, and never moves",
    "truncation_mode": "nothing is truncated; the preflight drops what does not fit",
    "padding_free": "prompts are shared instead, see train.prefix_sharing",
    "label_smoothing_factor": "it belongs to another loss; label_smoothing is DPO's",
}


class Trl(Part):
    """Settings of the loss and of the optimizer by TRL's own names (`DPOConfig`, and transformers' `TrainingArguments`), handed
    on as they are. What is not set has TRL's default."""

    label_smoothing: float | None = Field(None, ge=0, lt=0.5)
    f_divergence_type: Literal["reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"] | None = None
    f_alpha_divergence_coef: float | None = None
    ld_alpha: Fraction | None = None
    discopop_tau: float | None = Field(None, gt=0)
    use_weighting: bool | None = None
    max_grad_norm: float | None = Field(None, gt=0)
    optim: str | None = None
    optim_args: str | None = None
    adam_beta1: float | None = Field(None, ge=0, lt=1)
    adam_beta2: float | None = Field(None, ge=0, lt=1)
    adam_epsilon: float | None = Field(None, gt=0)
    lr_scheduler_kwargs: dict[str, bool | int | float | str] | None = None

    @model_validator(mode="before")
    @classmethod
    def _names_are_known(cls, values: Any) -> Any:
        for name in values if isinstance(values, dict) else ():
            if name not in cls.model_fields:
                raise ValueError(_no_such(str(name), cls.model_fields))
        return values

    def given(self) -> dict[str, Any]:
        """What is set, as keyword arguments of TRL's configurations."""
        return self.model_dump(exclude_none=True)


PREFERENCES = ("label_smoothing", "f_divergence_type", "f_alpha_divergence_coef", "ld_alpha", "discopop_tau", "use_weighting")
"""Of `Trl`, what SFT has no use for."""


def _no_such(name: str, known: Iterable[str]) -> str:
    """Why a name is not handed on to TRL, and what to write instead."""
    if name in _ELSEWHERE:
        return f"{name} is set by the recipe's own key {_ELSEWHERE[name]}; set that instead"
    if name in _NEVER:
        return f"{name} cannot be set: {_NEVER[name]}"
    near = get_close_matches(name, known, n=3, cutoff=0.6)
    meant = f"did you mean {' or '.join(near)}" if near else f"these are: {', '.join(known)}"
    return f"{name} is not among TRL's settings that are handed on; {meant}"


class Train(Part):
    """Stage 5. DPO with the adapter-off reference, or SFT on the chosen."""

    objective: Literal["dpo", "sft"] = "dpo"
    loss_type: Annotated[tuple[LossType, ...], OR_ONE] = ("sigmoid",)
    loss_weights: tuple[float, ...] | None = None
    beta: float = Field(0.1, gt=0)
    method: Literal["lora", "full"] = Field("lora", description="an adapter, or all of the language model")
    lora: Lora = Lora()
    vision_tower: Literal["frozen", "tuned"] = Field("frozen", description="also what turns pixels into features")
    learning_rate: float = Field(1e-5, gt=0, description="for 7B (ours)")
    scheduler: Literal["linear", "cosine", "constant_with_warmup"] = "cosine"
    warmup_ratio: Fraction = 0.03
    weight_decay: float = Field(0.0, ge=0)
    epochs: float = Field(1.0, gt=0)
    max_steps: int | None = Field(None, ge=1, description="updates; overrides epochs")
    batch_size: int = Field(1, ge=1, description="pairs a device and step")
    gradient_accumulation: int = Field(16, ge=1, description="of such batches in an update, which several processes share")
    max_tokens: int = Field(4096, ge=1, description="budget of one sequence, image tokens included; the preflight enforces it")
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    gradient_checkpointing: bool = True
    prefix_sharing: Literal["off", "pair", "tree"] = Field(
        "pair", description="what is computed once: nothing, a pair's prompt, or all that prompts about one image begin with"
    )
    reuse_image_features: bool = Field(True, description="encode an image once for all that show it; only a frozen tower")
    precompute_reference: bool = Field(False, description="the reference's log-probabilities once, before the first update")
    save_steps: int = Field(100, ge=1)
    report_to: Annotated[tuple[str, ...], OR_ONE] = Field(
        (), description="tensorboard, wandb, trackio ...: where metrics go beside log.jsonl"
    )
    threads: int = Field(2, ge=1, description="CPU threads; sums of floats depend on them (ours)")
    trl: Trl = Trl()

    @model_validator(mode="before")
    @classmethod
    def _trl_is_pointed_to(cls, values: Any) -> Any:
        """TRL's names stand in a section of their own, and are looked for here first."""
        for name in values if isinstance(values, dict) else ():
            if name in Trl.model_fields:
                raise ValueError(f"{name} is one of TRL's settings; write it as train.trl.{name}")
            if name not in cls.model_fields and name in _ELSEWHERE:
                raise ValueError(_no_such(name, ()))
        return values

    @property
    def reference_first(self) -> bool:
        """Whether the reference is computed before the first update: always where the model itself moves away from it."""
        return self.objective == "dpo" and (self.precompute_reference or self.method == "full")

    @model_validator(mode="after")
    def _losses_fit(self) -> Train:
        if not self.loss_type:
            raise ValueError("loss_type is empty; name at least one loss")
        if self.loss_weights is not None and len(self.loss_weights) != len(self.loss_type):
            raise ValueError(f"{len(self.loss_weights)} loss_weights for {len(self.loss_type)} loss types")
        if self.loss_weights is not None and (min(self.loss_weights) < 0 or not any(self.loss_weights)):
            written = ", ".join(f"{weight:g}" for weight in self.loss_weights)
            raise ValueError(f"loss_weights are [{written}]; none may be below 0, and one has to be above")
        if self.objective == "dpo" and set(self.loss_type) == {"sft"}:
            raise ValueError("loss_type [sft] alone is no preference loss; set objective: sft")
        if self.objective == "sft" and self.precompute_reference:
            raise ValueError("precompute_reference is true, but objective sft has no reference; set it to false")
        return self

    @model_validator(mode="after")
    def _keys_are_read(self) -> Train:
        """No key is set that the objective or the method would not look at."""
        if self.objective == "sft" and self.loss_type != ("sigmoid",):
            raise ValueError(f"loss_type [{', '.join(self.loss_type)}] is not read by objective sft; leave it out")
        if self.objective == "sft" and self.loss_weights is not None:
            raise ValueError("loss_weights are not read by objective sft; leave them out")
        if self.objective == "sft" and self.prefix_sharing == "tree":
            raise ValueError(
                "prefix_sharing tree is not read by objective sft, whose prompts have one answer each; leave it out"
            )
        if self.method == "full" and self.lora != Lora():
            changed = next(name for name in Lora.model_fields if getattr(self.lora, name) != getattr(Lora(), name))
            raise ValueError(
                f"lora.{changed} is {getattr(self.lora, changed)}, but method full trains no adapter; set lora to {{}}"
            )
        return self

    @model_validator(mode="after")
    def _settings_are_read(self) -> Train:
        """No setting of TRL's is given that the losses would not look at."""
        given = self.trl.given()
        for name in PREFERENCES if self.objective == "sft" else ():
            if name in given:
                raise ValueError(f"trl.{name} is a setting of preference losses, and objective sft has none; leave it out")
        for name, losses in _READ_BY.items():
            if name in given and not losses & set(self.loss_type):
                raise ValueError(
                    f"trl.{name} is {given[name]:g}, but none of loss_type [{', '.join(self.loss_type)}] reads it, only "
                    f"{', '.join(sorted(losses))}; leave it out, or take one of these"
                )
        if "f_alpha_divergence_coef" in given and self.trl.f_divergence_type != "alpha_divergence":
            raise ValueError("trl.f_alpha_divergence_coef is read with f_divergence_type: alpha_divergence only; set both")
        return self

    @model_validator(mode="after")
    def _trl_can(self) -> Train:
        """What TRL refuses when it is given a model, said before there is one."""
        losses, trl = set(self.loss_type), self.trl
        if self.objective == "sft":
            return self
        if "exo_pair" in losses and not trl.label_smoothing:
            raise ValueError("loss_type exo_pair needs trl.label_smoothing above 0; its paper recommends 0.001")
        rest = sorted(losses - _OF_DIFFERENCE)
        if trl.f_divergence_type not in (None, "reverse_kl") and rest:
            raise ValueError(
                f"trl.f_divergence_type {trl.f_divergence_type} has no meaning for loss_type {rest[0]}; it goes with "
                f"{', '.join(sorted(_OF_DIFFERENCE))}"
            )
        sorting = sorted(losses & SORTED)
        if trl.use_weighting and (unweighed := sorted(losses & UNWEIGHED)):
            raise ValueError(f"trl.use_weighting: TRL cannot weigh the pairs of loss_type {unweighed[0]}; drop one of the two")
        if sorting and self.batch_size == 1:
            raise ValueError(f"loss_type {sorting[0]} sorts the pairs of a batch, and batch_size is 1; raise it")
        return self
