"""The model card of a policy: what it is, what it was trained on, what was measured, and how to load it.

Markdown under a YAML header that the hub reads. Only what a run holds is stated, and of files and folders their names alone,
since a card is for the public. Not here: the header (`card_header`), or where the card is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from spr.evaluation.layouts import LAYOUTS, doubt, heading, size_parts
from spr.models import dialects
from spr.models.identity import directory_digest
from spr.recipe import Recipe
from spr.report.card_header import header
from spr.report.card_loading import loading_code
from spr.report.data import Flow, read_results
from spr.report.public import hub_name, public
from spr.report.tables import Row, funnel, layout_rows
from spr.report.templating import render_text, words
from spr.training.manifest import read_manifest
from spr.training.merged import Merged

HERE = "path/to/this/folder"
"""What the code of a card names that lies in a folder."""
THING = "the red car"
SIZE = (640, 480)
BOX = (77.0, 163.0, 327.0, 385.0)
"""The thing, the image and the box that show how the model is asked, and how it writes a box."""
_FIGURES = {
    "loss": ("loss", 3),
    "rewards/accuracies": ("pairs whose chosen answer has the higher reward, share", 3),
    "rewards/margins": ("reward margin, chosen over rejected", 3),
    "rewards/chosen": ("reward of the chosen", 3),
    "rewards/rejected": ("reward of the rejected", 3),
    "mean_token_accuracy": ("tokens of the chosen that were the likeliest, share", 3),
}
"""What of the log's last quarter the card states, with its name and decimals."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a card is of: the adapter in a folder, the model that it was merged into (where `merged` is set), or a model
    that was trained whole. `repository` is its owner/name on the hub; None where it lies in a folder, and then `name` is what
    it is called."""

    adapter: Path
    name: str
    repository: str | None = None
    merged: Merged | None = None

    @property
    def whole(self) -> bool:
        """Whether it needs no base beside it."""
        return self.merged is not None or not (self.adapter / "adapter_config.json").is_file()


@dataclass(frozen=True, slots=True)
class Measured:
    """One table of the evaluation: its title, of how many items, what a reader has to be told, and its rows."""

    title: str
    size: str
    doubt: str
    compared: bool
    rows: list[Row]


def policy_card(run_path: Path, subject: Subject) -> str:
    """The card of a policy of RUN as Markdown; the same run gives the same text.

    Raises ResumeError, DataError or RecipeError when the run cannot be read, ModelError for an adapter without its files.
    """
    run = read_results(run_path)
    recipe, dialect = run.recipe, dialects.of(run.recipe.model)
    adapter = directory_digest(subject.adapter)
    tables, others = _measured_with(adapter, run.tasks)
    trained = read_manifest(subject.adapter.parent) or {}
    base = hub_name(recipe.model)
    on = None if subject.whole else base or f"path/to/{_called(recipe)}"
    return render_text(
        "card.md.j2",
        header=header(subject.name, recipe, tables, adapter, subject.merged, subject.whole),
        subject=subject,
        recipe=recipe,
        base=base,
        base_called=_called(recipe),
        code=loading_code(recipe.model, on, subject.repository or HERE, subject.adapter, dialect.rec_prompt(THING)),
        dialect=_dialect_code(recipe),
        written=dialect.ground(THING, BOX, SIZE),
        box=BOX,
        size=SIZE,
        tables=_tables(tables),
        others=others,
        unevaluated=[one.id for one in recipe.evaluation.sets() if one.id not in run.tasks],
        steps=funnel(run.flows),
        reasons=_reasons,
        trained=trained.get("report", {}),
        figures=_figures(trained.get("report", {})),
        identity=trained.get("parts", {}).get("model"),
        versions=trained.get("versions", {}),
        written_recipe=yaml.safe_dump(public(_read(recipe)), sort_keys=False, allow_unicode=True, width=120),
    )


def _read(recipe: Recipe) -> dict[str, Any]:
    """The recipe without what this training did not look at: LoRA's settings, where no adapter was trained."""
    values = recipe.model_dump()
    if recipe.train.method == "full":
        del values["train"]["lora"]
    return values


def _called(recipe: Recipe) -> str:
    """What the base is called: its name on the hub, or its folder's."""
    return hub_name(recipe.model) or Path(recipe.model.name).expanduser().resolve().name


def _dialect_code(recipe: Recipe) -> str:
    """Python that makes the dialect."""
    options = "".join(f", {name}={value!r}" for name, value in recipe.model.dialect_options.items())
    return f'spr.dialect("{recipe.model.dialect}"{options})'


def _measured_with(adapter: str, tasks: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The results that speak of this adapter or of the base alone, and the names of the others: those of another adapter, and
    those scored from files, which name none and may be anybody's answers."""
    own = {name: metrics for name, metrics in tasks.items() if "tuned" not in metrics or metrics.get("adapter") == adapter}
    return own, [name for name in tasks if name not in own]


def _tables(tasks: Mapping[str, Any]) -> list[Measured]:
    """Every table of the results that holds a number, in their order."""
    tables = []
    for name, metrics in tasks.items():
        for layout in LAYOUTS[name.split("/")[0]] if metrics["n"] else ():
            size, rows = ", ".join(size_parts(layout, metrics)), layout_rows(metrics, layout)
            tables.append(Measured(heading(name, layout, metrics), size, doubt(metrics), "tuned" in metrics, rows))
    return tables


def _reasons(flow: Flow) -> str:
    """What a step left out, by reason, the most frequent first."""
    counted = sorted(flow.dropped.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{number:,} {words(reason)}" for reason, number in counted)


def _figures(report: Mapping[str, Any]) -> list[tuple[str, float, int]]:
    """Name, value and decimals of what the log's last quarter says."""
    final = report.get("final", {})
    return [(name, final[key], digits) for key, (name, digits) in _FIGURES.items() if key in final]
