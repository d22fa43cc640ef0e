"""A model whose answers are written down beforehand, so that a test knows what each is worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from spr.models.base import Generation, Request, Sampling


@dataclass
class ScriptedModel:
    """Answers each prompt with its text, or with one that has no box; records what it was asked."""

    dialect: Any
    answers: Mapping[str, str]
    identity: str = "scripted"
    asked: list[tuple[Sequence[Request], Sampling]] = field(default_factory=list)

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, progress: Callable[[int], None] | None = None
    ) -> list[list[Generation]]:
        """One generation a request; a text that ends in ... was cut off."""
        self.asked.append((requests, sampling))
        texts = [self.answers.get(request.prompt, "nothing") for request in requests]
        return [[Generation(text, "length" if text.endswith("...") else "stop", 9, len(text.split()))] for text in texts]

    def take_notes(self) -> dict[str, int]:
        """Nothing to note."""
        return {}
