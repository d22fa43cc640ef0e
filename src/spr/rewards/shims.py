"""The reward under the signatures of trainers other than TRL. Each is a few lines around `SpatialReward`; none is imported.

Two of them show a reward less than TRL does: verl one text at a time, OpenRLHF one string for prompt and answer together.
What cannot be scored rightly from that is refused when the shim is made.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from spr.errors import DataError, RecipeError
from spr.rewards.judging import Scores
from spr.rewards.spatial_reward import SpatialReward


def swift(reward: SpatialReward) -> type[Any]:
    """For ms-swift: a class for `orms["spr"]` in the file given to `--external_plugins` (ms-swift, swift/rewards/orm.py).

    It is made without or with the trainer's arguments, and called with texts and the columns of the data; NaN where the
    reward does not apply, which ms-swift leaves out of the sum. Its own `objects` column holds other boxes: name yours
    otherwise, and the reward's `columns` after it.
    """

    class SpatialORM:
        """The spatial reward."""

        def __init__(self, args: Any = None, **kwargs: Any) -> None:
            """Nothing is configured by the trainer's arguments."""

        def __call__(self, completions: Sequence[str], **columns: Any) -> list[float]:
            """The reward of each completion."""
            ids = columns.pop("response_token_ids", None)
            rewards = reward(None, completions, ids, **columns)
            return [math.nan if one is None else one for one in rewards]

    return SpatialORM


def verl(reward: SpatialReward) -> Callable[..., dict[str, float]]:
    """For verl: `compute_score` for `custom_reward_function.path` (verl, reward_manager/naive.py). The columns of a row are
    those of `extra_info` and, over them, of `ground_truth`.

    The result holds the reward as `score`, and its parts. verl asks for one text at a time and without special tokens, so
    RecipeError is raised for a recipe that compares the texts of a region, and for a dialect whose boxes are such tokens.
    """
    _check_alone(reward)
    if not reward.dialect.skip_special_tokens:
        raise RecipeError(
            f"boxes of dialect {reward.dialect.name} are made of special tokens, which verl leaves out of its texts"
        )

    def compute_score(
        data_source: str, solution_str: str, ground_truth: Any, extra_info: Mapping[str, Any] | None = None, **_: Any
    ) -> dict[str, float]:
        row = {**(extra_info or {}), **_mapping(ground_truth, f"ground_truth of data_source {data_source}")}
        (scores,) = reward.score([{**row, "text": solution_str}])
        return {"score": _some(scores, f"a row of data_source {data_source}"), **_parts(scores)}

    return compute_score


def openrlhf(reward: SpatialReward, opening: str, closing: str) -> Callable[..., dict[str, Any]]:
    """For OpenRLHF: `reward_func` for `--remote_rm_url` (OpenRLHF, examples/python/reward_func.py). A label is the json text
    of a row's columns.

    A query is prompt and answer in one string, with special tokens. `opening` is what the model's template writes before an
    answer and `closing` what it writes after it, e.g. `<|im_start|>assistant\\n` and `<|im_end|>`. Texts of a region may
    come in different calls, so RecipeError is raised for a recipe that compares them. Returns rewards and scores as tensors
    (n,).
    """
    _check_alone(reward)
    if not opening or not closing:
        raise RecipeError("opening and closing must be what the chat template writes around an answer; one of them is empty")

    def reward_func(queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any], **_: Any) -> dict[str, Any]:  # noqa: ARG001
        import torch

        if len(labels) != len(queries):
            raise DataError(f"there are {len(queries)} queries and {len(labels)} labels; give each query the label of its row")
        rows = [_mapping(label, f"label {place}") for place, label in enumerate(labels)]
        texts = [_answer(query, opening, closing, place) for place, query in enumerate(queries)]
        found = reward.score([{**row, "text": text} for row, text in zip(rows, texts, strict=True)])
        rewards = torch.tensor([_some(one, f"label {place}") for place, one in enumerate(found)])
        parts = [_parts(one) for one in found]
        extra = {name: torch.tensor([part[name] for part in parts]) for name in (parts[0] if parts else ())}
        return {"rewards": rewards, "scores": rewards, "extra_logs": extra}

    return reward_func


def _check_alone(reward: SpatialReward) -> None:
    """Refuse what needs all texts of a region at once: a lone text would choose its own ground truth, or scale."""
    preset = reward.recipe.localization.preset
    if preset != "annotations_only":
        raise RecipeError(
            f"score.localization.preset is {preset}, where what a detector finds for all texts of a region is their ground "
            "truth; this trainer scores them apart, so set it to annotations_only"
        )
    if reward.recipe.normalize != "none":
        raise RecipeError(
            f"score.normalize is {reward.recipe.normalize}, which compares the texts of a region; this trainer scores them "
            "apart, so set it to none"
        )


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    """A row's columns, or the json text of them."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise DataError(f"{where} is not valid json ({error}); write the columns of the row there") from None
    if not isinstance(value, Mapping):
        raise DataError(f"{where} is a {type(value).__name__}; it must hold the columns of the row, or their json")
    return value


def _answer(query: str, opening: str, closing: str, place: int) -> str:
    """The last answer in a query."""
    _, found, answer = query.rpartition(opening)
    if not found:
        raise DataError(f"query {place} holds no {opening!r}, which should open its answer; give the template's own opening")
    return answer.split(closing)[0]


def _some(scores: Scores | None, where: str) -> float:
    if scores is None:
        raise DataError(f"{where} has no ground truth, so its text has no reward; leave such rows out of the data")
    return scores.composite


def _parts(scores: Scores | None) -> dict[str, float]:
    """What is logged beside the reward."""
    if scores is None:
        return {}
    return {"spr/localization": scores.localization, "spr/boxes": scores.detail["n_mentions"]}
