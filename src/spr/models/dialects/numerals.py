"""Numbers as a model writes them: how many decimals, padded or not. A rewritten box keeps the style of the one before.

Otherwise a preference for refined boxes would teach the format of the digits and not the place of the box.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_PLAIN = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,12})?")


def value(text: str, integers: bool) -> float | None:
    """The number, or None where it is not one that a model of the family writes: foreign digits, far too many of them,
    a sign, or decimals where the family writes integers."""
    if not _PLAIN.fullmatch(text) or (integers and "." in text):
        return None
    return float(text)


def integers(cells: Sequence[int], like: Sequence[str]) -> list[str]:
    """Whole numbers in the style of `like`: padded with zeros to the same width if any of those is."""
    padded = [text for text in like if len(text) > 1 and text.startswith("0") and value(text, integers=True) is not None]
    width = max(map(len, padded), default=0)
    return [str(cell).zfill(width) for cell in cells]


def decimal_places(like: Sequence[str], usual: int) -> int:
    """How many decimals the numbers of `like` show at most, where all of them can be read; `usual` at least, so that a new
    box is not as coarse as one that was written in few digits."""
    return max(usual, *_shown(like))


def decimals(cells: Sequence[int], places: int, like: Sequence[str]) -> list[str]:
    """Steps of 10 ** -places as decimals in the style of `like`: zeros at the end stay, unless `like` is seen to trim them
    (numbers of different lengths, or shorter ones than `places`)."""
    shown = set(_shown(like))
    texts = [f"{cell / 10**places:.{places}f}" for cell in cells]
    if shown != {0} and shown != {places}:
        texts = [f"{whole}.{part.rstrip('0') or '0'}" for whole, _, part in (text.partition(".") for text in texts)]
    return texts


def _shown(like: Sequence[str]) -> list[int]:
    """How many decimals each number shows; none, as if they were whole, where any of them cannot be read."""
    if any(value(text, integers=False) is None for text in like):
        return [0]
    return [len(text.partition(".")[2]) for text in like] or [0]
