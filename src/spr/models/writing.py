"""How a model's texts write boxes, as its dialect reads them: whether it is the right dialect, and the right frame.

A dialect of another family reads little or nothing; one with the right mark-up and a wrong frame reads boxes that lie
elsewhere than the annotated ones do, where another reading's do not. Both are shown in numbers; nothing here mends or chooses
anything.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spr.boxes import Box, FloatArray, Size
from spr.models import dialects
from spr.models.base import Dialect
from spr.models.meeting import MEETS, Meeting, Texts, compare, sample

BINS = 10
"""Tenths of the image's side."""
SCALES = {"0 to 1": 1.0, "to 100": 100.0, "to 1,000": 1000.0, "beyond": float("inf")}
"""Up to where the numbers of a text go, that is: shares, percents, thousandths and what can only be pixels."""
ENOUGH_READ = 0.5
"""Share of texts with a readable box under which a dialect is doubted (ours)."""
OUT_OF_FRAME = 0.2
"""Share of boxes beyond the frame from which the frame is doubted (ours)."""
SHORT_REACH = 0.6
"""Reach of the boxes, as a share of the annotated ones', under which the frame is doubted (ours)."""
MANY_ALIKE = 0.5
"""Share of queries with equal texts throughout from which sampling is doubted (ours)."""
_NAMED = 3
_NUMBER = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,12})?")


@dataclass(frozen=True, slots=True)
class Writing:
    """Of `texts`, `attempting` hold box mark-up of the dialect and `reading` a readable box; `boxes` are the readable ones,
    `unreadable` the others by reason. `numbers` counts every number of the texts by `SCALES`, whatever the dialect.

    `written` and `annotated` count the corners of the readable boxes, and those of the ground truth, by the tenth of the
    image's side they lie in; `reach` is how far each goes (95th percentile of the far corners, as a share of the side; NaN
    without any). Of `queries`, all texts of `alike` are the same. `others` maps other dialects to the share of texts they
    find a readable box in, where that is more. `meeting` says how many of the boxes meet annotated objects.
    """

    dialect: str
    texts: int
    queries: int
    alike: int
    attempting: int
    reading: int
    boxes: int
    unreadable: dict[str, int]
    numbers: dict[str, int]
    written: list[int]
    annotated: list[int]
    reach: tuple[float, float]
    others: dict[str, float]
    meeting: Meeting

    @property
    def parse_rate(self) -> float:
        """Share of texts with a readable box; NaN without texts."""
        return self.reading / self.texts if self.texts else float("nan")

    def doubts(self) -> list[str]:
        """What speaks against the dialect or its frame, a sentence each."""
        if not self.texts:
            return []
        said = []
        if self.alike > MANY_ALIKE * self.queries:
            said.append(
                f"all texts of {self.alike:,} of {self.queries:,} queries are the same, so that nothing is better or worse; is "
                "candidates.temperature above 0, and does a server heed it?"
            )
        if self.parse_rate < ENOUGH_READ:
            better = ", ".join(f"{name} {share:.0%}" for name, share in self.others.items())
            said.append(
                f"only {self.parse_rate:.0%} of {self.texts:,} texts hold a box that the dialect {self.dialect} can read"
                + (f"; others read more of them: {better}. Is model.dialect right?" if better else "")
            )
        tries = self.boxes + sum(self.unreadable.values())
        if tries and (outside := self.unreadable.get("out_of_range", 0) / tries) > OUT_OF_FRAME:
            said.append(f"{outside:.0%} of the boxes lie beyond the frame of {self.dialect}{_FRAME}")
        elif self.reach[0] < SHORT_REACH * self.reach[1]:
            said.append(
                f"the boxes reach to {self.reach[0]:.0%} of the image's side, where the annotated ones reach to "
                f"{self.reach[1]:.0%}{_FRAME}"
            )
        if self.meeting.better:
            said.append(self._elsewhere())
        return said

    def _elsewhere(self) -> str:
        """The doubt of boxes that meet clearly fewer objects than they do in other readings; the family's own come first."""
        family = [name for name, _ in dialects.FAMILIES[self.dialect].readings]
        better = sorted(self.meeting.better, key=lambda label: label.split(" (")[0] not in family)[:_NAMED]
        named = ", ".join(f"{label} {self.meeting.others[label]:.0%}" for label in better)
        return (
            f"{self.meeting.share:.0%} of the boxes meet an annotated object (IoU {MEETS:g} or more) as {self.dialect} reads "
            f"them here, but read as others clearly more do: {named}{_FRAME}"
        )

    def values(self) -> dict[str, Any]:
        """Everything as plain json values; what is not defined is null."""
        plain = {name: getattr(self, name) for name in self.__slots__ if name not in ("reach", "meeting")}
        reach = dict(zip(("written", "annotated"), (_or_none(value) for value in self.reach), strict=True))
        rest = {"meeting": self.meeting.values(), "parse_rate": _or_none(self.parse_rate), "reach": reach}
        return {**plain, **rest, "doubts": self.doubts()}


