"""The page of a gallery, and the strip of its first items on the report's first page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from spr import images
from spr.boxes import Box
from spr.models import dialects
from spr.models.base import Dialect
from spr.records import Prediction
from spr.report.data import Run
from spr.report.gallery import Change, Gallery, Scale
from spr.report.gallery_svg import draw_answers
from spr.report.results import heading_of
from spr.report.templating import render_page, words
from spr.running.files import write_atomic
from spr.running.progress import meter

FIRST = 3
"""How many of either kind the strip shows."""
_LONGEST, _BYTES = 440, 85_000
"""Of a page's 24 photos, so that it stays below 3 MB: base64 adds a third."""
_STRIP_LONGEST, _STRIP_BYTES = 300, 30_000
_LONG = 300
"""Characters of an answer that are shown."""


@dataclass(frozen=True, slots=True)
class Side:
    """One model's answer: what it said, cut where it is long, what it is worth, and what is wrong with reading it."""

    said: str
    worth: float
    fault: str


@dataclass(frozen=True, slots=True)
class Card:
    """One item ready for the page; `picture` is None where the photo cannot be used, and `fault` says why. `facts` are what
    results are broken down by."""

    item_id: str
    question: str
    picture: Markup | None
    fault: str
    base: Side
    tuned: Side
    facts: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Strip:
    """The first cards of a gallery, and the address of the whole."""

    address: str
    scale: Scale
    parts: list[tuple[str, list[Card]]]
    worse: int
    better: int
    n: int


def write_galleries(run: Run, found: Sequence[Gallery]) -> list[Path]:
    """Write the galleries' pages into RUN/report/gallery, and take away pages of what is no longer there. Returns their paths.
    Raises DiskError."""
    folder = run.path / "report" / "gallery"
    if found:
        with meter("drawing what changed", len(found), "pages") as tick:
            for one in found:
                write_atomic(folder / one.page, render_gallery(run, one).encode("utf-8", "replace"))
                tick(1)
    names = {one.page for one in found}
    for page in folder.glob("*.html"):
        if page.name not in names:
            page.unlink()
    return [folder / one.page for one in found]


def render_gallery(run: Run, one: Gallery) -> str:
    """The page of one gallery as HTML."""
    return render_page(
        "gallery.html.j2",
        run_name=run.name,
        title=heading_of(one.id),
        gallery=one,
        parts_of=_parts(run, one, (one.regressions, one.gains), _LONGEST, _BYTES),
    )


def strip(run: Run, one: Gallery) -> Strip:
    """The first regressions and the first gains, small."""
    parts = _parts(run, one, (one.regressions[:FIRST], one.gains[:FIRST]), _STRIP_LONGEST, _STRIP_BYTES)
    return Strip(f"gallery/{one.page}", one.scale, parts, one.worse, one.better, one.n)


def _parts(
    run: Run, one: Gallery, changes: Sequence[Sequence[Change]], longest: int, most: int
) -> list[tuple[str, list[Card]]]:
    dialect = dialects.of(run.recipe.model)
    titles = ("Worst regressions", "Best gains")
    return [
        (title, [_card(one, change, dialect, longest, most) for change in part])
        for title, part in zip(titles, changes, strict=True)
    ]


def _card(one: Gallery, change: Change, dialect: Dialect, longest: int, most: int) -> Card:
    item = change.base
    picture, fault = None, ""
    try:
        if one.image_root is None:
            raise images.ImageFault("no_image_root", f"the recipe names no data set {one.id} any more")
        photo = images.load(one.image_root, item.path, item.size)
        base, tuned = (_boxes(side, one.scale, dialect) for side in (change.base, change.tuned))
        picture = Markup(draw_answers(photo, item.truth, base, tuned, _label(item, one.scale), longest, most))
    except images.ImageFault as error:
        fault = str(error)
    facts = [("right answer", item.expected)] if item.expected else []
    facts += [(words(name), value) for name, value in item.groups.items() if value != item.expected]
    worths = [_side(side, one.scale) for side in (change.base, change.tuned)]
    return Card(item.item_id, item.question, picture, fault, worths[0], worths[1], facts)


def _boxes(one: Prediction, scale: Scale, dialect: Dialect) -> list[Box]:
    """The boxes of an answer: the one that counts, or, where all do, those of the text."""
    if not scale.boxes:
        return []
    if one.task != "regions":
        return [one.box] if one.box else []
    return [mention.box for mention in dialect.parse(one.answer, one.size) if mention.box is not None]


def _label(item: Prediction, scale: Scale) -> str:
    return f"Boxes of base and tuned for: {item.question}" if scale.boxes else f"The photo asked about: {item.question}"


def _side(one: Prediction, scale: Scale) -> Side:
    said = one.answer if len(one.answer) <= _LONG else f"{one.answer[:_LONG]} ..."
    if not said and one.box:
        said = "a box without a text"  # Another tool's file may hold nothing else.
    faults = {"unreadable": "not readable", "none": "no box" if scale.boxes else "no answer"}
    return Side(said, scale.worth(one), faults.get(one.status, ""))
