"""Stage 1, region queries: which part of each annotated image is to be described.

A region starts as one annotated box drawn at random and grows by its nearest neighbours until it holds enough objects
(arXiv 2510.14374, section 3.1). Here images are decoded for the first time, so that whatever cannot be used is dropped
here and fails nothing later. Not here: reading annotations (`spr.sources`), asking a model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spr import images
from spr.boxes import Box, FloatArray, area, as_box, as_boxes, centers, coverage, enclosing, gaps, iou
from spr.recipe import Queries
from spr.records import Dropped, RegionQuery, Scene, SceneObject
from spr.seeds import derive_random


def grow(boxes: ArrayLike, first: int, min_objects: int, min_coverage: float) -> tuple[Box, NDArray[np.bool_]]:
    """Grow a region from box number `first` of `boxes` (n, 4) until it holds `min_objects` of them.

    Each step takes in the box with the smallest gap to the region (0 when they touch) that is not inside yet; ties go to
    the nearer centre, then to the earlier row. Afterwards every box covered by at least `min_coverage` counts as inside.
    Returns the region and who is inside, shape (n,). Raises ValueError when there are fewer than `min_objects` boxes.
    """
    all_boxes = as_boxes(boxes)
    if len(all_boxes) < min_objects:
        raise ValueError(f"{len(all_boxes)} boxes; a region of {min_objects} cannot grow from them")
    region = as_box(all_boxes[first])
    inside = np.zeros(len(all_boxes), dtype=np.bool_)
    inside[first] = True
    while inside.sum() < min_objects:
        nearest = _nearest(all_boxes, region, inside)
        region = enclosing([region, as_box(all_boxes[nearest])])
        inside[nearest] = True
        inside |= coverage(all_boxes, [region])[:, 0] >= min_coverage
    return region, inside | (coverage(all_boxes, [region])[:, 0] >= min_coverage)


def _nearest(boxes: FloatArray, region: Box, inside: NDArray[np.bool_]) -> int:
    gap = gaps(boxes, [region])[:, 0]
    apart = np.hypot(*(centers(boxes) - centers([region])).T)
    outside = np.flatnonzero(~inside)
    return int(outside[np.lexsort((outside, apart[outside], gap[outside]))[0]])


@dataclass
class QueryStage:
    """Scenes -> region queries, `recipe.per_image` an image where that many fit.

    A first box whose region breaks a limit is put back and another one drawn, until none is left; so an image is dropped
    only when no first box gives a region within the limits, under the reason most of them failed for: region_too_small,
    region_too_large, too_many_objects. Other reasons: too_few_objects, and those of `spr.images.ImageFault`. An image
    that gives some queries but not all of `per_image` is kept, and noted. Draws depend on the seed, the image's id and the
    query's number only, not on the order of images or annotations.
    """

    recipe: Queries
    image_root: Path
    seed: int
    name: str = field(default="queries", init=False)
    version: int = field(default=1, init=False)
    output: type[Any] = field(default=RegionQuery, init=False)
    _notes: Counter[str] = field(default_factory=Counter, init=False, repr=False)

    @property
    def recipe_part(self) -> dict[str, Any]:
        """The seed and the whole `queries` section."""
        return {"seed": self.seed, **self.recipe.model_dump(mode="json")}

    def setup(self, device: str) -> None:
        """Nothing to load."""

    def process(self, rows: Sequence[Scene]) -> Iterator[RegionQuery | Dropped]:
        """Scenes -> their queries, or one Dropped each."""
        for scene in rows:
            yield from self._queries(scene)

    def row_id(self, row: Scene) -> str:
        """The image's id."""
        return row.image_id

    def parent_id(self, row: RegionQuery) -> str:
        """The image's id."""
        return row.image_id

    def notes(self) -> dict[str, int]:
        """`redrawn` first boxes that broke a limit, `fewer_queries` images with fewer than `per_image`; then reset."""
        counts = {note: count for note, count in self._notes.items() if count}
        self._notes.clear()
        return counts

    def _queries(self, scene: Scene) -> list[RegionQuery | Dropped]:
        if len(scene.objects) < self.recipe.min_objects:
            return [Dropped(scene.image_id, self.name, "too_few_objects")]
        try:
            images.load(self.image_root, scene.path, scene.size)
        except images.ImageFault as fault:
            return [Dropped(scene.image_id, self.name, fault.reason)]
        objects = sorted(scene.objects, key=_numeric)
        found: list[RegionQuery | Dropped] = []
        regions: list[Box] = []
        for number in range(self.recipe.per_image):
            query = self._query(scene, objects, number, regions)
            if isinstance(query, str):
                # Every first box was tried: a later number would find nothing either.
                self._notes["fewer_queries"] += bool(found)
                return found or [Dropped(scene.image_id, self.name, query)]
            found.append(query)
            regions.append(query.region)
        return found

    def _query(self, scene: Scene, objects: list[SceneObject], number: int, taken: list[Box]) -> RegionQuery | str:
        """Query `number` of a scene, or the reason why most first boxes gave none."""
        boxes = as_boxes([one.box for one in objects])
        faults: Counter[str] = Counter()
        draws = derive_random(self.seed, scene.image_id, number).sample(range(len(objects)), len(objects))
        for first in draws:
            region, inside = grow(boxes, first, self.recipe.min_objects, self.recipe.coverage)
            fault = self._fault(region, int(inside.sum()), scene, taken)
            if fault is None:
                held = tuple(one for one, is_in in zip(objects, inside, strict=True) if is_in)
                query_id = f"{scene.image_id}-{number}"
                return RegionQuery(query_id, scene.image_id, scene.path, scene.width, scene.height, region, held)
            faults[fault] += 1
            self._notes["redrawn"] += 1
        return faults.most_common(1)[0][0]

    def _fault(self, region: Box, held: int, scene: Scene, taken: list[Box]) -> str | None:
        limits = self.recipe
        if min(region[2] - region[0], region[3] - region[1]) < limits.min_region_side:
            return "region_too_small"
        if float(area([region])[0]) > limits.max_region_area * scene.width * scene.height:
            return "region_too_large"
        if limits.max_objects is not None and held > limits.max_objects:
            return "too_many_objects"
        if taken and float(iou([region], taken).max()) > limits.max_query_iou:
            return "too_similar"
        return None


def _numeric(one: SceneObject) -> tuple[int, str]:
    """Annotation ids in the order of their numbers ("9" before "10"); equal lengths sort as text."""
    return (len(one.annotation_id), one.annotation_id)
