"""A processor to a folder, whole: also the video half that was never loaded. Not here: weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import ProcessorMixin
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING
from transformers.utils import cached_file

from spr.models.loading import load_config
from spr.recipe_model import Model

_NESTED = "processor_config.json"
_VIDEO = "video_preprocessor_config.json"
_OLD = "preprocessor_config.json"
"""Where transformers looks for a video processor's settings, in this order: in the first under `video_processor`; the last is
the image processor's as well."""


def save_processor(processor: ProcessorMixin, model: Model, folder: Path) -> None:
    """Write the processor of `model` to `folder`, so that transformers loads there what it loads of the base.

    Without torchvision a family's processor is loaded without its video half, and would be saved without it; then nobody else
    could load it. So the base's own settings are written beside it. Raises OSError where the disk is full.
    """
    processor.save_pretrained(folder)
    family = PROCESSOR_MAPPING.get(type(load_config(model)), None)
    halved = family is not None and "video_processor" in family.get_attributes() and not hasattr(processor, "video_processor")
    if halved and (settings := _settings(model)) is not None:
        (folder / _VIDEO).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _settings(model: Model) -> dict[str, Any] | None:
    """The base's settings of its video processor; None where it has none."""
    for name in (_NESTED, _VIDEO, _OLD):
        found = cached_file(model.name, name, revision=model.revision or "main", _raise_exceptions_for_missing_entries=False)
        values: Any = json.loads(Path(found).read_text(encoding="utf-8")) if found else None
        if values is not None and name == _NESTED:
            values = values.get("video_processor")
        if values is not None:
            return dict(values)
    return None
