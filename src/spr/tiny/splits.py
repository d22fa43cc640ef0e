"""The four disjoint ranges of scene seeds, and the images and annotations written from them.

Models are trained on TRAINING; preference data come from PREFERENCE; every choice of a setting looks at DEVELOPMENT; only the
final table of `spr demo` looks at HELD_OUT.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spr.tiny.scenes import CATEGORIES, SIDE, layout, render

TRAINING = range(0, 900_000_000)
PREFERENCE = range(900_000_000, 910_000_000)
DEVELOPMENT = range(910_000_000, 920_000_000)
HELD_OUT = range(920_000_000, 930_000_000)


def write_split(split: range, count: int, out: Path, tick: Callable[[int], None] | None = None) -> None:
    """Write the first `count` scenes of a range: `images/*.png`, and `annotations.json` in Objects365's format. `tick` is told
    of each scene."""
    (out / "images").mkdir(parents=True, exist_ok=True)
    coco: dict[str, Any] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": i + 1, "name": name} for i, name in enumerate(CATEGORIES)],
    }
    for seed in split[:count]:
        _write_scene(seed, out, coco)
        if tick:
            tick(1)
    (out / "annotations.json").write_text(json.dumps(coco) + "\n")


def file_name(seed: int) -> str:
    """The path of a scene's picture below the split's folder."""
    return f"images/tiny_{seed:012d}.png"


def _write_scene(seed: int, out: Path, coco: dict[str, Any]) -> None:
    objects = layout(seed)
    render(seed, objects).save(out / file_name(seed))
    coco["images"].append({"id": seed, "file_name": file_name(seed), "width": SIDE, "height": SIDE})
    for item in objects:
        x0, y0, x1, y1 = item.box
        coco["annotations"].append(
            {
                "id": len(coco["annotations"]) + 1,
                "image_id": seed,
                "category_id": CATEGORIES.index(item.category) + 1,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": item.area,
                "iscrowd": 0,
                "isfake": 0,
                "isreflected": 0,
            }
        )
