"""Predictions -> the numbers of metrics.json: each with its 95 % interval, base and tuned compared item by item.

Accuracies, parse rates and shares are percent; localization and mean IoU lie in 0..1. An empty task gives NaN, never 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from spr.boxes import FloatArray
from spr.errors import DataError
from spr.evaluation.intervals import interval
from spr.evaluation.rec import THRESHOLDS, hits, summary
from spr.records import Prediction
from spr.seeds import derive_seed

REGION_METRICS = ("localization", "boxes", "right_count", "names_right")
_SHARES = ("right_count", "names_right")


def rec_metrics(
    base: Sequence[Prediction],
    tuned: Sequence[Prediction] | None,
    resamples: int,
    seed: int,
    subset_of: int | None = None,
) -> dict[str, Any]:
    """`{"n", "base": M, "tuned": M, "delta": {"acc", "ci95"}}`, M with acc, mean_acc, mean_iou, parse_rate, ci95.

    Without `tuned` there is only n and base. `subset_of`, the size of the full split, marks a result on a part of it.
    Raises DataError when base and tuned answered different items.
    """
    keys = [f"{threshold:g}" for threshold in THRESHOLDS]
    bootstrap = _Bootstrap(base, resamples, derive_seed(seed, "bootstrap", "rec"))
    scored = {"base": hits(_ious(base))}
    metrics: dict[str, Any] = {"n": len(base), **({"subset_of": subset_of} if subset_of else {})}
    metrics["base"] = _rec(base, bootstrap.ci95(keys, scored["base"]))
    if tuned is not None:
        tuned = aligned(base, tuned)
        scored["tuned"] = hits(_ious(tuned))
        metrics["tuned"] = _rec(tuned, bootstrap.ci95(keys, scored["tuned"]))
        change = scored["tuned"] - scored["base"]
        metrics["delta"] = {"acc": _means(keys, change), "ci95": bootstrap.ci95(keys, change)}
    return metrics


def region_metrics(
    base: Sequence[Prediction],
    tuned: Sequence[Prediction] | None,
    resamples: int,
    seed: int,
    subset_of: int | None = None,
) -> dict[str, Any]:
    """`{"n", "objects", "base": M, "tuned": M, "delta": M}`, objects the mean number in a region.

    M holds localization, boxes a description, right_count and names_right (percent), each also in M's ci95; base and tuned
    with parse_rate too. Raises DataError as `rec_metrics` does.
    """
    bootstrap = _Bootstrap(base, resamples, derive_seed(seed, "bootstrap", "regions"))
    metrics: dict[str, Any] = {"n": len(base), **({"subset_of": subset_of} if subset_of else {})}
    metrics["objects"] = sum(one.payload["objects"] for one in base) / len(base) if base else float("nan")
    before = _region_values(base)
    metrics["base"] = _regions(base, before, bootstrap)
    if tuned is not None:
        tuned = aligned(base, tuned)
        after = _region_values(tuned)
        metrics["tuned"] = _regions(tuned, after, bootstrap)
        change = after - before
        metrics["delta"] = {**_means(REGION_METRICS, change), "ci95": bootstrap.ci95(REGION_METRICS, change)}
    return metrics


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


class _Bootstrap:
    """Intervals over the images of one task's items: one seed, so that all metrics see the same resampled images."""

    def __init__(self, items: Sequence[Prediction], resamples: int, seed: int) -> None:
        self._clusters = [item.cluster for item in items]
        self._resamples, self._seed = resamples, seed

    def ci95(self, keys: Sequence[str], values: FloatArray) -> dict[str, list[float]]:
        """values (n, m) with m keys -> the interval of each column's mean, as [low, high]."""
        bounds = interval(values, self._clusters, self._resamples, self._seed)
        return {key: [float(low), float(high)] for key, (low, high) in zip(keys, bounds.T, strict=True)}


def _ious(predictions: Sequence[Prediction]) -> FloatArray:
    return np.asarray([prediction.iou for prediction in predictions], dtype=np.float64)


def _rec(predictions: Sequence[Prediction], ci95: dict[str, list[float]]) -> dict[str, Any]:
    return {**summary(_ious(predictions)), "parse_rate": _parse_rate(predictions), "ci95": ci95}


def _region_values(predictions: Sequence[Prediction]) -> FloatArray:
    """The region metrics of each prediction, shape (n, 4); shares as 0 or 100."""
    factors = np.asarray([100.0 if metric in _SHARES else 1.0 for metric in REGION_METRICS])
    rows = [[prediction.payload[metric] for metric in REGION_METRICS] for prediction in predictions]
    values: FloatArray = np.asarray(rows, dtype=np.float64).reshape(-1, len(REGION_METRICS)) * factors
    return values


def _regions(predictions: Sequence[Prediction], values: FloatArray, bootstrap: _Bootstrap) -> dict[str, Any]:
    ci95 = bootstrap.ci95(REGION_METRICS, values)
    return {**_means(REGION_METRICS, values), "parse_rate": _parse_rate(predictions), "ci95": ci95}


def _means(keys: Sequence[str], values: FloatArray) -> dict[str, float]:
    """values (n, m) with m keys -> the mean of each column, NaN when n = 0."""
    means = values.mean(axis=0) if len(values) else np.full(values.shape[1], np.nan)
    return {key: float(mean) for key, mean in zip(keys, means, strict=True)}


def _parse_rate(predictions: Sequence[Prediction]) -> float:
    """Percent of the answers whose boxes could be read."""
    return 100 * sum(one.status == "ok" for one in predictions) / len(predictions) if predictions else float("nan")
