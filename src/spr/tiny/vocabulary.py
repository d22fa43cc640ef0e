"""The words of the bundled tokenizers: those of the tiny world and those of every prompt."""

from __future__ import annotations

from collections.abc import Callable

from spr.candidates import build_prompt
from spr.models import dialects
from spr.recipe import PromptVariant
from spr.records import RegionQuery, SceneObject
from spr.tiny.language import words
from spr.tiny.scenes import SIDE


def prompt_variants() -> tuple[PromptVariant, ...]:
    """All variants of the prompt family."""
    return PromptVariant.__args__  # type: ignore[attr-defined,no-any-return]


def word_list(split: Callable[[str], list[str]]) -> list[str]:
    """All words, sorted, without coordinates and other tokens in angle brackets."""
    dialect = dialects.get("tiny")
    box = (0.0, 0.0, float(SIDE), float(SIDE))
    query = RegionQuery("q", "i", "i", SIDE, SIDE, box, (SceneObject("1", "red circle", box),) * 2)
    texts = [build_prompt(variant, query, dialect, k) for variant in prompt_variants() for k in range(20)]
    texts += [dialect.rec_prompt("the red circle"), dialect.ground("red circle", box, (SIDE, SIDE)) + " , ."]
    found = {word for text in [*texts, " ".join(words())] for word in split(text)}
    return sorted(word for word in found if not word.startswith("<"))
