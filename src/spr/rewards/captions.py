"""Captions for detectors that read one text of many phrases: built token by token, so that every phrase's place is known.

Grounding DINO reads "red circle. blue square." and separates phrases at the tokens of ".", "?", [CLS] and [SEP] only. So
those must end every phrase, must not stand inside one, and a caption must fit the model's text length. Phrases are
tokenized one by one and joined as ids: a phrase's span is then a fact, not the result of a search in text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

CLS, SEP, DOT, QUESTION = 101, 102, 1012, 1029
"""Token ids that Grounding DINO's code separates phrases at (`SPECIAL_TOKENS` in modeling_grounding_dino.py)."""
SPECIAL = 3
"""Tokens of a caption beside those of its one phrase: [CLS], the full stop, [SEP]."""
_PAD = 0
_SEPARATORS = re.compile(r"[.?\s]+")
Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Caption:
    """`input_ids` of one caption, special tokens included; `spans[i]` is the half-open token range of `phrases[i]`."""

    phrases: tuple[str, ...]
    input_ids: tuple[int, ...]
    spans: tuple[Span, ...]


def normal(phrase: str) -> str:
    """A phrase as a detector is shown it: lower case, single spaces, without "." and "?", which would cut it in two
    ("3.5 inch" is asked as "3 5 inch"). Empty when nothing is left."""
    return _SEPARATORS.sub(" ", phrase.lower()).strip()


def normal_set(phrases: Iterable[str]) -> tuple[str, ...]:
    """The different phrases, normal and sorted: equal sets of phrases make equal captions, however a text orders them."""
    return tuple(sorted({normal(phrase) for phrase in phrases} - {""}))


def pack(phrases: Sequence[str], tokenize: Callable[[str], Sequence[int]], length: int) -> list[Caption]:
    """As few captions of at most `length` tokens as the order of the phrases allows.

    `tokenize` gives a phrase's ids without special tokens, none where the model cannot read it. A phrase too long for a caption
    of its own is cut to fit; one without a single token is in no caption.
    """
    captions: list[Caption] = []
    held: list[tuple[str, list[int]]] = []
    used = 2
    for phrase in phrases:
        ids = [token for token in tokenize(phrase) if token not in (_PAD, CLS, SEP, DOT, QUESTION)][: length - SPECIAL]
        if not ids:
            continue
        if held and used + len(ids) + 1 > length:
            captions.append(_join(held))
            held, used = [], 2
        held.append((phrase, ids))
        used += len(ids) + 1
    return [*captions, _join(held)] if held else captions


def _join(held: Sequence[tuple[str, list[int]]]) -> Caption:
    ids, spans = [CLS], []
    for _, tokens in held:
        spans.append((len(ids), len(ids) + len(tokens)))
        ids += [*tokens, DOT]
    return Caption(tuple(phrase for phrase, _ in held), (*ids, SEP), tuple(spans))
