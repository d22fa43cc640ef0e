"""What all readers have in common: the sizes of photos, as they are seen."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from spr.sources.reading import sizes

ORIENTATION = 0x0112


@pytest.mark.parametrize(("orientation", "size"), [(n, (6, 4) if n < 5 else (4, 6)) for n in range(1, 9)])
def test_the_sides_of_a_photo_that_exif_turns_are_swapped(tmp_path: Path, orientation: int, size: tuple[int, int]) -> None:
    """5 to 8 are quarter turns, of which two are mirrored; 2 to 4 keep the sides."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.new("RGB", (6, 4)).save(tmp_path / "a.jpg", exif=exif)
    assert sizes(tmp_path, ["a.jpg", "none.jpg", "a.jpg"]) == {"a.jpg": size, "none.jpg": (0, 0)}
