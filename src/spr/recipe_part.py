"""What every part of the recipe has in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, le=1)]
OR_ONE = BeforeValidator(lambda value: (value,) if isinstance(value, str | int) else value)
"""Of a list: its only member may stand there without brackets."""


class Part(BaseModel):
    """A part of the recipe: frozen, and closed to keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())
