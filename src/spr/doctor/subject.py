"""Whom the doctor asks: the `model` part of a recipe, or what a hub name or a folder makes of one.

A calibration holds for the settings it was made with, so those of a recipe are taken whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from spr.errors import RecipeError
from spr.models import dialects
from spr.models.dialects.by_type import BY_TYPE
from spr.models.identity import check_directory
from spr.models.loading import load_config
from spr.recipe import check_model
from spr.recipe_model import Model
from spr.recipe_yaml import override, read_values
from spr.running.devices import device_names

_SUFFIXES = (".yaml", ".yml", ".json")
"""Json is YAML: a run keeps its recipe as recipe.json."""


def subject(model: str, dialect: str | None = None, overrides: Sequence[str] = ()) -> Model:
    """The model to ask: the part of the recipe `model`, if that is a file's name, or else the weights that `model` names.

    `dialect` and `overrides` (`model.key=value`) are laid over it. Weights without a word on their dialect are asked in the one
    that their type has, and it is printed; on a CPU they compute in float32, the faster there, on a GPU in bfloat16. Raises
    RecipeError for keys that are wrong or not the model's and for a type that has no dialect of its own, ModelError for
    weights that are not there.
    """
    is_recipe = Path(model).suffix in _SUFFIXES and not Path(model).is_dir()
    data = read_values(Path(model)) if is_recipe else {"model": _plain(model)}
    for assignment in _overrides(dialect, overrides):
        override(data, assignment)
    part = check_model(data, model if is_recipe else f"--model {model}")
    if part.endpoint is None:
        check_directory(f"{model}: model.name {part.name}" if is_recipe else f"--model {part.name}", part.name)
    return part if part.dialect else part.model_copy(update={"dialect": _dialect_of(part)})


def _plain(name: str) -> dict[str, object]:
    """What a recipe would say of the weights alone; no dialect yet."""
    return {"name": name, "dialect": "", "dtype": "float32" if device_names(["auto"]) == ("cpu",) else "bfloat16"}


def _overrides(dialect: str | None, overrides: Sequence[str]) -> list[str]:
    for assignment in overrides:
        if not assignment.startswith("model."):
            raise RecipeError(f"--set {assignment}: only the model is asked; set keys of it, e.g. model.revision=main")
        if dialect is not None and assignment.startswith("model.dialect="):
            raise RecipeError(f"--set {assignment} and --dialect {dialect} say the same thing; leave one away")
    return [*([] if dialect is None else [f"model.dialect={dialect}"]), *overrides]


def _dialect_of(part: Model) -> str:
    """The dialect of the type that the weights' config.json names. Prints it."""
    known = ", ".join(sorted(dialects.FAMILIES))
    if part.endpoint is not None:
        raise RecipeError(
            f"--model {part.name} is behind a server, which says no type; name its dialect with --dialect: {known}"
        )
    kind = load_config(part).model_type
    if kind not in BY_TYPE:
        raise RecipeError(f"--model {part.name} is of type {kind}, which has no one dialect; name it with --dialect: {known}")
    print(f"dialect {BY_TYPE[kind]}, as its model type {kind} says")
    return BY_TYPE[kind]
