"""How a question becomes the text a processor takes, and how an answer is closed: the same for asking and for training.

A family with a chat template is asked through it. Three families have none: their processors write the image's place and
the marks around a bare question themselves, and an answer is its own tokens and the end token (the processors' sources in
transformers: Kosmos-2, PaliGemma, Florence-2). Not here: batches, pixels, or what is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

from PIL import Image
from transformers import BatchFeature, ProcessorMixin

from spr.errors import ModelError
from spr.models.plain import PLAIN


class Conversation(Protocol):
    """One family's way with questions and answers. Texts are what the processor takes, before it inserts image tokens."""

    answer_types: Mapping[str, int]
    """Per-token fields of the processor that an answer's tokens have at another value than 0."""
    continues: bool
    """Whether a text cut after its last image mark is the beginning of the same prompt, so that the rest can follow."""

    def looks_again(self, text: str) -> bool:
        """Whether what follows the image in a text is read from the image again, so that tokens alone cannot follow."""

    def question(self, prompt: str, images: int) -> str:
        """The text of a question about so many images. Raises ModelError when it cannot be written."""

    def marks(self, text: str) -> int | None:
        """How many images the processor will find places for in a question's text; None when that cannot be told."""

    def encode(self, texts: Sequence[str], images: Sequence[Sequence[Image.Image]], **options: Any) -> BatchFeature:
        """What the processor makes of texts and their images, without labels; `options` are the processor's."""

    def tokens(self, text: str) -> list[int]:
        """Token ids of a question's text alone, image marks as single tokens."""

    def answer(self, prompt: str, answer: str) -> list[int]:
        """Token ids that an answer adds to the question, its end among them. Raises ModelError when they cannot be told."""


class ChatTemplate:
    """A conversation written by the processor's chat template: images first, then the question, as the user's turn."""

    answer_types: Mapping[str, int] = MappingProxyType({})
    continues = True

    def __init__(self, processor: ProcessorMixin) -> None:
        self._processor = processor
        self._tokenizer = processor.tokenizer

    def looks_again(self, text: str) -> bool:
        """Where it holds a region, whose features come from the image (Ferret)."""
        region = getattr(self._processor, "region_token", None)
        return region is not None and region in text

    def question(self, prompt: str, images: int) -> str:
        """The user's turn and the beginning of the answer."""
        try:
            return self._render(prompt, images)
        except Exception as error:  # a template is code of the checkpoint's and may raise anything
            raise ModelError(f"the chat template cannot render a question: {' '.join(str(error).split())[:300]}") from error

    def marks(self, text: str) -> int | None:
        """How often the processor's image mark stands in the text."""
        mark = getattr(self._processor, "image_token", None)
        return None if mark is None else text.count(mark)

    def encode(self, texts: Sequence[str], images: Sequence[Sequence[Image.Image]], **options: Any) -> BatchFeature:
        """The processor's fields."""
        special = self._adds_specials(texts[0])
        return _encoded(self._processor, texts, images, add_special_tokens=special, **options)

    def tokens(self, text: str) -> list[int]:
        """Token ids, with the tokenizer's own special tokens where the template has written none."""
        ids: list[int] = self._tokenizer(text, add_special_tokens=self._adds_specials(text))["input_ids"]
        return ids

    def answer(self, prompt: str, answer: str) -> list[int]:
        """Tokens that the whole conversation adds to the prompt. Where a token would span the border (an answer that
        starts with a blank), the answer is tokenized alone, as generation writes it: after the prompt's own tokens."""
        before, whole = self._render(prompt), self._render(prompt, answer=answer)
        if not whole.startswith(before):
            raise ModelError(
                "the chat template writes the prompt of an answered turn differently; answers cannot be told from it"
            )
        whole = self._closed(before, whole, answer)
        special = self._adds_specials(before)
        head = self._tokenizer(before, add_special_tokens=special)["input_ids"]
        ids: list[int] = self._tokenizer(whole, add_special_tokens=special)["input_ids"]
        if ids[: len(head)] == head:
            return ids[len(head) :]
        alone: list[int] = self._tokenizer(whole[len(before) :], add_special_tokens=False)["input_ids"]
        return alone

    def _closed(self, before: str, whole: str, answer: str) -> str:
        """The conversation with an EOS after the answer: the template's own, or one added in place of its last blanks."""
        start = whole.find(answer.strip(), len(before))
        if start < 0:
            raise ModelError("the chat template changes the words of an answer; training would not see what was scored")
        eos: str = self._tokenizer.eos_token
        return whole if eos in whole[start + len(answer.strip()) :] else whole.rstrip() + eos

    def _render(self, prompt: str, images: int = 1, answer: str | None = None) -> str:
        content = [*({"type": "image"} for _ in range(images)), {"type": "text", "text": prompt}]
        messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
        if answer is not None:
            messages.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
        text: str = self._processor.apply_chat_template(messages, add_generation_prompt=answer is None, tokenize=False)
        return text

    def _adds_specials(self, text: str) -> bool:
        """Whether the tokenizer should add its special tokens: not where the template has written them already."""
        bos = self._tokenizer.bos_token
        return not (bos and text.startswith(bos))


class PlainPrompt:
    """A bare question, around which the processor itself writes what its family was trained with."""

    continues = False

    def __init__(self, processor: ProcessorMixin) -> None:
        self._processor = processor
        self._tokenizer = processor.tokenizer
        self._plain = PLAIN[type(processor).__name__]
        self.answer_types = self._plain.answer_types

    def looks_again(self, text: str) -> bool:  # noqa: ARG002 (the protocol's)
        """None of these families does."""
        return False

    def question(self, prompt: str, images: int) -> str:
        """The prompt, after the image marks where the processor does not write them."""
        if self._plain.written:
            return self._plain.mark * images + prompt
        if images != 1:
            raise ModelError(f"a {type(self._processor).__name__} takes one image a prompt, and was given {images}")
        return prompt

    def marks(self, text: str) -> int | None:
        """The marks in the text, and the one that the processor adds."""
        return text.count(self._plain.mark) + (0 if self._plain.written else 1)

    def encode(self, texts: Sequence[str], images: Sequence[Sequence[Image.Image]], **options: Any) -> BatchFeature:
        """The processor's fields; which special tokens stand where is its own business."""
        return _encoded(self._processor, texts, images, **options)

    def tokens(self, text: str) -> list[int]:
        """Token ids of the bare text."""
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def answer(self, prompt: str, answer: str) -> list[int]:  # noqa: ARG002 (no token spans the border)
        """The answer's own tokens and the end token."""
        return [*self.tokens(answer), self._tokenizer.eos_token_id]


def conversation(processor: ProcessorMixin) -> Conversation:
    """The way to ask a model with this processor; one that writes prompts itself is asked bare, whatever template lies
    beside it. Raises ModelError for one with no chat template of another family."""
    if type(processor).__name__ in PLAIN:
        return PlainPrompt(processor)
    if getattr(processor, "chat_template", None):
        return ChatTemplate(processor)
    raise ModelError("the model's processor has no chat template, so prompts cannot be written; add chat_template.jinja")


def _encoded(
    processor: ProcessorMixin, texts: Sequence[str], images: Sequence[Sequence[Image.Image]], **options: Any
) -> BatchFeature:
    fields = processor(text=list(texts), images=[list(some) for some in images], return_tensors="pt", **options)
    fields.pop("labels", None)  # PaliGemma's writes some for every call
    return fields
