"""Spatial Preference Rewarding: make any vision-language model ground more precisely with preferences it generates itself.

The public names. Each is loaded when it is first used, so that `import spr` loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spr import boxes
    from spr._version import __version__
    from spr.errors import SprError
    from spr.evaluation.rec import rec_accuracy
    from spr.models.dialects import get as dialect
    from spr.recipe import Recipe, load_recipe
    from spr.records import (
        Candidate,
        Mention,
        Prediction,
        PreferencePair,
        QueryCandidates,
        QueryScores,
        RegionQuery,
        Scene,
        SceneObject,
        ScoredCandidate,
    )
    from spr.refinement import Refined, refine
    from spr.rewards.composite import composite_score
    from spr.rewards.localization import localization_score
    from spr.rewards.spatial_reward import SpatialReward

_HOMES = {
    "__version__": "spr._version:__version__",
    "boxes": "spr.boxes",
    "SprError": "spr.errors:SprError",
    "rec_accuracy": "spr.evaluation.rec:rec_accuracy",
    "dialect": "spr.models.dialects:get",
    "Recipe": "spr.recipe:Recipe",
    "load_recipe": "spr.recipe:load_recipe",
    "Candidate": "spr.records:Candidate",
    "Mention": "spr.records:Mention",
    "Prediction": "spr.records:Prediction",
    "PreferencePair": "spr.records:PreferencePair",
    "QueryCandidates": "spr.records:QueryCandidates",
    "QueryScores": "spr.records:QueryScores",
    "RegionQuery": "spr.records:RegionQuery",
    "Scene": "spr.records:Scene",
    "SceneObject": "spr.records:SceneObject",
    "ScoredCandidate": "spr.records:ScoredCandidate",
    "Refined": "spr.refinement:Refined",
    "refine": "spr.refinement:refine",
    "composite_score": "spr.rewards.composite:composite_score",
    "localization_score": "spr.rewards.localization:localization_score",
    "SpatialReward": "spr.rewards.spatial_reward:SpatialReward",
}
"""Where each public name lives: `module:attribute`, or a module."""

__all__ = [
    "Candidate",
    "Mention",
    "Prediction",
    "PreferencePair",
    "QueryCandidates",
    "QueryScores",
    "Recipe",
    "Refined",
    "RegionQuery",
    "Scene",
    "SceneObject",
    "ScoredCandidate",
    "SpatialReward",
    "SprError",
    "__version__",
    "boxes",
    "composite_score",
    "dialect",
    "load_recipe",
    "localization_score",
    "rec_accuracy",
    "refine",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'spr' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    home = importlib.import_module(module)
    value = getattr(home, attribute) if attribute else home
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
