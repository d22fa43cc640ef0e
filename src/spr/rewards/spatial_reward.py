"""The scores that candidates are ranked by, as a reward for trainers that learn online: GRPO and its kin.

Callable as TRL calls its reward functions; `shims` has the signatures of other trainers. What a text is worth is
`scorer`'s, by the same recipe as in a run; what a row of a trainer's batch says is `reward_rows`'. No torch here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from types import MappingProxyType
from typing import Any

from PIL import Image

from spr.errors import DataError, RecipeError
from spr.models import dialects
from spr.models.base import Dialect
from spr.recipe import Recipe, check_score
from spr.recipe_score import Score
from spr.rewards.judging import Scores
from spr.rewards.reward_rows import Asked, Row, RowReader
from spr.rewards.scorer import NO_GROUND_TRUTH, Scorer

_AS_THEY_ARE: Mapping[str, str] = MappingProxyType({})


class SpatialReward:
    """The composite score of a text about a region, as `recipe.score` defines it, for a whole batch at once.

    `score` is that part of a recipe, or plain values of it; `dialect` a dialect or its name. Photos that are not in memory
    lie below `image_root`. `columns` maps `image`, `width`, `height`, `region` and `objects` to the names that the data have
    for them. `tokenizer` decodes completions of families whose boxes are made of special tokens, which trainers leave
    out of their texts. `coverage` is the share of a detector's box that a region must cover, `device` where models run.
    Models are loaded with the first batch that needs them.

    Texts about the same region are scored together, like the candidates of a query: what a detector adds to the ground
    truth comes from all of them, and `normalize` compares them. So a batch should hold whole groups.

    Raises RecipeError for a score, a dialect or a column that is not known.
    """

    def __init__(
        self,
        score: Score | Mapping[str, Any],
        dialect: Dialect | str,
        *,
        image_root: Path | str | None = None,
        columns: Mapping[str, str] = _AS_THEY_ARE,
        tokenizer: Any = None,
        coverage: float = 0.5,
        device: str = "cpu",
    ) -> None:
        self.recipe = score if isinstance(score, Score) else check_score(dict(score), "SpatialReward")
        self.dialect = dialects.get(dialect) if isinstance(dialect, str) else dialect
        self._root = None if image_root is None else Path(image_root)
        looks = self.recipe.semantic is not None or self.recipe.detector is not None
        self._reader = RowReader(columns, looks)
        self._tokenizer = tokenizer
        self._scorer = Scorer(self.recipe, self.dialect, self._root or Path(), coverage)
        self._scorer.setup(device)

    @classmethod
    def of(cls, recipe: Recipe, **options: Any) -> SpatialReward:
        """The reward that ranks the candidates of a recipe's run: its score, its dialect, its images. `options` are the other
        arguments of the class."""
        values = {"image_root": recipe.source.image_root, "coverage": recipe.queries.coverage, **options}
        return cls(recipe.score, dialects.of(recipe.model), **values)

    def __call__(
        self,
        prompts: Sequence[Any] | None,  # noqa: ARG002 (TRL's signature, as is trainer_state)
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]] | None = None,
        trainer_state: Any = None,  # noqa: ARG002
        log_extra: Callable[[str, list[Any]], None] | None = None,
        log_metric: Callable[[str, float], None] | None = None,
        images: Sequence[Any] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """The reward of each completion, None where it does not apply: its objects are None, or there is no ground truth.

        The signature of TRL's GRPO reward functions (trl 1.16, `GRPOTrainer._calculate_rewards`): completions are plain texts
        or conversations, and every column of the data comes as a list in their order. What cannot be read in a text costs
        reward and is no fault. Logs the means spr/localization, spr/semantic, spr/boxes and spr/unreadable (both a text).
        Raises DataError for columns that are missing, and for an image that cannot be used.
        """
        texts = self._texts(completions, completion_ids)
        given = columns if images is None else {**columns, "images": images}
        aligned = {name: values for name, values in given.items() if _is_column(values, len(texts))}
        rows = [{name: values[i] for name, values in aligned.items()} for i in range(len(texts))]
        found = self.score([{**row, "text": text} for row, text in zip(rows, texts, strict=True)])
        if log_metric is not None:
            _log(log_metric, [one for one in found if one is not None])
        rewards = [None if one is None else one.composite for one in found]
        if log_extra is not None:
            log_extra("spr", rewards)
        return rewards

    def score(self, rows: Sequence[Row]) -> list[Scores | None]:
        """Everything that is known of the texts of rows: mappings with `text` and the columns of the data, in their order.

        None where a reward does not apply. Raises DataError as a call does, and for a row without a text.
        """
        if textless := [number for number, row in enumerate(rows) if not isinstance(row.get("text"), str)]:
            raise DataError(f"row {textless[0]} of the batch has no text; put there what the model wrote")
        asked = [self._read(row, number) for number, row in enumerate(rows)]
        groups: dict[Any, list[int]] = {}
        for place, one in enumerate(asked):
            if one is not None:
                query = one.query
                groups.setdefault((query.path, query.size, query.region, query.objects), []).append(place)
        photos = {one.query.path: one.photo for one in asked if one is not None and one.photo is not None}
        results: list[Scores | None] = [None] * len(rows)
        for places, outcome in zip(groups.values(), self._outcomes(rows, asked, list(groups.values()), photos), strict=True):
            if not isinstance(outcome, str):
                for place, scores in zip(places, outcome, strict=True):
                    results[place] = scores
        return results

    def _read(self, row: Row, number: int) -> Asked | None:
        asked = self._reader.read(row, number)
        if asked is not None and asked.query.path and asked.photo is None and self._root is None:
            raise DataError(
                f"row {number} of the batch gives its image as the path {asked.query.path}, and the reward has no image_root; "
                "set it to the folder of the images"
            )
        return asked

    def _outcomes(
        self, rows: Sequence[Row], asked: Sequence[Asked | None], groups: Sequence[list[int]], photos: Mapping[str, Image.Image]
    ) -> list[list[Scores] | str]:
        """The scores of each group's texts, or that there is no ground truth. Raises DataError for any other reason."""
        queries = [one.query for one in (asked[places[0]] for places in groups) if one is not None]
        texts = [[str(rows[place]["text"]) for place in places] for places in groups]
        found = list(self._scorer.score(list(zip(queries, texts, strict=True)), photos))
        for query, outcome in zip(queries, found, strict=True):
            if isinstance(outcome, str) and outcome != NO_GROUND_TRUTH:
                raise DataError(f"{query.query_id} of the batch: {self._fault(query.path, outcome)}")
        return found

    def _fault(self, path: str, reason: str) -> str:
        if path.startswith("sha256:"):
            return f"its image is of another size than its width and height say ({reason})"
        return f"its image {path} below {self._root} cannot be used ({reason})"

    def _texts(self, completions: Sequence[Any], ids: Sequence[Sequence[int]] | None) -> list[str]:
        if self.dialect.skip_special_tokens:
            return [_text(one) for one in completions]
        if self._tokenizer is None or ids is None:
            raise RecipeError(
                f"boxes of dialect {self.dialect.name} are made of special tokens, which the trainer leaves out of its texts; "
                "give the reward the model's tokenizer, and let the trainer pass completion_ids"
            )
        return [self._decoded(row) for row in ids]

    def _decoded(self, ids: Sequence[int]) -> str:
        """The text of a completion with its special tokens, but for those that end it."""
        kept = list(ids)
        while kept and kept[-1] in (self._tokenizer.eos_token_id, self._tokenizer.pad_token_id):
            kept.pop()
        return str(self._tokenizer.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _is_column(values: Any, length: int) -> bool:
    """Whether these are values of a batch, one a row; trainers pass their own state by name as well."""
    return hasattr(values, "__getitem__") and not isinstance(values, str | Mapping) and len(values) == length


def _text(completion: Any) -> str:
    """A completion as plain text: it is one, or messages of which the last one of the assistant counts."""
    if isinstance(completion, str):
        return completion
    said = [message.get("content") for message in completion if message.get("role") == "assistant"]
    content = said[-1] if said else None
    if isinstance(content, list):
        return "".join(part.get("text") or "" for part in content)
    return content or ""


def _log(log_metric: Callable[[str, float], None], found: Sequence[Scores]) -> None:
    """Log what the rewards are made of; nothing where none applied, and no semantic score where no model gave one."""
    if not found:
        return
    log_metric("spr/localization", fmean(one.localization for one in found))
    if all(one.semantic == one.semantic for one in found):
        log_metric("spr/semantic", fmean(one.semantic for one in found))
    log_metric("spr/boxes", fmean(one.detail["n_mentions"] for one in found))
    log_metric("spr/unreadable", fmean(one.detail["n_unreadable"] for one in found))
