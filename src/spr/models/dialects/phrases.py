"""Which words belong to a box, and what joins them to their neighbours.

Models write `words box , words box and words box`: the phrase of a box is what stands before it, back to the box before,
a comma or the end of a sentence.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass

_BOUNDARY = re.compile(r"[.!?](?=\s)|[,;:\n]")
_LEAD = re.compile(r"\s*(?:(?:and|or)\b\s*)?(?P<item>(?:[-*•]\s+)?[*`]*)")
"""What stands before the words: a conjunction; then, as a part of the item, a list's bullet and marks of emphasis."""
_TRAIL = " \t(:*`"
"""What may stand between the words and their box: `**dog**: [..]` is about a dog."""
_AFTER = re.compile(r"\s*(?:[,;]\s*|[.!?](?:\s+|\Z))?(?:(?:and|or)\b\s*)?")


@dataclass(frozen=True, slots=True)
class Phrase:
    """The words `text[start:end]` before a box; with a bullet and emphasis before them they begin at `item`. `joiner` is
    where the comma, conjunction or space begins that joins them to what stands before; None at the start of a sentence or
    a list, where nothing does."""

    item: int
    start: int
    end: int
    joiner: int | None


def before(text: str, since: int, box: int) -> Phrase:
    """The phrase of the mark-up that begins at `box`, looking back no further than `since` (the end of the one before)."""
    cut, joiner = since, since if since else None
    stop = since + len(text[since:box].rstrip(_TRAIL))
    boundaries = deque(_BOUNDARY.finditer(text, since, stop), maxlen=1)
    if boundaries:
        last = boundaries.pop()
        cut = last.end()
        joiner = since + len(text[since : last.start()].rstrip()) if last.group() in ",;" else None
    lead = _LEAD.match(text, cut, stop)
    item, start = lead.span("item") if lead else (cut, cut)
    return Phrase(item, start, max(start, stop), joiner)


def after(text: str, end: int) -> int:
    """Where the joiner ends that follows an item at the start of a sentence: comma, conjunction, or the full stop."""
    match = _AFTER.match(text, end)
    return match.end() if match else end
