"""The report: everything that a run holds on one static page, and a page for each pair that is drawn on it.

Here the parts of the first page are put together; what they say and how they look is said in their own modules and in
`templates/`. A pair's own page is made by `pair_page`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from spr import images
from spr.models import dialects
from spr.models.base import Dialect
from spr.records import PreferencePair
from spr.report import charts
from spr.report.analysis import compare_presets, disagreement, endings
from spr.report.boxes_svg import draw_pair
from spr.report.case import Case, Cases, page_name
from spr.report.data import Run, read_run
from spr.report.gallery import Gallery, galleries
from spr.report.gallery_page import strip, write_galleries
from spr.report.pair_page import write_pages
from spr.report.results import Result, Table, overviews, results
from spr.report.rounds import round_rows, rounds_note
from spr.report.summaries import chosen_drift, measure_lengths, spread_over_margins, summarise_scores
from spr.report.tables import funnel, verdict
from spr.report.templating import render_page, words
from spr.report.texts import mark_mentions
from spr.running.files import write_atomic
from spr.training.displacement import first_displaced, standing

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
    """One pair ready for the page; `picture` is None where the photo cannot be used, and `fault` says why. `page` is the
    address of the pair's own page."""

    pair: PreferencePair
    page: str
    picture: Markup | None
    fault: str
    chosen: Markup
    unrefined: Markup
    rejected: Markup


def write_report(run: Path) -> Path:
    """Write RUN/report/index.html, the pages of the pairs drawn on it, in RUN/report/pairs, and those of what training changed
    most, in RUN/report/gallery, from what RUN holds; the same run gives the same bytes. Returns the path of the index.

    Raises ResumeError, DataError or RecipeError when the run cannot be read (see `read_run`), DiskError when a page cannot be
    written.
    """
    whole = read_run(run)
    changed = galleries(whole)
    write_pages(Cases(whole), _drawn(whole))
    write_galleries(whole, list(changed.values()))
    page = run / "report" / "index.html"
    write_atomic(page, render(whole, changed).encode("utf-8", "replace"))
    return page


def render(run: Run, changed: Mapping[str, Gallery], listing: str | None = None) -> str:
    """The first page as HTML. `changed` are the run's galleries; `listing` is the address of the list of all pairs, where there
    is one."""
    dialect, cases, found = dialects.of(run.recipe.model), Cases(run), results(run.tasks)
    return render_page(
        "report.html.j2",
        run=run,
        name=run.name,
        listing=listing,
        updates=int(max((line["step"] for line in run.log if "step" in line), default=0)),
        seconds=run.metrics.get("seconds", {}),
        results=found,
        overviews=overviews(found),
        compared=any("delta" in task for task in run.tasks.values()),
        unevaluated=[one.id for one in run.recipe.evaluation.sets() if one.id not in run.tasks],
        strips={name: strip(run, one) for name, one in changed.items()},
        best=_headline(found),
        verdict=verdict,
        funnel=funnel(run.flows),
        writing=_writing(run),
        scores=_scores(run),
        cards=[_card(run, cases.of(pair), dialect) for pair in _drawn(run)],
        lengths=_lengths(run, dialect),
        training=_training(run),
        rounds=round_rows(run.metrics),
        rounds_note=rounds_note(run.metrics),
        recipe=run.recipe.model_dump_json(indent=2),
    )


def _drawn(run: Run) -> list[PreferencePair]:
    """The pairs that are drawn on the first page, in their order there."""
    return spread_over_margins(run.pairs or [], DRAWN)


def _headline(found: Sequence[Result]) -> Table | None:
    """The table that the page begins with: that of the first data set on which models were compared."""
    return next((table for one in found for table in one.tables if table.headline.gain is not None), None)


def _writing(run: Run) -> dict[str, Any] | None:
    """How the candidates' texts write boxes, and where; None while there are none."""
    writing = run.metrics.get("writing")
    if not writing or not writing["texts"]:
        return None
    title = "Corners of the boxes"
    picture = Markup(charts.corners(writing["written"], writing["annotated"], title)) if writing["boxes"] else None
    return {**writing, "picture": picture}


def _scores(run: Run) -> dict[str, Any] | None:
    """Histograms, spreads, correlations, and what decides between candidates; None while nothing is scored."""
    if not run.scores:
        return None
    summary = summarise_scores(run.scores)
    return {
        "summary": summary,
        "pictures": [Markup(charts.histogram(summary.values[name], words(name))) for name in summary.main],
        "n": len(run.scores),
        "queries": len({row.query_id for row in run.scores}),
        "disagreement": disagreement(run.scores),
        "endings": endings(run.flows),
        "others": compare_presets(run.scores, run.recipe),
    }


def _card(run: Run, case: Case, dialect: Dialect) -> PairCard:
    pair = case.pair
    chosen, rejected = dialect.parse(pair.chosen, pair.size), dialect.parse(pair.rejected, pair.size)
    picture, fault = None, ""
    try:
        picture = Markup(draw_pair(pair, case.truth, chosen, rejected, run.recipe.source.image_root))
    except images.ImageFault as error:
        fault = str(error)
    return PairCard(
        pair=pair,
        page=f"pairs/{page_name(pair.pair_id)}.html",
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
    """Curves of what the log holds, the tokens trained on, how far the chosen drifted from the reference, and whether they were
    displaced, now or at some update; None while there is no log."""
    if not run.log:
        return None
    beta = run.recipe.train.beta
    present = [parts for key, parts in _CURVES.items() if any(key in line for line in run.log)]
    pictures = [Markup(charts.curve(run.log, *parts)) for parts in present]
    if histogram := (run.metrics.get("training") or {}).get("histogram"):
        pictures.append(Markup(charts.tokens(histogram, "Pairs trained on")))
    return {
        "pictures": pictures,
        "drift": chosen_drift(run.log, beta),
        "standing": standing(run.log, beta),
        "displaced_at": first_displaced(run.log, beta),
    }
