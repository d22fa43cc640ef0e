"""Ferret-Bench: free questions about regions and places, judged by another model against a reference answer.

Without reviews the answers stand unjudged. What the judge reads, and what its review is worth, is decided here; asking it is
`spr.evaluation.judging`'s. Source: You et al. 2023 (arXiv 2310.07704), ferret/eval of apple/ml-ferret.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import numpy as np

from spr.boxes import Box, FloatArray, Size
from spr.errors import ModelError
from spr.evaluation import ferret_protocol
from spr.evaluation.task import Task
from spr.items import Answer, BenchItem
from spr.models.base import Dialect
from spr.records import Prediction

CATEGORIES = ("refer_desc", "refer_reason", "ground_conv")
LEAST, MOST = 1.0, 10.0
"""The scale of scores that the rules name."""
_TWO_NUMBERS = re.compile(r"\s*([0-9]{1,2}(?:\.[0-9]{1,9})?)[ \t]*[ \t,][ \t]*([0-9]{1,2}(?:\.[0-9]{1,9})?)[ \t]*(?:\r?\n|\Z)")
Reviews = Mapping[str, str]
"""The judge's words by item."""
Scores = tuple[float, float]
"""Those of the reference and of the answer."""


class FerretBench(Task[BenchItem]):
    """Questions -> the judge's score of the answer in percent of the reference's, as a ratio of sums: over all, and by kind.

    `reviews` are those of base and tuned by side, `side` the one whose answers are read. Where the review of either side holds
    no two scores of 1 to 10, the item is left out of both, and `judged` says how many of this side's reviews have them, in
    percent. The payload holds the two scores (0 without), whether they are `counted`, and `judged`; `status` is none for an
    empty answer.
    """

    name = "ferret_bench"
    unit = "questions"
    measured = True
    keys = ("score", *CATEGORIES, "judged")

    def __init__(self, side: str = "", reviews: Mapping[str, Reviews] | None = None) -> None:
        self._side = side
        self._reviews = reviews or {}

    def reviewed(self, side: str, reviews: Mapping[str, Reviews]) -> FerretBench:
        """The same task, for the answers of one side, with what was said of those of all sides."""
        return type(self)(side, reviews)

    def prompt(self, item: BenchItem, dialect: Dialect) -> str:
        """The question with its regions in the model's own words. Raises ModelError for a family without free questions."""
        if not dialect.instructed:
            raise ModelError(
                f"dialect {dialect.name}: Ferret-Bench's questions cannot be asked, for the family knows fixed prompts only"
            )
        if not min(item.size):
            return item.text  # Its photo is missing, so that no region has pixels; it is dropped before it is asked.
        return item.question.format(*(dialect.region_text(box, item.size) for box in item.regions))

    def judge_prompt(self, item: BenchItem, answer: Answer, dialect: Dialect) -> str:
        """What the judge is asked of one answer: the authors' words, with boxes as the context has them."""
        said = self.told(answer.text, item, dialect)
        return ferret_protocol.judge_prompt(item.context, item.text, item.reference, said, item.role, item.rule)

    def told(self, text: str, item: BenchItem, dialect: Dialect) -> str:
        """An answer as the judge reads it: with boxes as fractions of the photo where the category asks for them, else its
        words alone."""
        if item.category == "ground_conv":
            return with_fractions(text, item.size, dialect)
        return dialect.words(text, item.size)

    def scores(self, review: str) -> Scores | None:
        """What a review says: two numbers of 1 to 10 alone in its first line, apart by spaces or a comma. None where it cannot
        be read."""
        found = _TWO_NUMBERS.match(review)
        scores = (float(found[1]), float(found[2])) if found else (0.0, 0.0)
        return scores if all(LEAST <= score <= MOST for score in scores) else None

    def worth(self, review: str) -> Scores | None:
        """What a review counts as; None where it does not count."""
        return self.scores(review)

    def counts(self, item_id: str) -> bool:
        """Whether an item counts: what does not on one side does on neither."""
        sides = self._reviews.values()
        return bool(sides) and all(item_id in side and self.worth(side[item_id]) is not None for side in sides)

    def score(self, item: BenchItem, answer: Answer, dialect: Dialect) -> list[Prediction]:  # noqa: ARG002 (no boxes are read)
        """What the judge says of one answer."""
        review = self._reviews.get(self._side, {}).get(item.item_id)
        reference, given = (None if review is None else self.worth(review)) or (0.0, 0.0)
        payload = {
            "reference": reference,
            "answer": given,
            "counted": float(self.counts(item.item_id)),
            "judged": float(review is not None and self.scores(review) is not None),
        }
        status = "ok" if answer.text.strip() else "none"
        return [self.prediction(item, answer, status, payload, question=item.text, groups={"category": item.category})]

    def columns(self, predictions: Sequence[Prediction]) -> FloatArray:
        """(n, 13): score of the reference, of the answer, and 1 for what counts; the same in each category; 1 for judged."""
        rows = [[one.payload[key] for key in ("reference", "answer", "counted", "judged")] for one in predictions]
        values = np.asarray(rows, dtype=np.float64).reshape(-1, 4)
        said = np.asarray([one.groups["category"] for one in predictions], dtype=np.str_)
        counted = np.column_stack([values[:, :2], np.ones(len(values))]) * values[:, 2:3]
        parts = [counted, *(counted * (said == category)[:, None] for category in CATEGORIES)]
        return np.column_stack([*parts, values[:, 3]])

    def quantities(self, sums: FloatArray, counts: FloatArray) -> FloatArray:
        """In percent; NaN where nothing was judged."""
        ratios = [self.ratio(*sums[:, at : at + 3].T) for at in range(0, 3 * (1 + len(CATEGORIES)), 3)]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.column_stack([*ratios, 100 * sums[:, -1] / counts])

    def ratio(self, reference: FloatArray, answer: FloatArray, counted: FloatArray) -> FloatArray:  # noqa: ARG002 (theirs)
        """Sums (r,) of both scores, and of how many -> (r,) in percent."""
        with np.errstate(divide="ignore", invalid="ignore"):
            found: FloatArray = 100 * answer / reference
        return found


