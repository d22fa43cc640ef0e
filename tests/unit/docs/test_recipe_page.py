"""docs/recipe.md states every key of the recipe with its default, and no other key."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from spr.recipe import Recipe
from spr.recipe_evaluation import KINDS
from spr.recipe_model import Endpoint

PAGE = Path(__file__).parents[3] / "docs" / "recipe.md"


def keys(part: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, field in part.model_fields.items():
        kinds = (field.annotation, *_within(field.annotation))
        inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if inner == [Endpoint] and prefix != "model.":  # its keys stand on the page once
            yield f"{prefix}{name}", "required"
        elif inner:
            yield from keys(inner[0], f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", "required" if field.default is PydanticUndefined else field.default


def _within(hint: Any) -> Iterator[Any]:
    for inner in typing.get_args(hint):
        yield inner
        yield from _within(inner)


def _of_tasks(stated: dict[str, Any]) -> dict[str, Any]:
    """`evaluation.TASK.x` is `evaluation.rec.x` and so on, of the tasks that know x."""
    found = {}
    for key, default in stated.items():
        for kind in KINDS if ".TASK." in key else ("",):
            named = key.replace("TASK", kind)
            if not kind or named in {known for known, _ in keys(Recipe)}:
                found[named] = default
    return found


def test_every_key_is_on_the_page_with_its_default() -> None:
    rows = re.findall(r"^\| `([^`]+)` \| (?:`([^`]+)`|(required)) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    stated = {key: required or _value(default) for key, default, required in rows}
    actual = {key: list(default) if isinstance(default, tuple) else default for key, default in keys(Recipe)}
    assert _of_tasks(stated) == actual


def _value(text: str) -> Any:
    value = yaml.safe_load(text)
    return float(value) if isinstance(value, str) and re.fullmatch(r"[\d.]+e-?\d+", value) else value
