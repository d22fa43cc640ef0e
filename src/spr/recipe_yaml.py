"""A recipe's YAML -> plain values, with `a.b=c` laid over them. What the keys mean is in `recipe`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from spr.errors import RecipeError


def read_values(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The mapping in a YAML file with the overrides laid over it. Raises RecipeError for what is no YAML mapping."""
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), _Yaml)
    except OSError as error:
        raise RecipeError(f"{path}: {error.strerror}; name an existing recipe, or make one with `spr init`") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise RecipeError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise RecipeError(f"{path}: a recipe is a mapping of sections; this file holds {type(data).__name__}")
    for assignment in overrides:
        override(data, assignment)
    return data


def override(data: dict[str, Any], assignment: str) -> None:
    """Set the key that `a.b=c` names in nested values; c is YAML. Raises RecipeError."""
    key, sign, value = assignment.partition("=")
    if not sign or not all(key.split(".")):
        raise RecipeError(f"--set {assignment}: write it as key.subkey=value")
    try:
        parsed = yaml.safe_load(value)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise RecipeError(f"--set {assignment}: the value is not valid YAML") from None
    *sections, last = key.split(".")
    for section in sections:
        if data.get(section) is None:
            data[section] = {}
        data = data[section]
        if not isinstance(data, dict):
            held = "a list; set it whole, in YAML" if isinstance(data, list) else "a value, not a section"
            raise RecipeError(f"--set {assignment}: {section} is {held}")
    data[last] = parsed


class _Yaml(yaml.SafeLoader):
    """Safe YAML that refuses a key written twice; PyYAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping of a node. Raises YAMLError for a key that stands there twice."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.YAMLError(f"the key {key.value!r} is there twice, again in line {key.start_mark.line + 1}")
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)
