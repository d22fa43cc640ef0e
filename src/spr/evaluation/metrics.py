"""Predictions -> the numbers of metrics.json: each with its 95 % interval, base and tuned compared item by item.

Accuracies, rates and shares are percent; localization and IoU lie in 0..1. An empty task or group gives NaN, never 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spr.boxes import FloatArray
from spr.errors import DataError
from spr.evaluation.comparison import mcnemar, paired_test
from spr.evaluation.intervals import Clustered, bootstrap, clustered, observed
from spr.evaluation.task import Task
from spr.records import Prediction
from spr.seeds import derive_seed

AnyTask = Task[Any]
SIZES = ("small", "medium", "large")


@dataclass(frozen=True, slots=True)
class Counting:
    """How sure numbers are made: draws of images, the run's seed, and the protocol that read the answers."""

    draws: int
    seed: int
    protocol: str


@dataclass(frozen=True, slots=True)
class _Side:
    """One model's predictions, with what is summed over them (n, m), computed once, and the image of each (n,)."""

    predictions: Sequence[Prediction]
    columns: FloatArray
    clusters: NDArray[np.str_]

    @classmethod
    def of(cls, task: AnyTask, predictions: Sequence[Prediction]) -> _Side:
        return cls(predictions, task.columns(predictions), np.asarray([one.cluster for one in predictions], dtype=np.str_))

    def clustered(self, rows: Sequence[int] | slice = slice(None)) -> Clustered:
        """Some rows, or all of them."""
        chosen = rows if isinstance(rows, slice) else np.asarray(rows, dtype=np.int64)
        return clustered(self.columns[chosen], self.clusters[chosen].tolist())


def task_metrics(
    task: AnyTask,
    base: Sequence[Prediction],
    tuned: Sequence[Prediction] | None,
    how: Counting,
    subset_of: int | None = None,
    tick: Callable[[int], None] = lambda _: None,
) -> dict[str, Any]:
    """`{"n", "images", "protocol", "draws", "base": M, "tuned": M, "delta": D, "by": {group: {value: G}}}`.

    M holds the task's quantities, `parse_rate` and `truncation_rate` (percent), and `ci95`; D the quantities' differences,
    `ci95`, the p-value `p` of the paired test, and `mcnemar` for shares of right answers; G `n`, and the quantities of base,
    tuned and delta with its `ci95`. Without `tuned` there are only n and base. `subset_of`, the size of the full split, marks a
    result on a part of it. `tick` is told when the whole and each of the `group_count` groups are counted. Raises DataError
    when base and tuned answered different items.
    """
    images = len({one.cluster for one in base})
    metrics: dict[str, Any] = {"n": len(base), "images": images, "protocol": how.protocol, "draws": how.draws}
    if subset_of:
        metrics["subset_of"] = subset_of
    metrics |= task.facts(base)
    sides = [_Side.of(task, base)] + ([] if tuned is None else [_Side.of(task, aligned(base, tuned))])
    metrics |= _compared(task, sides, how)
    tick(1)
    metrics["by"] = {}
    for group, values in _groups(base).items():
        metrics["by"][group] = {}
        for value, rows in values.items():
            metrics["by"][group][value] = _group(task, [side.clustered(rows) for side in sides], len(rows), how)
            tick(1)
    return metrics


def group_count(predictions: Sequence[Prediction]) -> int:
    """How many groups results are broken down into."""
    return sum(map(len, _groups(predictions).values()))


def aligned(base: Sequence[Prediction], tuned: Sequence[Prediction]) -> list[Prediction]:
    """`tuned` in the order of `base`. Raises DataError when they did not answer the same items, each once."""
    by_id = {prediction.item_id: prediction for prediction in tuned}
    wanted = [prediction.item_id for prediction in base]
    if len(by_id) != len(tuned) or len(set(wanted)) != len(wanted) or by_id.keys() != set(wanted):
        odd = sorted(by_id.keys() ^ set(wanted)) or ["an item that was answered twice"]
        raise DataError(
            f"base answered {len(base)} items and tuned {len(tuned)}, and they are not the same ones (e.g. {odd[0]}); "
            "a paired comparison needs equal items, evaluate both again"
        )
    return [by_id[item_id] for item_id in wanted]


