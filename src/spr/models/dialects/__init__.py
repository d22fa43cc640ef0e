"""One module a family of models: how it writes a box. Each states its frame and its rounding in one place."""

from __future__ import annotations

import inspect
from typing import Any

from spr.errors import RecipeError
from spr.models.base import Dialect
from spr.models.dialects.cogvlm import CogVLM
from spr.models.dialects.deepseek_vl2 import DeepseekVL2
from spr.models.dialects.ferret import Ferret
from spr.models.dialects.florence2 import Florence2
from spr.models.dialects.glm_4_5v import Glm45V
from spr.models.dialects.internvl import InternVL
from spr.models.dialects.kosmos2 import Kosmos2
from spr.models.dialects.llava_onevision import LlavaOnevision
from spr.models.dialects.markup import MarkupDialect
from spr.models.dialects.minigpt_v2 import MiniGPTv2
from spr.models.dialects.paligemma import PaliGemma
from spr.models.dialects.qwen2_5_vl import Qwen25VL
from spr.models.dialects.qwen2_vl import Qwen2VL
from spr.models.dialects.qwen3_vl import Qwen3VL
from spr.models.dialects.shikra import Shikra
from spr.models.dialects.tiny import Tiny
from spr.recipe_model import Model

FAMILIES: dict[str, type[MarkupDialect]] = {
    family.name: family
    for family in (
        Ferret,
        CogVLM,
        LlavaOnevision,
        Qwen2VL,
        Qwen25VL,
        Qwen3VL,
        InternVL,
        Kosmos2,
        PaliGemma,
        Florence2,
        Shikra,
        MiniGPTv2,
        DeepseekVL2,
        Glm45V,
        Tiny,
    )
}


def get(name: str, **frame: Any) -> Dialect:
    """The dialect of a family, e.g. `get("llava-onevision", frame="padded")`.

    Raises RecipeError for an unknown name or option, listing the known ones.
    """
    if name not in FAMILIES:
        raise RecipeError(f"dialect is {name!r}; it must be one of {', '.join(sorted(FAMILIES))}")
    known = [option for option in inspect.signature(FAMILIES[name]).parameters if option not in ("args", "kwargs")]
    for option in frame:
        if option not in known:
            raise RecipeError(
                f"model.dialect_options.{option}: dialect {name}: unknown option {option}; "
                f"known are: {', '.join(known) or 'none'}"
            )
    return FAMILIES[name](**frame)


def of(model: Model) -> Dialect:
    """The dialect that a recipe's `model` names, with its options. Raises RecipeError."""
    return get(model.dialect, **model.dialect_options)
