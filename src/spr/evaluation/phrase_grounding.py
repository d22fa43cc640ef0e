"""Phrase grounding: where are the things that a sentence names?

All phrases of a sentence are asked about at once, and the boxes that the answer ties to a phrase count for it: those whose
words are the phrase, case and punctuation aside. Two protocols, which are never laid into one table: ANY-BOX (MDETR,
Kosmos-2), where meeting any of the phrase's boxes is right, and MERGED-BOXES (Ferret), where the box around all of them is
the truth. R@k looks at the first k boxes of a phrase.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from spr.boxes import Box, FloatArray, enclosing, iou
from spr.evaluation import ferret_protocol
from spr.evaluation.rec import THRESHOLDS, hits
from spr.evaluation.task import Task, length_group, size_group
from spr.items import Answer, SentenceItem
from spr.models.base import Dialect
from spr.records import Mention, Prediction

_JOINED = re.compile(r"[\s,;&\[\]()]*(?:and)?[\s,;&\[\]()]*", re.IGNORECASE)
KINDS = ("any", "merged")
RANKS = (1, 5, 10)
_PLACES = tuple((kind, k) for kind in KINDS for k in RANKS)


class PhraseGrounding(Task[SentenceItem]):
    """Sentences -> one prediction a phrase, with its id `<sentence>#<place>`.

    The payload holds the best IoU of the first k boxes, `any@k` and `merged@k`, and `cut_off`; `box` and `iou` are the first
    box's, against any. `status` is ok, unreadable where none of the phrase's boxes can be read, or none. Results are broken
    down by the phrase's type where the file tells it, by size (of the box around all) and by length.
    """

    name = "phrase_grounding"
    unit = "phrases"
    items_are = "sentences"
    keys = tuple(f"{kind}/r@{k}/{threshold:g}" for kind, k in _PLACES for threshold in THRESHOLDS)

    def prompt(self, item: SentenceItem, dialect: Dialect) -> str:
        """The dialect's question for several phrases."""
        return dialect.phrases_prompt([phrase.phrase for phrase in item.phrases])

    def score(self, item: SentenceItem, answer: Answer, dialect: Dialect) -> list[Prediction]:
        """Phrase by phrase; a phrase that stands twice is looked up twice."""
        mentions = _named(answer.text, dialect.parse(answer.text, item.size))
        found = []
        for place, phrase in enumerate(item.phrases):
            named = [one for one in mentions if ferret_protocol.same_phrase(one.phrase or "", phrase.phrase)]
            boxes = [one.box for one in named if one.box is not None]
            status = "ok" if boxes else "unreadable" if named else "none"
            ious = _best(boxes, phrase.boxes, "any") | _best(boxes, [enclosing(phrase.boxes)], "merged")
            found.append(self.judged(item, place, answer, boxes, status, ious))
        return found

    def judged(
        self, item: SentenceItem, place: int, answer: Answer, boxes: Sequence[Box], status: str, ious: Mapping[str, float]
    ) -> Prediction:
        """What was found for one phrase."""
        phrase = item.phrases[place]
        groups = {"size": size_group(enclosing(phrase.boxes)), "length": length_group(phrase.phrase)}
        return self.prediction(
            item,
            answer,
            status,
            {**ious, "boxes": float(len(boxes))},
            item_id=f"{item.item_id}#{place}",
            box=boxes[0] if boxes else None,
            iou=ious["any@1"],
            question=phrase.phrase,
            truth=phrase.boxes,
            groups=groups | ({"type": phrase.types[0]} if phrase.types else {}),
        )

    def columns(self, predictions: Sequence[Prediction]) -> FloatArray:
        """Hits by kind, k and threshold, 0 or 100: (n, 30)."""
        if not predictions:
            return np.zeros((0, len(self.keys)))
        return np.hstack([hits([one.payload[f"{kind}@{k}"] for one in predictions]) for kind, k in _PLACES])

    def rights(self, predictions: Sequence[Prediction]) -> Mapping[str, NDArray[np.bool_]]:
        """Each of its recalls."""
        found = self.columns(predictions) > 0
        return {key: found[:, place] for place, key in enumerate(self.keys)}


class FerretPhraseGrounding(PhraseGrounding):
    """The same as Ferret's own script reads answers: see `spr.evaluation.ferret_protocol`.

    ANY-BOX, which that script does not know, takes the same boxes. A later phrase of the same words has the first one's boxes.
    """

    def score(self, item: SentenceItem, answer: Answer, dialect: Dialect) -> list[Prediction]:  # noqa: ARG002 (its brackets)
        """Phrase by phrase."""
        readable = ferret_protocol.read_boxes(answer.text, item.size) is not None
        found = []
        for place, phrase in enumerate(item.phrases):
            boxes = ferret_protocol.phrase_boxes(answer.text, item.size, phrase.phrase)
            given = boxes != [ferret_protocol.ZERO_BOX]
            truth = ferret_protocol.first_phrase(phrase.phrase, item.phrases).boxes
            merged = ferret_protocol.phrase_ious(boxes, truth)
            ious = _best(boxes, truth, "any") | {f"merged@{k}": merged[k] for k in RANKS}
            status = "ok" if given else "none" if readable else "unreadable"
            found.append(self.judged(item, place, answer, boxes if given else [], status, ious))
        return found


def _named(text: str, mentions: Sequence[Mention]) -> list[Mention]:
    """Mentions with the phrase of the one before where nothing but a comma or `and` lies between: `two men [..], [..]`."""
    found: list[Mention] = []
    for one in mentions:
        if not one.phrase and found and _JOINED.fullmatch(text[found[-1].span[1] : one.span[0]]):
            one = replace(one, phrase=found[-1].phrase)
        found.append(one)
    return found


def _best(boxes: Sequence[Box], truth: Sequence[Box], kind: str) -> dict[str, float]:
    """`<kind>@k`: the best IoU of the first k boxes with any of the truth's, 0 without boxes."""
    overlaps = iou(boxes, truth).max(axis=1) if boxes else np.zeros(1)
    return {f"{kind}@{k}": float(overlaps[:k].max()) for k in RANKS}
