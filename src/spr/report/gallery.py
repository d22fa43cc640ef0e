"""What training broke and what it mended: of one data set, the items that tuned answers worst and best beside base.

Which items they are is decided here; the pictures are `gallery_svg`'s, the pages `gallery_page`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from spr.errors import DataError
from spr.record_tables import from_table
from spr.records import Prediction
from spr.report.data import Run
from spr.running.progress import meter
from spr.running.run_dir import RunDir

MOST = 12
"""How many items of either kind a gallery shows."""
Worth = Callable[[Prediction], float]


def _yes_no(one: Prediction) -> float:
    return float(one.payload["said"] == one.payload["label"])


def _share(name: str) -> Worth:
    return lambda one: one.payload[name]


@dataclass(frozen=True, slots=True)
class Scale:
    """What the answers of a task are compared by: what it is called, its decimals, and whether answers are boxes."""

    worth: Worth
    name: str
    digits: int
    boxes: bool


SCALES: Mapping[str, Scale] = {
    "rec": Scale(lambda one: one.iou, "IoU", 2, boxes=True),
    "phrase_grounding": Scale(lambda one: one.iou, "IoU", 2, boxes=True),
    "regions": Scale(_share("localization"), "localization score", 3, boxes=True),
    "pope": Scale(_yes_no, "right", 0, boxes=False),
    "gqa": Scale(_share("accuracy"), "right", 0, boxes=False),
    "textvqa": Scale(_share("accuracy"), "accuracy", 2, boxes=False),
    "region_description": Scale(_share("cider"), "CIDEr-D", 2, boxes=False),
}
"""By task. Of a phrase it is the IoU of the first box with any of the phrase's; a task that is not here has no gallery."""


@dataclass(frozen=True, slots=True)
class Change:
    """One item that base and tuned answered, and how much more tuned's answer is worth."""

    base: Prediction
    tuned: Prediction
    gain: float


@dataclass(frozen=True, slots=True)
class Gallery:
    """The worst regressions and the best gains of a data set, each from its largest change on. `worse` and `better` count all
    items that changed so, `n` all that were compared; `image_root` is None where the recipe no longer names the data set."""

    id: str
    scale: Scale
    regressions: list[Change]
    gains: list[Change]
    worse: int
    better: int
    n: int
    image_root: Path | None

    @property
    def page(self) -> str:
        """The file name of its page."""
        return f"{self.id.replace('/', '-')}.html"


def galleries(run: Run) -> dict[str, Gallery]:
    """The galleries of a run by data set, where base and tuned were compared. Raises DataError for a broken file."""
    roots = {one.id: one.data.image_root for one in run.recipe.evaluation.sets()}
    compared = [name for name, task in run.tasks.items() if "delta" in task and task["n"] and name.split("/")[0] in SCALES]
    found: dict[str, Gallery] = {}
    if not compared:
        return found
    with meter("looking for what changed", len(compared), "data sets") as tick:
        for name in compared:
            base, tuned = (_predictions(run.path, name, side) for side in ("base", "tuned"))
            if base is not None and tuned is not None:
                found[name] = gallery(name, base, tuned, roots.get(name))
            tick(1)
    return found


def gallery(task_id: str, base: Sequence[Prediction], tuned: Sequence[Prediction], image_root: Path | None) -> Gallery:
    """The gallery of one data set, of the items that both sides answered."""
    scale = SCALES[task_id.split("/")[0]]
    answered = {one.item_id: one for one in tuned}
    changes = [
        Change(one, other, scale.worth(other) - scale.worth(one))
        for one in base
        if (other := answered.get(one.item_id)) is not None
    ]
    worse = [change for change in changes if change.gain < 0]
    better = [change for change in changes if change.gain > 0]
    return Gallery(task_id, scale, picks(worse), picks(better), len(worse), len(better), len(changes), image_root)


def picks(changes: Sequence[Change], most: int = MOST) -> list[Change]:
    """The largest of these changes, at most one a photo while other photos have some; equal ones by their item's id."""
    ordered = sorted(changes, key=_largest_first)
    seen: set[str] = set()
    firsts: list[Change] = []
    others: list[Change] = []
    for change in ordered:
        (others if change.base.path in seen else firsts).append(change)
        seen.add(change.base.path)
    return sorted([*firsts, *others][:most], key=_largest_first)


def _largest_first(change: Change) -> tuple[float, str]:
    return -abs(change.gain), change.base.item_id


def _predictions(run: Path, task_id: str, side: str) -> list[Prediction] | None:
    """The predictions of one side; None where there are none. Raises DataError for a broken file."""
    path = RunDir(run).evaluation(task_id, side) / "predictions.parquet"
    if not path.is_file():
        return None
    try:
        table = pq.read_table(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); evaluate {task_id} again") from None
    return from_table(table, Prediction, str(path))
