"""POPE: whether a model says that a photo shows what it does not show. Yes/no questions from the authors' json lines.

One line a question: `question_id`, `image`, `text`, `label` (yes or no). Three files of 3,000 questions on 500 photos of
COCO val2014 ask for objects that are absent at random, popular ones, and ones that go with what is there; half of the right
answers are yes. Source: `output/coco/coco_pope_*.json` of RUCAIBox/POPE (Li et al. 2023, arXiv 2305.10355).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from spr.boxes import Size
from spr.errors import DataError
from spr.items import YesNoItem
from spr.sources.fields import shown
from spr.sources.json_lines import Row, read_json_lines
from spr.sources.reading import Reading, check_image_root, official_count, reading, sizes

OFFICIAL_COUNTS: Mapping[str, int] = {f"coco_pope_{absent}": 3000 for absent in ("random", "popular", "adversarial")}
"""Questions of each official file, by its name without `.json`."""


def read_pope(path: Path, image_root: Path, limit: int | None = None) -> Reading[YesNoItem]:
    """Read POPE's json lines, the first `limit` questions; ids are the file's. The photos' sizes come from their headers.

    All lines are checked, also beyond the limit. A note says when an official file's answers are not half yes, half no.

    Raises DataError when the file is missing, cut off or no json lines, when a line is malformed or its label is neither
    yes nor no, when two of them have one id, when an image lies outside the image root, when the image root is no directory,
    or when none of the images is there.
    """
    check_image_root(image_root)
    rows, digest = read_json_lines(path, ("question_id", "image", "text", "label"))
    measured = sizes(image_root, [row.text("image") for row in rows])
    items = [_item(row, measured[row.text("image")]) for row in rows]
    labels = Counter(item.label for item in items)
    official = official_count(path, OFFICIAL_COUNTS)
    notes = []
    if official is not None and labels["yes"] != labels["no"]:
        counted = f"{labels['yes']} yes and {labels['no']} no"
        notes.append(f"{path} holds {counted}; the official split has equally many: results are not comparable")
    return reading(path, image_root, items[:limit], len(rows), digest, "questions", official, notes)


def _item(row: Row, size: Size) -> YesNoItem:
    label = row.text("label")
    if label not in ("yes", "no"):
        raise DataError(f"{row.where} has label {shown(label)}; it must be yes or no")
    return YesNoItem(row.identity("question_id"), row.text("image"), *size, row.text("text"), label)
