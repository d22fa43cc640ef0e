"""The report's tables as rows of plain values: results of an evaluated task, the funnel, where the time went.

It reads metrics.json as it stands and rounds nothing: rounding is the page's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spr.report.data import Flow

MEASURES = {
    "mean_acc": ("Mean of these", 2),
    "mean_iou": ("Mean IoU", 3),
    "parse_rate": ("Readable, %", 2),
    "localization": ("Localization score", 3),
    "boxes": ("Boxes a description", 2),
    "right_count": ("Right count, %", 2),
    "names_right": ("All names right, %", 2),
}
"""Name and decimals of the measures that tasks report beside accuracies by threshold; any other goes under its own key."""

TASKS = {"regions": "Held-out descriptions", "pope": "POPE", "gqa": "GQA", "textvqa": "TextVQA"}
"""Names of tasks whose own key does not read well."""


@dataclass(frozen=True, slots=True)
class Row:
    """One measure before and after. `tuned` and `gain` are None while only the base model was evaluated.

    `interval` is the 95 % interval of the gain (paired), or of the base alone; None where none was computed.
    """

    label: str
    base: float
    tuned: float | None
    gain: float | None
    interval: tuple[float, float] | None
    digits: int

    @property
    def beyond(self) -> int:
        """1 or -1 where the gain's whole interval lies above or below 0, else 0."""
        if self.interval is None or self.gain is None:
            return 0
        return int(self.interval[0] > 0) - int(self.interval[1] < 0)


def accuracy_rows(task: Mapping[str, Any]) -> list[Row]:
    """Acc at each threshold of a task of metrics.json, ascending."""
    sides = {side: task[side]["acc"] for side in ("base", "tuned") if side in task}
    gains = task.get("delta", {}).get("acc", {})
    return [_row(task, sides, gains, key, f"Acc at {key}", 2) for key in sorted(sides["base"], key=float)]


def measure_rows(task: Mapping[str, Any]) -> list[Row]:
    """Every single number that a task reports of a model, in the order of metrics.json."""
    sides = {side: task[side] for side in ("base", "tuned") if side in task}
    keys = [key for key, value in task["base"].items() if isinstance(value, (int, float))]
    return [_row(task, sides, task.get("delta", {}), key, *_measure(task, key)) for key in keys]


def _measure(task: Mapping[str, Any], key: str) -> tuple[str, int]:
    """Name and decimals of a measure; beside the boxes a description stand the objects that there are."""
    label, digits = MEASURES.get(key, (key.replace("_", " "), 4))
    return (f"{label} ({task['objects']:.2f} objects)" if key == "boxes" and "objects" in task else label), digits


def _row(
    task: Mapping[str, Any],
    sides: Mapping[str, Mapping[str, float]],
    gains: Mapping[str, Any],
    key: str,
    label: str,
    digits: int,
) -> Row:
    """One row; a gain that metrics.json does not state is the difference of the two, without an interval."""
    base, tuned = sides["base"][key], sides.get("tuned", {}).get(key)
    source = task["base"] if tuned is None else task.get("delta", {})
    interval = source.get("ci95", {}).get(key)
    gain = None if tuned is None else gains.get(key, tuned - base)
    return Row(label, base, tuned, gain, tuple(interval) if interval else None, digits)


@dataclass(frozen=True, slots=True)
class Step:
    """One stage of the funnel in words: what came in, in `unit_in`, and what came out, in `unit_out`."""

    title: str
    unit_in: str
    unit_out: str
    flow: Flow
    share_in: float


_STEPS = {
    "images": ("Read images", "images", "usable images"),
    "annotations": ("Read annotations", "annotations", "usable annotations"),
    "queries": ("Draw regions", "images", "regions"),
    "imported": ("Read imported texts", "query ids", "ids of this run"),
    "candidates": ("Describe", "regions", "descriptions"),
    "scores": ("Score", "regions", "scored descriptions"),
    "pairs": ("Pair and refine", "regions", "pairs"),
    "train": ("Check before training", "pairs", "pairs trained on"),
}
_APART = ("annotations", "imported")


def funnel(flows: Mapping[str, Flow]) -> list[Step]:
    """The steps from images to training that have run, in the order of the flow.

    Shares are of the widest step's input; annotations and imported texts are measured by themselves.
    """
    shown = {name: flows[name] for name in _STEPS if name in flows}
    widest = max((flow.rows_in for name, flow in shown.items() if name not in _APART), default=0) or 1
    shares = {name: 1.0 if name in _APART else flow.rows_in / widest for name, flow in shown.items()}
    return [Step(*_STEPS[name], flow, shares[name]) for name, flow in shown.items()]


def verdict(row: Row) -> str:
    """What may be said of one gain, in words."""
    if row.interval is None:
        return "no interval was computed"
    if row.beyond == 0:
        return "no change beyond the 95 % interval"
    return "a rise beyond the 95 % interval" if row.beyond > 0 else "a fall beyond the 95 % interval"
