"""Whether prompts fit a model's context, and its dialect the processor's pixels, told from texts and sizes alone: before
anything is generated, instead of at the one large photo of the nine hundredth shard.

Counts image tokens as the processor itself does. Families without a chat template, whose images all take the same, and a
server's model are not judged here; every batch is checked once more when it is made.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from PIL import Image

from spr.boxes import Size
from spr.errors import ModelError
from spr.models import dialects
from spr.models.base import AbsoluteFrame, Dialect
from spr.models.image_tokens import by_processor, showing
from spr.recipe_model import Model

if TYPE_CHECKING:
    from spr.models.conversation import Conversation


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt about images of these sizes, (width, height) in pixels; the first is the photo at `path`."""

    path: str
    prompt: str
    sizes: tuple[Size, ...]


@dataclass(frozen=True, slots=True)
class _Length:
    """Tokens of a prompt, those of its images among them."""

    tokens: int
    of_images: int
    question: Question


def check_fit(model: Model, questions: Iterable[Question], new_tokens: int) -> None:
    """Refuse questions that leave no room for answers of `new_tokens` in the model's positions, and a dialect that counts
    pixels of another resized image than the processor makes. Loads no weights. Raises ModelError with the numbers."""
    from spr.models.conversation import conversation
    from spr.models.loading import load_config, load_processor

    limit = getattr(load_config(model).get_text_config(), "max_position_embeddings", None)
    processor = load_processor(model)
    asking = conversation(processor)
    if limit is None or not asking.continues or not hasattr(processor, "_get_num_multimodal_tokens"):
        return
    measure = _Measure(processor, asking, dialects.of(model))
    total, too_long = 0, []
    for question in questions:
        total += 1
        length = measure.length(question, limit - new_tokens)
        if length is not None:
            too_long.append(length)
    if too_long:
        raise ModelError(_sentence(max(too_long, key=lambda one: one.tokens), len(too_long), total, new_tokens, limit))


class _Measure:
    """Lengths of prompts, without their pixels."""

    def __init__(self, processor: Any, asking: Conversation, dialect: Dialect) -> None:
        self._processor = processor
        self._asking = asking
        self._dialect = dialect
        self._seen = cache(self._tokens_of)

    def length(self, question: Question, room: int) -> _Length | None:
        """How long a question is that has more than `room` tokens; None for one that fits."""
        images = sum(self._seen(size) for size in question.sizes)
        text = self._asking.question(question.prompt, len(question.sizes))
        if images + len(text.encode()) <= room:  # no token is shorter than a byte
            return None
        tokens = images + len(self._asking.tokens(text)) - len(question.sizes)
        if tokens > room and len(question.sizes) > 1:
            # Some families show several images smaller than one alone, which their arithmetic leaves out.
            grey = [Image.new("RGB", size) for size in question.sizes]
            shown = self._asking.encode([text], [grey])["input_ids"].shape[1]
            tokens, images = shown, images - (tokens - shown)
        return _Length(tokens, images, question) if tokens > room else None

    def _tokens_of(self, size: Size) -> int:
        with showing(size):
            tokens, patches = by_processor(self._processor, size)
        if isinstance(self._dialect, AbsoluteFrame):
            _check_pixels(self._processor.image_processor.patch_size, patches, size, self._dialect.processed_size(size))
        return tokens


def _sentence(worst: _Length, found: int, total: int, new_tokens: int, limit: int) -> str:
    width, height = worst.question.sizes[0]
    return (
        f"{found:,} of {total:,} prompts do not fit into the model's {limit:,} positions (max_position_embeddings): the "
        f"longest, about {worst.question.path} ({width} x {height} pixels), has {worst.tokens:,} tokens, {worst.of_images:,} "
        f"of them its images', and the answer up to {new_tokens:,}; lower max_new_tokens or the pixel limits in model.processor"
    )


def _check_pixels(side: int, patches: int, size: Size, expected: Size) -> None:
    """The dialect's resized image must have as many patches of `side` pixels as the processor's."""
    if expected[0] * expected[1] != patches * side**2:
        raise ModelError(
            f"an image of {size[0]} x {size[1]} pixels is shown to the model as {patches} patches of {side} x {side} pixels, "
            f"but the dialect counts pixels of {expected[0]} x {expected[1]}; give model.dialect_options the limits of "
            "model.processor"
        )
