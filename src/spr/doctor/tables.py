"""What the doctor prints."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from spr.doctor.calibration import Calibration
from spr.models.dialects.costs import SIDES, SIZE


def facts_table(title: str, rows: Sequence[tuple[str, str]]) -> Table:
    """Names and what there is to say of them."""
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def costs_table(rows: Sequence[tuple[str, Sequence[str]]]) -> Table:
    """Each dialect's `cost_row`."""
    table = Table(
        title="What a grid costs: IoU of a box with itself, written and read back",
        caption=f"worst / mean, by side in pixels (give or take a tenth), anywhere in {SIZE[0]} x {SIZE[1]}",
    )
    table.add_column("dialect", no_wrap=True)
    for side in SIDES:
        table.add_column(f"{side}", justify="right", no_wrap=True)
    for label, cells in rows:
        table.add_row(label, *cells)
    return table


def calibration_table(found: Calibration) -> Table:
    """A row for each reading: what it scores, and how far it is behind the best with 95 % intervals."""
    table = Table(
        title=f"Readings of the same {found.references} answers about {found.images} images",
        caption="95 % intervals over images",
    )
    table.add_column("reading", overflow="fold")
    for column in ("readable, %", "mean IoU", "Acc@0.5", "behind in IoU", "behind in Acc@0.5"):
        table.add_column(column, justify="right")
    for score in found.scores:
        gaps = (_gap(score.behind, ".3f"), _gap(score.behind_accuracy, ".1f"))
        table.add_row(score.reading.label, f"{score.readable:.0f}", f"{score.mean_iou:.3f}", f"{score.accuracy:.1f}", *gaps)
    return table


def _gap(behind: tuple[float, tuple[float, float]] | None, form: str) -> str:
    if behind is None:
        return "best"
    gap, (low, high) = behind
    return f"{gap:{form}} ({low:{form}} to {high:{form}})"
