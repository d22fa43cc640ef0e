"""Photos from disk: RGB, in the orientation that their annotations speak of, or a reason why not.

Boxes are only worth something in the frame they were drawn in. So an image must agree with the width and height its
annotations state; an EXIF rotation is applied when it makes them agree, and an image whose orientation tag leaves that
open (a flip, a half turn, a square turned) is refused rather than guessed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from spr.boxes import Box, Size

Image.MAX_IMAGE_PIXELS = 500_000_000
_ORIENTATION_TAG = 0x0112
_WIDE_MODES = ("I", "I;16", "I;16B", "I;16L", "F")


class ImageFault(Exception):
    """An image that cannot be used. `reason` is one of image_missing, image_unreadable, image_outside_root,
    size_mismatch, ambiguous_orientation; it is what a dropped row is counted under."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


def resolve(root: Path, path: str) -> Path:
    """The file `path` names below `root`. Raises ImageFault: image_outside_root when it leads
    anywhere else, also by a link; image_unreadable when no file can have that name."""
    base = root.resolve()
    try:
        full = (base / path).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # A loop of links, a NUL, a name no file can have.
        raise ImageFault("image_unreadable", f"{path!r}: {error}") from None
    if not full.is_relative_to(base):
        raise ImageFault("image_outside_root", f"{path!r} leads out of {root}")
    return full


def load(root: Path, path: str, size: Size | None) -> Image.Image:
    """Decode one photo whole, as RGB of exactly `size` = (width, height) pixels; where nothing states a size (None), upright as
    its own tag says. Raises ImageFault."""
    full = resolve(root, path)
    try:
        with Image.open(full) as image:
            if size is not None:
                _check_header(image, size, path)
            image.load()
            return to_rgb(ImageOps.exif_transpose(image) if size is None else _orient(image, size, path))
    except FileNotFoundError:
        raise ImageFault("image_missing", str(full)) from None
    except ImageFault:
        raise
    except Exception as error:  # Decoders fail on broken files in many ways; each of them is this one fault.
        raise ImageFault("image_unreadable", f"{full}: {error}") from None


def upright_size(image: Image.Image) -> Size:
    """(width, height) in pixels of an opened photo, turned as its own tag says; no pixel is decoded."""
    turned = image.getexif().get(_ORIENTATION_TAG, 1) in (5, 6, 7, 8)
    return (image.height, image.width) if turned else image.size


def loaded(image: Image.Image, size: Size) -> Image.Image:
    """A photo that is in memory already, as RGB; whoever loaded it has turned it upright. Raises ImageFault (size_mismatch)
    when it is not of `size` = (width, height) pixels."""
    if image.size != size:
        raise ImageFault("size_mismatch", f"it is {image.width}x{image.height}, its annotations say {size[0]}x{size[1]}")
    return to_rgb(image)


def _check_header(image: Image.Image, size: Size, path: str) -> None:
    """Refuse by the header, before pixels cost memory, what no orientation can make fit."""
    if size not in (image.size, image.size[::-1]):
        raise ImageFault("size_mismatch", f"{path} is {image.width}x{image.height}, its annotations say {size[0]}x{size[1]}")


def _orient(image: Image.Image, size: Size, path: str) -> Image.Image:
    orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    upright = upright_size(image)
    if orientation in (1, 0):
        fits = image.size == size
        oriented = image
    elif image.size == size and (upright == size or orientation in (2, 3, 4)):
        raise ImageFault("ambiguous_orientation", f"{path} has EXIF orientation {orientation} and reads {size} either way")
    elif image.size == size:
        return image
    else:
        fits = upright == size
        oriented = ImageOps.exif_transpose(image)
    if not fits:
        raise ImageFault("size_mismatch", f"{path} is {upright[0]}x{upright[1]}, its annotations say {size[0]}x{size[1]}")
    return oriented


def to_rgb(image: Image.Image) -> Image.Image:
    """Any PIL mode -> RGB: 16-bit and float greys are scaled to 8 bits, transparency is laid on white."""
    if image.mode in _WIDE_MODES:
        values = np.asarray(image, dtype=np.float64)
        top = 65535.0 if image.mode.startswith("I") else max(float(values.max(initial=0.0)), 1e-9)
        scaled = np.clip(values / top * 255.0, 0, 255).round().astype(np.uint8)
        return Image.fromarray(scaled).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def crop(image: Image.Image, region: Box) -> Image.Image:
    """The region's pixels, rounded outwards, at least one pixel a side."""
    return image.crop(crop_corners(region, image.size))


def crop_corners(region: Box, size: Size) -> tuple[int, int, int, int]:
    """The corners (x0, y0, x1, y1) that `crop` cuts a region at, in pixels of an image of `size`."""
    x0, y0 = max(0, int(np.floor(region[0]))), max(0, int(np.floor(region[1])))
    x1, y1 = min(size[0], int(np.ceil(region[2]))), min(size[1], int(np.ceil(region[3])))
    return x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)
