"""What every reader of evaluation data gives, and the checks that they have in common.

An evaluation set is read strictly: leaving out a row would make another benchmark of it. What a person should know before
anything runs is said in `notes`: a subset, a count that is not the official one, missing images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from PIL import Image

from spr.boxes import Size
from spr.errors import DataError
from spr.images import ImageFault, resolve, upright_size
from spr.items import Shown

AnyItem = TypeVar("AnyItem", bound=Shown)


@dataclass(frozen=True, slots=True)
class Reading(Generic[AnyItem]):
    """What a file gave: items in the order of the file, out of `total` in it.

    `missing` are the images of these items that are not there, each once. `notes` are sentences to be said before anything
    runs. `digest` is the sha256 of the file.
    """

    items: tuple[AnyItem, ...]
    total: int
    missing: tuple[str, ...]
    notes: tuple[str, ...]
    digest: str


def reading(
    path: Path,
    image_root: Path,
    items: Sequence[AnyItem],
    total: int,
    digest: str,
    what: str,
    official: int | None = None,
    notes: Sequence[str] = (),
) -> Reading[AnyItem]:
    """Put a reading together: missing images, the count against the `official` one, a subset. `what` names the items
    (expressions, questions, ...).

    Raises DataError when there is no item, two of them have one id, an image lies outside the image root, the image root is no
    directory, or none of the images is there.
    """
    if not items:
        raise DataError(f"{path} holds no {what}; name a file that does")
    ids: dict[str, int] = {}
    for place, item in enumerate(items):
        if item.item_id in ids:
            raise DataError(f"{path}: {what} {ids[item.item_id]} and {place} have one id, {item.item_id}; ids must differ")
        ids[item.item_id] = place
    missing = _missing(items, image_root, path)
    said = [*notes]
    if official is not None and total != official:
        said.append(f"{path} holds {total} {what}; the official split has {official}: results are not comparable")
    if len(items) < total:
        said.append(f"{path.name}: subset of {total}, the first {len(items)} {what}")
    if missing:
        gone = set(missing)
        lost = sum(item.path in gone for item in items)
        listed = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        said.append(f"{path.name}: {len(missing)} images are missing, {lost} {what} are dropped with them: {listed}")
    return Reading(tuple(items), total, missing, tuple(said), digest)


def official_count(path: Path, counts: Mapping[str, int]) -> int | None:
    """The official count of the split that a file is named after, by its name without its ending, in lower case."""
    return counts.get(path.stem.lower())


def check_image_root(image_root: Path) -> None:
    """Raises DataError unless it is a directory."""
    if not image_root.is_dir():
        raise DataError(f"image_root {image_root} is not a directory; name the folder that holds the images")


def sizes(image_root: Path, paths: Sequence[str]) -> dict[str, Size]:
    """(width, height) in pixels, upright, of each different photo, from its header; (0, 0) for one that is missing or cannot
    be read, which is dropped when it is asked about. Raises DataError for a path outside the image root."""
    return {path: _size(image_root, path) for path in dict.fromkeys(paths)}


def _size(image_root: Path, path: str) -> Size:
    try:
        with Image.open(resolve(image_root, path)) as image:
            return upright_size(image)
    except ImageFault as fault:
        raise DataError(f"an image is refused, {fault}") from None
    except Exception:  # What a decoder cannot open is dropped, under its reason, when it is asked about.
        return (0, 0)


def _missing(items: Sequence[AnyItem], image_root: Path, path: Path) -> tuple[str, ...]:
    check_image_root(image_root)
    paths = dict.fromkeys(item.path for item in items)
    try:
        missing = tuple(name for name in paths if not resolve(image_root, name).is_file())
    except ImageFault as fault:
        raise DataError(f"{path}: an image is refused, {fault}") from None
    if len(missing) == len(paths):
        raise DataError(f"{path}: none of its {len(paths)} images is under {image_root}, e.g. {missing[0]}; set image_root")
    return missing
