"""RUN/metrics.json: the tasks' results, the funnel, the seconds and the versions, put together from what lies on disk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from spr.pipeline import funnel
from spr.pipeline.assembly import BASE, DATA, JUDGED, TUNED
from spr.pipeline.rounds import directories, ended_by
from spr.recipe_evaluation import KINDS
from spr.running.files import read_json, write_json
from spr.running.run_dir import RunDir
from spr.running.shards import Manifest, read_manifests, versions


def write_metrics(run: RunDir) -> dict[str, Any]:
    """Write and return `{"tasks", "funnel", "writing", "training", "seconds", "versions"}`, and `rounds` where there are
    several; `training` are the tokens of what was trained on, null before.

    `seconds` are those of the workers, summed over a stage's shards, so that a resumed run states the same as one that
    was never stopped; of a resumed training, those of its last session. Accuracies are percent.
    """
    counts, seconds = _flow(run, step_manifests(run))
    trained = _training(run)
    values = {
        "tasks": task_results(run),
        "funnel": funnel.of_source(run) | funnel.of_task_sources(run) | counts,
        "writing": read_json(run.writing_file),
        "training": {name: trained.get(name, {}) for name in ("lengths", "histogram")} if trained else None,
        "seconds": seconds,
        "versions": versions(),
        **_rounds(run),
    }
    write_json(run.metrics_file, values)
    return values


def _flow(run: RunDir, manifests: Mapping[str, list[Manifest]]) -> tuple[dict[str, Any], dict[str, float]]:
    """The funnel and the seconds of some steps, and of the training."""
    counts = {name: funnel.of_manifests(found) for name, found in manifests.items()}
    seconds = {name: round(sum(manifest.seconds for manifest in found), 3) for name, found in manifests.items()}
    if trained := _training(run):
        counts["train"] = funnel.of_training(trained)
        seconds["train"] = trained["seconds"]
    return counts, seconds


def _training(run: RunDir) -> dict[str, Any]:
    """The report of a finished training; empty without one."""
    return dict((read_json(run.policy / "manifest.json") or {}).get("report") or {})


def _rounds(run: RunDir) -> dict[str, Any]:
    """`rounds`, what came of each round side by side, and `rounds_ended_by`, the one that gave no pairs; empty of a run of one
    round."""
    rounds = list(directories(run).values())
    if len(rounds) == 1:
        return {}
    return {
        "rounds": [{"round": number, **_round(one)} for number, one in enumerate(rounds, 1)],
        "rounds_ended_by": ended_by(run),
    }


def _round(run: RunDir) -> dict[str, Any]:
    """A round's funnel, how its policy described (`parse_rate` 0 to 1; `localization`, the mean score of all descriptions), the
    mean `margin` of its pairs, its training, and all its `seconds`. None where there is nothing yet."""
    manifests = {name: found for name, found in step_manifests(run).items() if name in DATA}
    counts, seconds = _flow(run, manifests)
    trained = _training(run)
    return {
        "funnel": counts,
        "parse_rate": (read_json(run.writing_file) or {}).get("parse_rate"),
        "localization": _mean(run, "scores", "localization"),
        "margin": _mean(run, "pairs", "margin"),
        "training": {name: trained[name] for name in ("updates", "pairs", "final", "displaced")} if trained else None,
        "seconds": round(sum(seconds.values()), 3),
    }


def _mean(run: RunDir, stage: str, column: str) -> float | None:
    """The mean of one column over all rows of a stage; None where it has no number."""
    parts = [run.path / stage / f"part-{found.shard:05d}.parquet" for found in read_manifests(run.path / stage)]
    columns = [pq.read_table(part, columns=[column], partitioning=None)[column].to_numpy() for part in parts if part.is_file()]
    values = np.concatenate([np.array([], dtype=np.float64), *columns])
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else None


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
