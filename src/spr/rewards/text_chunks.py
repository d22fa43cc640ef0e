"""Long texts for encoders with a short context: packed by sentence, and by comma where one sentence is too long."""

from __future__ import annotations

import re
from collections.abc import Callable

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])\s*|\n+")
_CLAUSE_END = re.compile(r"(?<=[,;:])\s+")


def pack(text: str, context: int, count: Callable[[str], int]) -> list[str]:
    """Split a text into as few consecutive chunks as greedy packing gives, each of at most `context` tokens.

    `count` gives a text's tokens, special ones included. A text that fits is one chunk, as it stands; one without words
    gives none. A clause that is too long by itself stays one chunk, for the encoder to truncate.
    """
    text = text.strip()
    if not text:
        return []
    if count(text) <= context:
        return [text]
    pieces = [piece for sentence in sentences(text) for piece in _clauses(sentence, context, count)]
    chunks = [pieces[0]]
    for piece in pieces[1:]:
        joined = f"{chunks[-1]} {piece}"
        if count(joined) <= context:
            chunks[-1] = joined
        else:
            chunks.append(piece)
    return chunks


def sentences(text: str) -> list[str]:
    """The sentences of a text, in order and as they stand; none of a text without words."""
    return [piece.strip() for piece in _split(_SENTENCE_END, text)]


def _clauses(sentence: str, context: int, count: Callable[[str], int]) -> list[str]:
    return [sentence] if count(sentence) <= context else _split(_CLAUSE_END, sentence)


def _split(end: re.Pattern[str], text: str) -> list[str]:
    return [piece for piece in end.split(text) if piece.strip()]
