"""Tables for papers as Markdown, in GitHub's flavour."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from spr.evaluation.paper_values import Block, Cell, PaperTable

_MARKUP = re.compile(r"([\\`*_{}\[\]#!|~$])")


def text(tables: Iterable[PaperTable]) -> str:
    """The tables with their captions, one after the other."""
    return "\n".join(_table(table) for table in tables)


def escaped(words: str) -> str:
    """Words that are shown as they stand, in a cell or out of it: no markup, no HTML, no line break."""
    plain = " ".join(words.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKUP.sub(r"\\\1", plain)


def _table(table: PaperTable) -> str:
    head = ["", "", *(escaped(column) for column in table.columns)]
    rule = ["---", "---", *("---:" for _ in table.columns)]
    rows = [row for block in table.blocks for row in _rows(block)]
    lines = [f"### {escaped(table.title)}", "", *(_line(row) for row in (head, rule, *rows)), "", escaped(table.caption), ""]
    return "\n".join(lines)


def _rows(block: Block) -> Iterator[Sequence[str]]:
    """The data set stands in the first of its rows."""
    for place, (name, cells) in enumerate(block.rows):
        first = [f"**{escaped(block.name)}**", escaped(block.size)] if block.name else [escaped(block.size)]
        yield ["<br>".join(first) if place == 0 else "", escaped(name), *(_cell(cell) for cell in cells)]


def _cell(cell: Cell) -> str:
    return cell.written("\N{EN DASH}", "\N{MINUS SIGN}") + (r"\*" if cell.marked else "")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
