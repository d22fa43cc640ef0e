"""A preference pair as tokens and pixels: the prompt exactly as generation sees it, and the two answers after it.

Prompt and answers meet at a token border: the answer's tokens are what the chat template's whole conversation adds to
the prompt. Pixels are kept as long as they fit a memory budget, in the order of their last use. Not here: batches.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import ProcessorMixin

from spr import images
from spr.errors import ModelError
from spr.records import PreferencePair

PIXEL_BUDGET = 512 * 2**20
"""Bytes of processed prompts (pixels above all) that stay in memory."""


class PairFault(Exception):
    """A pair that cannot be encoded; `reason` is what the dropped row is counted under."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Prompt:
    """One processed prompt. `tokens` holds fields of shape (length,), `input_ids` and per-token types; `pixels` the image
    processor's fields as they came, images first: (1, 3, height, width), (patches, width), (1, 3) grids ..."""

    tokens: dict[str, Tensor]
    pixels: dict[str, Tensor]

    @property
    def nbytes(self) -> int:
        """Memory of all fields in bytes."""
        return sum(field.nbytes for field in (*self.tokens.values(), *self.pixels.values()))


@dataclass(frozen=True, slots=True)
class Answers:
    """Token ids of the two answers, (length,) each, with the end of the turn."""

    chosen: Tensor
    rejected: Tensor


class PairEncoder:
    """Encodes pairs with a model's processor and chat template; images come from below `image_root` when needed."""

    def __init__(self, processor: ProcessorMixin, image_root: Path, budget: int = PIXEL_BUDGET) -> None:
        if not getattr(processor, "chat_template", None):
            raise ModelError(
                "the model's processor has no chat template, so prompts cannot be written; add chat_template.jinja"
            )
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self._image_root = image_root
        self._budget = budget
        self._kept: OrderedDict[tuple[str, str], Prompt] = OrderedDict()
        self._kept_bytes = 0

    def prompt(self, pair: PreferencePair) -> Prompt:
        """The pair's question about its image. Raises ImageFault when the image cannot be used, PairFault when the text
        marks no place for it (image_tokens_lost) or several (image_token_in_prompt)."""
        key = (pair.path, pair.prompt)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        prompt = self._process(pair)
        self._kept[key] = prompt
        self._kept_bytes += prompt.nbytes
        while self._kept_bytes > self._budget and len(self._kept) > 1:
            self._kept_bytes -= self._kept.popitem(last=False)[1].nbytes
        return prompt

    def answers(self, pair: PreferencePair) -> Answers:
        """Both answers as the chat template ends them; the tokenizer's EOS is added where the template writes none."""
        return Answers(self._answer(pair.prompt, pair.chosen), self._answer(pair.prompt, pair.rejected))

    def _process(self, pair: PreferencePair) -> Prompt:
        text = self._render(pair.prompt)
        mark = getattr(self.processor, "image_token", None)
        marks = text.count(mark) if mark else 1
        if marks != 1:
            raise PairFault("image_tokens_lost" if marks == 0 else "image_token_in_prompt")
        image = images.load(self._image_root, pair.path, pair.size)
        special = not self._starts_with_bos(text)
        fields = self.processor(text=[text], images=[[image]], return_tensors="pt", add_special_tokens=special)
        shape = fields["input_ids"].shape
        tokens = {name: value[0] for name, value in fields.items() if value.shape == shape}
        pixels = {name: value for name, value in fields.items() if value.shape != shape}
        del tokens["attention_mask"]
        return Prompt(tokens, pixels)

    def _answer(self, question: str, answer: str) -> Tensor:
        """Tokens that the whole conversation adds to the prompt. Where a token would span the border (an answer that
        starts with a blank), the answer is tokenized alone, as generation writes it: after the prompt's own tokens."""
        before, whole = self._render(question), self._render(question, answer)
        if not whole.startswith(before):
            raise ModelError(
                "the chat template writes the prompt of an answered turn differently; answers cannot be told from it"
            )
        whole = self._closed(before, whole, answer)
        special = not self._starts_with_bos(before)
        head = self.tokenizer(before, add_special_tokens=special)["input_ids"]
        ids = self.tokenizer(whole, add_special_tokens=special)["input_ids"]
        if ids[: len(head)] == head:
            return torch.tensor(ids[len(head) :])
        return torch.tensor(self.tokenizer(whole[len(before) :], add_special_tokens=False)["input_ids"])

    def _closed(self, before: str, whole: str, answer: str) -> str:
        """The conversation with an EOS after the answer: the template's own, or one added in place of its last blanks."""
        start = whole.find(answer.strip(), len(before))
        if start < 0:
            raise ModelError("the chat template changes the words of an answer; training would not see what was scored")
        eos: str = self.tokenizer.eos_token
        return whole if eos in whole[start + len(answer.strip()) :] else whole.rstrip() + eos

    def _render(self, question: str, answer: str | None = None) -> str:
        content: list[dict[str, str]] = [{"type": "image"}, {"type": "text", "text": question}]
        messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
        if answer is not None:
            messages.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
        text: str = self.processor.apply_chat_template(messages, add_generation_prompt=answer is None, tokenize=False)
        return text

    def _starts_with_bos(self, text: str) -> bool:
        bos = self.tokenizer.bos_token
        return bos is not None and text.startswith(bos)
