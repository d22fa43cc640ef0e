"""The rounds of a run side by side, as rows of plain values: how each policy described, the pairs that gave, and its training.

It reads metrics.json as it stands and rounds nothing. What is not there yet is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class RoundRow:
    """One round: regions; the share of descriptions with a `readable` box, and the mean `localization` of all; pairs, with
    their mean `margin`; updates, and the share of pairs whose chosen was `preferred` at the end of the training; seconds."""

    number: int
    regions: int | None
    readable: float | None
    localization: float | None
    pairs: int | None
    margin: float | None
    updates: int | None
    preferred: float | None
    seconds: float


def round_rows(metrics: Mapping[str, Any]) -> list[RoundRow]:
    """The rounds of metrics.json; empty of a run of one round."""
    return [_row(one) for one in metrics.get("rounds", ())]


def rounds_note(metrics: Mapping[str, Any]) -> str:
    """Where a round gave no pairs: which policy answers as tuned. Else empty."""
    end = metrics.get("rounds_ended_by")
    if end is None:
        return ""
    tuned = f"the policy of round {end - 1} is the tuned one" if end > 1 else "there is no tuned policy"
    return f"Round {end} gave no pairs, so no round came after it, and {tuned}."


def _row(one: Mapping[str, Any]) -> RoundRow:
    training = one["training"] or {}
    made = {name: counts["out"] for name, counts in one["funnel"].items()}
    return RoundRow(
        number=one["round"],
        regions=made.get("queries"),
        readable=one["parse_rate"],
        localization=one["localization"],
        pairs=made.get("pairs"),
        margin=one["margin"],
        updates=training.get("updates"),
        preferred=training.get("final", {}).get("rewards/accuracies"),  # SFT has none
        seconds=one["seconds"],
    )
