"""The recipe's optimizer and schedule, tried on a single number before anything that takes long.

They are transformers' own, by its names. It drops what an optimizer does not read without a word; here that is refused.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch
import trl
from transformers import Trainer, get_scheduler
from transformers.training_args import OptimizerNames

from spr.errors import RecipeError
from spr.recipe import Recipe
from spr.recipe_train import PREFERENCES, Train

_DEFAULTS = {field.name: field.default for field in dataclasses.fields(trl.DPOConfig)}
_READ_BY_SOME = ("adam_beta1", "adam_beta2", "adam_epsilon")


def check_optimizer(recipe: Recipe) -> None:
    """Make the recipe's optimizer and schedule once, and let them make two steps. Raises RecipeError for what transformers has
    none of (a name, an argument, a package that is not installed), and for settings that the optimizer does not read."""
    train, given = recipe.train, recipe.train.trl.given()
    try:
        kind, read = _settings(train, given)
        optimizer = kind([torch.nn.Parameter(torch.zeros(1))], **read)
        schedule = get_scheduler(train.scheduler, optimizer, 1, 3, given.get("lr_scheduler_kwargs"))
        for _ in range(2):  # past the warm-up, where its arguments are read
            optimizer.step()
            schedule.step()
        unread = list(_unread(train, given, read))
    except (ValueError, TypeError, ImportError, AttributeError, KeyError) as fault:
        named = ", ".join(f"{name} {value!r}" for name, value in given.items() if name not in PREFERENCES)
        reason = " ".join(str(fault).split())[:1000]
        raise RecipeError(f"train.trl: no optimizer can be made with scheduler {train.scheduler}, {named}: {reason}") from None
    if unread:
        optim = given.get("optim", str(_DEFAULTS["optim"]))
        raise RecipeError(
            f"train.trl: {' and '.join(unread)} would change nothing: optim {optim} does not read it; leave it out"
        )


def _settings(train: Train, given: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The class of the optimizer, and the settings that transformers hands to it."""
    # Not TRL's configuration itself: that would settle for all what processes and devices there are.
    made = SimpleNamespace(**{**_DEFAULTS, **given, "learning_rate": train.learning_rate})
    made.optim = OptimizerNames(made.optim)
    found: tuple[Any, dict[str, Any]] = Trainer.get_optimizer_cls_and_kwargs(made)
    return found


def _unread(train: Train, given: dict[str, Any], read: dict[str, Any]) -> Iterator[str]:
    """What the optimizer makes nothing of: what is not at its default, and yet the settings are the same without it."""
    for name in _READ_BY_SOME:
        if given.get(name, _DEFAULTS[name]) != _DEFAULTS[name]:
            rest = {key: value for key, value in given.items() if key != name}
            if _settings(train, rest)[1] == read:
                yield f"{name} {given[name]:g}"
    arguments = given["optim_args"].split(",") if "optim_args" in given else []
    for place, argument in enumerate(arguments):
        # An optimizer's own defaults are nowhere to be read; but where it reads a value, one that is none does not pass.
        others = [[], [f"{argument.split('=')[0]}=?"]]
        tried = ({**given, "optim_args": ",".join(arguments[:place] + other + arguments[place + 1 :])} for other in others)
        if all(_same(train, settings, read) for settings in tried):
            yield f"optim_args {argument.strip()}"


def _same(train: Train, given: dict[str, Any], read: dict[str, Any]) -> bool:
    try:
        return _settings(train, given)[1] == read
    except (ValueError, AttributeError):
        return False
