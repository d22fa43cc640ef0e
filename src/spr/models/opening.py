"""A recipe's model, ready to be asked, by whichever backend the recipe names."""

from __future__ import annotations

from pathlib import Path

from spr.models.base import GroundingModel
from spr.recipe_model import Model


def open_model(model: Model, device: str, adapter: Path | None = None) -> GroundingModel:
    """The model on `device`, with a LoRA adapter on top if `adapter` names one. Raises ModelError."""
    from spr.models.transformers import TransformersModel

    return TransformersModel(model, device, adapter)


def identity_of(model: Model, adapter: Path | None = None) -> str:
    """One line that names what would answer, without loading it. Raises ModelError."""
    from spr.models.transformers import model_identity

    return model_identity(model, adapter)
