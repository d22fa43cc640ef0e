"""A run directory read into plain values, for the report. What a run does not hold yet is None or empty, never invented.

Nothing here computes a statistic or knows how a page looks.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spr.errors import DataError
from spr.recipe import Recipe
from spr.records import Candidate, Dropped, PreferencePair, RegionQuery, ScoredCandidate
from spr.running.run_dir import RunDir
from spr.running.shards import ShardStore

STAGES: dict[str, type[Any]] = {
    "queries": RegionQuery,
    "candidates": Candidate,
    "scores": ScoredCandidate,
    "pairs": PreferencePair,
}


@dataclass(frozen=True, slots=True)
class Flow:
    """One stage's balance: of `rows_in` input rows `parents` have output rows, `rows_out` in
    all, and the others were dropped, counted by reason. `notes` are the stage's own counts, e.g. truncations."""

    stage: str
    rows_in: int
    parents: int
    rows_out: int
    dropped: dict[str, int]
    notes: dict[str, int]


@dataclass(frozen=True, slots=True)
class Run:
    """Everything the report reads. `scores` and `pairs` are None while their stage has no finished shard, `metrics`
    is metrics.json ({} when missing), `log` the lines of policy/log.jsonl. `flows` holds the source, the stages (from
    their manifests) and the jobs (from metrics.json) by name, in the order of the flow."""

    path: Path
    recipe: Recipe
    scores: list[ScoredCandidate] | None
    pairs: list[PreferencePair] | None
    flows: dict[str, Flow]
    metrics: dict[str, Any]
    log: list[dict[str, Any]]

    @property
    def name(self) -> str:
        """The name of the run's directory; of an earlier round's below it, both."""
        path = self.path.resolve()
        return "/".join(path.parts[-3:] if path.parent.name == "rounds" else path.parts[-1:])

    @property
    def tasks(self) -> dict[str, Any]:
        """The evaluated tasks of metrics.json by name."""
        return dict(self.metrics.get("tasks", {}))


def read_run(path: Path) -> Run:
    """Read RUN.

    Raises ResumeError for a directory that is no run or one of another layout, DataError for broken files and rows of
    another schema version, RecipeError for a recipe.json that this version cannot read.
    """
    run_dir = RunDir(path)
    run_dir.check()
    metrics = _file(run_dir.metrics_file)
    source = _flows(_file(path / "source.json").get("funnel", {}))
    stages = {stage: flow for stage in STAGES if (flow := _flow(path, stage)) is not None}
    jobs = {name: flow for name, flow in _flows(metrics.get("funnel", {})).items() if name not in source | stages}
    return Run(
        path=path,
        recipe=run_dir.recipe(),
        scores=_store(path, "scores").all_rows() if "scores" in stages else None,
        pairs=_store(path, "pairs").all_rows() if "pairs" in stages else None,
        flows=source | stages | jobs,
        metrics=metrics,
        log=_log(run_dir.policy / "log.jsonl"),
    )


def read_results(path: Path) -> Run:
    """RUN without its rows and its log: the recipe, and what metrics.json states. Raises what `read_run` raises."""
    run_dir = RunDir(path)
    run_dir.check()
    metrics = _file(run_dir.metrics_file)
    return Run(path, run_dir.recipe(), None, None, _flows(metrics.get("funnel", {})), metrics, [])


def dropped_queries(path: Path) -> dict[str, Dropped]:
    """The queries of RUN that a stage dropped, by query id. Raises DataError for a broken file."""
    stages = ("candidates", "scores", "pairs")
    return {row.row_id: row for stage in stages for row in _store(path, stage).all_dropped()}


def _store(path: Path, stage: str) -> ShardStore:
    return ShardStore(path / stage, path / "dropped" / stage, STAGES[stage])


def _flow(path: Path, stage: str) -> Flow | None:
    """A stage's balance over its finished shards; None when it has none."""
    manifests = _store(path, stage).manifests()
    if not manifests:
        return None
    dropped: Counter[str] = Counter()
    notes: Counter[str] = Counter()
    for manifest in manifests:
        dropped.update(manifest.dropped)
        notes.update(manifest.notes)
    return Flow(
        stage=stage,
        rows_in=sum(manifest.rows_in for manifest in manifests),
        parents=sum(manifest.parents for manifest in manifests),
        rows_out=sum(manifest.rows_out for manifest in manifests),
        dropped=dict(sorted(dropped.items())),
        notes=dict(sorted(notes.items())),
    )


def _flows(funnel: Mapping[str, Any]) -> dict[str, Flow]:
    """The entries of a funnel as source.json and metrics.json state it, e.g. images, annotations, train, eval/rec/base."""
    return {
        name: Flow(name, entry["in"], entry["parents"], entry["out"], entry["dropped"], {}) for name, entry in funnel.items()
    }


def _file(path: Path) -> dict[str, Any]:
    """The json object of a file, {} when it is missing. Raises DataError."""
    return _object(path.read_text(encoding="utf-8"), str(path)) if path.is_file() else {}


def _log(path: Path) -> list[dict[str, Any]]:
    """The lines of the training log, but a last one that its writer has not finished. Raises DataError."""
    if not path.is_file():
        return []
    whole = path.read_text(encoding="utf-8").rpartition("\n")[0].splitlines()
    return [_object(line, f"{path}:{number}") for number, line in enumerate(whole, 1)]


def _object(text: str, where: str) -> dict[str, Any]:
    """One json object. Raises DataError."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise DataError(f"{where} is not valid json ({error}); give the command that writes it again") from None
    if not isinstance(value, dict):
        raise DataError(f"{where} holds a {type(value).__name__}; it must hold a json object")
    return value
