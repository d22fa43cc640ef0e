"""The YAML header of a model card, by which the hub files it: the base, the library, and what was measured.

Written by the hub's own classes, so that what it refuses is refused here. Not here: what people read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from spr.errors import DataError
from spr.evaluation.layouts import LAYOUTS, Layout, Line, data_name, lookup
from spr.recipe import Recipe
from spr.report.public import hub_name
from spr.training.merged import Merged

TASK = "image-text-to-text"
_READING = frozenset({"parse_rate", "truncation_rate"})
"""What speaks of how answers were read, and not of what they are worth."""
_KNOWN = frozenset({"accuracy", "precision", "recall", "f1"})
"""Measures that the hub knows by that name."""


def header(title: str, recipe: Recipe, tasks: Mapping[str, Any], policy: str, merged: Merged | None, whole: bool) -> str:
    """The header of a policy's card, without its `---` lines. `tasks` are the results that speak of it, `policy` is the
    sha256 of its adapter, or of the model where that was trained; either it or what an adapter was `merged` into is `whole`."""
    base, train = hub_name(recipe.model), recipe.train
    results = list(_results(tasks))
    how = {} if merged is None else {"merged": asdict(merged)}
    values = ModelCardData(
        base_model=base,
        base_model_relation=None if base is None else "finetune" if whole else "adapter",
        library_name="transformers" if whole else "peft",
        pipeline_tag=TASK,
        tags=["visual-grounding", "spatial-preference-rewarding", train.objective, train.method, "trl"],
        model_name=title,
        eval_results=results or None,
        spr={"model": policy} if whole and merged is None else {"adapter": policy} | how,
    )
    if not results:
        values.pop("model_name")
    return values.to_yaml()


def merged_of(folder: Path) -> tuple[str, Merged]:
    """The sha256 of the adapter that was merged into the model in `folder`, and how, as its card's header states it.

    Raises DataError for a folder without such a card.
    """
    try:
        said: Any = ModelCard.load(folder / "README.md").data.get("spr")
        return said["adapter"], Merged(**said["merged"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError):
        raise DataError(
            f"{folder} holds no merged model with its card; make one with `spr merge RUN --out DIR` and name that"
        ) from None


def _results(tasks: Mapping[str, Any]) -> Iterator[EvalResult]:
    """Every finite number of the tuned policy."""
    for name, metrics in tasks.items():
        for layout in LAYOUTS[name.split("/")[0]] if metrics["n"] else ():
            for line in layout.lines:
                value = lookup(metrics.get("tuned", {}), line.key)
                if line.key not in _READING and value is not None and math.isfinite(value):
                    yield _result(name, metrics, layout, line, value)


def _result(name: str, metrics: Mapping[str, Any], layout: Layout, line: Line, value: float) -> EvalResult:
    shown, kind = data_name(name, metrics) or name, line.label.removesuffix(", %").lower()
    return EvalResult(
        task_type=TASK,
        task_name=layout.title,
        dataset_type=_slug(shown),
        dataset_name=shown,
        dataset_config=_slug(layout.title),
        dataset_split=metrics.get("data", {}).get("split"),
        metric_type=kind if kind in _KNOWN else _slug(kind),
        metric_name=line.label,
        metric_value=round(float(value), 4),
    )


def _slug(words: str) -> str:
    """Words as an id: lower-case letters, digits, and single dashes."""
    return re.sub(r"[^a-z0-9.@]+", "-", words.lower()).strip("-")
