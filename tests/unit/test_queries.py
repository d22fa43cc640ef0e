"""Region queries: growth with boxes that a pencil can follow, limits, draws, and photos that cannot be used."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from spr import boxes as geometry
from spr.boxes import Box
from spr.queries import QueryStage, grow
from spr.recipe import Queries, Source
from spr.records import Dropped, RegionQuery, Scene, SceneObject
from spr.sources.coco import read_scenes

SIZE = (200, 100)
ROW = [(10.0 + 30 * n, 40.0, 30.0 + 30 * n, 60.0) for n in range(6)]
"""Six boxes of 20 x 20 in a row, 10 pixels apart."""


def scene(boxes: list[Box], image_id: str = "1", path: str = "1.png", size: tuple[int, int] = SIZE) -> Scene:
    objects = tuple(SceneObject(str(n), "cup", box) for n, box in enumerate(boxes))
    return Scene(image_id, path, *size, objects)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    Image.new("RGB", SIZE, "green").save(tmp_path / "1.png")
    return tmp_path


@pytest.fixture
def ask(root: Path) -> Callable[..., list[RegionQuery | Dropped]]:
    """Queries of one scene under limits that let everything pass unless they are named."""

    def asking(one: Scene, seed: int = 0, **limits: float) -> list[RegionQuery | Dropped]:
        open_limits = {"min_region_side": 1, "max_region_area": 1}
        return list(QueryStage(Queries(**(open_limits | limits)), root, seed).process([one]))

    return asking


def test_a_region_takes_in_the_nearest_until_it_holds_enough() -> None:
    region, inside = grow(ROW, first=0, min_objects=3, min_coverage=0.5)
    assert region == (10, 40, 90, 60)
    assert inside.tolist() == [True, True, True, False, False, False]


def test_the_gap_counts_before_the_centre() -> None:
    # From the first box: the wide one begins 5 px away though its centre is far, the small one 8 px away.
    boxes = [(0, 0, 10, 10), (15, 0, 95, 10), (0, 18, 10, 22)]
    region, inside = grow(boxes, 0, 2, 0.5)
    assert region == (0, 0, 95, 10)
    assert inside.tolist() == [True, True, False]


def test_equal_gaps_are_broken_by_the_centre_then_by_the_earlier_id() -> None:
    near_centre = [(40, 40, 60, 60), (65, 40, 95, 60), (25, 40, 35, 60)]
    assert grow(near_centre, 0, 2, 0.5)[1].tolist() == [True, False, True]
    mirrored = [(40, 40, 60, 60), (65, 40, 75, 60), (25, 40, 35, 60)]
    assert grow(mirrored, 0, 2, 0.5)[1].tolist() == [True, True, False]


def test_what_a_merge_covers_by_half_counts_as_inside() -> None:
    # Joining 0 and 1 makes (0, 0, 50, 10); box 2 lies half in it, box 3 a little less.
    boxes = [(0, 0, 10, 10), (40, 0, 50, 10), (20, 5, 30, 15), (30, 5.1, 34, 15.1)]
    region, inside = grow(boxes, 0, 2, 0.5)
    # The nearest to box 0 is box 2, 10 px away: (0, 0, 30, 15).
    assert region == (0, 0, 30, 15)
    assert inside.tolist() == [True, False, True, False]
    assert grow([boxes[0], boxes[1], (20, 12, 30, 92)], 0, 2, 0.5)[0] == (0, 0, 30, 92)
    region, inside = grow([boxes[0], (10, 0, 50, 10), boxes[2], boxes[3]], 0, 2, 0.5)
    assert region == (0, 0, 50, 10)
    assert inside.tolist() == [True, True, True, False]


def test_coverage_is_an_option() -> None:
    boxes = [(0, 0, 10, 10), (10, 0, 50, 10), (20, 5, 30, 15)]
    assert grow(boxes, 0, 2, 0.51)[1].tolist() == [True, True, False]


def test_one_object_is_its_own_region_with_what_lies_in_it() -> None:
    region, inside = grow([(0, 0, 50, 50), (10, 10, 20, 20), (60, 0, 70, 10)], 0, 1, 0.5)
    assert region == (0, 0, 50, 50)
    assert inside.tolist() == [True, True, False]


def test_too_few_boxes_cannot_grow() -> None:
    with pytest.raises(ValueError, match="3 boxes; a region of 4"):
        grow(ROW[:3], 0, 4, 0.5)


corner, side = st.integers(0, 80), st.integers(1, 40)
any_box = st.tuples(corner, corner, side, side).map(
    lambda b: (float(b[0]), float(b[1]), float(b[0] + b[2]), float(b[1] + b[3]))
)


@given(st.lists(any_box, min_size=4, max_size=12), st.data())
def test_a_region_always_holds_what_it_says(boxes: list[Box], data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(boxes) - 1))
    region, inside = grow(boxes, first, 4, 0.5)
    assert inside[first]
    assert inside.sum() >= 4
    assert np.array_equal(inside, geometry.coverage(boxes, [region])[:, 0] >= 0.5)


def test_a_query_holds_region_objects_and_its_id(ask: Callable[..., list[RegionQuery]]) -> None:
    (query,) = ask(scene(ROW[:4]))
    assert (query.query_id, query.image_id, query.path, query.size) == ("1-0", "1", "1.png", SIZE)
    assert query.region == (10, 40, 120, 60)
    assert [one.annotation_id for one in query.objects] == ["0", "1", "2", "3"]


def test_draws_depend_on_seed_image_and_number_only(root: Path) -> None:
    scenes = [scene(ROW, image_id=str(n)) for n in range(20)]
    limits = Queries(min_region_side=1, per_image=2, min_objects=2)

    def made(some: list[Scene], seed: int = 5) -> dict[str, RegionQuery | Dropped]:
        return {query.query_id: query for query in QueryStage(limits, root, seed).process(some)}

    whole = made(scenes)
    assert made(scenes[::-1]) == whole
    assert made(scenes[7:9]) == {key: query for key, query in whole.items() if query.image_id in ("7", "8")}
    turned = [Scene(s.image_id, s.path, s.width, s.height, s.objects[::-1]) for s in scenes]
    assert made(turned) == whole
    assert made(scenes, seed=6) != whole


def test_every_first_box_is_drawn_about_as_often(root: Path) -> None:
    scenes = [scene(ROW[:3], image_id=str(n)) for n in range(600)]
    stage = QueryStage(Queries(min_region_side=1, min_objects=1), root, 0)
    drawn = Counter(query.region for query in stage.process(scenes))
    assert all(150 < count < 250 for count in drawn.values())
    assert len(drawn) == 3


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"min_region_side": 21}, "region_too_small"),
        ({"max_region_area": 0.1}, "region_too_large"),
        ({"min_objects": 2, "max_objects": 2, "coverage": 0}, "too_many_objects"),
        ({"min_objects": 7}, "too_few_objects"),
    ],
)
def test_an_image_without_a_region_in_the_limits_is_dropped(
    ask: Callable[..., list[Dropped]], limits: dict[str, float], reason: str
) -> None:
    assert ask(scene(ROW), **limits) == [Dropped("1", "queries", reason)]


def test_a_first_box_that_breaks_a_limit_is_put_back(root: Path) -> None:
    # Only the two boxes of the pair make a region of at least 32 px a side, whatever is drawn first.
    boxes = [(0.0, 0.0, 5.0, 5.0), (6.0, 0.0, 11.0, 5.0), (100.0, 0.0, 120.0, 40.0), (125.0, 0.0, 145.0, 40.0)]
    stage = QueryStage(Queries(min_objects=2), root, 0)
    queries = list(stage.process([scene(boxes, image_id=str(n)) for n in range(20)]))
    assert {query.region for query in queries} == {(100, 0, 145, 40)}
    assert stage.notes()["redrawn"] > 0
    assert stage.notes() == {}


def test_queries_of_an_image_are_not_alike(ask: Callable[..., list[RegionQuery]]) -> None:
    queries = ask(scene(ROW), per_image=3, min_objects=2, max_query_iou=0.5)
    assert [query.query_id for query in queries] == ["1-0", "1-1", "1-2"]
    overlaps = geometry.iou([query.region for query in queries], [query.region for query in queries])
    assert overlaps[~np.eye(3, dtype=bool)].max() <= 0.5


def test_an_image_with_fewer_queries_than_asked_is_kept_and_noted(root: Path) -> None:
    stage = QueryStage(Queries(per_image=3, min_region_side=1), root, 0)
    assert len(list(stage.process([scene(ROW[:4])]))) == 1
    assert stage.notes()["fewer_queries"] == 1


@pytest.mark.parametrize(
    ("path", "size", "reason"),
    [
        ("none.png", SIZE, "image_missing"),
        ("1.png", (201, 100), "size_mismatch"),
        ("cut.png", SIZE, "image_unreadable"),
        ("link.png", SIZE, "image_outside_root"),
        ("flipped.png", SIZE, "ambiguous_orientation"),
    ],
)
def test_a_photo_that_cannot_be_used_is_dropped_here(
    ask: Callable[..., list[Dropped]], root: Path, path: str, size: tuple[int, int], reason: str
) -> None:
    noise = Image.effect_noise(SIZE, 50).convert("RGB")
    noise.save(root / "whole.png")
    (root / "cut.png").write_bytes((root / "whole.png").read_bytes()[:2000])
    (root / "link.png").symlink_to("/etc/hostname")
    exif = Image.Exif()
    exif[0x0112] = 3
    noise.save(root / "flipped.png", exif=exif)
    assert ask(scene(ROW, path=path, size=size)) == [Dropped("1", "queries", reason)]


def test_ids_say_what_came_from_what(root: Path) -> None:
    stage = QueryStage(Queries(min_region_side=1), root, 0)
    stage.setup("cpu")
    one = scene(ROW, image_id="img")
    (query,) = stage.process([one])
    assert isinstance(query, RegionQuery)
    assert stage.row_id(one) == stage.parent_id(query) == "img"
    assert stage.output is RegionQuery


def test_all_that_changes_queries_is_in_their_recipe_part(root: Path) -> None:
    part = QueryStage(Queries(coverage=0.6), root, 3).recipe_part
    assert part == {"seed": 3, **Queries(coverage=0.6).model_dump(mode="json")}


def test_annotation_ids_count_as_numbers(root: Path) -> None:
    # Boxes 9 and 10 are equally near to 8; 9 is the earlier number though the later text. So a first box 8 takes in 9,
    # and two of three first boxes make the pair of 8 and 9.
    ids = {"10": (65.0, 40.0, 75.0, 60.0), "9": (25.0, 40.0, 35.0, 60.0), "8": (40.0, 40.0, 60.0, 60.0)}
    objects = tuple(SceneObject(name, "cup", box) for name, box in ids.items())
    stage = QueryStage(Queries(min_objects=2, min_region_side=1), root, 0)
    scenes = [Scene(str(n), "1.png", *SIZE, objects) for n in range(60)]
    made = [query for query in stage.process(scenes) if isinstance(query, RegionQuery)]
    pairs = Counter(tuple(one.annotation_id for one in query.objects) for query in made)
    assert set(pairs) == {("8", "9"), ("8", "10")}
    assert pairs["8", "9"] > 1.5 * pairs["8", "10"]


def test_real_photos_give_queries(real_data: Path) -> None:
    folder = real_data / "coco_train128"
    limits = Queries(max_region_area=1, min_region_side=1, min_box_side=0)
    source = Source(annotations=folder / "instances.json", image_root=folder / "images")
    reading = read_scenes(source, limits)
    out = list(QueryStage(limits, source.image_root, 0).process(reading.scenes))
    queries = [row for row in out if isinstance(row, RegionQuery)]
    assert len(out) == 128
    assert Counter(row.reason for row in out if isinstance(row, Dropped)) == {"too_few_objects": 128 - len(queries)}
    assert len(queries) == 74
    for query in random.Random(0).sample(queries, 20):
        covered = geometry.coverage([one.box for one in query.objects], [query.region])
        assert (covered >= 0.5).all()
        assert len(covered) >= 4
