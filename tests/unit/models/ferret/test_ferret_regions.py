"""What a region covers, where it is read, and what is said about one that cannot be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from spr.errors import ModelError
from spr.models import dialects
from spr.models.ferret.processor import CHAT_TEMPLATE, FerretProcessor
from spr.models.ferret.regions import areas, covered, draw, painted
from spr.models.ferret.sampler import POINTS, farthest, read
from tiny_random.ferret import build_images, build_tokenizer

SIZE = (80, 60)


def pixels(area) -> set[tuple[int, int]]:
    return {tuple(place) for place in area.places(torch.arange(area.count)).tolist()}


def rectangle(left: int, top: int, right: int, bottom: int) -> set[tuple[int, int]]:
    """All pixels from one corner to the other, both included."""
    return {(x, y) for x in range(left, right + 1) for y in range(top, bottom + 1)}


@pytest.fixture(scope="module")
def processor() -> FerretProcessor:
    return FerretProcessor(build_images(), build_tokenizer(), patch_size=8, chat_template=CHAT_TEMPLATE)


def photo(size: tuple[int, int] = SIZE) -> Image.Image:
    return Image.new("RGB", size, (10, 200, 30))


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("[100, 100, 200, 200]", rectangle(8, 6, 16, 12)),
        ("[125, 0, 125, 0]", rectangle(10, 0, 10, 0)),
        ("[0,0,1000,1000]", rectangle(0, 0, 79, 59)),
        ("[500, 500]", rectangle(35, 25, 45, 35)),
        ("[0, 1000]", rectangle(0, 55, 5, 59)),
    ],
    ids=["box", "one pixel", "whole image", "point", "point at the edge"],
)
def test_a_box_covers_its_corners_and_a_point_eleven_pixels_a_side(written, expected):
    assert pixels(covered(written, SIZE)) == expected


def test_a_mask_covers_what_is_painted_and_pixels_are_numbered_column_by_column():
    mask = np.zeros((60, 80), dtype=np.uint8)
    mask[3, 7] = mask[5, 2] = mask[1, 7] = 255
    area = painted(mask, SIZE)
    assert area.places(torch.arange(3)).tolist() == [[2, 5], [7, 1], [7, 3]]
    full = painted(np.ones((60, 80)), SIZE)
    assert torch.equal(full.places(torch.arange(4800)), covered("[0, 0, 1000, 1000]", SIZE).places(torch.arange(4800)))


@pytest.mark.parametrize("count", [1, 511, 512, 513, 4800])
def test_512_pixels_are_drawn_each_once_or_all_and_some_again(count):
    mask = np.zeros(4800, dtype=bool)
    mask[:count] = True
    area = painted(mask.reshape(60, 80), SIZE)
    ((points,), (starts,)) = draw([area])
    found = {tuple(place) for place in points.tolist()}
    assert points.shape == (POINTS, 2)
    assert found <= pixels(area)
    assert len(found) == min(count, POINTS)
    assert 0 <= starts[0] < 512
    assert 0 <= starts[1] < 128


def test_a_regions_places_depend_on_itself_alone():
    one, other = covered("[0, 0, 900, 900]", SIZE), covered("[100, 0, 900, 900]", SIZE)
    (alone,), (start,) = draw([one])
    points, starts = draw([other, one])
    assert torch.equal(points[1], alone)
    assert torch.equal(starts[1], start)
    assert not torch.equal(points[0], alone)
    assert draw([covered("[0, 0, 900, 900]", (81, 60))])[0].tolist() != alone[None].tolist()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[0, 0, 1001, 500] <region_fea>", r"\[0, 0, 1001, 500\] holds no pixel of an image of 80 x 60; coordinates go from 0"),
        ("[1000, 0, 1000, 500] <region_fea>", "holds no pixel"),
        ("[500, 0, 400, 500] <region_fea>", "holds no pixel.*left and upper ones first"),
        ("[1200, 40] <region_fea>", "holds no pixel"),
        ("the dog <region_fea>", r"stands behind no coordinates; write \[x1, y1, x2, y2\] <region_fea>"),
        ("[0.1, 0.2, 0.3, 0.4] <region_fea>", "in whole thousandths"),
        ("[1, 2, 3] <region_fea>", r"stands behind \[1, 2, 3\]"),
        ("[٣, ٤] <region_fea>", "in whole thousandths"),
        ("a dog, and the <region_fea> thing", "give region_masks; in the prompt '.*a dog, and the <region_fea> thing'"),
    ],
)
def test_a_region_outside_the_image_or_without_coordinates_is_said(text, said, processor):
    with pytest.raises(ModelError, match=said):
        areas(text, SIZE)
    with pytest.raises(ModelError, match=said):
        processor(text=[f"<image>\n{text}"], images=[[photo()]], return_tensors="pt")


def test_regions_of_one_size_are_read_at_places_of_their_own():
    boxes = [covered(written, SIZE) for written in ("[0, 0, 500, 500]", "[250, 0, 750, 500]", "[0, 250, 500, 750]")]
    halves = [np.zeros((60, 80), dtype=bool) for _ in range(2)]
    halves[0][:30] = halves[1][30:] = True
    masks = [painted(half, SIZE) for half in halves]
    for areas_, corners in ((boxes, [[0, 0], [20, 0], [0, 15]]), (masks, [[0, 0], [0, 30]])):
        assert len({area.count for area in areas_}) == 1
        points = draw(areas_)[0] - torch.tensor(corners)[:, None]
        assert points.amin() == 0
        assert not any(torch.equal(points[0], other) for other in points[1:])


@pytest.mark.parametrize(
    ("masks", "said"),
    [
        ([np.zeros((60, 80))], "a region mask is empty; mark at least one pixel"),
        ([np.ones((80, 60))], r"a region mask is \(80, 60\), and \(60, 80\) in an image of 80 x 60"),
        ([], "with 1 <region_fea> was given 0 region_masks; give one a region"),
    ],
)
def test_a_mask_that_is_empty_or_does_not_fit_is_said(masks, said, processor):
    with pytest.raises(ModelError, match=said):
        processor(text=["<image> <region_fea>"], images=[[photo()]], region_masks=[masks], return_tensors="pt")


def test_a_prompt_has_one_image_and_its_regions_after_it(processor):
    with pytest.raises(ModelError, match="one image a prompt"):
        processor(text=["<image><image>\nwhat"], images=[[photo(), photo()]], return_tensors="pt")
    with pytest.raises(ModelError, match="before its regions"):
        processor(text=["[1, 2] <region_fea> <image>"], images=[[photo()]], return_tensors="pt")
    with pytest.raises(ModelError, match="2 prompts were given 1 lists of region_masks"):
        processor(text=["<image>", "<image>"], images=[[photo()], [photo()]], region_masks=[None], return_tensors="pt")


def test_a_batch_holds_each_row_as_it_is_alone_and_zeros_after_it(processor):
    texts = ["<image>\na", "<image>\n[0, 0, 500, 500] <region_fea> or [9, 9] <region_fea>", "<image>\n[7, 8] <region_fea>"]
    pictures = [[photo()], [photo()], [photo((640, 480))]]
    together = processor(text=texts, images=pictures, padding=True, return_tensors="pt")
    assert together["region_points"].shape == (3, 2, 512, 2)
    assert together["region_sizes"].tolist() == [[[0, 0], [0, 0]], [[80, 60], [80, 60]], [[640, 480], [0, 0]]]
    for row, (text, picture) in enumerate(zip(texts, pictures, strict=True)):
        alone = processor(text=[text], images=[picture], return_tensors="pt")
        for name in ("region_points", "region_sizes", "region_starts"):
            own = alone[name].shape[1]
            assert own == text.count("<region_fea>")
            assert torch.equal(together[name][row, :own], alone[name][0])
            assert not together[name][row, own:].any()
            assert together[name].dtype == torch.long


@pytest.mark.parametrize("kind", [lambda image: image, np.asarray, lambda image: torch.from_numpy(np.array(image))])
def test_a_picture_is_as_large_as_it_is(kind, processor):
    given = processor(text=["<image>\n[0, 0] <region_fea>"], images=[[kind(photo((640, 480)))]], return_tensors="pt")
    assert given["region_sizes"].tolist() == [[[640, 480]]]


def test_a_photo_three_pixels_high_is_that(processor):
    given = processor(
        text=["<image>\n[0, 0] <region_fea>"], images=[[photo((80, 3))]], return_tensors="pt", input_data_format="channels_last"
    )
    assert given["region_sizes"].tolist() == [[[80, 3]]]


def test_a_mask_may_stand_for_one_region_and_coordinates_for_the_next(processor):
    mask = np.zeros((60, 80), dtype=bool)
    mask[10, 20] = True
    text = "<image>\nthis <region_fea> and [0, 0, 0, 0] <region_fea>"
    fields = processor(text=[text], images=[[photo()]], region_masks=[[mask, None]], return_tensors="pt")
    assert fields["region_points"][0].unique(dim=1).tolist() == [[[20, 10]], [[0, 0]]]


@pytest.mark.parametrize(
    "box", [(0.0, 0.0, 80.0, 60.0), (79.2, 59.3, 80.0, 60.0), (0.4, 0.4, 0.6, 0.6), (8.0, 6.0, 40.0, 30.0)]
)
def test_every_region_that_the_dialect_writes_is_read(box, processor):
    ferret = dialects.get("ferret")
    text = f"{ferret.region_prompt(box, SIZE)} {ferret.point_text(box[:2], SIZE)}"
    whole, _ = areas(text, SIZE)
    inside = {(x, y) for x, y in pixels(whole) if box[0] - 1 <= x <= box[2] and box[1] - 1 <= y <= box[3]}
    assert inside == pixels(whole)


def test_features_are_read_at_the_place_mirrored_at_the_diagonal():
    # A map whose value is its column; the place at three quarters of the width and no height is read in column 0.
    maps = torch.arange(5.0).expand(1, 1, 5, 5)
    assert read(maps, torch.tensor([[[0.75, 0.0], [0.0, 0.75], [0.5, 0.125]]])).flatten().tolist() == [0.0, 3.0, 0.5]


def test_farthest_points_of_a_line():
    line = torch.tensor([[[0.0, 0.0], [0.25, 0.0], [0.7, 0.0], [1.0, 0.0]]])
    # From 0.25 on: 1.0 is 0.75 away; then 0.7 is 0.3 from what is chosen, and 0.0 is 0.25.
    assert farthest(line, torch.tensor([1]), 4).tolist() == [[1, 3, 2, 0]]
