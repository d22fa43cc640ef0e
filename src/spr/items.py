"""What evaluation tasks ask about, and what is answered: frozen dataclasses, one a question that an annotation file holds.

Readers make items, tasks turn them into questions, a model into answers. Boxes are float xyxy pixels of the original
image; `path` is relative to the task's image root. An item whose photo is not there, and whose file does not state its
size, has width and height 0: it is dropped as `image_missing` before anything looks at them.
"""

from __future__ import annotations

from dataclasses import dataclass

from spr.boxes import Box, Size


@dataclass(frozen=True, slots=True)
class Shown:
    """One question about one photo of `size` = (width, height) pixels."""

    item_id: str
    path: str
    width: int
    height: int

    @property
    def size(self) -> Size:
        """(width, height) in pixels."""
        return (self.width, self.height)


@dataclass(frozen=True, slots=True)
class RecItem(Shown):
    """One referring expression and the one box it names; `category` where the file tells it."""

    expression: str
    box: Box
    category: str = ""


@dataclass(frozen=True, slots=True)
class Phrase:
    """One phrase of a sentence, the coarse types of what it names, and every box of that."""

    phrase: str
    boxes: tuple[Box, ...]
    types: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SentenceItem(Shown):
    """One sentence about a photo and those of its phrases that have boxes, in the order of the sentence."""

    sentence: str
    phrases: tuple[Phrase, ...]


@dataclass(frozen=True, slots=True)
class YesNoItem(Shown):
    """One yes/no question; `label` is yes or no."""

    question: str
    label: str


@dataclass(frozen=True, slots=True)
class VqaItem(Shown):
    """One open question and the answers that people gave: one, or ten; `kind` is the question's type where it is told."""

    question: str
    answers: tuple[str, ...]
    kind: str = ""


@dataclass(frozen=True, slots=True)
class CaptionItem(Shown):
    """One region and the expressions that people wrote for it."""

    region: Box
    references: tuple[str, ...]
    category: str = ""


@dataclass(frozen=True, slots=True)
class BenchItem(Shown):
    """One question of Ferret-Bench, its category, the reference answer, and what a judge is told of the photo.

    `regions` are the boxes that the question speaks of, in pixels; `question` holds `{0}`, `{1}`, ... in their place, and
    `text` is the question as the file has it. A judge is told the `role` of who answered and the `rule` to judge by.
    """

    category: str
    question: str
    regions: tuple[Box, ...]
    reference: str
    context: str
    text: str
    role: str
    rule: str


@dataclass(frozen=True, slots=True)
class Question(Shown):
    """A question in a model's own words. `measured`: the size is the photo's own, for its file states none."""

    prompt: str
    measured: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said to one question, word for word; `finish_reason` is stop, or length where it was cut off."""

    item_id: str
    text: str
    finish_reason: str = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0
