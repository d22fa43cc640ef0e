"""A preference pair as tokens and pixels: the prompt exactly as generation sees it, and the two answers after it.

Prompt and answers meet at a token border; how both are written is `spr.models.conversation`'s, as for generation. Pixels
are kept as long as they fit a memory budget, in the order of their last use. Not here: batches.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor
from transformers import ProcessorMixin

from spr import images
from spr.boxes import Size
from spr.errors import RegionError
from spr.models.conversation import conversation
from spr.models.image_tokens import by_processor
from spr.records import PreferencePair

PIXEL_BUDGET = 512 * 2**20
"""Bytes of processed prompts (pixels above all) that stay in memory."""
_OF_REGIONS = "region_"
"""How the names of fields begin that a prompt's marked regions bring (Ferret)."""


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
    def images(self) -> dict[str, Tensor]:
        """The fields that the image alone brings."""
        return {name: field for name, field in self.pixels.items() if not name.startswith(_OF_REGIONS)}

    @property
    def regions(self) -> dict[str, Tensor]:
        """The fields of the regions that the prompt marks, (1, regions, ...)."""
        return {name: field for name, field in self.pixels.items() if name.startswith(_OF_REGIONS)}

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
    """Encodes pairs with a model's processor, as generation asks it; images come from below `image_root` when needed.

    Raises ModelError for a processor that cannot write prompts.
    """

    def __init__(self, processor: ProcessorMixin, image_root: Path, budget: int = PIXEL_BUDGET) -> None:
        self.tokenizer = processor.tokenizer
        self._conversation = conversation(processor)
        self.region_token_id = getattr(processor, "region_token_id", None)
        self.answer_types = self._conversation.answer_types
        self._image_root = image_root
        self._budget = budget
        self._kept: OrderedDict[tuple[str, str], Prompt] = OrderedDict()
        self._kept_bytes = 0
        self._processor = processor
        self._places = cache(self._places_of)

    def prompt(self, pair: PreferencePair) -> Prompt:
        """The pair's question about its image. Raises ImageFault when the image cannot be used, PairFault when the text
        marks no place for it (image_tokens_lost) or several (image_token_in_prompt), or a region that is not in it
        (region_unreadable)."""
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
        """Both answers with their end: the chat template's, or the tokenizer's EOS where none is written. Raises PairFault for
        a mark of a region in one (region_token_in_answer), which only a question can give features."""
        return Answers(self._answer(pair.prompt, pair.chosen), self._answer(pair.prompt, pair.rejected))

    def lost_places(self, pair: PreferencePair, prompt: Prompt) -> int:
        """Tokens that the processor counts for the pair's image but that its `prompt` does not hold; 0 where it counts none."""
        if not hasattr(self._processor, "_get_num_multimodal_tokens"):
            return 0
        marks = getattr(self._processor, "image_token_ids", None) or [self._processor.image_token_id]
        found = torch.isin(prompt.tokens["input_ids"], torch.tensor(marks)).sum()
        return self._places(pair.size) - int(found)

    def _places_of(self, size: Size) -> int:
        return by_processor(self._processor, size)[0]

    def _process(self, pair: PreferencePair) -> Prompt:
        text = self._conversation.question(pair.prompt, 1)
        if (marks := self._conversation.marks(text)) not in (None, 1):
            raise PairFault("image_tokens_lost" if marks == 0 else "image_token_in_prompt")
        image = images.load(self._image_root, pair.path, pair.size)
        try:
            fields = self._conversation.encode([text], [[image]])
        except RegionError:
            raise PairFault("region_unreadable") from None
        shape = fields["input_ids"].shape
        tokens = {name: value[0] for name, value in fields.items() if value.shape == shape}
        pixels = {name: value for name, value in fields.items() if value.shape != shape}
        del tokens["attention_mask"]
        return Prompt(tokens, pixels)

    def _answer(self, question: str, answer: str) -> Tensor:
        tokens = self._conversation.answer(question, answer)
        if self.region_token_id in tokens:
            raise PairFault("region_token_in_answer")
        return torch.tensor(tokens)
