"""The evaluation's part of the recipe: which tasks, on which data, by which protocol.

A task's section is one data set, or a list of several with different names: `rec` alone, or `rec/refcoco_val` and so on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from spr.recipe_model import Endpoint
from spr.recipe_part import Part

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_FOLDERS = ("base", "tuned", "items", "base-judged", "tuned-judged")
"""What a data set has folders for, and none can be called."""


class Data(Part):
    """Annotations, the folder of their images, and how many of the items count."""

    annotations: Path
    image_root: Path
    limit: int | None = Field(None, ge=1, description="the first so many items; results are marked as a subset")
    name: str | None = Field(None, description="of several data sets of one task; default: the file's name without its ending")

    @property
    def called(self) -> str:
        """Its name among the data sets of its task."""
        return self.annotations.stem if self.name is None else self.name


class SplitData(Data):
    """The same; formats that hold several splits in one place need `split`."""

    split: str | None = Field(None, description="of refer's pickles and the Flickr30k Entities folder: val, test, testA, ...")


class Judge(Part):
    """The model that judges answers: any OpenAI-compatible endpoint, under `endpoint.served_name`."""

    endpoint: Endpoint
    max_new_tokens: int = Field(1024, ge=1)
    temperature: float = Field(0.2, ge=0, description="the authors' own")

    @property
    def called(self) -> str:
        """The name that the server has it under."""
        return self.endpoint.served_name or ""

    @model_validator(mode="after")
    def _is_named(self) -> Judge:
        if not self.endpoint.served_name:
            raise ValueError("endpoint.served_name is missing; name the model that judges, as its server calls it")
        if self.endpoint.tuned_name is not None:
            raise ValueError(f"endpoint.tuned_name is {self.endpoint.tuned_name}; a judge has no tuned side, leave it out")
        return self


class BenchData(Data):
    """Ferret-Bench: the folder with its three parts. Without a judge the answers are saved and not judged."""

    judge: Judge | None = None


def _listed(value: Any) -> Any:
    return () if value is None else value if isinstance(value, (list, tuple)) else (value,)


def _written(value: tuple[Data, ...]) -> Any:
    """As a person would write it: one data set is a section, not a list."""
    return value if len(value) > 1 else value[0] if value else None


_ONE_OR_MORE = (BeforeValidator(_listed), PlainSerializer(_written))
Sets = Annotated[tuple[Data, ...], *_ONE_OR_MORE]
SplitSets = Annotated[tuple[SplitData, ...], *_ONE_OR_MORE]
BenchSets = Annotated[tuple[BenchData, ...], *_ONE_OR_MORE]


@dataclass(frozen=True, slots=True)
class TaskSet:
    """One data set of one task: `kind` is the recipe's section, `id` names the results (eval/ID, tasks.ID)."""

    id: str
    kind: str
    data: Data


class Evaluation(Part):
    """Stage 6. Greedy answers of base and tuned to the same items, compared in pairs."""

    rec: SplitSets = Field((), description="referring expressions")
    phrase_grounding: SplitSets = Field((), description="the phrases of sentences")
    pope: Sets = Field((), description="is there a ...? yes or no")
    gqa: Sets = ()
    textvqa: Sets = ()
    ferret_bench: BenchSets = ()
    region_description: SplitSets = Field((), description="words for a region, by CIDEr-D against what people wrote")
    regions: Sets = Field((), description="the paper's own task, on held-out images of a COCO-format json")
    protocol: Literal["plain", "ferret"] = Field("plain", description="ferret: answers read as Ferret's own scripts do")
    backend: Literal["transformers", "endpoint"] = Field("transformers", description="what answers, for base and tuned alike")
    batch_size: int = Field(8, ge=1)
    max_new_tokens: int = Field(512, ge=1)
    bootstrap: int = Field(10_000, ge=100, description="draws of images for the 95 % intervals and the paired test")

    def sets(self) -> list[TaskSet]:
        """Every data set of every task, in the order of the tasks."""
        found = []
        for kind in KINDS:
            given: tuple[Data, ...] = getattr(self, kind)
            alone = len(given) == 1 and given[0].name is None
            found += [TaskSet(kind if alone else f"{kind}/{data.called}", kind, data) for data in given]
        return found

    @model_validator(mode="after")
    def _names_differ(self) -> Evaluation:
        ids = [one.id for one in self.sets()]
        for one in self.sets():
            if ids.count(one.id) > 1:
                raise ValueError(f"two data sets are called {one.id}; give them different names with `name`")
            if one.id != one.kind and (not _NAME.fullmatch(one.data.called) or one.data.called in _FOLDERS):
                raise ValueError(
                    f"a data set of {one.kind} is called {one.data.called!r}, which names no folder; give it a `name` of "
                    "letters and digits"
                )
        return self


KINDS = ("rec", "regions", "phrase_grounding", "pope", "gqa", "textvqa", "ferret_bench", "region_description")
"""The tasks, in the order of reports."""