def nested(keys: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    """`["acc/0.5"], [x]` -> `{"acc": {"0.5": x}}`."""
    found: dict[str, Any] = {}
    for key, value in zip(keys, values, strict=True):
        *outer, last = key.split("/")
        inner = found
        for part in outer:
            inner = inner.setdefault(part, {})
        inner[last] = value
    return found


def _compared(task: AnyTask, sides: Sequence[_Side], how: Counting) -> dict[str, Any]:
    sums = [side.clustered() for side in sides]
    bounds = bootstrap(sums, task.quantities, how.draws, derive_seed(how.seed, "bootstrap", task.name))
    values = [observed(side, task.quantities) for side in sums]
    metrics: dict[str, Any] = {}
    for name, side, found, interval in zip(("base", "tuned"), sides, values, bounds.sides, strict=False):
        rates = {"parse_rate": parse_rate(side.predictions), "truncation_rate": truncation_rate(side.predictions)}
        metrics[name] = {**nested(task.keys, found.tolist()), **rates, "ci95": _ci95(task, interval)}
    if bounds.change is not None:
        p = paired_test(sums[0], sums[1], task.quantities, how.draws, derive_seed(how.seed, "paired test", task.name))
        delta = nested(task.keys, (values[1] - values[0]).tolist())
        metrics["delta"] = {**delta, "ci95": _ci95(task, bounds.change), "p": _inner(task, p.tolist())}
        base, tuned = (task.rights(side.predictions) for side in sides)
        if base:
            metrics["delta"]["mcnemar"] = _mcnemar(base, tuned)
    return metrics


def _mcnemar(base: Mapping[str, Any], tuned: Mapping[str, Any]) -> dict[str, Any]:
    tests = {key: mcnemar(base[key], tuned[key]) for key in base}
    plain = [{"gained": one.gained, "lost": one.lost, "p": one.p} for one in tests.values()]
    return nested([_short(key) for key in tests], plain)


def _group(task: AnyTask, sums: Sequence[Clustered], count: int, how: Counting) -> dict[str, Any]:
    """The quantities of some of the predictions."""
    values = [observed(side, task.quantities) for side in sums]
    found: dict[str, Any] = {"n": count, "base": nested(task.keys, values[0].tolist())}
    if len(sums) > 1:
        bounds = bootstrap(sums, task.quantities, how.draws, derive_seed(how.seed, "bootstrap", task.name))
        found["tuned"] = nested(task.keys, values[1].tolist())
        found["delta"] = nested(task.keys, (values[1] - values[0]).tolist())
        if bounds.change is not None:
            found["delta"]["ci95"] = _ci95(task, bounds.change)
    return found


def _groups(predictions: Sequence[Prediction]) -> dict[str, dict[str, list[int]]]:
    """Row numbers by group and value; all sizes are there, other values as they occur, the most frequent first."""
    found: dict[str, dict[str, list[int]]] = {}
    for row, one in enumerate(predictions):
        for group, value in one.groups.items():
            empty: dict[str, list[int]] = {size: [] for size in SIZES} if group == "size" else {}
            found.setdefault(group, empty).setdefault(value, []).append(row)
    ordered = {group: sorted(values.items(), key=lambda item: (-len(item[1]), item[0])) for group, values in found.items()}
    return {group: found[group] if group == "size" else dict(values) for group, values in ordered.items()}


def _short(key: str) -> str:
    """Accuracies by threshold are called by their threshold in `ci95`, `p` and `mcnemar`."""
    return key.removeprefix("acc/")


def _inner(task: AnyTask, values: Sequence[Any]) -> dict[str, Any]:
    return nested([_short(key) for key in task.keys], values)


def _ci95(task: AnyTask, bounds: FloatArray) -> dict[str, Any]:
    return _inner(task, [[float(low), float(high)] for low, high in bounds.T])


def parse_rate(predictions: Sequence[Prediction]) -> float:
    """Percent of the predictions whose answer could be read."""
    return 100 * sum(one.status == "ok" for one in predictions) / len(predictions) if predictions else float("nan")


def truncation_rate(predictions: Sequence[Prediction]) -> float:
    """Percent of the predictions whose answer was cut off at max_new_tokens."""
    return 100 * sum(one.payload["cut_off"] for one in predictions) / len(predictions) if predictions else float("nan")
