"""What pydantic finds wrong with a recipe, as sentences: where, the value, what it must be; what there is instead of a key."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from spr.recipe_part import Part

_NAMED = 3
"""Near keys that are named."""
_NEAR = 0.7
"""difflib's ratio from which on two keys are near: below it `lr` is `lora`."""


def fault(kind: type[Part], where: str, item: Any) -> str:
    """One of pydantic's findings about values for `kind` that were read from `where`, as a sentence."""
    key = _key(item["loc"])
    if item["type"] == "extra_forbidden":
        return f"{where}: unknown key {key}; {_known(kind, item['loc'])}"
    if item["type"] == "missing" or (item["input"] is None and item["type"] in ("path_type", "string_type", "model_type")):
        return f"{where}: {key} is missing; set it in the recipe or with --set {key}=..."
    if item["type"] == "tuple_type":
        return f"{where}: {key} is {_short(item['input'])}; it should be a list, in [ ]"
    if item["type"] == "value_error":
        return f"{where}: {key}: {str(item['msg']).removeprefix('Value error, ')}"
    return f"{where}: {key} is {_short(item['input'])}; {_must(str(item['msg']))}"


def _known(kind: type[Part], place: Sequence[str | int]) -> str:
    """What may have been meant by the last name of `place`."""
    *sections, name = place
    parts = [kind]
    for section in sections:
        if isinstance(section, str):  # not the number of one in a list
            parts = [part for parent in parts if section in parent.model_fields for part in _parts(parent, section)]
    known = list(dict.fromkeys(key for part in parts for key in part.model_fields))
    near = get_close_matches(str(name), known, n=_NAMED, cutoff=_NEAR)
    return f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"


def _parts(parent: type[Part], section: str) -> Iterator[type[Part]]:
    """The parts that a key may hold: itself, or one of a union, or the members of a list."""
    waiting = [parent.model_fields[section].annotation]
    while waiting:
        annotation = waiting.pop()
        if isinstance(annotation, type) and issubclass(annotation, Part):
            yield annotation
        waiting.extend(get_args(annotation))


def _key(place: Sequence[str | int]) -> str:
    """Where a fault lies, as --set names it. A section that is no list in the file has place 0 of one here."""
    parts = [str(part) for part in place]
    if len(parts) > 2 and parts[0] == "evaluation" and parts[2] == "0":
        del parts[2]
    return ".".join(parts) or "recipe"


def _must(message: str) -> str:
    return "it" + message.removeprefix("Input") if message.startswith("Input") else message[0].lower() + message[1:]


def _short(value: Any) -> str:
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:g}"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
