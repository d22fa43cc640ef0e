"""Whether the boxes of texts meet annotated objects, as one dialect reads them and as every other would.

Two families can share a mark-up and differ in what its numbers count. All texts are read then, and every box lies elsewhere.
Only the annotations tell; they are asked for many texts together, and nothing is chosen.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from spr.boxes import iou
from spr.models.base import Dialect
from spr.models.dialects.readings import Reading, every_reading
from spr.records import RegionQuery
from spr.seeds import derive_seed

MEETS = 0.5
"""IoU with an annotated object from which a box meets it."""
ABOUT_AS_MANY = 0.9
"""Share of the texts that the dialect reads; a reading of fewer is not compared (ours)."""
CLEARLY = 0.05
"""By how much more of its boxes another reading must meet objects to be called better (ours)."""
BEYOND_CHANCE = 3.0
"""And by how many standard deviations, over the images, were it chance which of the two readings an image favours (ours).
No nine images, no doubt."""
_SAMPLE = 400

Texts = Sequence[tuple[str, RegionQuery]]


@dataclass(frozen=True, slots=True)
class Meeting:
    """Of `boxes` readable boxes in `texts` texts, `share` meet an annotated object of their region (NaN without any). `others`
    is the same share by every other reading that reads about as many texts, best first; those in `better` meet clearly more.
    """

    texts: int
    boxes: int
    share: float
    others: dict[str, float]
    better: tuple[str, ...]

    def values(self) -> dict[str, Any]:
        """Everything as plain json values; what is not defined is null."""
        return {**asdict(self), "share": None if math.isnan(self.share) else self.share, "better": list(self.better)}


@dataclass(slots=True)
class _Found:
    """What one reading makes of the texts: how many hold a readable box, the boxes, and by image those that meet."""

    reading: int
    boxes: int
    met: dict[str, int]

    @property
    def share(self) -> float:
        return sum(self.met.values()) / self.boxes if self.boxes else math.nan


def sample(texts: Texts) -> Texts:
    """At most 400 texts, drawn by their content: whatever else there is, and in which order, changes no draw."""
    if len(texts) <= _SAMPLE:
        return texts
    return sorted(texts, key=lambda item: derive_seed(item[1].query_id, item[0]))[:_SAMPLE]


def compare(texts: Texts, dialect: Dialect) -> Meeting:
    """The boxes of a sample of texts, each with the query it answers, by `dialect` and by every other reading."""
    drawn = sample(texts)
    own = _found(drawn, dialect)
    compared: dict[str, _Found] = {}
    for reading in every_reading():
        if (reading.name, reading.dialect.options) == (dialect.name, dialect.options):
            continue
        found = _found(drawn, reading.dialect)
        if found.reading and found.reading >= ABOUT_AS_MANY * own.reading:
            compared[_label(reading, dialect)] = found
    shares = {label: found.share for label, found in compared.items()}
    others = dict(sorted(shares.items(), key=lambda item: (-item[1], item[0])))
    better = tuple(label for label in others if _clearly_more(compared[label], own))
    return Meeting(len(drawn), own.boxes, own.share, others, better)


def _label(reading: Reading, dialect: Dialect) -> str:
    """Of the same dialect with other options, one that needs none would bear the very same name."""
    return f"{reading.label} (no options)" if reading.label == dialect.name else reading.label


def _found(texts: Texts, dialect: Dialect) -> _Found:
    met: defaultdict[str, int] = defaultdict(int)
    reading = count = 0
    for text, query in texts:
        boxes = [mention.box for mention in dialect.parse(text, query.size) if mention.box is not None]
        reading += bool(boxes)
        count += len(boxes)
        if boxes and query.objects:
            overlaps = iou(boxes, [item.box for item in query.objects])
            met[query.image_id] += int((overlaps.max(axis=1) >= MEETS).sum())
    return _Found(reading, count, met)


def _clearly_more(other: _Found, own: _Found) -> bool:
    """By share, and by image: the same texts, in pairs. Texts about one image go right and wrong together."""
    if not own.boxes or other.share < own.share + CLEARLY:
        return False
    gains = [other.met.get(image, 0) - own.met.get(image, 0) for image in {*other.met, *own.met}]
    return sum(gains) > 0 and sum(gains) >= BEYOND_CHANCE * math.sqrt(sum(gain**2 for gain in gains))
