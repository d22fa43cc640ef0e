"""One made-up item of each task: what a family of models cannot be asked is refused by it, before any file is read."""

from __future__ import annotations

from collections.abc import Mapping

from spr.errors import ModelError
from spr.evaluation.registry import make_task
from spr.items import BenchItem, CaptionItem, Phrase, RecItem, SentenceItem, Shown, VqaItem, YesNoItem
from spr.models.base import Dialect

_PHOTO = ("sample", "sample.jpg", 640, 480)
_BOX = (64.0, 96.0, 192.0, 192.0)
_PHRASES = (Phrase("a dog", (_BOX,)), Phrase("two cats", (_BOX,)))
_SAMPLES: Mapping[str, Shown] = {
    "rec": RecItem(*_PHOTO, "a dog", _BOX),
    "phrase_grounding": SentenceItem(*_PHOTO, "a dog and two cats", _PHRASES),
    "pope": YesNoItem(*_PHOTO, "Is there a dog in the image?", "yes"),
    "gqa": VqaItem(*_PHOTO, "What color is the dog?", ("brown",)),
    "textvqa": VqaItem(*_PHOTO, "What does the sign say?", ("stop",)),
    "ferret_bench": BenchItem(*_PHOTO, "refer_desc", "What is {0}?", (_BOX,), "A dog.", "A dog.", "", "Assistant", "Judge."),
    "region_description": CaptionItem(*_PHOTO, _BOX, ("a dog",)),
}


def check_question(kind: str, protocol: str, dialect: Dialect) -> None:
    """Raise ModelError, with the recipe's section, for a task whose question the dialect has no words for. What is asked about
    drawn regions is known as little as their objects are, and is not looked at."""
    if kind not in _SAMPLES:
        return
    try:
        make_task(kind, protocol).ask(_SAMPLES[kind], dialect)
    except ModelError as error:
        raise ModelError(f"evaluation.{kind}: {error}") from None
