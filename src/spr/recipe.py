"""The recipe: everything that a run depends on, in one YAML file.

Unknown keys are refused; what is impossible is refused here, before anything runs. Relative paths are relative to the
directory the command is started in. Defaults that the paper does not give are marked "ours" and are changed on evidence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, ValidationError, model_validator

from spr.errors import RecipeError
from spr.recipe_evaluation import Evaluation
from spr.recipe_model import Model
from spr.recipe_part import Fraction, Part
from spr.recipe_score import Score
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
    prompts: tuple[PromptVariant, ...] = ("plain", "crop", "names", "crop_names", "paraphrase")
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
    """Stage 4. Best against worst, the best one refined."""

    rejected: Literal["worst", "unrefined"] = "worst"
    min_margin: float = Field(0.02, ge=0, description="ours")
    min_iou: Fraction = Field(0.5, description="a box must overlap a ground-truth box by more than this to be refined")
    unmatched: Literal["strip_box", "keep", "drop_phrase"] = Field("strip_box", description="ours")
    same_mentions: bool = Field(False, description="best and worst among candidates that name the same things")

    @model_validator(mode="after")
    def _mentions_are_compared(self) -> Pairs:
        if self.same_mentions and self.rejected == "unrefined":
            raise ValueError("same_mentions compares candidates, rejected: unrefined does not; set one of the two")
        return self


class Lora(Part):
    """LoRA on the language model's projections; `target_modules` overrides the table by family (a regular expression)."""

    r: int = Field(128, ge=1, description="ours")
    alpha: int = Field(256, ge=1, description="ours")
    dropout: float = Field(0.0, ge=0, lt=1)
    target_modules: str | None = None


LossType = Literal["sigmoid", "hinge", "ipo", "sft"]


class Train(Part):
    """Stage 5. DPO with the adapter-off reference, or SFT on the chosen."""

    objective: Literal["dpo", "sft"] = "dpo"
    loss_type: tuple[LossType, ...] = ("sigmoid",)
    loss_weights: tuple[float, ...] | None = None
    beta: float = Field(0.1, gt=0)
    lora: Lora = Lora()
    learning_rate: float = Field(1e-5, gt=0, description="for 7B (ours)")
    scheduler: Literal["linear", "cosine", "constant_with_warmup"] = "cosine"
    warmup_ratio: Fraction = 0.03
    weight_decay: float = Field(0.0, ge=0)
    epochs: float = Field(1.0, gt=0)
    max_steps: int | None = Field(None, ge=1, description="updates; overrides epochs")
    batch_size: int = Field(1, ge=1, description="pairs a device and step")
    gradient_accumulation: int = Field(16, ge=1)
    max_tokens: int = Field(4096, ge=1, description="budget of one sequence, image tokens included; the preflight enforces it")
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    gradient_checkpointing: bool = True
    save_steps: int = Field(100, ge=1)
    threads: int = Field(2, ge=1, description="CPU threads; sums of floats depend on them (ours)")

    @model_validator(mode="after")
    def _losses_fit(self) -> Train:
        if self.loss_weights is not None and len(self.loss_weights) != len(self.loss_type):
            raise ValueError(f"{len(self.loss_weights)} loss_weights for {len(self.loss_type)} loss types")
        if self.objective == "dpo" and set(self.loss_type) == {"sft"}:
            raise ValueError("loss_type [sft] alone is no preference loss; set objective: sft")
        return self


class Resources(Part):
    """Where it runs. Never part of what it computes, but `threads`: sums of floats depend on it."""

    devices: tuple[str | int, ...] = Field(("auto",), min_length=1, description="one worker each: auto, cpu, 0, 1, cuda:0")
    threads: int = Field(1, ge=1, description="CPU threads a worker")


class Recipe(Part):
    """A whole run."""

    seed: int = 0
    shard_size: int = Field(64, ge=1, description="input rows (images) a shard")
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


def _checked(kind: type[AnyPart], data: dict[str, Any], where: str) -> AnyPart:
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise RecipeError("\n".join(_fault(where, item) for item in error.errors())) from None


def _fault(where: str, item: Any) -> str:
    key = _key(item["loc"])
    if item["type"] == "extra_forbidden":
        return f"{where}: unknown key {key}; see `spr init` for the keys a recipe may hold"
    if item["type"] == "missing" or (item["input"] is None and item["type"] in ("path_type", "string_type", "model_type")):
        return f"{where}: {key} is missing; set it in the recipe or with --set {key}=..."
    if item["type"] == "value_error":
        return f"{where}: {key}: {str(item['msg']).removeprefix('Value error, ')}"
    return f"{where}: {key} is {_short(item['input'])}; {_must(str(item['msg']))}"


def _key(place: Sequence[str | int]) -> str:
    """Where a fault lies, as --set names it. A section that is no list in the file has place 0 of one here."""
    parts = [str(part) for part in place]
    if len(parts) > 2 and parts[0] == "evaluation" and parts[2] == "0":
        del parts[2]
    return ".".join(parts) or "recipe"


def _must(message: str) -> str:
    return "it" + message.removeprefix("Input") if message.startswith("Input") else message[0].lower() + message[1:]


def _short(value: Any) -> str:
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:g}"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
