"""The recipe: everything that a run depends on, in one YAML file.

Unknown keys are refused; what is impossible is refused here, before anything runs. Relative paths are relative to the
directory the command is started in. Defaults that the paper does not give are marked "ours" and are changed on evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError, model_validator

from spr.errors import RecipeError
from spr.recipe_evaluation import Evaluation
from spr.recipe_faults import fault
from spr.recipe_model import Model
from spr.recipe_part import OR_ONE, Fraction, Part
from spr.recipe_score import Score
from spr.recipe_train import SORTED, Train
from spr.recipe_yaml import override, read_values

AnyPart = TypeVar("AnyPart", bound=Part)
PromptVariant = Literal["plain", "names", "crop", "crop_names", "paraphrase"]


class Source(Part):
    """Box-annotated images: Objects365 or any other COCO-format json."""

    annotations: Path
    image_root: Path
    limit: int | None = Field(None, ge=1, description="use the first so many images of the file")


class Queries(Part):
    """Stage 1. Limits on one region and on the regions of one image; sides in pixels, areas and coverage as shares."""

    per_image: int = Field(1, ge=1)
    min_objects: int = Field(4, ge=1)
    max_objects: int | None = Field(None, ge=1)
    coverage: Fraction = Field(0.5, description="share of an object's area that makes it count as inside")
    min_box_side: float = Field(2.0, ge=0, description="boxes with a smaller side after clipping are dropped (ours)")
    min_region_side: float = Field(32.0, ge=1, description="ours")
    max_region_area: Fraction = Field(0.9, description="share of the image (ours)")
    max_query_iou: Fraction = 0.7

    @model_validator(mode="after")
    def _limits_fit(self) -> Queries:
        if self.max_objects is not None and self.max_objects < self.min_objects:
            raise ValueError(f"max_objects {self.max_objects} is below min_objects {self.min_objects}")
        return self


class Candidates(Part):
    """Stage 2. K descriptions a query, by the model or from a JSONL file with query_id, text, model."""

    source: Literal["model", "file"] = "model"
    path: Path | None = None
    k: int = Field(5, ge=2)
    prompts: Annotated[tuple[PromptVariant, ...], OR_ONE] = ("plain", "crop", "names", "crop_names", "paraphrase")
    temperature: float = Field(1.0, ge=0, description="ours")
    top_p: float = Field(1.0, gt=0, le=1)
    max_new_tokens: int = Field(512, ge=1, description="ours")
    batch_size: int = Field(8, ge=1, description="answers generated at a time")

    @model_validator(mode="after")
    def _file_has_path(self) -> Candidates:
        if (self.source == "file") != (self.path is not None):
            raise ValueError("`path` goes with `source: file`, and only with it")
        if not self.prompts:
            raise ValueError("prompts is empty; name at least one variant")
        return self


class Pairs(Part):
    """Stage 4. Best against worst, the best one refined; or more of a query's candidates against each other."""

    per_query: Literal["best_worst", "all", "top_n"] = "best_worst"
    n: int | None = Field(None, ge=1, description="with per_query top_n: so many pairs at most, the widest apart")
    rejected: Literal["worst", "unrefined"] = "worst"
    min_margin: float = Field(0.02, ge=0, description="ours")
    min_iou: Fraction = Field(0.5, description="a box must overlap a ground-truth box by more than this to be refined")
    unmatched: Literal["strip_box", "keep", "drop_phrase"] = Field("strip_box", description="ours")
    same_mentions: bool = Field(False, description="best and worst among candidates that name the same things")
    max_length_ratio: float | None = Field(None, ge=1, description="words of the longer text over those of the shorter one")
    weights: Literal["equal", "margin"] = Field("equal", description="what a pair weighs in training")

    @model_validator(mode="after")
    def _mentions_are_compared(self) -> Pairs:
        if self.same_mentions and self.rejected == "unrefined":
            raise ValueError("same_mentions compares candidates, rejected: unrefined does not; set one of the two")
        return self

    @model_validator(mode="after")
    def _pairs_are_counted(self) -> Pairs:
        if (self.per_query == "top_n") != (self.n is not None):
            raise ValueError("`n` goes with `per_query: top_n`, and only with it")
        if self.per_query != "best_worst" and self.rejected == "unrefined":
            raise ValueError(
                f"per_query: {self.per_query} compares candidates, rejected: unrefined does not; set one of the two"
            )
        return self


