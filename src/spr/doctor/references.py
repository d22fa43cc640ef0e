"""Annotated references to calibrate on: expressions of a per-expression json, or names that stand alone in an image of a
COCO-format json."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from spr.errors import DataError
from spr.images import ImageFault, resolve
from spr.recipe import Queries, Source
from spr.records import RecItem, Scene
from spr.running.progress import say
from spr.sources.coco import read_scenes
from spr.sources.refcoco import read_rec


def references(source: Path, image_root: Path, limit: int) -> tuple[RecItem, ...]:
    """At most `limit` references whose images are there, evenly spread over the file, in its order.

    A json list is read as referring expressions, an object as COCO: a category that one object of an image has, and no other,
    refers to it by its name. Raises DataError for a file that cannot be read, and for one without a usable reference.
    """
    items = _expressions(source, image_root) if _is_list(source) else _names(source, image_root)
    usable = [item for item in items if _is_there(image_root, item.path)]
    if not usable:
        lost = f"none of the images of its {len(items)} references is under {image_root}" if items else "no name stands alone"
        raise DataError(
            f"{source} holds no usable reference: {lost}; name a file of referring expressions, or of annotated images in "
            "which some category occurs once, and the folder of its images (--image-root)"
        )
    if len(usable) < len(items):
        lost = f"{len(items) - len(usable)} of {len(items)} references"
        say(f"{source}: {lost} are left out, their images are not under {image_root}")
    places = np.linspace(0, len(usable) - 1, min(limit, len(usable))).round().astype(int)
    return tuple(usable[place] for place in places.tolist())


def _is_list(source: Path) -> bool:
    """Whether the json begins as a list; a file that cannot be opened is the reader's to refuse."""
    try:
        with source.open("rb") as file:
            return file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"["
    except OSError:
        return False


def _expressions(source: Path, image_root: Path) -> Sequence[RecItem]:
    return read_rec(source, image_root).items


def _names(source: Path, image_root: Path) -> Sequence[RecItem]:
    reading = read_scenes(Source(annotations=source, image_root=image_root), Queries(), say)
    return [item for scene in reading.scenes for item in _alone(scene)]


def _alone(scene: Scene) -> Iterator[RecItem]:
    counts = Counter(item.category for item in scene.objects)
    for item in scene.objects:
        if counts[item.category] == 1:
            yield RecItem(
                f"{scene.image_id}-{item.annotation_id}", scene.path, scene.width, scene.height, item.category, item.box
            )


def _is_there(image_root: Path, path: str) -> bool:
    try:
        return resolve(image_root, path).is_file()
    except ImageFault:
        return False
