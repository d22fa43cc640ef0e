"""Every pair is processed once before training: what would teach nothing, be cut or be unreadable is dropped by name.

Nothing is ever truncated, so what does not fit goes. Where an image or the end of an answer is lost between text and
tokens the processor is at fault, not the pair, and nothing is trained. Not here: why a pair exists, or how it is batched.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from spr.errors import DataError
from spr.images import ImageFault
from spr.records import Dropped, PreferencePair
from spr.training.encoding import Answers, PairEncoder, PairFault, Prompt
from spr.training.lengths import Histogram, columns, histogram, statistics

STAGE = "policy"
_NAMED = 3
"""Pairs of one reason that are named."""
_LOST = {
    "image_tokens_lost": "its image has no place in the prompt's tokens, or fewer than the model has features for, so that it "
    "would be trained blind; the chat template or a setting in model.processor leaves them out",
    "eos_missing": "an answer's tokens do not hold the end of the turn, so that the model would never learn to stop; "
    "tokenizer and chat template do not fit together",
}
"""What no other pair would have right either."""


@dataclass(frozen=True, slots=True)
class Preflight:
    """What can be trained on: the pairs in the order of their ids, their answers' tokens in the same order, the dropped,
    the distribution of token counts by part (prompt, chosen, rejected, sequence) and statistic, the histogram of the
    sequences' (the prompt and the longer answer), and the token that marks an image's places."""

    pairs: tuple[PreferencePair, ...]
    answers: tuple[Answers, ...]
    dropped: tuple[Dropped, ...]
    lengths: dict[str, dict[str, float]]
    histogram: Histogram
    image_token_id: int | None


def preflight(
    pairs: Sequence[PreferencePair],
    encoder: PairEncoder,
    max_tokens: int,
    image_token_id: int | None,
    progress: Callable[[int, int], None] | None = None,
    context: int | None = None,
) -> Preflight:
    """Process all pairs once, sorted by id. `image_token_id` is None where a mask marks the image's places (Kosmos-2);
    `context` are the model's positions, where it has a limit.

    Drops with the reasons empty_prompt and empty_answer (nothing but blanks), chosen_equals_rejected, too_long (prompt and
    the longer answer together exceed `max_tokens`), beyond_context (they exceed `context`, whatever `max_tokens` is),
    image_token_in_prompt (its words hold one), image_tokens_in_answer, region_unreadable (Ferret: its prompt marks a region
    that is not in the image, or without coordinates), region_token_in_answer (Ferret), eos_inside (an answer must hold its
    end once, as its last visible token), and those of `spr.images`. Raises DataError on a repeated id, when no pair is
    left, and for the first pair that loses its image or its end (image_tokens_lost, eos_missing).
    """
    if len({pair.pair_id for pair in pairs}) != len(pairs):
        raise DataError("the pairs hold a pair_id twice; make the pairs again")
    limits = _Limits(encoder, max_tokens, context, image_token_id)
    kept: list[tuple[PreferencePair, Answers]] = []
    dropped, counts = [], []
    if progress and pairs:
        progress(0, len(pairs))
    for done, pair in enumerate(sorted(pairs, key=lambda pair: pair.pair_id), start=1):
        try:
            prompt, answers = limits.encode(pair)
        except (ImageFault, PairFault) as error:
            if error.reason in _LOST:
                raise DataError(f"pair {pair.pair_id} ({pair.path}): {_LOST[error.reason]} ({error.reason})") from None
            dropped.append(Dropped(pair.pair_id, STAGE, error.reason))
        else:
            kept.append((pair, answers))
            counts.append((len(prompt.tokens["input_ids"]), len(answers.chosen), len(answers.rejected)))
        if progress:
            progress(done, len(pairs))
    if not kept:
        raise DataError(_nothing_left(dropped, max_tokens, context))
    tokens = columns(counts)
    return Preflight(
        tuple(p for p, _ in kept),
        tuple(a for _, a in kept),
        tuple(dropped),
        {name: statistics(values) for name, values in tokens.items()},
        histogram(tokens["sequence"]),
        image_token_id,
    )


def reasons(dropped: Sequence[Dropped]) -> str:
    """Dropped pairs counted by reason, most first, with the first few of each by name."""
    named: dict[str, list[str]] = defaultdict(list)
    for row in dropped:
        named[row.reason].append(row.row_id)
    most_first = sorted(named.items(), key=lambda item: (-len(item[1]), item[0]))
    return ", ".join(f"{reason} {len(ids):,} ({_first(ids)})" for reason, ids in most_first)


@dataclass(frozen=True, slots=True)
class _Limits:
    """What a pair is held against."""

    encoder: PairEncoder
    max_tokens: int
    context: int | None
    image_token_id: int | None

    def encode(self, pair: PreferencePair) -> tuple[Prompt, Answers]:
        """The tokens of a pair that can be trained on. Raises PairFault or ImageFault for any other."""
        _check_texts(pair)
        prompt, answers = self.encoder.prompt(pair), self.encoder.answers(pair)
        both = (answers.chosen, answers.rejected)
        self._check_image(pair, prompt, both)
        if torch.equal(*both):
            raise PairFault("chosen_equals_rejected")
        for answer in both:
            self._check_end(answer)
        length = len(prompt.tokens["input_ids"]) + max(map(len, both))
        if self.context is not None and length > self.context:
            raise PairFault("beyond_context")
        if length > self.max_tokens:
            raise PairFault("too_long")
        return prompt, answers

    def _check_image(self, pair: PreferencePair, prompt: Prompt, answers: Sequence[Tensor]) -> None:
        masked = prompt.tokens.get("image_embeds_position_mask", torch.zeros(1))
        places = masked if self.image_token_id is None else prompt.tokens["input_ids"] == self.image_token_id
        if not places.any() or self.encoder.lost_places(pair, prompt):
            raise PairFault("image_tokens_lost")
        if self.image_token_id is not None and any((answer == self.image_token_id).any() for answer in answers):
            raise PairFault("image_tokens_in_answer")

    def _check_end(self, answer: Tensor) -> None:
        """An answer ends with EOS, but for blanks that some templates write after a turn."""
        ends = (answer == self.encoder.tokenizer.eos_token_id).nonzero().flatten().tolist()
        if not ends:
            raise PairFault("eos_missing")
        if self.encoder.tokenizer.decode(answer[ends[0] + 1 :]).strip():
            raise PairFault("eos_inside")


def _check_texts(pair: PreferencePair) -> None:
    if not pair.prompt.strip():
        raise PairFault("empty_prompt")
    if not (pair.chosen.strip() and pair.rejected.strip()):
        raise PairFault("empty_answer")
    if pair.chosen == pair.rejected:
        raise PairFault("chosen_equals_rejected")


def _first(ids: Sequence[str]) -> str:
    return ", ".join(ids[:_NAMED]) + (", ..." if len(ids) > _NAMED else "")


def _nothing_left(dropped: Sequence[Dropped], max_tokens: int, context: int | None) -> str:
    if not dropped:
        return "there are no preference pairs to train on; see why in the funnel of the earlier stages"
    found = {row.reason for row in dropped}
    advice = f"; train.max_tokens is {max_tokens}, raise it" if "too_long" in found else ""
    if "beyond_context" in found:
        advice += f"; the model has {context} positions, lower the pixel limits in model.processor"
    return f"none of {len(dropped)} preference pairs can be trained on: {reasons(dropped)}{advice}"
