"""The report for the terminal: one pair, how the texts write boxes, the rounds of a run; the same facts as on its pages.

What a model wrote is put into `Text` values, which rich never reads as markup, with its control characters made visible.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box as box_styles
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from spr.boxes import Box
from spr.models import dialects
from spr.records import Mention, ScoredCandidate
from spr.report.analysis import SCORES, term
from spr.report.case import Case
from spr.report.case_svg import letter
from spr.report.photo_svg import nearest
from spr.report.rounds import round_rows, rounds_note
from spr.report.templating import count, duration, number, percent, words
from spr.report.texts import pieces, visible

_ROLES = {"chosen": "green", "rejected": "red", "other": ""}


def case_text(case: Case) -> Iterator[RenderableType]:
    """A case from its question to its ground truth, piece by piece. Raises RecipeError for an unknown dialect."""
    pair = case.pair
    dialect = dialects.of(case.recipe.model)
    yield _line(pair.pair_id, "bold")
    if case.others:
        yield _line(f"one of {1 + len(case.others)} pairs of query {pair.query_id}; also {', '.join(case.others)}", "dim")
    yield _line(f"{pair.path}, {pair.width} x {pair.height}, region {_place(pair.region)}", "dim")
    yield Padding(_line(pair.prompt), (1, 0))
    if case.candidates:
        main = [name for name in case.terms if name in SCORES]
        yield _scores(case, main, f"Candidates, ranked by the {words(case.recipe.score.localization.preset)} preset")
        if others := [name for name in case.terms if name not in SCORES]:
            yield _scores(case, others, "Localization under each preset, and what else was scored")
    for row in case.candidates:
        yield from _candidate(case, row)
    yield _line("Chosen, before and after refinement", "bold")
    for text in (pair.chosen_unrefined, pair.chosen):
        yield Padding(_marked(text, dialect.parse(text, pair.size), case.truth), (0, 0, 1, 2))
    yield _line(
        f"Composite {number(pair.chosen_score, 3)} → {number(pair.refined_score, 3)}, localization "
        f"{number(pair.chosen_localization, 3)} → {number(pair.refined_localization, 3)}; {pair.refined} boxes moved to the "
        f"ground truth, {pair.stripped} without a match. Margin {number(pair.margin, 3)}."
    )
    yield _truth(case)


def writing_text(writing: Mapping[str, Any]) -> Iterator[RenderableType]:
    """How the candidates' texts write boxes (metrics.json's `writing`): rates, where the corners lie, and what is doubtful."""
    unread = ", ".join(f"{words(reason)} {count:,}" for reason, count in writing["unreadable"].items())
    table = _table(f"Boxes as {writing['dialect']} reads them", "", "")
    table.show_header = False
    rate = number(None if writing["parse_rate"] is None else 100 * writing["parse_rate"], 1)
    table.add_row("texts with a readable box", f"{rate} % of {writing['texts']:,}")
    table.add_row("boxes", f"{writing['boxes']:,} read" + (f"; not read: {unread}" if unread else ""))
    table.add_row("numbers in the texts", ", ".join(f"{scale}: {count:,}" for scale, count in writing["numbers"].items()))
    meeting = writing.get("meeting")  # runs of older versions have none
    if meeting and meeting["boxes"]:
        table.add_row("boxes that meet an annotated object", _meeting(meeting))
    for name in ("written", "annotated"):
        table.add_row(f"corners {name}, 0 to 1 of the side", _bars(writing[name]))
    yield table
    for doubt in writing["doubts"]:
        yield _line(f"WARNING: {doubt}", "yellow")


def rounds_text(metrics: Mapping[str, Any]) -> Iterator[RenderableType]:
    """The rounds of a run side by side (metrics.json's `rounds`), and where they ended early; nothing of a run of one round."""
    rows = round_rows(metrics)
    if not rows:
        return
    table = _table("Rounds", "", "regions", "readable", "localization", "pairs", "margin", "updates", "preferred", "time")
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        regions, pairs, updates = (count(value) for value in (row.regions, row.pairs, row.updates))
        means = (number(row.localization, 3), pairs, number(row.margin, 3))
        shares = percent(row.readable), percent(row.preferred)
        table.add_row(str(row.number), regions, shares[0], *means, updates, shares[1], duration(row.seconds))
    yield table
    if note := rounds_note(metrics):
        yield _line(note)


def _meeting(found: Mapping[str, Any]) -> str:
    """The share by the recipe's dialect, and by every other reading that is as good a reader."""
    own, others = found["share"], found["others"]
    said = f"{number(100 * own, 1)} % of {found['boxes']:,} in {found['texts']:,} texts"
    return said + "".join(f"; as {name} {number(100 * share, 1)} %" for name, share in others.items())


def _bars(counts: Sequence[int]) -> str:
    """Counts as a row of bars of eight heights, the largest full; what is not zero is seen."""
    top = max([*counts, 1])
    return "".join(" ▁▂▃▄▅▆▇█"[-(-8 * count // top)] for count in counts)


def _scores(case: Case, names: Sequence[str], title: str) -> Table:
    """Best first, one candidate a row, one score term a column."""
    table = _table(title, "k", "prompt", "")
    for name in names:
        short = name if name.endswith("_normalized") else name.removeprefix("localization_").removeprefix("reward_")
        table.add_column(words(short), justify="right", overflow="fold")
    for row in case.candidates:
        role = case.role(row)
        values = (number(term(row, name), 3) for name in names)
        table.add_row(str(row.k), _line(words(row.variant)), Text("" if role == "other" else role, _ROLES[role]), *values)
    return table


def _candidate(case: Case, row: ScoredCandidate) -> Iterator[RenderableType]:
    """A candidate's text with its mentions marked, and what the detector found for it."""
    role = case.role(row)
    notes = [] if role == "other" else [role]
    notes += ["cut off"] if row.finish_reason == "length" else []
    if {"n_matched", "n_gt"} <= row.detail.keys():
        notes.append(f"{row.detail['n_matched']:.0f} of {row.detail['n_gt']:.0f} objects recovered")
    yield Text(", ".join([f"#{row.k}", *notes]), f"bold {_ROLES[role]}".strip())
    yield Padding(_marked(row.text, row.mentions, case.truth), (0, 0, 0, 2))
    for i, one in enumerate(row.detections):
        fit = nearest(one.box, case.truth)[0]
        found = f"detector {letter(i)}: {one.phrase} {one.score:.2f} at {_place(one.box)}, IoU {fit:.2f}"
        yield Padding(_line(found, "dim"), (0, 0, 0, 2))
    yield Text("")


def _marked(text: str, mentions: Sequence[Mention], truth: Sequence[tuple[Box, str]]) -> Text:
    """A model's text; each mention is underlined and bears its number and its best IoU, an unreadable one its reason."""
    marked = Text()
    for piece in pieces(text, mentions):
        if piece.mention is None:
            marked.append(visible(piece.words))
            continue
        marked.append(visible(piece.words), "underline")
        marked.append(visible(piece.markup), "dim")
        if piece.mention.box is None:
            marked.append(f" (unreadable: {visible(piece.mention.reason)})", "red")
        else:
            marked.append(f" ({piece.number}: IoU {nearest(piece.mention.box, truth)[0]:.2f})", "cyan")
    return marked


def _truth(case: Case) -> Table:
    table = _table("Ground truth", "", "object", "box, xyxy pixels")
    for i, (box, name) in enumerate(case.truth, 1):
        table.add_row(str(i), _line(name), _place(box))
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(
        *columns,
        title=title,
        title_justify="left",
        title_style="bold",
        box=box_styles.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    table.columns[0].no_wrap = True
    return table


def _place(box: Box) -> str:
    return "(" + ", ".join(f"{value:.1f}" for value in box) + ")"


def _line(text: str, style: str = "") -> Text:
    return Text(visible(text), style)
