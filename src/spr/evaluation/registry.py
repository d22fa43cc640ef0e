"""The tasks by their names in the recipe: what reads their items, and what asks and scores by which protocol.

`regions` is not among them: its items are drawn by the pipeline, not read.
"""

from __future__ import annotations

from typing import Any

from spr.evaluation.rec import Rec
from spr.evaluation.task import Task
from spr.recipe_evaluation import SplitData, TaskSet
from spr.sources.reading import Reading
from spr.sources.refcoco import read_rec


def make_task(kind: str, protocol: str) -> Task[Any]:
    """The task of a section, by a protocol."""
    return {"rec": Rec}[kind]()


def read_items(one: TaskSet) -> Reading[Any]:
    """The items of a data set. Raises DataError."""
    data = one.data
    assert isinstance(data, SplitData)
    return read_rec(data.annotations, data.image_root, data.limit)
