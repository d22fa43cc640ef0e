"""Texts that are handed to users to be changed: the recipe that `spr init` writes."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from spr.errors import RecipeError
from spr.running.files import write_atomic


def write_recipe(directory: Path) -> Path:
    """Write the commented recipe to `directory`/recipe.yaml and return its path. Raises RecipeError where one lies."""
    path = directory / "recipe.yaml"
    if path.exists():
        raise RecipeError(f"{path} exists; name another directory, or edit the recipe that is there")
    write_atomic(path, files(__package__).joinpath("recipe.yaml").read_bytes())
    return path
