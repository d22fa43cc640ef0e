"""Photos: every mode becomes RGB, every fault has its reason, and no orientation is guessed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spr import images

SIZE = (40, 24)
ORIENTATION = 0x0112


@pytest.fixture
def photo() -> Image.Image:
    """A smooth colour gradient, 40 x 24, with a white corner at the top left."""
    x, y = np.meshgrid(np.linspace(0, 255, SIZE[0]), np.linspace(0, 255, SIZE[1]))
    pixels = np.stack([x, y, 255 - x], axis=-1).astype(np.uint8)
    pixels[:6, :6] = 255
    return Image.fromarray(pixels)


def reason(root: Path, path: str, size: tuple[int, int] = SIZE) -> str:
    with pytest.raises(images.ImageFault) as caught:
        images.load(root, path, size)
    return caught.value.reason


@pytest.mark.parametrize("mode", ["CMYK", "L", "1", "YCbCr"])
def test_modes_become_rgb_of_the_same_picture(tmp_path: Path, photo: Image.Image, mode: str) -> None:
    photo.convert(mode).save(tmp_path / "a.tiff")
    loaded = images.load(tmp_path, "a.tiff", SIZE)
    assert (loaded.mode, loaded.size) == ("RGB", SIZE)
    expected = np.asarray(photo.convert(mode).convert("RGB"), dtype=int)
    assert np.abs(np.asarray(loaded, dtype=int) - expected).max() <= 1


def test_a_cmyk_jpeg_looks_like_the_photo(tmp_path: Path, photo: Image.Image) -> None:
    photo.convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    loaded = np.asarray(images.load(tmp_path, "a.jpg", SIZE), dtype=int)
    assert np.abs(loaded - np.asarray(photo, dtype=int)).mean() < 6


def test_a_palette_png_looks_like_the_photo(tmp_path: Path, photo: Image.Image) -> None:
    photo.quantize(128).save(tmp_path / "a.png")
    loaded = np.asarray(images.load(tmp_path, "a.png", SIZE), dtype=int)
    assert np.abs(loaded - np.asarray(photo, dtype=int)).mean() < 6


def test_16_bit_greys_are_scaled_not_clipped(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, SIZE[0]).astype(np.uint16)[None].repeat(SIZE[1], axis=0)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    loaded = np.asarray(images.load(tmp_path, "a.png", SIZE))
    assert np.abs(loaded[0, :, 0] - np.linspace(0, 255, SIZE[0])).max() <= 1
    assert (loaded[..., 0] == loaded[..., 2]).all()


def test_transparency_is_laid_on_white(tmp_path: Path, photo: Image.Image) -> None:
    clear = photo.convert("RGBA")
    clear.putalpha(0)
    clear.save(tmp_path / "a.png")
    assert (np.asarray(images.load(tmp_path, "a.png", SIZE)) == 255).all()


def test_an_exif_rotation_that_makes_the_sizes_agree_is_applied(tmp_path: Path, photo: Image.Image) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # Stored turned; shown after a quarter turn clockwise.
    photo.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(np.asarray(images.load(tmp_path, "a.png", SIZE)), np.asarray(photo))


def test_boxes_drawn_on_the_stored_pixels_keep_them(tmp_path: Path, photo: Image.Image) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    photo.save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(np.asarray(images.load(tmp_path, "a.png", SIZE)), np.asarray(photo))


@pytest.mark.parametrize(("orientation", "size"), [(2, SIZE), (3, SIZE), (4, SIZE), (6, (24, 24)), (8, (24, 24))])
def test_an_orientation_the_size_leaves_open_is_refused(
    tmp_path: Path, photo: Image.Image, orientation: int, size: tuple[int, int]
) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    photo.resize(size).save(tmp_path / "a.png", exif=exif)
    assert reason(tmp_path, "a.png", size) == "ambiguous_orientation"


def test_a_size_that_disagrees_is_refused(tmp_path: Path, photo: Image.Image) -> None:
    photo.save(tmp_path / "a.png")
    assert reason(tmp_path, "a.png", (41, 24)) == "size_mismatch"
    assert reason(tmp_path, "a.png", (24, 40)) == "size_mismatch"


def test_a_huge_header_is_refused_before_its_pixels_are_decoded(tmp_path: Path) -> None:
    Image.new("1", (20000, 20000)).save(tmp_path / "a.png")
    assert reason(tmp_path, "a.png") == "size_mismatch"


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_a_truncated_file_is_unreadable(tmp_path: Path, photo: Image.Image, suffix: str) -> None:
    photo.resize((200, 120)).save(tmp_path / f"whole.{suffix}")
    whole = (tmp_path / f"whole.{suffix}").read_bytes()
    (tmp_path / f"a.{suffix}").write_bytes(whole[: len(whole) // 2])
    assert reason(tmp_path, f"a.{suffix}", (200, 120)) == "image_unreadable"


@pytest.mark.parametrize(
    "make",
    [
        lambda file: file.write_bytes(b""),
        lambda file: file.write_text("no photo"),
        lambda file: file.mkdir(),
        lambda file: file.symlink_to(file),
    ],
    ids=["empty", "text", "folder", "link to itself"],
)
def test_what_is_no_photo_is_unreadable(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "a.png")
    assert reason(tmp_path, "a.png") == "image_unreadable"


def test_a_name_no_file_can_have_is_unreadable(tmp_path: Path) -> None:
    assert reason(tmp_path, "a\0b.png") == "image_unreadable"
    assert reason(tmp_path, "\ud800.png") == "image_unreadable"


def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    assert reason(tmp_path, "folder/a.png") == "image_missing"


def test_a_path_out_of_the_root_is_refused_also_by_a_link(tmp_path: Path, photo: Image.Image) -> None:
    root = tmp_path / "root"
    root.mkdir()
    photo.save(tmp_path / "a.png")
    (root / "link.png").symlink_to(tmp_path / "a.png")
    for path in ("../a.png", str(tmp_path / "a.png"), "link.png"):
        assert reason(root, path) == "image_outside_root"


def test_crop_rounds_outwards_and_stays_in_the_image(photo: Image.Image) -> None:
    assert images.crop(photo, (1.2, 2.7, 5.1, 9.0)).size == (5, 7)
    assert images.crop(photo, (30.0, 20.0, 99.0, 99.0)).size == (10, 4)
    assert images.crop(photo, (3.0, 3.0, 3.0, 3.0)).size == (1, 1)
