"""The tables that go into a paper: every data set of a task in one table, base, tuned and the gain below each other.

metrics.json of each data set -> tables as values, and RUN/eval/tables.md and tables.tex. Which numbers there are, and how they
are called, is `spr.evaluation.layouts`'; how they are written that of `paper_markdown` and `paper_latex`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spr.errors import DataError
from spr.evaluation import paper_latex, paper_markdown
from spr.evaluation.layouts import LAYOUTS, Layout, Line, data_name, defined, doubt, holds, inner, lookup, size_parts
from spr.evaluation.paper_values import Block, Cell, PaperTable
from spr.running.files import write_atomic

LEVEL = 0.05
"""Gains with a p-value below it are marked."""
_PROTOCOLS = {"plain": "Protocol: plain", "ferret": "Protocol: ferret (answers are read as Ferret's own scripts read them)"}


@dataclass(frozen=True, slots=True)
class _Set:
    """One data set: its id and its metrics."""

    id: str
    metrics: Mapping[str, Any]


def write_paper_tables(folder: Path, tasks: Mapping[str, Mapping[str, Any]]) -> list[Path]:
    """Write tables.md and tables.tex of these results (metrics by data set, as in metrics.json) into `folder`; without any
    result they are taken away. Returns what was written. Raises DataError for mixed protocols, and DiskError."""
    tables = paper_tables(tasks)
    texts = {folder / "tables.md": paper_markdown.text(tables), folder / "tables.tex": paper_latex.text(tables)}
    for path, text in texts.items():
        if tables:
            write_atomic(path, text.encode())
        else:
            path.unlink(missing_ok=True)
    return list(texts) if tables else []


def paper_tables(tasks: Mapping[str, Mapping[str, Any]]) -> list[PaperTable]:
    """One table a layout that has results, in the order of the tasks; ANY-BOX and MERGED-BOXES are two layouts.

    Raises DataError when the results of one task were made by different protocols.
    """
    sets = [_Set(name, metrics) for name, metrics in tasks.items() if metrics["n"]]
    tables = []
    for kind, layouts in LAYOUTS.items():
        own = [one for one in sets if one.id.split("/")[0] == kind]
        protocol = _protocol(own)
        for layout in layouts:
            lines = [line for line in layout.lines if any(holds(one.metrics["base"], line.key) for one in own)]
            if any(line.key not in ("parse_rate", "truncation_rate") for line in lines):
                tables.append(_table(layout, protocol, lines, own))
    return tables


def _protocol(sets: Iterable[_Set]) -> str:
    """The protocol of all results. Raises DataError when there is more than one."""
    found: dict[str, list[str]] = {}
    for one in sets:
        found.setdefault(str(one.metrics.get("protocol", "unknown")), []).append(one.id)
    if len(found) > 1:
        told = "; ".join(f"{protocol}: {', '.join(names)}" for protocol, names in found.items())
        raise DataError(
            f"results by different protocols are never laid into one table ({told}); evaluate them again by one "
            "evaluation.protocol, or into a directory each with --out"
        )
    return next(iter(found), "unknown")


def _table(layout: Layout, protocol: str, lines: list[Line], sets: list[_Set]) -> PaperTable:
    blocks = tuple(_block(one, layout, lines) for one in sets)
    doubts = " ".join(dict.fromkeys(filter(None, (doubt(one.metrics) for one in sets))))
    caption = f"{_caption(layout, protocol, blocks)} {doubts}".strip()
    return PaperTable(layout.title, tuple(line.label for line in lines), blocks, caption)


def _block(one: _Set, layout: Layout, lines: list[Line]) -> Block:
    metrics = one.metrics
    rows = [(side, tuple(_of(metrics[side], line) for line in lines)) for side in ("base", "tuned") if side in metrics]
    if "delta" in metrics:
        rows.append(("gain", tuple(_gain(metrics, line) for line in lines)))
    side = "delta" if "delta" in metrics else "base"
    ends = tuple(Cell(_ends(metrics[side], line.key), line.digits, signed=side == "delta") for line in lines)
    return Block(data_name(one.id, metrics), f"n = {', '.join(size_parts(layout, metrics))}", (*rows, ("95 % interval", ends)))


def _of(side: Mapping[str, Any], line: Line) -> Cell:
    return Cell((defined(lookup(side, line.key)),), line.digits)


def _gain(metrics: Mapping[str, Any], line: Line) -> Cell:
    """Tuned minus base; marked where the paired test's p is small."""
    base, tuned = (defined(lookup(metrics[side], line.key)) for side in ("base", "tuned"))
    p = defined(inner(metrics["delta"], "p", line.key))
    return Cell((tuned - base,), line.digits, signed=True, marked=p < LEVEL)


def _ends(side: Mapping[str, Any], key: str) -> tuple[float, ...]:
    """The ends of an interval; none of what has no interval."""
    return tuple(defined(end) for end in inner(side, "ci95", key) or ())


def _caption(layout: Layout, protocol: str, blocks: tuple[Block, ...]) -> str:
    """What a reader has to know of the numbers, in sentences."""
    cells = [cell for block in blocks for _, row in block.rows for cell in row]
    said = [f"{layout.title}.", f"{_PROTOCOLS.get(protocol, f'Protocol: {protocol}')}."]
    if any(name == "gain" for block in blocks for name, _ in block.rows):
        said.append(
            f"Gains are tuned minus base on the same {layout.unit}, with 95 % intervals by bootstrap over images; * marks "
            f"p < {LEVEL} of the paired randomisation test over images, not corrected for several tests."
        )
    else:
        said.append("95 % intervals by bootstrap over images.")
    said.append("Readable: answers in which what was asked for could be found. Cut off: answers that reached max_new_tokens.")
    if any(not cell.defined for cell in cells):
        said.append("A dash stands for a number that is not defined, such as a share of no items.")
    return " ".join(said)
