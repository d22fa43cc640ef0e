"""Code that a checkpoint brings along, and what pins it. Not here: running it, which transformers does.

A pinned revision pins the code that lies beside the weights. A checkpoint may also point to code in another repository, and
transformers takes that from the other one's main branch, whatever it holds today: such a pointer is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformers.utils import cached_file

from spr.errors import ModelError
from spr.recipe_model import Model

_FILES = (
    "config.json",
    "processor_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "tokenizer_config.json",
)


def check_own_code(recipe_part: Model) -> None:
    """Refuse a checkpoint with `trust_remote_code` whose files point to code that nothing pins. Raises ModelError, also for a
    file that is no json; a checkpoint that cannot be reached is left to its loading."""
    if not recipe_part.trust_remote_code:
        return
    for name in _FILES:
        found = cached_file(
            recipe_part.name,
            name,
            revision=recipe_part.revision or "main",
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
            _raise_exceptions_for_gated_repo=False,
        )
        if found is None:
            continue
        for place in _elsewhere(Path(found)):
            if place != recipe_part.name:
                raise ModelError(
                    f"model.name {recipe_part.name}: its {name} takes code from {place}, which no revision pins; copy the "
                    "code you have read into a directory of your own, and name its modules there"
                )


def _elsewhere(file: Path) -> Iterator[str]:
    """The repositories that a file's `auto_map` points to, as `owner/name--module.Class`."""
    try:
        values: Any = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ModelError(f"{file} cannot be read: {' '.join(str(error).split())[:200]}; complete the checkpoint") from error
    pointers = values.get("auto_map") if isinstance(values, dict) else None
    listed = pointers.values() if isinstance(pointers, dict) else [pointers]
    for pointer in listed:
        for one in pointer if isinstance(pointer, list | tuple) else [pointer]:
            if isinstance(one, str) and "--" in one:
                yield one.split("--")[0]
