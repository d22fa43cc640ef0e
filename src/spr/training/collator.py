"""Batches: token rows padded on the right, and each image once.

Row order is all chosen answers, then all rejected ones, as TRL's losses expect it; which rows show which image, and what
they begin with alike, is said beside them. Not here: what a pair's tokens are, or what is made of what rows share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from spr.pair_weights import pair_weights
from spr.training.encoding import PairEncoder, Prompt
from spr.training.preflight import Preflight
from spr.training.sharing import IGNORED, Group, Layout, Span, groups

Batch = dict[str, Any]


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
    """B pairs -> 2B rows, chosen first, in TRL's DPO fields.

    `how` says what a pair weighs among all of them. `reference` holds, where it is known beforehand, the reference's
    log-probabilities of a row's answers: chosen, rejected.
    """

    reference: Mapping[int, tuple[float, float]] | None = None

    def __init__(self, ready: Preflight, encoder: PairEncoder, how: Literal["equal", "margin"] = "equal") -> None:
        super().__init__(ready, encoder)
        self._weights = None if how == "equal" else pair_weights([pair.margin for pair in ready.pairs], how)

    def __call__(self, rows: Sequence[dict[str, Any]]) -> Batch:
        """Fields input_ids, attention_mask, completion_mask and per-token types (2B, length), the reference's log-probabilities
        (B,) where they are known, `pair_weights`, B numbers, unless all weigh the same; `images` those of G images, `regions`
        those of B pairs where prompts mark some, and the `layout`."""
        prompts = self._prompts(rows)
        pairs = [self._ready.pairs[row["row"]] for row in rows]
        answers = [self._ready.answers[row["row"]] for row in rows]
        ids = [prompt.tokens["input_ids"] for prompt in prompts]
        spans = tuple(Span(len(i), len(a.chosen), len(a.rejected)) for i, a in zip(ids, answers, strict=True))
        alike = groups(ids, [pair.path for pair in pairs], self._ready.image_token_id, self._encoder.region_token_id)
        texts = [a.chosen for a in answers] + [a.rejected for a in answers]
        return {**self._batch(prompts * 2, texts), **self._known(rows), **_shown(prompts, spans, alike)}

    def _known(self, rows: Sequence[dict[str, Any]]) -> Batch:
        """What is known of the pairs beside their tokens."""
        known: Batch = {}
        if self._weights is not None:
            # Numbers, as FSDP2 would round a tensor to what is computed in.
            known["pair_weights"] = tuple(float(self._weights[row["row"]]) for row in rows)
        if self.reference is not None:
            chosen, rejected = zip(*(self.reference[row["row"]] for row in rows), strict=True)
            known |= {"ref_chosen_logps": torch.tensor(chosen), "ref_rejected_logps": torch.tensor(rejected)}
        return known


class ChosenCollator(_Collator):
    """B pairs -> B rows of the chosen answer alone, with labels on the answer's tokens."""

    def __call__(self, rows: Sequence[dict[str, Any]]) -> Batch:
        """Fields input_ids, attention_mask, labels and per-token types (B, length); `images` those of B images, `regions` and
        `layout` as for preferences, every row with an image of its own."""
        prompts = self._prompts(rows)
        chosen = [self._ready.answers[row["row"]].chosen for row in rows]
        batch: Batch = dict(self._batch(prompts, chosen))
        batch["labels"] = batch["input_ids"].masked_fill(batch.pop("completion_mask") == 0, IGNORED)
        ids = [prompt.tokens["input_ids"] for prompt in prompts]
        spans = tuple(Span(len(i), len(a), 0) for i, a in zip(ids, chosen, strict=True))
        alone = tuple(Group((place,), span.prompt - 1) for place, span in enumerate(spans))
        return {**batch, **_shown(prompts, spans, alone)}


def _shown(prompts: Sequence[Prompt], spans: tuple[Span, ...], alike: tuple[Group, ...]) -> Batch:
    """The images of the groups once each, every pair's own regions, and which is which."""
    first = [prompts[group.pairs[0]].images for group in alike]
    sizes = {name: tuple(len(images[name]) for images in first) for name in first[0]}
    shown: Batch = {"images": join_fields(first), "layout": Layout(spans, alike, sizes)}
    if prompts[0].regions:
        shown["regions"] = join_fields([prompt.regions for prompt in prompts])
    return shown


def join_fields(prompts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The fields of several prompts joined along their first axis, other axes padded at the end with zeros (as the processors
    themselves pad images with fewer tiles)."""
    return {name: _join([fields[name] for fields in prompts]) for name in prompts[0]}


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
