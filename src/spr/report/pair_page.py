"""The page of one pair: the photo with every candidate's boxes, each text, each score term, before and after refinement.

The same page for the report's folder and for the server; only the links to its neighbours differ.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from spr import images
from spr.models import dialects
from spr.models.base import Dialect
from spr.records import Detection, PreferencePair, ScoredCandidate
from spr.report.analysis import term
from spr.report.case import Case, Cases, page_name, pages_folder
from spr.report.case_svg import Layer, draw_case, letter
from spr.report.photo_svg import nearest
from spr.report.templating import render_page
from spr.report.texts import link_mentions
from spr.running.files import write_atomic

REFINED = "refined"
"""The layer of the chosen text after its refinement."""


@dataclass(frozen=True, slots=True)
class Links:
    """Where a pair's page leads: addresses relative to it. `listing` is the list of all pairs, where there is one."""

    index: str
    previous: str | None
    next: str | None
    place: str
    listing: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """One detection for the page: its letter, and its best IoU with the ground truth."""

    letter: str
    detection: Detection
    fit: float


@dataclass(frozen=True, slots=True)
class Card:
    """One candidate for the page. `shares` are the parts of its composite that semantic and localization make, of 1 for
    the best composite of the query; None where they cannot be drawn as lengths."""

    layer: Layer
    candidate: ScoredCandidate
    text: Markup
    found: list[Found]
    shares: tuple[float, float] | None


def render_case(case: Case, run_name: str, links: Links) -> str:
    """The page of one case as HTML."""
    dialect = dialects.of(case.recipe.model)
    layers = _layers(case, dialect)
    picture, fault = None, ""
    try:
        picture = Markup(draw_case(case, layers, case.recipe.source.image_root))
    except images.ImageFault as error:
        fault = str(error)
    cards = [_card(case, layer, row) for layer, row in zip(layers[1:], case.candidates, strict=True)]
    return render_page(
        "pair.html.j2",
        script="pair.js",
        run_name=run_name,
        pair=case.pair,
        case=case,
        links=links,
        picture=picture,
        fault=fault,
        layers=layers,
        refined=link_mentions(case.pair.chosen, layers[0].mentions, REFINED, case.truth),
        unrefined=case.recipe.pairs.rejected == "unrefined",
        cards=sorted(cards, key=lambda card: ("chosen", "rejected", "other").index(card.layer.role)),
        table=_table(case),
        preset=case.recipe.score.localization.preset,
        weight=case.recipe.score.weight,
    )


def write_pages(cases: Cases, pairs: Sequence[PreferencePair]) -> list[Path]:
    """Write the pages of these pairs into RUN/report/pairs, each linked to its neighbours, and take away pages of pairs that
    are not among them. Returns their paths. Raises DiskError."""
    folder = pages_folder(cases.run.path)
    names = [f"{page_name(pair.pair_id)}.html" for pair in pairs]
    for i, (pair, name) in enumerate(zip(pairs, names, strict=True)):
        links = neighbours(names, i, index="../index.html")
        write_atomic(folder / name, render_case(cases.of(pair), cases.run.name, links).encode())
    for page in folder.glob("*.html"):
        if page.name not in names:
            page.unlink()
    return [folder / name for name in names]


def neighbours(names: Sequence[str], i: int, index: str, listing: str | None = None) -> Links:
    """The links of page `i` of these file names, which lie in one folder."""
    before, after = (names[j] if 0 <= j < len(names) else None for j in (i - 1, i + 1))
    return Links(index, before, after, f"{i + 1:,} of {len(names):,}", listing)


def _layers(case: Case, dialect: Dialect) -> list[Layer]:
    """The refined text's layer, then one a candidate."""
    pair = case.pair
    after, before = (dialect.parse(text, pair.size) for text in (pair.chosen, pair.chosen_unrefined))
    layers = [Layer(REFINED, "chosen, refined", "chosen", after, before=before)]
    for row in case.candidates:
        layers.append(Layer(f"c{row.k}", f"candidate {row.k}", case.role(row), row.mentions, row.detections))
    return layers


def _card(case: Case, layer: Layer, row: ScoredCandidate) -> Card:
    found = [Found(letter(i), one, nearest(one.box, case.truth)[0]) for i, one in enumerate(row.detections)]
    return Card(layer, row, link_mentions(row.text, row.mentions, layer.key, case.truth), found, _shares(case, row))


def _shares(case: Case, row: ScoredCandidate) -> tuple[float, float] | None:
    """Lengths of the composite's two parts; only raw scores add up to it, and only positive ones are lengths."""
    weight = case.recipe.score.weight
    semantic = weight * row.semantic if weight else 0.0
    localization = (1 - weight) * row.localization if weight < 1 else 0.0
    best = max(candidate.composite for candidate in case.candidates)
    if case.recipe.score.normalize != "none" or not best > 0 or min(semantic, localization) < 0:
        return None
    return semantic / best, localization / best


def _table(case: Case) -> list[tuple[ScoredCandidate, str, list[tuple[float, bool]]]]:
    """Best first: each candidate with its role and its terms, each with whether it is the query's best where not all tie."""
    columns = {name: [term(row, name) for row in case.candidates] for name in case.terms}
    best = {name: max((v for v in values if math.isfinite(v)), default=math.nan) for name, values in columns.items()}
    tied = {name for name, values in columns.items() if len(set(values)) == 1}
    return [
        (row, case.role(row), [(columns[name][i], columns[name][i] == best[name] and name not in tied) for name in case.terms])
        for i, row in enumerate(case.candidates)
    ]
