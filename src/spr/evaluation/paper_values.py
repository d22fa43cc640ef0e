"""What a table for a paper is made of, before it is written in any markup."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cell:
    """One number, the two ends of an interval, or nothing where there is nothing to state; NaN is what is not defined.

    `signed` numbers bear their + too; `marked` ones are significant.
    """

    values: tuple[float, ...]
    digits: int
    signed: bool = False
    marked: bool = False

    @property
    def defined(self) -> bool:
        """Whether all its numbers can be written."""
        return all(math.isfinite(value) for value in self.values)

    def written(self, dash: str, minus: str) -> str:
        """Its text, without the mark; `minus` is written for a negative sign, `dash` for what is not defined."""
        if not self.defined:
            return dash
        numbers = [self._number(value).replace("-", minus) for value in self.values]
        return f"[{', '.join(numbers)}]" if len(numbers) > 1 else "".join(numbers)

    def _number(self, value: float) -> str:
        shown = round(value, self.digits) + 0.0
        return f"{shown:{'+' if self.signed else ''}.{self.digits}f}"


@dataclass(frozen=True, slots=True)
class Block:
    """One data set: its name ("" for a task's only one), what it is of in words, and its rows by name, each a cell a column."""

    name: str
    size: str
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


@dataclass(frozen=True, slots=True)
class PaperTable:
    """One table: its title, its columns, a block a data set, and its caption."""

    title: str
    columns: tuple[str, ...]
    blocks: tuple[Block, ...]
    caption: str
