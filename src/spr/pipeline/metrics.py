"""RUN/metrics.json: the tasks' results, the funnel, the seconds and the versions, put together from what lies on disk."""

from __future__ import annotations

from typing import Any

from spr.pipeline import funnel
from spr.pipeline.assembly import BASE, DATA, JUDGED, TUNED
from spr.recipe_evaluation import KINDS
from spr.running.files import read_json, write_json
from spr.running.run_dir import RunDir
from spr.running.shards import Manifest, read_manifests, versions


def write_metrics(run: RunDir) -> dict[str, Any]:
    """Write and return `{"tasks", "funnel", "writing", "seconds", "versions"}`.

    `seconds` are those of the workers, summed over a stage's shards, so that a resumed run states the same as one that
    was never stopped; of a resumed training, those of its last session. Accuracies are percent.
    """
    manifests = step_manifests(run)
    trained: Any = (read_json(run.policy / "manifest.json") or {}).get("report")
    counts = (
        funnel.of_source(run)
        | funnel.of_task_sources(run)
        | {name: funnel.of_manifests(found) for name, found in manifests.items()}
    )
    seconds = {name: round(sum(manifest.seconds for manifest in found), 3) for name, found in manifests.items()}
    if trained:
        counts["train"] = funnel.of_training(trained)
        seconds["train"] = trained["seconds"]
    values = {
        "tasks": task_results(run),
        "funnel": counts,
        "writing": read_json(run.writing_file),
        "seconds": seconds,
        "versions": versions(),
    }
    write_json(run.metrics_file, values)
    return values


def task_results(run: RunDir) -> dict[str, Any]:
    """The metrics of every evaluated data set that the run's recipe still names, by its id, in the order of the recipe."""
    if run.recipe_values() is None:
        return {}
    held = results_on_disk(run)
    return {one.id: held[one.id] for one in run.recipe().evaluation.sets() if one.id in held}


def results_on_disk(run: RunDir) -> dict[str, Any]:
    """The same of every data set that was ever evaluated into the directory, in the order of the tasks."""
    found = {name: read_json(run.path / "eval" / name / "metrics.json") for name in _sets(run)}
    return {name: metrics for name, metrics in found.items() if metrics is not None}


def _sets(run: RunDir) -> list[str]:
    """The data sets that have been evaluated, or begun: the folders under eval that hold a base side or items of their own."""
    root = run.path / "eval"
    begun = {path.parent for side in ("items", BASE) for pattern in ("*", "*/*") for path in root.glob(f"{pattern}/{side}")}
    names = (path.relative_to(root).as_posix() for path in begun)
    return sorted(
        (name for name in names if name.split("/")[0] in KINDS), key=lambda name: (KINDS.index(name.split("/")[0]), name)
    )


def step_manifests(run: RunDir) -> dict[str, list[Manifest]]:
    """The manifests of every step that has some, by the step's name, in the order of the flow."""
    folders = {name: run.path / name for name in DATA}
    for task in _sets(run):
        folders |= {
            f"eval/{task}/{side}": run.evaluation(task, side) / "parts" for side in ("items", BASE, TUNED, *JUDGED.values())
        }
    found = {name: read_manifests(folder) for name, folder in folders.items()}
    return {name: manifests for name, manifests in found.items() if manifests}
