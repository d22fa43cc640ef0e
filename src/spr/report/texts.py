"""A model's text for people: cut at its mentions, and each box mark-up numbered as it is in the picture.

What a model wrote is never trusted: for a page it is escaped, for a terminal its control characters are made visible.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from spr.boxes import Box
from spr.records import Mention
from spr.report.photo_svg import nearest


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a text: words alone, or one mention with the words it is tied to and its box mark-up. `number` counts
    the readable mentions from 1; it is 0 for words alone and for what cannot be read."""

    words: str
    markup: str = ""
    mention: Mention | None = None
    number: int = 0


def pieces(text: str, mentions: Sequence[Mention]) -> Iterator[Piece]:
    """The text cut at its mentions (spans ascending); joined again, the pieces are the text, character for character.

    A mention's words begin where its phrase stands last before its mark-up, and no earlier than the mention before it ends.
    """
    position, number = 0, 0
    for mention in mentions:
        start, end = mention.span
        found = text.rfind(mention.phrase, position, start) if mention.phrase else -1
        words = found if found >= 0 else start
        if words > position:
            yield Piece(text[position:words])
        number += mention.box is not None
        yield Piece(text[words:start], text[start:end], mention, number if mention.box is not None else 0)
        position = end
    if position < len(text):
        yield Piece(text[position:])


def mark_mentions(text: str, mentions: Sequence[Mention]) -> Markup:
    """The text as safe HTML. Readable boxes are numbered from 1 in reading order; unreadable ones bear their reason."""
    return Markup("").join(Markup.escape(piece.words) + _box(piece) for piece in pieces(text, mentions))


def link_mentions(text: str, mentions: Sequence[Mention], layer: str, truth: Sequence[tuple[Box, str]]) -> Markup:
    """The text as safe HTML whose mentions can be pointed at and focused: each bears the key `LAYER-NUMBER` of its box in
    the picture, and the best IoU with the named ground-truth boxes."""
    parts: list[Markup] = []
    for piece in pieces(text, mentions):
        inner = Markup.escape(piece.words) + _box(piece)
        if piece.mention is None or piece.mention.box is None:
            parts.append(inner)
            continue
        overlap, name = nearest(piece.mention.box, truth)
        fit = f"IoU {overlap:.2f} with {name}" if overlap else "touches no ground-truth box"
        mark = Markup('<span class="mention" data-box="{}-{}" tabindex="0">{}<i class="fit" title="{}">{:.2f}</i></span>')
        parts.append(mark.format(layer, piece.number, inner, fit, overlap))
    return Markup("").join(parts)


def _box(piece: Piece) -> Markup:
    if piece.mention is None:
        return Markup("")
    if piece.number:
        return Markup('<span class="box"><b>{}</b>{}</span>').format(piece.number, piece.markup)
    return Markup('<s class="box" title="unreadable: {}">{}</s>').format(piece.mention.reason, piece.markup)


def visible(text: str) -> str:
    """The text for a terminal: what is no character to be read (control characters, those that turn the direction of
    writing, lone surrogates) becomes its escape, as `\\x1b`; a line break stays one."""
    return "".join(c if c == "\n" or unicodedata.category(c) not in ("Cc", "Cf", "Cs") else _escape(c) for c in text)


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
