"""Real photos as users have them, with their boxes: cropped to odd sizes, turned by EXIF, grey, transparent, very small."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

Boxes = list[list[float]]
"""COCO's x, y, width, height in pixels of the photo as a person sees it."""


def as_it_is(photo: Image.Image, boxes: Boxes) -> tuple[Image.Image, Boxes]:
    return photo, boxes


def odd_crop(photo: Image.Image, boxes: Boxes) -> tuple[Image.Image, Boxes]:
    """Without the first 37 columns and 13 rows; boxes move with it and are cut at its edges."""
    left, top = 37, 13
    moved = []
    for x, y, w, h in boxes:
        x0, y0 = max(x - left, 0.0), max(y - top, 0.0)
        moved.append([x0, y0, x + w - left - x0, y + h - top - y0])
    return photo.crop((left, top, *photo.size)), moved


def turned_by_exif(photo: Image.Image, boxes: Boxes) -> tuple[Image.Image, Boxes]:
    """Stored lying on its side, with the tag that says so; what a viewer shows is the photo as it was."""
    lying = photo.transpose(Image.Transpose.ROTATE_90)
    lying.getexif()[0x0112] = 6
    return lying, boxes


def grey(photo: Image.Image, boxes: Boxes) -> tuple[Image.Image, Boxes]:
    return photo.convert("L"), boxes


def transparent(photo: Image.Image, boxes: Boxes) -> tuple[Image.Image, Boxes]:
    photo.putalpha(255)
    return photo, boxes


def very_small(photo: Image.Image, boxes: Boxes) -> tuple[Image.Image, Boxes]:
    small = photo.resize((101, 67))
    x, y = 101 / photo.width, 67 / photo.height
    return small, [[box[0] * x, box[1] * y, box[2] * x, box[3] * y] for box in boxes]


CHANGES: tuple[Callable[[Image.Image, Boxes], tuple[Image.Image, Boxes]], ...] = (
    as_it_is,
    odd_crop,
    turned_by_exif,
    grey,
    transparent,
    very_small,
)


def write_odd_photos(coco_train128: Path, out: Path) -> None:
    """One photo a change, as `instances.json` (COCO) and `rec.json` (a reference by the name of what occurs once), with the
    photos in `images/`. All have at least four objects that a box of ten pixels a side holds."""
    whole = json.loads((coco_train128 / "instances.json").read_text())
    names = {category["id"]: category["name"] for category in whole["categories"]}
    (out / "images").mkdir(parents=True)
    coco: dict[str, Any] = {"images": [], "annotations": [], "categories": whole["categories"]}
    references = []
    for change, (image, found) in zip(CHANGES, _rich(whole), strict=False):
        with Image.open(coco_train128 / "images" / image["file_name"]) as photo:
            changed, boxes = change(photo.convert("RGB"), [list(item["bbox"]) for item in found])
        name = f"{change.__name__}.{'png' if changed.mode == 'RGBA' else 'jpg'}"
        exif = changed.getexif()
        changed.save(out / "images" / name, exif=exif)
        width, height = changed.size[::-1] if exif.get(0x0112) == 6 else changed.size
        coco["images"].append({"id": image["id"], "file_name": name, "width": width, "height": height})
        for item, box in zip(found, boxes, strict=True):
            coco["annotations"].append({**item, "bbox": box, "area": box[2] * box[3]})
        once = [i for i, count in Counter(item["category_id"] for item in found).items() if count == 1]
        references += [
            {
                "img_id": name,
                "file_name": name,
                "sents": names[item["category_id"]],
                "bbox": box,
                "width": width,
                "height": height,
            }
            for item, box in zip(found, boxes, strict=True)
            if item["category_id"] in once
        ]
    (out / "instances.json").write_text(json.dumps(coco))
    (out / "rec.json").write_text(json.dumps(references))


def _rich(coco: dict[str, Any]) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Images with four to twelve large enough objects inside, one name among them that occurs once."""
    found = []
    for image in coco["images"]:
        items = [
            item
            for item in coco["annotations"]
            if item["image_id"] == image["id"] and not item["iscrowd"] and min(item["bbox"][2:]) >= 60
        ]
        once = 1 in Counter(item["category_id"] for item in items).values()
        if 4 <= len(items) <= 12 and once and image["width"] != image["height"]:
            found.append((image, items))
    return found
