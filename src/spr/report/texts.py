"""A model's text for the page: escaped, with each box mark-up set apart and numbered as it is in the picture."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from spr.records import Mention


def mark_mentions(text: str, mentions: Sequence[Mention]) -> Markup:
    """The text as safe HTML. Readable boxes are numbered from 1 in reading order; unreadable ones bear their reason."""
    parts: list[Markup] = []
    position, number = 0, 0
    for mention in mentions:
        start, end = mention.span
        parts.append(Markup.escape(text[position:start]))
        if mention.box is None:
            parts.append(Markup('<s class="box" title="unreadable: {}">{}</s>').format(mention.reason, text[start:end]))
        else:
            number += 1
            parts.append(Markup('<span class="box"><b>{}</b>{}</span>').format(number, text[start:end]))
        position = end
    parts.append(Markup.escape(text[position:]))
    return Markup("").join(parts)
