"""Every pair is processed once before training: what would be cut, lost or unreadable is dropped by name, not trained on.

Nothing is ever truncated, so what does not fit the budget goes. Not here: why a pair exists, or how it is batched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from spr.errors import DataError
from spr.images import ImageFault
from spr.records import Dropped, PreferencePair
from spr.training.encoding import Answers, PairEncoder, PairFault, Prompt

STAGE = "policy"


@dataclass(frozen=True, slots=True)
class Preflight:
    """What can be trained on: the pairs in the order of their ids, their answers' tokens in the same order, the dropped,
    and the distribution of token counts by part (prompt, chosen, rejected, sequence) and statistic."""

    pairs: tuple[PreferencePair, ...]
    answers: tuple[Answers, ...]
    dropped: tuple[Dropped, ...]
    lengths: dict[str, dict[str, float]]


def preflight(
    pairs: Sequence[PreferencePair],
    encoder: PairEncoder,
    max_tokens: int,
    image_token_id: int | None,
    progress: Callable[[int, int], None] | None = None,
) -> Preflight:
    """Process all pairs once, sorted by id. `image_token_id` is None where a mask marks the image's places (Kosmos-2).

    Drops with the reasons too_long (prompt and the longer answer together exceed `max_tokens`), image_tokens_lost (the
    prompt holds none), image_token_in_prompt (its words hold one), image_tokens_in_answer, region_unreadable (Ferret: its
    prompt marks a region that is not in the image, or without coordinates), region_token_in_answer (Ferret),
    eos_missing and eos_inside (an answer must hold its end once, as its last visible token), and those of `spr.images`.
    Raises DataError on a repeated id, and when no pair is left.
    """
    if len({pair.pair_id for pair in pairs}) != len(pairs):
        raise DataError("the pairs hold a pair_id twice; make the pairs again")
    kept: list[tuple[PreferencePair, Answers]] = []
    dropped, counts = [], []
    for done, pair in enumerate(sorted(pairs, key=lambda pair: pair.pair_id), start=1):
        try:
            prompt, answers = encoder.prompt(pair), encoder.answers(pair)
            fault = _fault(prompt, answers, max_tokens, image_token_id, encoder)
        except (ImageFault, PairFault) as error:
            fault = error.reason
        if fault:
            dropped.append(Dropped(pair.pair_id, STAGE, fault))
        else:
            kept.append((pair, answers))
            counts.append((len(prompt.tokens["input_ids"]), len(answers.chosen), len(answers.rejected)))
        if progress:
            progress(done, len(pairs))
    if not kept:
        raise DataError(_nothing_left(dropped, max_tokens))
    return Preflight(tuple(p for p, _ in kept), tuple(a for _, a in kept), tuple(dropped), _distribution(counts))


def _fault(prompt: Prompt, answers: Answers, max_tokens: int, image_token_id: int | None, encoder: PairEncoder) -> str:
    both = (answers.chosen, answers.rejected)
    masked = prompt.tokens.get("image_embeds_position_mask", torch.zeros(1))
    if not (masked if image_token_id is None else prompt.tokens["input_ids"] == image_token_id).any():
        return "image_tokens_lost"
    if image_token_id is not None and any((answer == image_token_id).any() for answer in both):
        return "image_tokens_in_answer"
    if len(prompt.tokens["input_ids"]) + max(map(len, both)) > max_tokens:
        return "too_long"
    return next((fault for fault in (_eos_fault(answer, encoder) for answer in both) if fault), "")


def _eos_fault(answer: Tensor, encoder: PairEncoder) -> str:
    """An answer ends with EOS, but for blanks that some templates write after a turn."""
    ends = (answer == encoder.tokenizer.eos_token_id).nonzero().flatten().tolist()
    if not ends:
        return "eos_missing"
    visible = encoder.tokenizer.decode(answer[ends[0] + 1 :]).strip()
    return "eos_inside" if visible else ""


def _distribution(counts: list[tuple[int, int, int]]) -> dict[str, dict[str, float]]:
    table = np.array(counts)
    columns = {"prompt": table[:, 0], "chosen": table[:, 1], "rejected": table[:, 2]}
    columns["sequence"] = table[:, 0] + table[:, 1:].max(axis=1)
    return {
        name: {
            "min": float(values.min()),
            "median": float(np.median(values)),
            "p95": float(np.percentile(values, 95)),
            "max": float(values.max()),
        }
        for name, values in columns.items()
    }


def _nothing_left(dropped: Sequence[Dropped], max_tokens: int) -> str:
    if not dropped:
        return "there are no preference pairs to train on; see why in the funnel of the earlier stages"
    reasons = sorted({row.reason for row in dropped})
    counts = ", ".join(f"{reason} {sum(row.reason == reason for row in dropped)}" for reason in reasons)
    advice = f"; train.max_tokens is {max_tokens}, raise it" if "too_long" in reasons else ""
    return f"none of {len(dropped)} preference pairs can be trained on ({counts}){advice}"
