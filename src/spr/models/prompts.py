"""From questions to what `generate` takes: chat template, processor, and the work that rows of a batch have in common.

Rows about the same images share the prompt up to the last image token, which is nearly all of it: that prefix is encoded
once, and its keys and values are handed to every row that begins with it. Where a model cannot continue from a prefix (it
attends both ways over it, say), each row is encoded whole; which of the two holds is tried once on a small prompt.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from transformers import PreTrainedModel, ProcessorMixin

from spr.errors import ModelError
from spr.models.base import AbsoluteFrame, Dialect

logger = logging.getLogger(__name__)
_TOLERANCE = 0.1
"""Largest difference of logits, as a share of their spread, that counts as rounding."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt as the chat template renders it, with one mark an image, and the images."""

    text: str
    images: tuple[Image.Image, ...]


class Prompts:
    """Builds the inputs of batches for one model. Raises ModelError where template and processor do not fit."""

    def __init__(self, model: PreTrainedModel, processor: ProcessorMixin, dialect: Dialect) -> None:
        self._model = model
        self._processor = processor
        self._dialect = dialect
        self._shares: bool | None = None

    def ask(self, images: tuple[Image.Image, ...], prompt: str) -> Asked:
        """A user's turn with all images before the text, and the beginning of the answer."""
        content = [*({"type": "image"} for _ in images), {"type": "text", "text": prompt}]
        try:
            text = self._processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        except Exception as error:  # a template is code of the checkpoint's and may raise anything
            raise ModelError(f"the chat template cannot render a question: {' '.join(str(error).split())[:300]}") from error
        mark = getattr(self._processor, "image_token", None)
        if mark is not None and text.count(mark) != len(images):
            raise ModelError(
                f"a prompt about {len(images)} images holds {text.count(mark)} image marks {mark!r}: {prompt[:80]!r}; mend the "
                "chat template, or take the mark out of the prompt"
            )
        return Asked(text, images)

    def inputs(self, rows: Sequence[Asked]) -> dict[str, Any]:
        """What `generate` takes to answer the rows, left-padded: shared prefixes as a cache where the model allows it."""
        if self._shares is None:
            self._shares = self._can_share()
        return self._continued(rows) if self._shares else self._whole(rows)

    def _whole(self, rows: Sequence[Asked]) -> dict[str, Any]:
        try:
            inputs = self._processor(
                text=[row.text for row in rows],
                images=[list(row.images) for row in rows],
                padding=True,
                padding_side="left",
                add_special_tokens=self._adds_specials(rows[0].text),
                return_tensors="pt",
            )
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise ModelError(f"the processor cannot take the prompt: {' '.join(str(error).split())[:300]}") from error
        self._check_frame(rows, inputs)
        return dict(inputs.to(self._model.device, dtype=self._model.dtype))

    def _continued(self, rows: Sequence[Asked]) -> dict[str, Any]:
        """Prefixes up to the last image, each once, as keys and values; and the rest of every row."""
        mark, token = self._processor.image_token, self._processor.image_token_id
        keys = [(tuple(map(id, row.images)), row.text[: row.text.rindex(mark) + len(mark)]) for row in rows]
        groups = {key: i for i, key in enumerate(dict.fromkeys(keys))}
        firsts = {groups[key]: Asked(key[1], row.images) for key, row in zip(keys, rows, strict=True)}
        prefixes = self._whole([firsts[i] for i in range(len(groups))])
        cache = self._model.generate(**prefixes, max_new_tokens=1, return_dict_in_generate=True).past_key_values
        order = torch.tensor([groups[key] for key in keys], device=self._model.device)
        cache.batch_select_indices(order)
        for module in self._model.modules():  # what multimodal rotary positions keep beside the cache
            if isinstance(getattr(module, "rope_deltas", None), torch.Tensor):
                module.rope_deltas = module.rope_deltas[order]
        ids, mask = self._endings([row.text for row in rows], token)
        return {
            "input_ids": torch.cat([prefixes["input_ids"][order], ids], dim=1),
            "attention_mask": torch.cat([prefixes["attention_mask"][order], mask], dim=1),
            "past_key_values": cache,
        }

    def _endings(self, texts: Sequence[str], token: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids and mask (rows, longest) of what follows the last image token, left-padded."""
        tokenizer = self._processor.tokenizer
        encoded = tokenizer(list(texts), add_special_tokens=self._adds_specials(texts[0]))["input_ids"]
        endings = [ids[len(ids) - ids[::-1].index(token) :] for ids in encoded]
        longest = max(len(ids) for ids in endings)
        padded = [[tokenizer.pad_token_id] * (longest - len(ids)) + ids for ids in endings]
        masks = [[0] * (longest - len(ids)) + [1] * len(ids) for ids in endings]
        return torch.tensor(padded, device=self._model.device), torch.tensor(masks, device=self._model.device)

    def _adds_specials(self, text: str) -> bool:
        """Whether the tokenizer should add its special tokens: not where the template has written them already."""
        bos = self._processor.tokenizer.bos_token
        return not (bos and text.startswith(bos))

    def _can_share(self) -> bool:
        """Whether continuing from a shared prefix gives the logits of whole prompts, tried on one grey image."""
        if getattr(self._processor, "image_token", None) is None or getattr(self._processor, "image_token_id", None) is None:
            return False
        image = Image.new("RGB", (96, 64), (120, 130, 140))
        rows = [self.ask((image,), "where is the dog ?"), self.ask((image,), "what is on the left of the person ?")]
        options = {"max_new_tokens": 1, "output_logits": True, "return_dict_in_generate": True}
        whole = self._model.generate(**self._whole(rows), **options).logits[0]
        try:
            continued = self._model.generate(**self._continued(rows), **options).logits[0]
        except Exception as error:  # whatever a family does not support, the answer is no
            logger.info("prompts are encoded whole, prefixes cannot be shared: %s", error)
            return False
        spread = (whole.amax(dim=1) - whole.amin(dim=1)).min()
        return bool((whole - continued).abs().max() <= _TOLERANCE * spread)

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
