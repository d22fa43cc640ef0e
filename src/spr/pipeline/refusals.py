"""What a run refuses early: before the annotations are read, and before hours of generation, instead of after them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from spr import images
from spr.candidates import CandidateStage, check_prompts
from spr.evaluation.asking import AskStage
from spr.evaluation.samples import check_question
from spr.models import dialects
from spr.models.base import Dialect
from spr.models.endpoint_requests import served_name
from spr.models.fitting import Question, check_fit
from spr.models.identity import check_directory
from spr.models.opening import open_model
from spr.pipeline.assembly import BASE
from spr.recipe import Recipe
from spr.recipe_evaluation import TaskSet
from spr.records import RegionQuery
from spr.running.steps import Step


def check_recipe_runs(recipe: Recipe, stages: Collection[str]) -> None:
    """Refuse, by the recipe and the model's configuration, what cannot be asked, trained or evaluated in these stages. Reads no
    data and loads no weights. Raises RecipeError and ModelError."""
    dialect = dialects.of(recipe.model)
    if "candidates" in stages and recipe.candidates.source == "model":
        check_prompts(recipe.candidates.prompts, dialect)
        if recipe.model.endpoint is None:
            check_directory(f"model.name {recipe.model.name}", recipe.model.name)
    if "train" in stages:
        from spr.training.base import check_trainable
        from spr.training.optimizer import check_optimizer
        from spr.training.reporting import check_reporting

        check_trainable(recipe.model, recipe.train)
        check_optimizer(recipe)
        check_reporting(recipe.train.report_to)
    if "eval" in stages:
        check_questions(recipe, recipe.evaluation.sets())
        if recipe.evaluation.sets() and recipe.evaluation.backend == "endpoint":
            served_name(recipe.model, adapter=Path())


def check_questions(recipe: Recipe, sets: Iterable[TaskSet]) -> None:
    """Refuse tasks that the model's family has no question for. Reads no data. Raises ModelError."""
    dialect = dialects.of(recipe.model)
    for one in sets:
        check_question(one.kind, recipe.evaluation.protocol, dialect)


def check_reachable(recipe: Recipe, steps: Mapping[str, Step]) -> None:
    """Reach the server that candidates are still to come from. Raises ModelError where it cannot be asked: no package, no
    key, no server, another model."""
    step = steps.get("candidates")
    if recipe.model.endpoint is None or step is None or not isinstance(step.stage, CandidateStage):
        return
    if len(step.store.indices()) < step.source.count():
        open_model(recipe.model, "cpu")


def check_candidates_fit(recipe: Recipe, step: Step) -> None:
    """Refuse, before the first of them is asked, prompts that leave no room in the model's context. Raises ModelError."""
    if recipe.model.endpoint is not None or not isinstance(step.stage, CandidateStage):
        return
    stage = step.stage
    queries = (query for index in _unmade(step) for query in step.source.rows(index))
    check_fit(recipe.model, _about_regions(stage, queries, dialects.of(recipe.model)), recipe.candidates.max_new_tokens)


def check_questions_fit(recipe: Recipe, steps: Mapping[str, Step]) -> None:
    """The same for the questions that the run will end with, as far as they are known. Raises ModelError."""
    if recipe.evaluation.backend == "endpoint":
        return
    for name, step in steps.items():
        if isinstance(step.stage, AskStage) and name.endswith(f"/{BASE}"):
            rows = (row for index in _unmade(step) for row in step.source.rows(index))
            # A photo that is not there has no size; it is dropped before it is asked about.
            asked = (Question(row.path, row.prompt, (row.size,)) for row in rows if min(row.size) > 0)
            check_fit(recipe.model, asked, recipe.evaluation.max_new_tokens)


def _unmade(step: Step) -> list[int]:
    """The shards that a step has not finished and whose input is there."""
    done = set(step.store.indices())
    return [index for index in range(step.source.count()) if index not in done and step.source.digest(index) is not None]


def _about_regions(stage: CandidateStage, queries: Iterable[RegionQuery], dialect: Dialect) -> Iterator[Question]:
    for query in queries:
        corners = images.crop_corners(query.region, query.size)
        crop = (corners[2] - corners[0], corners[3] - corners[1])
        for prompt, with_crop in stage.prompts(query, dialect):
            yield Question(query.path, prompt, (query.size, crop) if with_crop else (query.size,))