class Resources(Part):
    """Where it runs. Never part of what it computes, but `threads`: sums of floats depend on it."""

    devices: Annotated[tuple[str | int, ...], OR_ONE] = Field(
        ("auto",), min_length=1, description="one worker each: auto, cpu, 0, 1, cuda:0"
    )
    threads: int = Field(1, ge=1, description="CPU threads a worker")


class Recipe(Part):
    """A whole run."""

    seed: int = 0
    shard_size: int = Field(64, ge=1, description="input rows (images) a shard")
    rounds: int = Field(1, ge=1, description="how often regions are described, paired and trained on, each by the last policy")
    source: Source
    model: Model
    queries: Queries = Queries()
    candidates: Candidates = Candidates()
    score: Score
    pairs: Pairs = Pairs()
    train: Train = Train()
    evaluation: Evaluation = Evaluation()
    resources: Resources = Resources()

    @model_validator(mode="after")
    def _weights_are_used(self) -> Recipe:
        if self.pairs.weights != "equal" and self.train.objective == "sft":
            raise ValueError("pairs.weights weighs preferences, and train.objective: sft trains on none; set weights: equal")
        if self.pairs.weights != "equal" and (sorting := sorted(SORTED & set(self.train.loss_type))):
            raise ValueError(
                f"pairs.weights weighs pairs, and train.loss_type {sorting[0]} has no loss of one pair; set weights: equal"
            )
        return self

    @model_validator(mode="after")
    def _rounds_have_a_policy(self) -> Recipe:
        wants = f"rounds is {self.rounds}: from the second round on the policy that was just trained describes, "
        if self.rounds > 1 and self.candidates.source == "file":
            raise ValueError(
                f"{wants}and candidates.source: file only holds what others wrote; set rounds: 1, or source: model"
            )
        if self.rounds > 1 and self.train.method == "full":
            raise ValueError(f"{wants}from its adapter on, and train.method: full leaves none; set rounds: 1, or method: lora")
        if self.rounds > 1 and self.model.endpoint is not None:
            raise ValueError(f"{wants}and the server of model.endpoint does not have it; set rounds: 1, or leave endpoint out")
        return self

    @model_validator(mode="after")
    def _backend_is_there(self) -> Recipe:
        if self.evaluation.backend == "endpoint" and self.model.endpoint is None:
            raise ValueError("evaluation.backend is endpoint, but the recipe names no server; set model.endpoint.url")
        return self

    @model_validator(mode="after")
    def _protocol_fits(self) -> Recipe:
        reads_boxes = [one.id for one in self.evaluation.sets() if one.kind in ("rec", "phrase_grounding", "ferret_bench")]
        if self.evaluation.protocol == "ferret" and self.model.dialect != "ferret" and reads_boxes:
            raise ValueError(
                f"evaluation.protocol: ferret reads {reads_boxes[0]} as Ferret's own scripts do, in Ferret's brackets, but "
                f"model.dialect is {self.model.dialect}; set evaluation.protocol: plain"
            )
        return self


class _Asked(Part, extra="ignore"):
    """A recipe of which only the model counts."""

    model: Model


class _Scored(Part, extra="ignore"):
    """A recipe of which only the score counts."""

    score: Score


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a YAML recipe, lay `a.b=c` overrides over it (values in YAML) and check it. Raises RecipeError."""
    return check_recipe(read_values(path, overrides), str(path))


def override_recipe(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """A recipe with `a.b=c` overrides laid over it. Raises RecipeError."""
    if not overrides:
        return recipe
    data = recipe.model_dump(mode="json")
    for assignment in overrides:
        override(data, assignment)
    return check_recipe(data, "--set")


def check_recipe(data: dict[str, Any], where: str) -> Recipe:
    """Plain values -> Recipe. Raises RecipeError that names the key, its value and what it must be."""
    return _checked(Recipe, data, where)


def check_model(data: dict[str, Any], where: str) -> Model:
    """The `model` part of plain values alone, whatever else they hold or lack. Raises RecipeError as `check_recipe`."""
    return _checked(_Asked, data, where).model


def check_score(score: dict[str, Any], where: str) -> Score:
    """Plain values of the `score` part alone. Raises RecipeError as `check_recipe`."""
    return _checked(_Scored, {"score": score}, where).score


def _checked(kind: type[AnyPart], data: dict[str, Any], where: str) -> AnyPart:
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise RecipeError("\n".join(fault(kind, where, item) for item in error.errors())) from None
