"""The ways in which one family's texts can be read: the same mark-up, another frame.

Which of them holds is a question to annotated references, asked for all of them together (`spr doctor --model`). Never for a
single text, and never by keeping the better of two: that would be an oracle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spr.models import dialects
from spr.models.base import Dialect


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to read: a dialect, by its name and its options."""

    name: str
    options: Mapping[str, Any]
    dialect: Dialect

    @property
    def label(self) -> str:
        """`llava-onevision (frame: padded)`, or the name alone where there are no options."""
        said = ", ".join(f"{key}: {value}" for key, value in self.options.items())
        return f"{self.name} ({said})" if said else self.name

    @property
    def recipe(self) -> str:
        """The lines of a recipe's `model` that ask for it, on one line."""
        said = ", ".join(f"{key}: {value}" for key, value in self.options.items())
        return f"dialect: {self.name}" + (f", dialect_options: {{{said}}}" if said else "")


def readings(name: str, **options: Any) -> tuple[Reading, ...]:
    """The dialect `name` with `options` first, then every other reading that its family leaves open; those of the dialect
    itself keep the options that they do not change.

    Raises RecipeError for an unknown name or option.
    """
    own = _reading(name, options)
    known = [
        _reading(other, {**options, **changes} if other == name else changes)
        for other, changes in dialects.FAMILIES[name].readings
    ]
    same = [other for other in known if _same(own, other)]
    return (*(same[:1] or [own]), *(other for other in known if other not in same))


def every_reading() -> tuple[Reading, ...]:
    """Every registered family, by name, in each of the frames of its own."""
    return tuple(found for name in sorted(dialects.FAMILIES) for found in readings(name) if found.name == name)


def _reading(name: str, options: Mapping[str, Any]) -> Reading:
    return Reading(name, options, dialects.get(name, **options))


def _same(one: Reading, other: Reading) -> bool:
    return one.name == other.name and one.dialect.options == other.dialect.options
