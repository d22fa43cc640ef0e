"""References from a COCO-format json without texts: a category that exactly one object of an image has refers to it.

For data sets that nobody wrote expressions for. The name is the whole expression, so it asks less of a model than a
person's words do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from spr.errors import DataError
from spr.items import RecItem
from spr.recipe import Queries, Source
from spr.records import Scene
from spr.sources.coco import scenes_of
from spr.sources.referred import Referred, ReferredFile


def read_coco_names(content: Any, digest: str, path: Path, image_root: Path) -> ReferredFile:
    """The names that stand alone in their image, in the order of the file; ids are `<image id>-<annotation id>`.

    Crowds and annotations without a usable box are no objects; one that is only small is. Raises DataError where
    `read_scenes` does, and when no name stands alone.
    """
    found = scenes_of(content, digest, Source(annotations=path, image_root=image_root), Queries(min_box_side=0))
    rows = tuple(row for scene in found.scenes for row in _alone(scene))
    if not rows:
        raise DataError(
            f"{path} holds no usable reference: no name stands alone; name a file of referring expressions, or of annotated "
            "images in which some category occurs once"
        )
    note = f"{path.name}: read as COCO annotations, {len(rows)} names that one object of its image has, and no other"
    return ReferredFile(rows, digest, "", (note,))


def _alone(scene: Scene) -> Iterator[Referred]:
    counts = Counter(item.category for item in scene.objects)
    for item in scene.objects:
        if counts[item.category] == 1:
            item_id = f"{scene.image_id}-{item.annotation_id}"
            found = RecItem(item_id, scene.path, scene.width, scene.height, item.category, item.box, item.category)
            yield Referred(found, item_id)
