"""The report's main pictures as SVG files of their own, for a README or a paper. Each adapts to light and dark pages."""

from __future__ import annotations

from pathlib import Path

from spr.errors import DataError
from spr.models import dialects
from spr.report import charts
from spr.report.boxes_svg import draw_pair
from spr.report.case import Cases
from spr.report.data import read_run
from spr.report.summaries import spread_over_margins
from spr.report.svg import standalone
from spr.running.files import write_atomic


def write_figures(run: Path, out: Path) -> list[Path]:
    """Write accuracy.svg, gain.svg and pair.svg (the pair of the middle margin) of a finished RUN into `out`;
    of several data sets of referring expressions, the first.

    Returns their paths. Raises DataError when RUN has no paired comparison or no pairs, ImageFault when the pair's photo
    cannot be used, DiskError when a file cannot be written, and what `read_run` raises.
    """
    whole = read_run(run)
    compared = (task for name, task in whole.tasks.items() if name.split("/")[0] == "rec" and "delta" in task and task["n"])
    task = next(compared, None)
    if task is None or not whole.pairs:
        raise DataError(f"{run} holds no comparison of base and tuned, or no pairs; finish it with `spr run`")
    pair = spread_over_margins(whole.pairs, 3)[min(1, len(whole.pairs) - 1)]
    dialect = dialects.of(whole.recipe.model)
    chosen, rejected = dialect.parse(pair.chosen, pair.size), dialect.parse(pair.rejected, pair.size)
    pictures = {
        "accuracy.svg": charts.accuracy({side: task[side] for side in ("base", "tuned")}),
        "gain.svg": charts.gain(task["delta"]),
        "pair.svg": draw_pair(pair, Cases(whole).of(pair).truth, chosen, rejected, whole.recipe.source.image_root),
    }
    for name, picture in pictures.items():
        write_atomic(out / name, standalone(picture).encode())
    return [out / name for name in pictures]
