"""Whose results a directory keeps: one recipe's, by one protocol, of one policy, made by a model or from files.

What refuses does so before anything is written, so that a refused command leaves the directory as it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spr.errors import RecipeError, ResumeError
from spr.evaluation.registry import protocol_of
from spr.models.identity import directory_digest
from spr.pipeline.funnel import of_source
from spr.pipeline.metrics import results_on_disk
from spr.pipeline.rounds import adapter_of
from spr.recipe import Recipe, check_recipe
from spr.recipe_evaluation import KINDS, Data, Evaluation, SplitData, TaskSet
from spr.recipe_model import REACHED_BY
from spr.running.run_dir import RunDir, changed_keys

_COUNTING = ("bootstrap",)
"""Keys of `evaluation` that only count answers anew; each result states its own."""


def check_owner(recipe: Recipe, run: RunDir, sets: Sequence[TaskSet], adapter: Path | None) -> Path | None:
    """The adapter that answers as the tuned policy: `adapter`, or the run's own.

    Raises RecipeError for another adapter in a run that has its own; ResumeError where the directory keeps the results of
    another recipe, protocol, adapter or data, or such as were scored from files.
    """
    own = adapter_of(run)
    if adapter and (own or of_source(run)) and adapter.resolve() != (own or run.policy / "adapter").resolve():
        raise RecipeError(f"--adapter: {run.path} keeps the results of its own policy; name another directory with --out")
    check_protocol(recipe, run)
    check_asked(run)
    check_recipe_owned(recipe, run, sets)
    if own is None:
        _check_adapter(run, adapter)
    return adapter or own


def check_protocol(recipe: Recipe, run: RunDir) -> None:
    """Refuse to lay results by one protocol beside those by another. Raises ResumeError."""
    for name, metrics in results_on_disk(run).items():
        made, now = metrics.get("protocol"), protocol_of(name.split("/")[0], recipe.evaluation.protocol)
        if made is not None and made != now:
            raise ResumeError(
                f"{run.path} holds {name} by protocol {made}, and evaluation.protocol is {recipe.evaluation.protocol}; one "
                "table never mixes protocols: name another --out"
            )


def check_asked(run: RunDir) -> None:
    """Refuse to lay a model's answers beside what was scored from files. Raises ResumeError."""
    for name, metrics in results_on_disk(run).items():
        if "from" in metrics:
            raise ResumeError(f"{run.path} holds {name} scored from given files; name another --out")


def check_recipe_owned(recipe: Recipe, run: RunDir, sets: Sequence[TaskSet]) -> None:
    """Refuse a directory that was made by another recipe, or whose results of the tasks that `sets` are of would be of other
    data than the recipe names, or of data that it names no more. Raises ResumeError."""
    if run.recipe_values() is None:
        return
    values = run.recipe().model_dump(mode="json")  # with the defaults of keys that an older version did not know
    changes = changed_keys(_computed(values), _computed(recipe.model_dump(mode="json")))
    if changes:
        raise ResumeError(f"{run.path} belongs to another recipe ({'; '.join(changes)}); name another --out")
    kinds = {one.kind for one in sets}
    now = {one.id: one.data for one in recipe.evaluation.sets()}
    held = results_on_disk(run)
    for old in Evaluation.model_validate(values["evaluation"]).sets():
        if old.kind not in kinds or old.id not in held:
            continue
        if old.id not in now:
            raise ResumeError(
                f"{run.path} holds {old.id}, which evaluation.{old.kind} names no more; keep it in the list, or name another "
                "--out"
            )
        if differ := changed_keys(_which(old.data), _which(now[old.id])):
            raise ResumeError(
                f"{run.path} holds {old.id} of other data ({'; '.join(differ)}); give the new data set a name of its own, or "
                "name another --out"
            )


def own_recipe(recipe: Recipe, run: RunDir, sets: Sequence[TaskSet]) -> None:
    """Put the recipe down in a new directory; in an old one the sections of what is evaluated now. Raises DiskError."""
    old, new = run.recipe_values(), recipe.model_dump(mode="json")
    if old is None:
        run.write_recipe(recipe)
        return
    sections = {one.kind: new["evaluation"][one.kind] for one in sets}
    merged = {**old, "evaluation": {**old["evaluation"], **sections}}
    run.write_recipe(check_recipe(merged, str(run.recipe_file)))


def adapter_said(adapter: Path | None) -> dict[str, Any]:
    """What a result says of the tuned policy: the sha256 of its adapter."""
    return {"adapter": directory_digest(adapter)} if adapter else {}


def _which(data: Data) -> dict[str, Any]:
    """Which data set it is: a corrected copy of its file, and more or fewer of its items, are still the same one."""
    return {"annotations": data.annotations.name, "split": data.split if isinstance(data, SplitData) else None}


def _check_adapter(run: RunDir, adapter: Path | None) -> None:
    digest = directory_digest(adapter) if adapter else None
    for name, metrics in results_on_disk(run).items():
        if "adapter" not in metrics or metrics["adapter"] == digest:
            continue
        if digest is None:
            raise ResumeError(
                f"{run.path} holds {name} of base and tuned; give its --adapter again, or name another --out for the base alone"
            )
        raise ResumeError(f"{run.path} holds {name} of another adapter than {adapter}; name another --out")


def _computed(values: Mapping[str, Any]) -> dict[str, Any]:
    """A plain recipe without where it runs, how a server is reached, which data sets there are, and how they are counted."""
    model = dict(values["model"])
    if model.get("endpoint"):
        model["endpoint"] = {name: value for name, value in model["endpoint"].items() if name not in REACHED_BY}
    left_out = (*KINDS, *_COUNTING)
    evaluation = {name: value for name, value in values["evaluation"].items() if name not in left_out}
    return {**values, "model": model, "resources": None, "evaluation": evaluation}
