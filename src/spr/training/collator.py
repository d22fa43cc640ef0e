"""Batches: token rows padded on the right, and each pair's image once.

Row order is all chosen answers, then all rejected ones, as TRL's losses expect it; images stay one a pair, and the
trainer repeats their features. Not here: what a pair's tokens are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from spr.training.encoding import PairEncoder, Prompt
from spr.training.preflight import Preflight

Batch = dict[str, Any]
IGNORED = -100


class _Collator:
    """What both collators share: rows of the training order -> prompts and answers of their pairs."""

    def __init__(self, ready: Preflight, encoder: PairEncoder) -> None:
        self._ready = ready
        self._encoder = encoder

    def _prompts(self, rows: Sequence[dict[str, Any]]) -> list[Prompt]:
        return [self._encoder.prompt(self._ready.pairs[row["row"]]) for row in rows]

    def _batch(self, prompts: Sequence[Prompt], answers: Sequence[Tensor]) -> dict[str, Tensor]:
        """Sequences prompt + answer; `prompts` has one entry an answer. `completion_mask` is 1 on answer tokens."""
        fill = self._encoder.tokenizer.pad_token_id
        ids = [torch.cat([prompt.tokens["input_ids"], answer]) for prompt, answer in zip(prompts, answers, strict=True)]
        is_answer = [_marks(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]
        batch = {
            "input_ids": _stack(ids, fill),
            "attention_mask": _stack([torch.ones_like(row) for row in ids], 0),
            "completion_mask": _stack(is_answer, 0),
        }
        width = batch["input_ids"].shape[1]
        for name in prompts[0].tokens.keys() - {"input_ids"}:
            value = self._encoder.answer_types.get(name, 0)
            batch[name] = torch.stack([pad(p.tokens[name], (0, width - len(p.tokens[name]))) for p in prompts])
            batch[name] += value * batch["completion_mask"]
        return batch


class PreferenceCollator(_Collator):
    """B pairs -> 2B rows, chosen first, in TRL's DPO fields."""

    def __call__(self, rows: Sequence[dict[str, Any]]) -> Batch:
        """Fields input_ids, attention_mask, completion_mask and per-token types (2B, length); `images` those of B images."""
        prompts = self._prompts(rows)
        answers = [self._ready.answers[row["row"]] for row in rows]
        texts = [a.chosen for a in answers] + [a.rejected for a in answers]
        return {**self._batch(prompts * 2, texts), "images": join_pixels(prompts)}


class ChosenCollator(_Collator):
    """B pairs -> B rows of the chosen answer alone, with labels on the answer's tokens."""

    def __call__(self, rows: Sequence[dict[str, Any]]) -> Batch:
        """Fields input_ids, attention_mask, labels and per-token types (B, length); `images`: the fields of B images."""
        prompts = self._prompts(rows)
        batch: Batch = dict(self._batch(prompts, [self._ready.answers[row["row"]].chosen for row in rows]))
        batch["labels"] = batch["input_ids"].masked_fill(batch.pop("completion_mask") == 0, IGNORED)
        return {**batch, "images": join_pixels(prompts)}


def join_pixels(prompts: Sequence[Prompt]) -> dict[str, Tensor]:
    """The image fields of several prompts joined along their first axis, other axes padded at the end with zeros (as the
    processors themselves pad images with fewer tiles)."""
    return {name: _join([prompt.pixels[name] for prompt in prompts]) for name in prompts[0].pixels}


def _join(fields: Sequence[Tensor]) -> Tensor:
    largest = [max(sizes) for sizes in zip(*(field.shape for field in fields), strict=True)]
    padded = []
    for field in fields:
        missing = [side for axis in range(field.ndim - 1, 0, -1) for side in (0, largest[axis] - field.shape[axis])]
        padded.append(pad(field, missing))
    return torch.cat(padded)


def _marks(prompt: Prompt, answer: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(prompt.tokens["input_ids"]), torch.ones_like(answer)])


def _stack(rows: Sequence[Tensor], fill: int) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=fill)
