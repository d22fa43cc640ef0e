"""Bytes and seconds as people say them."""

from __future__ import annotations

_BYTES = ((2**40, "TB"), (2**30, "GB"), (2**20, "MB"), (2**10, "kB"))


def bytes_text(number: float) -> str:
    """Bytes with two digits, in units of 1024: 15 GB, 1.2 MB."""
    for size, unit in _BYTES:
        if number >= size:
            return f"{_two_digits(number / size)} {unit}"
    return f"{number:.0f} B"


def time_text(seconds: float) -> str:
    """Seconds with two digits in the largest fitting unit: 45 s, 12 min, 3.4 h, 2.1 days."""
    if seconds < 90:
        return f"{_two_digits(seconds)} s" if seconds else "0 s"
    for size, unit in ((60, "min"), (3600, "h"), (86400, "days")):
        if seconds < 90 * size or unit == "days":
            break
    return f"{_two_digits(seconds / size)} {unit}"


def _two_digits(number: float) -> str:
    return f"{number:,.0f}" if number >= 9.5 else f"{number:.1f}"
