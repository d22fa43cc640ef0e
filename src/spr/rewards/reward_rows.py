"""What an RL trainer hands to a reward, as region queries: plain rows of a data set in, queries and photos out.

A row is a mapping with the columns `image` (or `images`, of which the first is the photo), `width`, `height`, `region` and
`objects`. Not here: what the text of a row is worth.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from spr.boxes import Box, as_box, as_boxes
from spr.errors import DataError, RecipeError
from spr.records import RegionQuery, SceneObject

COLUMNS = ("image", "width", "height", "region", "objects")
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """The query of one row, and its photo where that is in memory. Rows about one region of one image have queries that
    differ in nothing but their id."""

    query: RegionQuery
    photo: Image.Image | None


class RowReader:
    """Reads rows. `names` maps column names of this page to the data's, where they differ; `looks` says whether a model looks
    at the region: without one neither region nor photo is needed. Raises RecipeError for a column that it does not know."""

    def __init__(self, names: Mapping[str, str], looks: bool) -> None:
        if unknown := sorted(set(names) - set(COLUMNS)):
            raise RecipeError(f"columns: unknown column {unknown[0]!r}; it must be one of {', '.join(COLUMNS)}")
        self._names = {name: names.get(name, name) for name in COLUMNS}
        self._needed = COLUMNS if looks else ("width", "height", "objects")
        self._looks = looks

    def read(self, row: Row, number: int) -> Asked | None:
        """The query of a row, the `number`-th of its batch; None where its objects are None: it is another reward's.

        Width and height may be missing where the photo is in memory. Raises DataError for columns that are missing or do not
        hold what they should.
        """
        values: dict[str, Any] = {name: row.get(column) for name, column in self._names.items()}
        if values["objects"] is None and self._names["objects"] in row:
            return None
        image = row.get("images") if values["image"] is None else values["image"]
        values["image"] = (image[0] if len(image) else None) if isinstance(image, list | tuple | np.ndarray) else image
        photo = _in_memory(values["image"], number)
        if photo is not None and (values["width"] is None or values["height"] is None):
            values["width"], values["height"] = photo.size
        self._check(values, row, number)
        path = _path(values["image"], photo) if self._looks else ""
        width, height = (_pixels(values[name], name, number) for name in ("width", "height"))
        everything = (0.0, 0.0, float(width), float(height))
        region = _region(values["region"], number) if self._looks else everything
        objects = _objects(values["objects"], number)
        for what, box in [("region", region), *(("a box of its objects", one.box) for one in objects)]:
            if not _is_inside(box, width, height):
                raise DataError(
                    f"row {number} of the batch: {what} is {box}, which is no x0, y0, x1, y1 in pixels of an image of "
                    f"{width} x {height}"
                )
        return Asked(RegionQuery(f"row {number}", path, path, width, height, region, objects), photo if self._looks else None)

    def _check(self, values: Mapping[str, Any], row: Row, number: int) -> None:
        missing = [self._names[name] for name in self._needed if values[name] is None]
        if missing:
            raise DataError(
                f"row {number} of the batch has no {', no '.join(missing)}, which the reward needs; its columns are "
                f"{', '.join(sorted(row)) or 'none'}: add it, or name yours with columns={{'{missing[0]}': ...}}"
            )


def _in_memory(image: Any, number: int) -> Image.Image | None:
    """The photo where it is in memory: a PIL image, or the bytes of a file, turned upright as `datasets` turns them."""
    if image is None or isinstance(image, str | Path | Image.Image):
        return image if isinstance(image, Image.Image) else None
    if isinstance(image, Mapping) and image.get("bytes"):
        try:
            photo = Image.open(io.BytesIO(image["bytes"]))
            photo.load()
            return ImageOps.exif_transpose(photo)
        except Exception as error:  # Decoders fail on broken files in many ways; each of them is this one fault.
            raise DataError(f"row {number} of the batch: its image cannot be read ({error})") from None
    if isinstance(image, Mapping) and image.get("path"):
        return None
    raise DataError(f"row {number} of the batch: its image is a {type(image).__name__}; it must be a PIL image or a path")


def _path(image: Any, photo: Image.Image | None) -> str:
    """Where the photo lies; of one in memory the digest of its pixels, so that copies of a photo are known for one."""
    if photo is not None:
        return f"sha256:{hashlib.sha256(np.ascontiguousarray(photo).tobytes()).hexdigest()}"
    return str(image["path"] if isinstance(image, Mapping) else image)


def _pixels(value: Any, name: str, number: int) -> int:
    try:
        pixels = int(value)
    except (ValueError, TypeError, OverflowError):
        pixels = 0
    if pixels < 1:
        raise DataError(f"row {number} of the batch: {name} is {value!r}; it must be the image's, in pixels")
    return pixels


def _is_inside(box: Box, width: int, height: int) -> bool:
    """Whether a box has an area, and some of it lies in the image; NaN is in no order."""
    x0, y0, x1, y1 = box
    return max(x0, 0) < min(x1, width) and max(y0, 0) < min(y1, height) and all(map(math.isfinite, box))


def _region(values: Any, number: int) -> Box:
    try:
        return as_box(as_boxes([values])[0])
    except (ValueError, TypeError):
        raise DataError(f"row {number} of the batch: region is {values!r}; it must be x0, y0, x1, y1 in pixels") from None


def _objects(objects: Any, number: int) -> tuple[SceneObject, ...]:
    """`{"boxes": (n, 4), "categories": (n,)}`, or n of `{"box": (4,), "category": str}`, as data sets keep structs."""
    try:
        if isinstance(objects, Mapping):
            boxes, names = objects["boxes"], objects.get("categories")
        else:
            boxes, names = [one["box"] for one in objects], [one.get("category", "") for one in objects]
        # Rows of a parquet file come as arrays of arrays, which numpy alone does not join.
        found = zip(as_boxes([list(box) for box in boxes]), [""] * len(boxes) if names is None else names, strict=True)
        return tuple(SceneObject(str(place), str(name), as_box(box)) for place, (box, name) in enumerate(found))
    except (ValueError, TypeError, KeyError, AttributeError):
        raise DataError(
            f"row {number} of the batch: its objects must be boxes (n, 4) in pixels and as many categories, e.g. "
            "{'boxes': [[0, 0, 10, 10]], 'categories': ['dog']}"
        ) from None
