"""Where metrics go beside log.jsonl: the trackers that transformers knows, as far as they are installed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from transformers.integrations import INTEGRATION_TO_CALLBACK, get_available_reporting_integrations

from spr.errors import RecipeError

_TENSORBOARD = "tensorboard"


def check_reporting(names: Sequence[str]) -> None:
    """Refuse trackers that there are none of by that name, and such as are not installed. Raises RecipeError."""
    for name in names:
        if name not in INTEGRATION_TO_CALLBACK:
            known = ", ".join(sorted(INTEGRATION_TO_CALLBACK))
            raise RecipeError(f"train.report_to: there is no {name!r}; name some of {known}")
        if name not in get_available_reporting_integrations():
            raise RecipeError(f"train.report_to names {name}, which is not installed; `pip install {name}`, or leave it out")


def places(names: Sequence[str], checkpoints: Path) -> list[str]:
    """Where files of the named trackers will lie, as lines: TensorBoard's below the checkpoints, or where its variable says."""
    if _TENSORBOARD not in names:
        return []
    return [f"train: tensorboard's files go to {os.environ.get('TENSORBOARD_LOGGING_DIR') or checkpoints / 'runs'}"]
