"""The two visits: a look at this machine and its dialects, and the calibration of one model's frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from spr.doctor.asking import ask
from spr.doctor.calibration import Calibration, compare
from spr.doctor.machine import devices, extras, versions
from spr.doctor.references import references
from spr.doctor.sheet import draw_sheet, round_trip
from spr.doctor.subject import subject
from spr.doctor.tables import calibration_table, costs_table, facts_table
from spr.errors import RecipeError
from spr.models.dialects.costs import SIDES, cost_row
from spr.models.dialects.readings import Reading, every_reading, readings
from spr.running.progress import meter
from spr.views import show

REFERENCES = 50
"""Asked for where nobody says how many (ours)."""


def look(out: Path) -> Path:
    """Print versions, devices, extras and what each dialect's grid costs; draw the sheet of round trips into `out`, made if
    it is not there. Returns the sheet's path. Raises RecipeError where `out` cannot be a directory."""
    known = every_reading()
    sheet = _draw(out, known)
    for title, facts in (("Versions", versions()), ("Devices", devices()), ("Extras", extras())):
        show(facts_table(title, facts))
    with meter("grids", len(known) * len(SIDES), "sizes") as tick:
        rows = [(reading.label, cost_row(reading.dialect, tick)) for reading in known]
    show(costs_table(rows))
    return sheet


def calibrate(
    model: str,
    source: Path | None,
    dialect: str | None = None,
    limit: int = REFERENCES,
    image_root: Path | None = None,
    overrides: Sequence[str] = (),
) -> Calibration:
    """Ask `model` (a recipe, a folder or a hub name, see `subject`) for at most `limit` references of `source`, read its
    answers in every way that the dialect leaves open, and print what each is worth. Images lie in `image_root`, by default the
    folder of `source`. Raises SprError."""
    if source is None:
        raise RecipeError("--model needs --source: a json with annotated references, COCO's or referring expressions")
    asked = subject(model, dialect, overrides)
    ways = readings(asked.dialect, **asked.dialect_options)
    root = image_root or source.parent
    found = compare(ask(asked, references(source, root, limit), root), ways)
    show(calibration_table(found))
    print(found.verdict)
    return found


def _draw(out: Path, known: Sequence[Reading]) -> Path:
    sheet = out / "dialects.png"
    try:
        out.mkdir(parents=True, exist_ok=True)
        draw_sheet([round_trip(reading) for reading in known]).save(sheet)
    except OSError as error:
        raise RecipeError(f"--out {out}: {error.strerror or error}; name a directory that can be written") from None
    return sheet
