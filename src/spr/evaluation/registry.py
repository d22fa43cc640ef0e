"""The tasks by their names in the recipe: what reads their items, and what asks and scores by which protocol.

`regions` is not among them: its items are drawn by the pipeline, not read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from spr.evaluation.ferret_bench import FerretBench, FerretFerretBench
from spr.evaluation.phrase_grounding import FerretPhraseGrounding, PhraseGrounding
from spr.evaluation.pope import FerretPope, Pope
from spr.evaluation.rec import FerretRec, Rec
from spr.evaluation.region_description import RegionDescription
from spr.evaluation.task import Task
from spr.evaluation.vqa import Gqa, TextVqa
from spr.recipe_evaluation import Data, SplitData, TaskSet
from spr.running.progress import meter
from spr.sources.expressions import read_captions, read_rec
from spr.sources.ferret_bench import read_ferret_bench
from spr.sources.flickr30k import read_sentences
from spr.sources.pope import read_pope
from spr.sources.reading import Reading
from spr.sources.vqa import read_gqa, read_textvqa

_PLAIN: Mapping[str, type[Task[Any]]] = {
    "rec": Rec,
    "phrase_grounding": PhraseGrounding,
    "pope": Pope,
    "gqa": Gqa,
    "textvqa": TextVqa,
    "ferret_bench": FerretBench,
    "region_description": RegionDescription,
}
_FERRET: Mapping[str, type[Task[Any]]] = {
    "rec": FerretRec,
    "phrase_grounding": FerretPhraseGrounding,
    "pope": FerretPope,
    "ferret_bench": FerretFerretBench,
}
"""What Ferret's authors have scripts of; every other task is the same by both protocols."""
_READERS: Mapping[str, Callable[..., Reading[Any]]] = {
    "rec": read_rec,
    "phrase_grounding": read_sentences,
    "pope": read_pope,
    "gqa": read_gqa,
    "textvqa": read_textvqa,
    "ferret_bench": read_ferret_bench,
    "region_description": read_captions,
}


def make_task(kind: str, protocol: str) -> Task[Any]:
    """The task of a section, by the protocol plain or ferret."""
    own = _FERRET.get(kind) if protocol == "ferret" else None
    return (own or _PLAIN[kind])()


def protocol_of(kind: str, protocol: str) -> str:
    """The protocol that reads a section's answers when the recipe names `protocol`: plain where Ferret has no script of it."""
    return "ferret" if protocol == "ferret" and kind in _FERRET else "plain"


def read_items(one: TaskSet) -> Reading[Any]:
    """The items of a data set. Raises DataError for its files."""
    data: Data = one.data
    more: dict[str, Any] = {"split": data.split, "meter": meter} if isinstance(data, SplitData) else {}
    return _READERS[one.kind](data.annotations, data.image_root, data.limit, **more)
