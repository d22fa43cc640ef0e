"""What the evaluation found, data set by data set, ready for the page: tables, curves, and where the gain comes from.

Which numbers are shown, and how they are called, is said by `spr.evaluation.layouts`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from spr.evaluation.layouts import LAYOUTS, THRESHOLDS, Layout, Line, heading, inner, lookup
from spr.report import charts
from spr.report.tables import Row, layout_rows, row_of
from spr.report.templating import words

MOST = 12
"""How many values of a group are shown, the most frequent ones."""
_GROUPS = {
    "size": "By size of the object",
    "category": "By category",
    "length": "By number of words",
    "type": "By type",
    "label": "By what is right",
    "objects": "By the number of objects",
}
_SIZES = {
    "small": "small, under 32\N{MULTIPLICATION SIGN}32 pixels",
    "medium": "medium, under 96\N{MULTIPLICATION SIGN}96",
    "large": "large",
}
_COUNTED = ("length", "objects")
"""Groups whose values begin with a number, by which they are ordered."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure of a group's value, and the reach of its column: the largest gain, or end of its interval, in any row."""

    row: Row
    reach: float


@dataclass(frozen=True, slots=True)
class Value:
    """One value of a group: how many items have it, and what they are worth; no measures where there are no items."""

    name: str
    n: int
    measures: tuple[Measure, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """A breakdown: the names of its measures, its values, and how many values with how many items are not shown."""

    title: str
    measures: tuple[str, ...]
    values_shown: tuple[Value, ...]
    omitted: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Table:
    """One layout of a data set; `headline` is the row that a reader wants first."""

    title: str
    unit: str
    rows: list[Row]
    headline: Row
    pictures: list[Markup]
    groups: list[Group]


@dataclass(frozen=True, slots=True)
class Result:
    """One data set; no tables where its evaluation holds no item. `first` is the first of its task."""

    id: str
    title: str
    metrics: Mapping[str, Any]
    tables: list[Table]
    first: bool

    @property
    def anchor(self) -> str:
        """What a link leads to."""
        return f"result-{self.id.replace('/', '-')}"


def results(tasks: Mapping[str, Mapping[str, Any]]) -> list[Result]:
    """The tasks of metrics.json in their order."""
    found: list[Result] = []
    for task_id, metrics in tasks.items():
        kind = task_id.split("/")[0]
        layouts = LAYOUTS[kind]
        # Answers that nobody has judged yet have a table too: how many could be read.
        told = [layout for layout in layouts if _answered(metrics, layout)] or layouts[:1]
        tables = [_table(task_id, metrics, layout) for layout in told] if metrics["n"] else []
        found.append(Result(task_id, heading_of(task_id), metrics, tables, all(one.id.split("/")[0] != kind for one in found)))
    return found


def heading_of(task_id: str) -> str:
    """What a data set is called where its tables are not told apart."""
    layouts = LAYOUTS[task_id.split("/")[0]]
    name = task_id.partition("/")[2]
    title = layouts[0].title if len(layouts) == 1 else layouts[0].title.partition(",")[0]
    return f"{title}, {name}" if name else title


def overviews(found: Sequence[Result]) -> list[Group]:
    """For each layout that several data sets share: the data sets beside each other."""
    groups = []
    for kind, layouts in LAYOUTS.items():
        sets = {one.id.partition("/")[2]: one.metrics for one in found if one.id.split("/")[0] == kind and one.tables}
        for layout in layouts:
            own = {name: metrics for name, metrics in sets.items() if _answered(metrics, layout)}
            if len(own) > 1:
                groups.append(_group(f"{layout.title}, every data set", own, _telling(layout)))
    return groups


def _answered(metrics: Mapping[str, Any], layout: Layout) -> bool:
    """Whether the metrics hold what the layout is about, and not only how answers read."""
    return lookup(metrics["base"], _telling(layout)[0].key) is not None


def _table(task_id: str, metrics: Mapping[str, Any], layout: Layout) -> Table:
    telling = _telling(layout)
    return Table(
        title=heading(task_id, layout, metrics),
        unit=layout.unit,
        rows=layout_rows(metrics, layout),
        headline=row_of(metrics, telling[-1]),
        pictures=_curves(metrics, layout),
        groups=[
            _group(
                _GROUPS.get(name, f"By {words(name)}"),
                _named(name, values),
                telling,
                ordered=name == "size" or name in _COUNTED,
            )
            for name, values in metrics.get("by", {}).items()
        ],
    )


def _telling(layout: Layout) -> tuple[Line, ...]:
    """The lines that a breakdown shows: the loosest and the strictest threshold, or a task's first number."""
    first = layout.lines[0]
    strict = first.key.removesuffix(THRESHOLDS[0]) + THRESHOLDS[-1]
    return (first, *(line for line in layout.lines[1:] if line.key == strict))


def _curves(metrics: Mapping[str, Any], layout: Layout) -> list[Markup]:
    """Accuracy, and its gain, against the IoU threshold; none for tasks without thresholds."""
    first = layout.lines[0]
    if not first.key.endswith(f"/{THRESHOLDS[0]}"):
        return []
    key, name = first.key.rpartition("/")[0], "R@1" if "r@1" in first.key else "Accuracy"
    sides = {side: _curve(metrics[side], key) for side in ("base", "tuned", "delta") if side in metrics}
    delta = sides.pop("delta", None)
    pictures = [charts.accuracy(sides, name)] + ([charts.gain(delta, name)] if delta else [])
    return [Markup(picture) for picture in pictures]


def _curve(side: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Values and intervals by threshold, at the path `key` of a side."""
    return {"acc": lookup(side, key), "ci95": {one: inner(side, "ci95", f"{key}/{one}") for one in THRESHOLDS}}


def _named(group: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a group by the names that are shown, in the order of reading."""
    if group == "size":
        return {_SIZES.get(name, name): value for name, value in values.items()}
    if group in _COUNTED:
        return dict(sorted(values.items(), key=lambda item: (_leading(item[0]), item[0])))
    return dict(values)


def _leading(name: str) -> int:
    """The number that a value begins with."""
    digits = name[: len(name) - len(name.lstrip("0123456789"))]
    return int(digits or 0)


def _group(title: str, values: Mapping[str, Mapping[str, Any]], lines: Sequence[Line], ordered: bool = True) -> Group:
    """A breakdown of so many lines. Ordered values are all shown, others the most frequent."""
    most = len(values) if ordered else MOST
    by_number = list(values.items()) if ordered else sorted(values.items(), key=lambda item: (-item[1]["n"], item[0]))
    shown, others = by_number[:most], by_number[most:]
    rows = {name: [row_of(value, line) for line in lines] for name, value in shown if value["n"]}
    reaches = [max((_reach(row[place]) for row in rows.values()), default=0.0) for place in range(len(lines))]
    measured = {
        name: tuple(Measure(row, reach) for row, reach in zip(found, reaches, strict=True)) for name, found in rows.items()
    }
    return Group(
        title=title,
        measures=tuple(line.label for line in lines),
        values_shown=tuple(Value(name, value["n"], measured.get(name, ())) for name, value in shown),
        omitted=(len(others), sum(value["n"] for _, value in others)),
    )


def _reach(row: Row) -> float:
    return max(abs(end) for end in (row.gain or 0.0, *(row.interval or (0.0, 0.0)))) if row.tuned is not None else 0.0
