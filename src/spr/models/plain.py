"""Processors without a chat template, and what they expect around a bare question. Loads neither torch nor transformers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Plain:
    """What a processor without a chat template expects. `mark`: the word that holds an image's place; `written`: whether
    the question must hold it, or the processor puts it there for the one image it takes; `answer_types`: per-token fields that
    an answer's tokens have at another value than 0."""

    mark: str
    written: bool = False
    answer_types: Mapping[str, int] = field(default_factory=dict)


PLAIN = {
    "Kosmos2Processor": Plain("<image>"),
    # The prefix is type 0, where every token sees all others, and the suffix type 1, where a token sees its past.
    "PaliGemmaProcessor": Plain("<image>", written=True, answer_types={"token_type_ids": 1}),
    "Florence2Processor": Plain("<image>"),
}
"""Processors that take a bare question, by the name of their class."""
