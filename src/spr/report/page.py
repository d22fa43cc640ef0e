"""The report page: everything that a run holds, on one static page that needs nothing but itself.

Here the parts are put together; what they say and how they look is said in their own modules and in `templates/`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from spr import images
from spr.models import dialects
from spr.models.base import Dialect
from spr.records import PreferencePair
from spr.report import charts
from spr.report.boxes_svg import CHOSEN, REJECTED, TRUTH, draw_pair
from spr.report.data import Run, read_run
from spr.report.summaries import chosen_drift, measure_lengths, spread_over_margins, summarise_scores
from spr.report.svg import COLOURS, FONT
from spr.report.tables import TASKS, accuracy_rows, funnel, measure_rows, verdict
from spr.report.texts import mark_mentions
from spr.running.files import write_atomic

DRAWN = 12
"""How many pairs are drawn."""
_CURVES = {
    "loss": ({"loss": ("loss", "ink")}, "Loss", False),
    "rewards/margins": ({"rewards/margins": ("margin", "ink")}, "Reward margin, chosen over rejected", True),
    "rewards/chosen": (
        {"rewards/chosen": ("chosen", "tuned"), "rewards/rejected": ("rejected", "rejected")},
        "Reward, tinted where less likely than the reference",
        True,
    ),
    "logps/chosen": (
        {"logps/chosen": ("chosen", "tuned"), "logps/rejected": ("rejected", "rejected")},
        "Log-probability, nats",
        False,
    ),
}


@dataclass(frozen=True, slots=True)
class PairCard:
    """One pair ready for the page; `picture` is None where the photo cannot be used, and `fault` says why."""

    pair: PreferencePair
    picture: Markup | None
    fault: str
    chosen: Markup
    unrefined: Markup
    rejected: Markup


def write_report(run: Path) -> Path:
    """Write RUN/report/index.html from what RUN holds and return its path; the same run gives the same bytes.

    Raises ResumeError, DataError or RecipeError when the run cannot be read (see `read_run`), DiskError when the page
    cannot be written.
    """
    page = run / "report" / "index.html"
    write_atomic(page, render(read_run(run)).encode())
    return page


def render(run: Run) -> str:
    """The whole page as HTML."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("spr.report", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(num=_number, signed=_signed, count=_count, words=_words, duration=_duration)
    dialect = dialects.get(run.recipe.model.dialect, **run.recipe.model.dialect_options)
    return environment.get_template("report.html.j2").render(
        run=run,
        name=run.path.resolve().name,
        colours=COLOURS,
        font=Markup(FONT),
        strokes={"chosen": CHOSEN, "rejected": REJECTED, "truth": TRUTH},
        updates=int(max((line["step"] for line in run.log if "step" in line), default=0)),
        seconds=run.metrics.get("seconds", {}),
        rec=_accuracies(run),
        measures={task: measure_rows(values) for task, values in run.tasks.items() if task != "rec"},
        verdict=verdict,
        titles=TASKS,
        funnel=funnel(run.flows),
        scores=_scores(run),
        cards=[_card(run, pair, dialect) for pair in spread_over_margins(run.pairs or [], DRAWN)],
        lengths=_lengths(run, dialect),
        training=_training(run),
        recipe=run.recipe.model_dump_json(indent=2),
    )


def _accuracies(run: Run) -> dict[str, Any] | None:
    """The main table and its charts; None while referring expressions were not evaluated."""
    task = run.tasks.get("rec")
    if task is None:
        return None
    models = {side: task[side] for side in ("base", "tuned") if side in task}
    pictures = [charts.accuracy(models)] if task["n"] else []
    if task["n"] and "delta" in task:
        pictures.append(charts.gain(task["delta"]))
    return {"rows": accuracy_rows(task), "others": measure_rows(task), "pictures": [Markup(picture) for picture in pictures]}


def _scores(run: Run) -> dict[str, Any] | None:
    """Histograms, spreads and correlations; None while nothing is scored."""
    if not run.scores:
        return None
    summary = summarise_scores(run.scores)
    pictures = [Markup(charts.histogram(summary.values[name], _words(name))) for name in summary.names]
    return {"summary": summary, "pictures": pictures, "n": len(run.scores)}


def _card(run: Run, pair: PreferencePair, dialect: Dialect) -> PairCard:
    chosen, rejected = dialect.parse(pair.chosen, pair.size), dialect.parse(pair.rejected, pair.size)
    picture, fault = None, ""
    try:
        picture = Markup(draw_pair(pair, chosen, rejected, run.recipe.source.image_root))
    except images.ImageFault as error:
        fault = str(error)
    return PairCard(
        pair=pair,
        picture=picture,
        fault=fault,
        chosen=mark_mentions(pair.chosen, chosen),
        unrefined=mark_mentions(pair.chosen_unrefined, dialect.parse(pair.chosen_unrefined, pair.size)),
        rejected=mark_mentions(pair.rejected, rejected),
    )


def _lengths(run: Run, dialect: Dialect) -> dict[str, Any] | None:
    """Words and boxes of the pairs' texts; None while there are no pairs."""
    if not run.pairs:
        return None
    lengths = measure_lengths(run.pairs, dialect)
    columns = {
        "Words": (lengths.chosen_words, lengths.rejected_words, "words without box mark-up"),
        "Boxes": (lengths.chosen_boxes, lengths.rejected_boxes, "readable boxes"),
    }
    return {
        "pictures": [Markup(charts.against(a, b, title, unit)) for title, (a, b, unit) in columns.items()],
        "rows": [(title, float(np.mean(a)), float(np.mean(b))) for title, (a, b, _) in columns.items()],
    }


def _training(run: Run) -> dict[str, Any] | None:
    """Curves of what the log holds, and how far the chosen drifted from the reference; None while there is no log."""
    if not run.log:
        return None
    present = [parts for key, parts in _CURVES.items() if any(key in line for line in run.log)]
    pictures = [Markup(charts.curve(run.log, *parts)) for parts in present]
    return {"pictures": pictures, "drift": chosen_drift(run.log, run.recipe.train.beta)}


def _number(value: float | None, digits: int) -> str:
    if value is None or not math.isfinite(value):
        return "\N{EN DASH}"
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _signed(value: float | None, digits: int) -> str:
    text = _number(value, digits)
    return text if value is None or not value > 0 else f"+{text}"


def _count(value: int) -> str:
    return f"{value:,}"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _duration(seconds: float) -> str:
    """Seconds for people: 48 s, 5 min 12 s, 3 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
