"""From questions to what `generate` takes: the processor's fields of a batch, and the work that its rows have in common.

Rows about the same images share the prompt up to the last image token, which is nearly all of it: that prefix is encoded
once for every row that begins with it. Where a model cannot continue from a prefix (it attends both ways over it, say),
equal prompts are encoded once; where it cannot do that either, each row. Which holds is tried once on small prompts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import PreTrainedModel, ProcessorMixin

from spr.errors import ModelError
from spr.models.base import AbsoluteFrame, Dialect
from spr.models.conversation import conversation
from spr.models.prefill import Inputs, agree, continue_from, decode_from, first_logits, told_positions

logger = logging.getLogger(__name__)
_SHORT, _OTHER = "where is the dog ?", "what is on the left of the person ?"


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt as the conversation writes it, with one mark an image, and the images."""

    text: str
    images: tuple[Image.Image, ...]

    @property
    def key(self) -> tuple[tuple[int, ...], str]:
        """Equal for prompts that are the same object for object: the same images, the same words."""
        return tuple(map(id, self.images)), self.text


Way = Callable[[Sequence[Asked], int], Inputs]


class Prompts:
    """Builds the inputs of batches for one model. Raises ModelError where conversation and processor do not fit."""

    def __init__(self, model: PreTrainedModel, processor: ProcessorMixin, dialect: Dialect) -> None:
        self._model = model
        self._processor = processor
        self._dialect = dialect
        self._conversation = conversation(processor)
        # An encoder counts positions from the left and a decoder goes on at the right: pads stand at the other side.
        self._side = "right" if model.config.is_encoder_decoder else "left"
        processor.tokenizer.padding_side = self._side
        self._way: Way | None = None

    def ask(self, images: tuple[Image.Image, ...], prompt: str) -> Asked:
        """A question with all images before the text, up to where the answer begins."""
        text = self._conversation.question(prompt, len(images))
        marks = self._conversation.marks(text)
        if marks is not None and marks != len(images):
            raise ModelError(
                f"a prompt about {len(images)} images holds {marks} image marks: {prompt[:80]!r}; mend the chat template, "
                "or take the mark out of the prompt"
            )
        return Asked(text, images)

    def inputs(self, rows: Sequence[Asked], new_tokens: int) -> Inputs:
        """What `generate` takes to answer the rows with up to `new_tokens` each; what they share is computed once.
        Raises ModelError when prompt and answer exceed the model's context."""
        if self._way is None:
            self._way = self._best_way()
        return self._way(rows, new_tokens)

    def kind(self, asked: Asked) -> tuple[int, int]:
        """Rows of one kind can be answered together: equally many images and, where pads change answers, equally long."""
        length = 0 if self._pads else int(self._process([asked])["attention_mask"].sum())
        return len(asked.images), length

    def _whole(self, rows: Sequence[Asked], new_tokens: int) -> Inputs:
        inputs = self._process(rows)
        self._check_length(inputs["attention_mask"].sum(dim=1), new_tokens)
        return inputs

    def _continued(self, rows: Sequence[Asked], new_tokens: int) -> Inputs:
        """Prefixes up to the last image, each once, as keys and values; and the rest of every row. Where a rest needs the
        image again, each different prompt once."""
        if not all(self._conversation.continues(row.text) for row in rows):
            return self._repeated(rows, new_tokens)
        mark, token = self._processor.image_token, self._processor.image_token_id
        firsts, order = self._distinct([Asked(row.text[: row.text.rindex(mark) + len(mark)], row.images) for row in rows])
        prefixes = self._process(firsts)
        ids, mask = self._endings([row.text for row in rows], token)
        self._check_length(prefixes["attention_mask"][order].sum(dim=1) + mask.sum(dim=1), new_tokens)
        return continue_from(self._model, prefixes, order, ids, mask)

    def _repeated(self, rows: Sequence[Asked], new_tokens: int) -> Inputs:
        """Each different prompt once, as keys and values."""
        firsts, order = self._distinct(rows)
        prompts = self._whole(firsts, new_tokens)
        window = getattr(self._model.config.get_text_config(), "sliding_window", None)
        if window is not None and prompts["input_ids"].shape[1] >= window:
            return self._process(rows)  # what has slid out of the window cannot be gone back to
        none = prompts["input_ids"].new_zeros(len(rows), 0)
        return continue_from(self._model, prompts, order, none, none)

    def _decoded(self, rows: Sequence[Asked], new_tokens: int) -> Inputs:
        """Each different prompt once, encoded for a decoder."""
        firsts, order = self._distinct(rows)
        return decode_from(self._model, self._whole(firsts, new_tokens), order)

    def _process(self, rows: Sequence[Asked]) -> Inputs:
        try:
            inputs = self._conversation.encode(
                [row.text for row in rows], [row.images for row in rows], padding=True, padding_side=self._side
            )
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise ModelError(f"the processor cannot take the prompt: {' '.join(str(error).split())[:300]}") from error
        self._check_frame(rows, inputs)
        return dict(inputs.to(self._model.device, dtype=self._model.dtype))

    def _distinct(self, rows: Sequence[Asked]) -> tuple[list[Asked], Tensor]:
        """The different prompts in the order of their first row, and each row's place among them (rows,)."""
        firsts = {row.key: row for row in reversed(rows)}
        keys = list(dict.fromkeys(row.key for row in rows))
        order = torch.tensor([keys.index(row.key) for row in rows], device=self._model.device)
        return [firsts[key] for key in keys], order

    def _endings(self, texts: Sequence[str], token: int) -> tuple[Tensor, Tensor]:
        """Token ids and mask (rows, longest) of what follows the last image token, left-padded."""
        encoded = [self._conversation.tokens(text) for text in texts]
        endings = [ids[len(ids) - ids[::-1].index(token) :] for ids in encoded]
        longest = max(len(ids) for ids in endings)
        padded = [[self._processor.tokenizer.pad_token_id] * (longest - len(ids)) + ids for ids in endings]
        masks = [[0] * (longest - len(ids)) + [1] * len(ids) for ids in endings]
        return torch.tensor(padded, device=self._model.device), torch.tensor(masks, device=self._model.device)

    def _best_way(self) -> Way:
        """The way that computes the least and gives the logits of whole prompts, tried on one grey image."""
        ways = [self._decoded] if self._model.config.is_encoder_decoder else [self._repeated]
        rows = self._about_grey(_SHORT, _OTHER, _SHORT) if self._pads else self._about_grey(_SHORT, _SHORT)
        if self._conversation.continues(rows[0].text) and getattr(self._processor, "image_token_id", None) is not None:
            ways.insert(0, self._continued)
        whole = first_logits(self._model, self._whole(rows, 1))
        for way in ways:
            try:
                if agree(whole, first_logits(self._model, way(rows, 1))):
                    return way
            except Exception as error:  # whatever a family does not support, the answer is no
                logger.info("%s is of no use to this model: %s", way.__name__, error)
        return self._whole

    @cached_property
    def _pads(self) -> bool:
        """Whether a row's answer stays the same beside a much longer one: positions must leave the pads out, at every
        step, and the logits must be those of the row alone, tried on one grey image."""
        rows = self._about_grey(_SHORT, " ".join([_OTHER] * 4))
        with told_positions(self._model) as told:
            beside = first_logits(self._model, self._whole(rows, 1))[:, :1]
        right = self._model.config.is_encoder_decoder or all(told)
        return right and agree(first_logits(self._model, self._whole(rows[:1], 1)), beside)

    def _about_grey(self, *questions: str) -> list[Asked]:
        image = Image.new("RGB", (96, 64), (120, 130, 140))
        return [self.ask((image,), question) for question in questions]

    def _check_length(self, lengths: Tensor, new_tokens: int) -> None:
        """Refuse rows of `lengths` (rows,) prompt tokens whose answers would run over the positions that the model has."""
        limit = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        prompt, apart = int(lengths.max()), self._model.config.is_encoder_decoder
        if limit is None or (max(prompt, new_tokens) if apart else prompt + new_tokens) <= limit:
            return
        raise ModelError(
            f"a prompt of {prompt} tokens, its image's among them, and an answer of up to {new_tokens} do not fit into the "
            f"model's {limit} positions (max_position_embeddings); lower max_new_tokens, or the pixel limits in model.processor"
        )

    def _check_frame(self, rows: Sequence[Asked], inputs: Any) -> None:
        """Refuse a dialect that counts pixels of another resized image than the model is shown."""
        if not isinstance(self._dialect, AbsoluteFrame) or "image_grid_thw" not in inputs:
            return
        patch = self._processor.image_processor.patch_size
        sizes = [(int(width) * patch, int(height) * patch) for _, height, width in inputs["image_grid_thw"]]
        place = 0
        for row in rows:
            expected = self._dialect.processed_size(row.images[0].size)
            if expected != sizes[place]:
                raise ModelError(
                    f"an image of {row.images[0].size} is shown to the model as {sizes[place]}, but the dialect counts pixels "
                    f"of {expected}; give model.dialect_options the processor's pixel limits"
                )
            place += len(row.images)
