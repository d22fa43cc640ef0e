"""Tables for papers as LaTeX, with booktabs; each is made no wider than the page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from spr.evaluation.paper_values import Block, Cell, PaperTable

_HEAD = "% \\usepackage{booktabs} and \\usepackage{graphicx} in the preamble.\n"
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "[": "{[}",
    "]": "{]}",
    **{character: f"\\{character}" for character in "{}$&#%_"},
}


def text(tables: Iterable[PaperTable]) -> str:
    """A file of tables, one after the other, to be \\input or cut from."""
    return _HEAD + "".join(f"\n{_table(table)}" for table in tables)


def escaped(words: str) -> str:
    """Words that are set as they stand: no command, no comment, no line break. What is not ASCII is left to the engine."""
    return "".join(_SPECIAL.get(character, character) for character in " ".join(words.split()))


def _table(table: PaperTable) -> str:
    width = len(table.columns) + 1
    lines = [
        r"\begin{table*}[t]",
        r"\centering",
        f"\\caption{{{escaped(table.caption)}}}",
        f"\\label{{tab:{re.sub('[^a-z0-9]+', '-', table.title.lower()).strip('-')}}}",
        r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%",
        f"\\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
        r"\toprule",
        _line(["", *(escaped(column) for column in table.columns)]),
        *(line for block in table.blocks for line in _block(block, width)),
        r"\bottomrule",
        r"\end{tabular}}",
        r"\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def _block(block: Block, width: int) -> Iterator[str]:
    name = f"\\textit{{{escaped(block.name)}}}: " if block.name else ""
    yield r"\midrule"
    yield f"\\multicolumn{{{width}}}{{l}}{{{name}{escaped(block.size)}}} \\\\"
    for row, cells in block.rows:
        yield _line([escaped(row), *(_cell(cell) for cell in cells)])


def _cell(cell: Cell) -> str:
    if not cell.defined:
        return "--"
    shown = cell.written("--", "-")
    return f"${shown}{'^{*}' if cell.marked else ''}$" if shown else ""


def _line(cells: Iterable[str]) -> str:
    return f"{' & '.join(cells)} \\\\"