class FerretFerretBench(FerretBench):
    """The same by Ferret's own scripts: they read an answer's brackets, call an unreadable review -1 for both and count it, and
    round means before they divide them. A question that the judge refused, which their script asks for ever, is left out."""

    def told(self, text: str, item: BenchItem, dialect: Dialect) -> str:  # noqa: ARG002 (its brackets)
        """As their script rewrites it."""
        return ferret_protocol.judged_text(text, item.category)

    def scores(self, review: str) -> Scores | None:
        """As their script reads it. Two numbers of which one is infinite or none (`nan`) spoil their mean; here they are no
        scores."""
        found = ferret_protocol.parse_score(review)
        return found if found != ferret_protocol.NO_SCORES and all(map(math.isfinite, found)) else None

    def worth(self, review: str) -> Scores | None:
        """-1 for both where there are none."""
        return self.scores(review) or ferret_protocol.NO_SCORES

    def ratio(self, reference: FloatArray, answer: FloatArray, counted: FloatArray) -> FloatArray:
        """As `spr.evaluation.ferret_protocol.score_ratio` makes it of single scores."""
        rows = zip(reference.tolist(), answer.tolist(), counted.tolist(), strict=True)
        return np.asarray([_their_ratio(*row) for row in rows], dtype=np.float64)


def with_fractions(text: str, size: Size, dialect: Dialect) -> str:
    """A text with every readable box written as `[x0, y0, x1, y1]`, fractions of (width, height) = `size` with three decimals.

    Numbers that stand in a mark-up of several boxes are replaced without brackets, and all other text survives.
    """
    pieces, cursor = [], 0
    for mention in dialect.parse(text, size):
        if mention.box is None:
            continue
        start, end = mention.span
        numbers = _fractions(mention.box, size)
        pieces += [text[cursor:start], numbers if text[start].isdigit() else f"[{numbers}]"]
        cursor = end
    return "".join([*pieces, text[cursor:]])


def _fractions(box: Box, size: Size) -> str:
    return ", ".join(f"{value / side:.3f}" for value, side in zip(box, (*size, *size), strict=True))


def _their_ratio(reference: float, answer: float, counted: float) -> float:
    if not counted:
        return float("nan")
    # Python's rounding, which numpy's is not: it decides cases that lie half way.
    below, above = round(reference / counted, 3), round(answer / counted, 3)
    return round(above / below * 100, 1) if below else float("nan")
