"""A recipe's model, ready to be asked, by whichever backend the recipe names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from spr.models.base import Generation, GroundingModel, Request, Sampling
from spr.models.endpoint_requests import served_identity
from spr.recipe_model import Model


def open_model(model: Model, device: str, adapter: Path | None = None, log: Path | None = None) -> GroundingModel:
    """The model on `device`, or the server of `model.endpoint`, which keeps its answers at `log`; tuned if `adapter` names
    a LoRA adapter, or the folder of a whole model trained from it. Raises ModelError; RecipeError for a tuned policy that the
    server has no name for."""
    if model.endpoint is not None:
        from spr.models.endpoint import EndpointModel

        return EndpointModel(model, adapter, log)
    from spr.models.transformers import TransformersModel

    weights, adapter = _policy(model, adapter)
    return TransformersModel(weights, device, adapter)


def answer_each(
    model: GroundingModel, groups: Iterable[Sequence[Request]], sampling: Sampling
) -> Iterator[list[list[Generation]]]:
    """The answers to group after group of requests, in their order; the next group is taken when it is needed, by a server
    some time before the last one is answered. Raises what the model raises."""
    from spr.models.endpoint import EndpointModel

    if isinstance(model, EndpointModel):
        return model.generate_each(groups, sampling)
    return (model.generate(group, sampling) if group else [] for group in groups)


def identity_of(model: Model, adapter: Path | None = None) -> str:
    """One line that names what would answer, without loading or asking it. Raises as `open_model`."""
    if model.endpoint is not None:
        return served_identity(model, adapter)
    from spr.models.transformers import model_identity

    return model_identity(*_policy(model, adapter))


def _policy(model: Model, adapter: Path | None) -> tuple[Model, Path | None]:
    """Whose weights are loaded, and the adapter on them: a folder of a whole model takes the base's place."""
    whole = adapter is not None and (adapter / "config.json").is_file() and not (adapter / "adapter_config.json").is_file()
    return (model.model_copy(update={"name": str(adapter), "revision": None}), None) if whole else (model, adapter)


def sampling_part(model: Model) -> dict[str, Any]:
    """What of the recipe's model, besides its identity, changes the texts that it samples, as plain json values.

    How a server runs its model is unknown here, and how it is reached changes no text.
    """
    if model.endpoint is not None:
        part = model.model_dump(mode="json", include={"dialect", "dialect_options"})
        return {**part, "samples": model.endpoint.samples}
    return model.model_dump(mode="json", include={"dialect", "dialect_options", "dtype", "attention", "quantization"})
