"""Where LoRA goes: the projections of the language model, and nothing else.

A frozen vision tower keeps image features constant, so they can be computed once a pair; an adapter outside the language
model would be trained by nothing. So every module hit is checked against the model's own decoder. Not here: training.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from peft import LoraConfig
from torch import nn
from transformers import PreTrainedModel

from spr.errors import RecipeError
from spr.recipe_train import Lora
from spr.running.progress import say

_GATED = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
_FUSED_GATE = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_up_proj|down_proj)"
_EXPERTS = r".*language_model.*\.(vision|language)_(expert_query_key_value|expert_dense|mlp\.(gate_proj|up_proj|down_proj))"
TARGETS = {
    "cogvlm": _EXPERTS,
    "kosmos-2": r".*text_model.*\.(q_proj|k_proj|v_proj|out_proj|fc1|fc2)",
    "glm4v": _FUSED_GATE,
}
"""Families (`config.model_type`) whose projections are not named like Llama's; every other family takes `_GATED`."""


def target_modules(model: PreTrainedModel, override: str | None = None) -> list[str]:
    """Full names of the linear layers that get an adapter, in the model's order. Layers that nothing reads get none: it would
    never move. How many of an `override`'s these are is said.

    `override` is a regular expression over full module names and replaces the table. Raises RecipeError when the
    expression is not valid, hits no linear layer that is read, or hits one outside the language model.
    """
    pattern = override or TARGETS.get(model.config.model_type, _GATED)
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise RecipeError(f"train.lora.target_modules {pattern!r} is not a regular expression: {error}") from None
    decoder = model.get_decoder()
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and expression.fullmatch(name)]
    unread = {id(module) for module in getattr(decoder, "unread", ())}
    hits = [name for name in linear if id(model.get_submodule(name)) not in unread]
    if linear and not hits:
        raise RecipeError(
            f"train.lora.target_modules {pattern!r} hits only layers whose results nothing reads, {linear[0]} first; an "
            "adapter there would never move, so widen the expression"
        )
    if not hits:
        raise RecipeError(
            f"train.lora.target_modules {pattern!r} hits no linear layer of this {model.config.model_type} model; "
            f"set a regular expression over full module names that does: {_there_is(model)}"
        )
    inside = {id(module) for module in decoder.modules()}
    outside = [name for name in hits if id(model.get_submodule(name)) not in inside]
    if outside:
        raise RecipeError(
            f"train.lora.target_modules {pattern!r} hits {len(outside)} layers outside the language model, "
            f"{outside[0]} first; only the language model is trained, so narrow the expression"
        )
    if override and (left := len(linear) - len(hits)):
        say(f"train: {left} of {len(linear)} layers of train.lora.target_modules get no adapter: nothing reads their results")
    return hits


def _there_is(model: PreTrainedModel) -> str:
    """The linear layers of the language model by the last part of their names, and one name in full."""
    inside = {id(module) for module in model.get_decoder().modules()}
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and id(module) in inside]
    if not names:
        return "its language model has none"
    ends = Counter(name.rpartition(".")[2] for name in names)
    counted = ", ".join(f"{end} ({number})" for end, number in ends.most_common())
    return f"those of its language model end in {counted}; the first is {names[0]}"


def lora_config(model: PreTrainedModel, lora: Lora, more: Sequence[str] = ()) -> LoraConfig:
    """The adapter a recipe asks for, on the modules `target_modules` finds and on `more`. Raises RecipeError as that does."""
    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=[*target_modules(model, lora.target_modules), *more],
        task_type="CAUSAL_LM",
    )
