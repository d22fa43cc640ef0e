"""Intervals and a paired test against a loop over draws: `python benchmarks/intervals.py [--items 100000] [--draws 10000]`.

Base and tuned answered the same made-up referring expressions, about five an image. Both sides give, for accuracy at five IoU
thresholds and for mean IoU, the 95 % intervals of base, tuned and their change from a bootstrap over images, and the p-value
of a randomisation test over images; in one process and in turns. A loop draws images, gathers their expressions and computes
each number from them, with numpy in every draw. There are two: the plain one joins the rows of the drawn images, the other
makes their indices without a Python list. A loop runs `--loop-draws` draws a turn, and its time is scaled to all of them.
Prints seconds, the ratios, and the memory that the process took at most.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from spr.boxes import FloatArray
from spr.evaluation.comparison import paired_test
from spr.evaluation.intervals import bootstrap, clustered, means

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)


class Answers(NamedTuple):
    """The IoU of base and of tuned, (n,) each, and the image of each expression."""

    base: FloatArray
    tuned: FloatArray
    images: list[str]


def peak_mebibytes() -> float:
    """The most memory that this process held, in MiB. Linux's ru_maxrss would count what its parent held before it."""
    status = Path("/proc/self/status")
    if status.is_file():
        return int(next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM"))) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def answers(items: int) -> Answers:
    """Made-up answers: IoUs that share a part within an image, and a tuned model that is a little better."""
    generator = np.random.default_rng(0)
    image = generator.integers(0, max(1, items // 5), items)
    hard = generator.normal(0, 0.1, items)[image]
    base = np.clip(generator.beta(4, 1.5, items) + hard, 0, 1)
    tuned = np.clip(base + generator.normal(0.005, 0.05, items), 0, 1)
    return Answers(base, tuned, [f"train2014/{index:012}.jpg" for index in image])


def together(asked: Answers, draws: int) -> tuple[FloatArray, FloatArray]:
    """The package: bounds of the change (2, 6) and p-values (6,), from the answers on."""
    sides = [
        clustered(np.column_stack([*(iou >= threshold for threshold in THRESHOLDS), iou]), asked.images)
        for iou in (asked.base, asked.tuned)
    ]
    change = bootstrap(sides, means, draws, seed=1).change
    assert change is not None
    return change, paired_test(*sides, means, draws, seed=2)


class Loop:
    """The same, draw by draw. What all draws share is made once, and is not in the time of the draws."""

    def __init__(self, asked: Answers) -> None:
        self.base, self.tuned = asked.base, asked.tuned
        _, self.member, self.sizes = np.unique(asked.images, return_inverse=True, return_counts=True)
        self.order = np.argsort(self.member, kind="stable")
        self.starts = np.cumsum(self.sizes) - self.sizes
        self.rows = np.split(self.order, self.starts[1:])

    def run(self, draws: int, gather: Callable[[np.ndarray], np.ndarray]) -> tuple[FloatArray, FloatArray]:
        """Bounds of the change and p-values."""
        generator = np.random.default_rng(1)
        observed = judged(self.tuned) - judged(self.base)
        base, tuned, change, as_large = [], [], [], np.zeros(len(observed))
        for _ in range(draws):
            rows = gather(generator.integers(0, len(self.sizes), len(self.sizes)))
            base.append(judged(self.base[rows]))
            tuned.append(judged(self.tuned[rows]))
            change.append(tuned[-1] - base[-1])
            swap = (generator.random(len(self.sizes)) < 0.5)[self.member]
            swapped = judged(np.where(swap, self.base, self.tuned)) - judged(np.where(swap, self.tuned, self.base))
            as_large += np.abs(swapped) >= np.abs(observed)
        bounds = [np.quantile(values, [0.025, 0.975], axis=0) for values in (base, tuned, change)]
        return bounds[-1], (1 + as_large) / (1 + draws)

    def joined(self, images: np.ndarray) -> np.ndarray:
        """The rows of the drawn images, joined."""
        return np.concatenate([self.rows[image] for image in images])

    def indexed(self, images: np.ndarray) -> np.ndarray:
        """The same without a Python list."""
        sizes = self.sizes[images]
        ends = np.cumsum(sizes)
        return self.order[np.repeat(self.starts[images] - ends + sizes, sizes) + np.arange(ends[-1])]


def judged(iou: FloatArray) -> FloatArray:
    """Accuracy at each threshold, and the mean IoU."""
    return np.asarray([*((iou >= threshold).mean() for threshold in THRESHOLDS), iou.mean()])


def compare(items: int, draws: int, loop_draws: int, repeats: int) -> None:
    """Time all sides in turns and print medians."""
    asked = answers(items)
    loop = Loop(asked)
    gathers = {"draw by draw": loop.joined, "without lists": loop.indexed}
    together(asked, 100)
    fast: list[float] = []
    slow: dict[str, list[float]] = {name: [] for name in gathers}
    for _ in range(repeats):
        for name, gather in gathers.items():
            began = time.perf_counter()
            loop.run(loop_draws, gather)
            slow[name].append((time.perf_counter() - began) * draws / loop_draws)
        began = time.perf_counter()
        together(asked, draws)
        fast.append(time.perf_counter() - began)
    peak = peak_mebibytes()
    print(f"{items} expressions in {len(loop.sizes)} images, base and tuned, {draws} draws, median of {repeats}")
    print(f"{'together':14}{statistics.median(fast):8.2f} s")
    for name, times in slow.items():
        ratio = statistics.median(a / b for a, b in zip(times, fast, strict=True))
        print(f"{name:14}{statistics.median(times):8.2f} s, scaled from {loop_draws} draws, ratio {ratio:6.1f}")
    print(f"{'peak memory':14}{peak:8.0f} MiB")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--loop-draws", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    compare(args.items, args.draws, args.loop_draws, args.repeats)


if __name__ == "__main__":
    main()
