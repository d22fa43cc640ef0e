"""Box-annotated images from a COCO-format json: COCO, Objects365 v1 and v2, and whatever is written like them.

Reads annotations only; pixels are looked at by the first stage. A file that is not what it promises is refused whole,
with one sentence; an annotation that cannot serve is left out and counted under its reason, so that nothing is lost
silently. Images stay, however few objects they keep: the first stage drops and counts those.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from spr.boxes import Box, Size, near
from spr.errors import DataError
from spr.recipe import Queries, Source
from spr.records import Dropped, Scene, SceneObject
from spr.sources.fields import LARGEST_SIDE, shown
from spr.sources.json_file import is_text, read_json

FLAGS = ("iscrowd", "isfake", "isreflected")
"""Annotations with one of these set show no single real object: COCO's groups, Objects365's pictures and mirror images."""
_OBJECTS365_PATH = re.compile(r"images/v[12]/(patch\d+/.+)")


@dataclass(frozen=True, slots=True)
class SceneReading:
    """What a file gave: scenes in the order of the file, and images dropped already here (`no_image_size`).

    `annotations` counts every annotation of the file once: under `usable`, or under the reason why it is not used
    (beyond_limit, image_dropped, unknown_image, duplicate_annotation, unknown_category, iscrowd, isfake, isreflected,
    malformed_box, nan_box, negative_size, zero_area, out_of_bounds, too_small). `images` is the number of images in the file,
    `digest` the sha256 of the file.
    """

    scenes: tuple[Scene, ...]
    dropped: tuple[Dropped, ...]
    annotations: dict[str, int]
    images: int
    digest: str


def read_scenes(source: Source, queries: Queries, say: Callable[[str], None] | None = None) -> SceneReading:
    """Read `source.annotations`: the first `source.limit` images of the file with their usable objects.

    Boxes are clipped to the image; one whose smaller side is then under `queries.min_box_side` pixels is left out. Of
    annotations with the same id the first counts. Objects365's `images/v1/patch8/x.jpg` is looked for as `patch8/x.jpg`
    where the image root has no folder `images`, which is how its archives unpack. `say` is told what a large file is doing.

    Raises DataError when the file is missing, cut off, empty or no COCO file, when two images share an id, when a file_name
    leads out of the image root, or when the image root is no directory.
    """
    if not source.image_root.is_dir():
        raise DataError(f"image_root {source.image_root} is not a directory; name the folder that holds the images")
    if say and source.annotations.is_file():
        say(f"reading {source.annotations} ({source.annotations.stat().st_size / 1e6:,.0f} MB)")
    content, digest = read_json(source.annotations)
    return scenes_of(content, digest, source, queries, say)


def scenes_of(
    content: Any, digest: str, source: Source, queries: Queries, say: Callable[[str], None] | None = None
) -> SceneReading:
    """The same of a json that is read already, with the digest of its file. Raises DataError."""
    where = str(source.annotations)
    images, annotations, categories = _parts(content, where)
    if say:
        say(f"{len(images):,} images, {len(annotations):,} annotations, {len(categories):,} categories")
    unpacked = not (source.image_root / "images").is_dir()
    frames = _read_images(images, unpacked, where)
    reader = _AnnotationReader(frames, source.limit, _read_categories(categories, where), queries.min_box_side, where)
    for index, entry in enumerate(annotations):
        reader.add(index, entry)
    kept = list(frames.values())[: source.limit]
    return SceneReading(
        scenes=tuple(
            Scene(frame.image_id, frame.path, *frame.size, tuple(reader.objects.get(frame.image_id, ())))
            for frame in kept
            if frame.size is not None
        ),
        dropped=tuple(Dropped(frame.image_id, "source", "no_image_size") for frame in kept if frame.size is None),
        annotations=dict(sorted(reader.counts.items())),
        images=len(frames),
        digest=digest,
    )


def _parts(content: Any, where: str) -> tuple[list[Any], list[Any], list[Any]]:
    if not isinstance(content, dict):
        raise DataError(f"{where} is no COCO file: it holds a {_kind(content)}, not an object with images and annotations")
    parts = []
    for key in ("images", "annotations", "categories"):
        if not isinstance(content.get(key), list):
            found = ", ".join(list(content)[:6]) or "nothing"
            raise DataError(f"{where} is no COCO file: it has no list `{key}` (it holds {found})")
        if not content[key]:
            raise DataError(f"{where} holds no {key}: its list `{key}` is empty; name a file with annotated images")
        parts.append(content[key])
    return parts[0], parts[1], parts[2]


@dataclass(frozen=True, slots=True)
class _Frame:
    """One image of the file; `size` is None where the file does not give a usable one."""

    image_id: str
    path: str
    size: Size | None
    index: int


def _read_images(entries: list[Any], unpacked: bool, where: str) -> dict[str, _Frame]:
    frames: dict[str, _Frame] = {}
    for index, entry in enumerate(entries):
        image_id = _id(entry, "id", (where, "images", index))
        if image_id in frames:
            raise DataError(
                f"{where}: images[{frames[image_id].index}] and images[{index}] have the same id {image_id}; "
                "image ids must be unique, mend the file"
            )
        path = _path(entry, f"{where}: images[{index}] (id {image_id})")
        official = _OBJECTS365_PATH.fullmatch(path) if unpacked else None
        size = _size(entry)
        frames[image_id] = _Frame(image_id, official[1] if official else path, size, index)
    return frames


def _read_categories(entries: list[Any], where: str) -> dict[str, str]:
    names: dict[str, str] = {}
    for index, entry in enumerate(entries):
        category_id = _id(entry, "id", (where, "categories", index))
        name = entry.get("name")
        if not is_text(name):
            raise DataError(f"{where}: categories[{index}] (id {category_id}) has name {shown(name)}; it must be a word")
        if category_id in names:
            raise DataError(
                f"{where}: two categories have the id {category_id} ({shown(names[category_id])} and {shown(name)}); mend "
                "the file"
            )
        names[category_id] = name.strip()
    return names


class _AnnotationReader:
    """Sorts the annotations of one file: into the objects of their image, or under the reason why they cannot serve."""

    def __init__(
        self, frames: Mapping[str, _Frame], limit: int | None, categories: Mapping[str, str], min_side: float, where: str
    ) -> None:
        self._frames, self._limit, self._categories = frames, limit, categories
        self._min_side, self._where = min_side, where
        self._order = {image_id: order for order, image_id in enumerate(frames)}
        self._seen: set[str] = set()
        self.objects: dict[str, list[SceneObject]] = {}
        self.counts: Counter[str] = Counter()

    def add(self, index: int, entry: Any) -> None:
        """Take one annotation. Raises DataError when it has no ids."""
        where = (self._where, "annotations", index)
        annotation_id = _id(entry, "id", where)
        image_id, category_id = _id(entry, "image_id", where), _id(entry, "category_id", where)
        reason = self._fault(annotation_id, image_id, category_id, entry)
        self._seen.add(annotation_id)
        size = None if reason else self._frames[image_id].size
        if size:
            box, reason = usable_box(entry.get("bbox"), size, self._min_side)
            if box:
                found = SceneObject(annotation_id, self._categories[category_id], box)
                self.objects.setdefault(image_id, []).append(found)
        self.counts[reason or "usable"] += 1

    def _fault(self, annotation_id: str, image_id: str, category_id: str, entry: Mapping[str, Any]) -> str | None:
        if annotation_id in self._seen:
            return "duplicate_annotation"
        if image_id not in self._frames:
            return "unknown_image"
        if self._limit is not None and self._order[image_id] >= self._limit:
            return "beyond_limit"
        if self._frames[image_id].size is None:
            return "image_dropped"
        if category_id not in self._categories:
            return "unknown_category"
        return next((flag for flag in FLAGS if entry.get(flag)), None)


def usable_box(bbox: Any, size: Size, min_side: float) -> tuple[Box | None, str | None]:
    """COCO's [x, y, width, height] -> the box clipped to an image of `size` pixels, and None; or None and a reason.

    `nan_box` is a box that is not finite, `out_of_bounds` one of which too little is left after clipping, `too_small` one
    that was too small before.
    """
    if not isinstance(bbox, list) or len(bbox) != 4 or any(type(value) not in (int, float) for value in bbox):
        return None, "malformed_box"
    x, y, width, height = bbox
    if not near(bbox):
        return None, "nan_box"
    if width < 0 or height < 0:
        return None, "negative_size"
    if width == 0 or height == 0:
        return None, "zero_area"
    x0, x1 = (min(max(float(edge), 0.0), float(size[0])) for edge in (x, x + width))
    y0, y1 = (min(max(float(edge), 0.0), float(size[1])) for edge in (y, y + height))
    if min(x1 - x0, y1 - y0) >= min_side and x1 > x0 and y1 > y0:
        return (x0, y0, x1, y1), None
    return None, "too_small" if min(width, height) < min_side else "out_of_bounds"


def _id(entry: Any, key: str, where: tuple[str, str, int]) -> str:
    """An id as text. `where` is file, list and index: a sentence only when it is needed, for there are millions."""
    value = entry.get(key) if isinstance(entry, dict) else None
    if type(value) is int:
        return str(value)
    if is_text(value):
        return str(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    what = f"has {key} {shown(value)}" if isinstance(entry, dict) else f"is a {_kind(entry)}"
    file, part, index = where
    raise DataError(f"{file}: {part}[{index}] {what}; a COCO entry is an object whose {key} is a number or a text")


def _path(entry: Mapping[str, Any], where: str) -> str:
    name = entry.get("file_name")
    if not is_text(name):
        raise DataError(f"{where} has file_name {shown(name)}; it must be the image's path below image_root")
    path = posixpath.normpath(str(name))
    if path.startswith(("/", "../")) or path in ("..", "."):
        raise DataError(f"{where} has file_name {shown(name)}, which leads out of image_root; refused, mend the file")
    return path


def _size(entry: Mapping[str, Any]) -> Size | None:
    width, height = entry.get("width"), entry.get("height")
    for value in (width, height):
        if type(value) not in (int, float) or not value or not 0 < value <= LARGEST_SIDE or value != value // 1:
            return None
    return int(width or 0), int(height or 0)


def _kind(value: Any) -> str:
    names = {list: "list", dict: "object", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "number")
