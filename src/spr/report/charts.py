"""The report's charts, each a function from numbers to one SVG element. How SVG is made is the business of `spr.report.svg`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from spr.boxes import FloatArray
from spr.report.summaries import series, smooth
from spr.report.svg import PALETTE, draw


def accuracy(models: Mapping[str, Mapping[str, Any]], name: str = "Accuracy") -> str:
    """Accuracy in percent against the IoU threshold with 95 % intervals; `models` maps base and, where it was evaluated,
    tuned to its `acc` and `ci95` by threshold. `name` is what the accuracy is called."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        lowest = 100.0
        for (side, model), style in zip(models.items(), ("--", "-"), strict=False):
            thresholds, values, low, high = _points(model["acc"], model.get("ci95", {}))
            axes.fill_between(thresholds, low, high, color=PALETTE[side], alpha=0.2, linewidth=0)
            axes.plot(thresholds, values, style, color=PALETTE[side], marker="o", markersize=4, label=side)
            lowest = min(lowest, float(low.min()))
        axes.set_ylim(max(0, 10 * np.floor((lowest - 4) / 10)), 100)
        axes.legend(loc="lower left")
        _thresholds(axes, thresholds, f"{name}, percent")

    return draw(paint, f"{name} against IoU threshold: {' and '.join(models)}")


def gain(delta: Mapping[str, Any], name: str = "Accuracy") -> str:
    """Tuned minus base in points against the IoU threshold, with paired 95 % intervals; `delta` holds `acc` and `ci95` by
    threshold. `name` is what the accuracy is called."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        thresholds, values, low, high = _points(delta["acc"], delta.get("ci95", {}))
        axes.axhline(0, color=PALETTE["muted"], linewidth=1)
        axes.vlines(thresholds, low, high, color=PALETTE["tuned"], linewidth=6, alpha=0.3)
        axes.plot(thresholds, values, color=PALETTE["tuned"], marker="o", markersize=5.5, linewidth=1.4)
        for threshold, value, top in zip(thresholds, values, high, strict=True):
            axes.annotate(_signed(value), (threshold, top), (0, 5), textcoords="offset points", ha="center", fontsize=9.5)
        axes.margins(x=0.1, y=0.15)
        _thresholds(axes, thresholds, "Gain, points" if name == "Accuracy" else f"Gain in {name}, points")

    return draw(paint, f"{name}: gain against IoU threshold, with paired 95 % intervals")


def histogram(values: FloatArray, title: str) -> str:
    """How the values (n,) of one score are spread over all candidates, n >= 1, with their mean."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        low, high = float(values.min()), float(values.max())
        edges = np.linspace(low, high, 29) if high > low else low + np.array([-0.5, 0.5])
        axes.hist(values, bins=edges.tolist(), color=PALETTE["base"], alpha=0.75)
        axes.axvline(float(values.mean()), color=PALETTE["tuned"], linewidth=2)
        axes.set_title(f"{title}, mean {values.mean():.3f}")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))

    return draw(paint, f"Histogram of {title}", (300, 160))


def against(chosen: FloatArray, rejected: FloatArray, title: str, unit: str) -> str:
    """Whole numbers (n,) of the chosen and of the rejected texts as bars side by side, n >= 1."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        low, high = int(min(chosen.min(), rejected.min())), int(max(chosen.max(), rejected.max()))
        step = max(1, -(-(high - low + 1) // 16))
        edges = np.arange(low, high + step + 1, step) - 0.5
        colours = [PALETTE["tuned"], PALETTE["rejected"]]
        axes.hist([chosen, rejected], bins=edges.tolist(), color=colours, alpha=0.85, label=["chosen", "rejected"])
        axes.margins(y=0.25)
        axes.set_title(title)
        axes.set_xlabel(unit)
        axes.legend(loc="upper right", ncols=2)
        axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))

    return draw(paint, f"{title}: chosen and rejected", (360, 220))


def tokens(histogram: Mapping[str, Sequence[int]], title: str) -> str:
    """Pairs by the tokens of their sequence, from `edges` (n + 1,) and `pairs` (n,) of a training's histogram."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        axes.stairs(histogram["pairs"], histogram["edges"], fill=True, color=PALETTE["base"], alpha=0.75)
        axes.set_title(title)
        axes.set_xlabel("tokens of the prompt and its longer answer")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))

    return draw(paint, f"{title}, by tokens", (360, 220))


def corners(written: Sequence[int], annotated: Sequence[int], title: str) -> str:
    """Where boxes' corners lie, counted by equal parts of the image's side: shares of those the texts write, and of the
    annotated ones' (an outline)."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        edges = np.linspace(0, 1, len(written) + 1)
        shares = [np.array(counts) / max(sum(counts), 1) for counts in (written, annotated)]
        axes.stairs(shares[0], edges, fill=True, color=PALETTE["tuned"], alpha=0.6, label="written")
        axes.stairs(shares[1], edges, color=PALETTE["ink"], linewidth=1.4, label="annotated")
        axes.margins(y=0.25)
        axes.set_title(title)
        axes.set_xlabel("share of the image's side")
        axes.legend(loc="upper right", ncols=2)
        axes.yaxis.set_major_locator(MaxNLocator(4))

    return draw(paint, f"{title}, written and annotated", (360, 220))


def curve(log: Sequence[Mapping[str, Any]], lines: Mapping[str, tuple[str, str]], title: str, zero: bool = False) -> str:
    """Logged quantities over the updates, as they are (faint) and smoothed; `lines` maps a key of the log to its
    (label, colour), one label alone is not written. `zero` draws the line at 0 and tints what lies below it."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        for key, (label, colour) in lines.items():
            steps, values = series(log, key)
            axes.plot(steps, values, color=PALETTE[colour], linewidth=0.9, alpha=0.4)
            axes.plot(steps, smooth(values), color=PALETTE[colour], label=label)
        if zero:
            low, high = axes.get_ylim()
            axes.axhline(0, color=PALETTE["muted"], linewidth=1)
            axes.axhspan(min(low, 0), 0, color=PALETTE["rejected"], alpha=0.08, linewidth=0)
            axes.set_ylim(min(low, 0), max(high, 0))
        if len(lines) > 1:
            axes.legend(loc="best")
        axes.set_title(title)
        axes.set_xlabel("Update")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5))

    return draw(paint, title, (360, 220))


def _points(values: Mapping[str, float], intervals: Mapping[str, Sequence[float]]) -> tuple[FloatArray, ...]:
    """Thresholds, values, low and high ends, each (n,); without an interval both ends are the value."""
    keys = sorted(values, key=float)
    ends = [intervals.get(key) or (values[key], values[key]) for key in keys]
    columns = ([float(key) for key in keys], [values[key] for key in keys], *zip(*ends, strict=True))
    return tuple(np.array(column, dtype=np.float64) for column in columns)


def _thresholds(axes: Axes, thresholds: FloatArray, title: str) -> None:
    axes.set_title(title)
    axes.set_xlabel("IoU threshold")
    axes.set_xticks(thresholds, [f"{threshold:g}" for threshold in thresholds])
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")
