"""Annotated references to calibrate on, from any file of referring expressions, or names that stand alone in an image."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from spr.items import RecItem
from spr.running.progress import meter, say
from spr.sources.expressions import read_rec


def references(source: Path, image_root: Path, limit: int) -> tuple[RecItem, ...]:
    """At most `limit` references whose images are there, evenly spread over the file, in its order.

    Raises DataError for a file that cannot be read, and for one without a usable reference.
    """
    say(f"reading {source}")
    reading = read_rec(source, image_root, meter=meter)
    gone = set(reading.missing)
    usable = [item for item in reading.items if item.path not in gone]
    for note in reading.notes:
        say(note)
    places = np.linspace(0, len(usable) - 1, min(limit, len(usable))).round().astype(int)
    return tuple(usable[place] for place in places.tolist())