_FRAME = "; is the frame right (model.dialect, model.dialect_options)? `spr doctor --model` compares readings"


def describe(texts: Texts, dialect: Dialect, progress: Callable[[int], None] = lambda _: None) -> Writing:
    """Texts, each with the query it answers, as `dialect` reads them; `progress` is told of each one that is read."""
    unreadable: Counter[str] = Counter()
    attempting = reading = 0
    shares: list[FloatArray] = []
    for text, query in texts:
        mentions = dialect.parse(text, query.size)
        boxes = [mention.box for mention in mentions if mention.box is not None]
        attempting += bool(mentions)
        reading += bool(boxes)
        unreadable.update(mention.reason for mention in mentions if mention.box is None)
        shares.append(_shares(boxes, query.size))
        progress(1)
    queries = {query.query_id: query for _, query in texts}
    different: dict[str, set[str]] = {query_id: set() for query_id in queries}
    for text, query in texts:
        different[query.query_id].add(text)
    written = _joined(shares)
    annotated = _joined([_shares([item.box for item in query.objects], query.size) for query in queries.values()])
    return Writing(
        dialect=dialect.name,
        texts=len(texts),
        queries=len(queries),
        alike=sum(len(found) == 1 for found in different.values()) if len(texts) > len(queries) else 0,
        attempting=attempting,
        reading=reading,
        boxes=len(written),
        unreadable=dict(sorted(unreadable.items())),
        numbers=_scales(text for text, _ in texts),
        written=_tenths(written),
        annotated=_tenths(annotated),
        reach=(_reach(written), _reach(annotated)),
        others=_others(texts, dialect.name) if texts and reading < ENOUGH_READ * len(texts) else {},
        meeting=compare(texts, dialect),
    )


def _shares(boxes: Sequence[Box], size: Size) -> FloatArray:
    """Boxes in pixels -> (n, 4) shares of the image's sides."""
    return np.asarray(boxes, dtype=np.float64).reshape(-1, 4) / np.array([*size, *size], dtype=np.float64)


def _joined(parts: Sequence[FloatArray]) -> FloatArray:
    return np.concatenate([np.zeros((0, 4)), *parts])


def _tenths(shares: FloatArray) -> list[int]:
    counts: list[int] = np.histogram(np.clip(shares, 0, 1), bins=BINS, range=(0, 1))[0].tolist()
    return counts


def _reach(shares: FloatArray) -> float:
    return float(np.percentile(shares[:, 2:], 95)) if len(shares) else float("nan")


def _scales(texts: Iterable[str]) -> dict[str, int]:
    """Every number of the texts, counted under the first scale that it fits."""
    counts = dict.fromkeys(SCALES, 0)
    for text in texts:
        for found in _NUMBER.finditer(text):
            number = float(found.group())
            counts[next(name for name, top in SCALES.items() if number <= top)] += 1
    return counts


def _others(texts: Texts, own: str) -> dict[str, float]:
    """Other dialects that find a readable box in more of a sample of the texts, best first; three at most."""
    drawn = sample(texts)
    rates = {name: _rate(drawn, family()) for name, family in dialects.FAMILIES.items()}
    better = {name: rate for name, rate in rates.items() if name != own and rate > rates[own]}
    return dict(sorted(better.items(), key=lambda item: (-item[1], item[0]))[:_NAMED])


def _rate(texts: Texts, dialect: Dialect) -> float:
    read = sum(any(mention.box is not None for mention in dialect.parse(text, query.size)) for text, query in texts)
    return read / len(texts)


def _or_none(value: float) -> float | None:
    return value if np.isfinite(value) else None
