"""`protocol: ferret`: what the evaluation scripts of Ferret's authors make of answers, to the last decision.

Only these functions know those scripts; what asks a model, and what counts and tables, is elsewhere. Where a script stops
with an error, the docstring says what is done instead. Answers are a model's own words, boxes float xyxy pixels.
Source: Ferret's public code (You et al. 2023, arXiv 2310.07704), ferret/eval: model_refcoco.py and eval_refexp.py,
model_flickr.py and eval_flickr_entities.py, model_pope.py and eval_pope.py, eval_gpt_review_3newclass.py and
summarize_gpt_review.py. Their `misc/refcoco/box_ops.py` is not public: its `box_iou` is taken to be that of MDETR's
util/box_ops.py, from which their script comes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spr.boxes import Box, Size, enclosing
from spr.items import Phrase

ZERO_BOX: Box = (0.0, 0.0, 0.0, 0.0)
"""What stands in for the box that an answer does not give."""
RECALLS = (1, 5, 10, -1)
"""How many boxes of a phrase may meet the ground truth in R@k; -1 is all of them."""
JUDGE_SYSTEM = "You are a helpful and precise assistant for checking the quality of the answer."
"""The system message of the judge of Ferret-Bench."""
NO_SCORES = (-1.0, -1.0)
"""The scores of a review that cannot be read."""

_BRACKET = re.compile(r"[\[\]]")
_RESUME = re.compile(r"[.,;!?]")
"""After a box, reading goes on behind the next of these."""
_SPACING = re.compile(r"""['",.;!?|:]""")
_DROPPED = re.compile(r"[^\w\s]")
_BRACKETED = re.compile(r"\[.*?\]")


def read_boxes(text: str, size: Size) -> list[tuple[str, Box]] | None:
    """The phrases and boxes of an answer, in its order; None when any bracket makes the whole answer unreadable.

    `size` is (width, height). Numbers are what Python's `int` takes, in thousandths of each side, cut to a pixel towards zero;
    of more than four the first four count, and nothing is held to the image. The phrase of a box is the text before its `[`,
    from where reading went on after the box before: behind the next of `. , ; ! ?`, which may lie inside the next bracket.
    A number that is no `int` makes their answer one without boxes; fewer than four numbers, or one too large to be a float,
    stops their script, and makes the answer unreadable here.
    """
    found: list[tuple[str, Box]] = []
    phrase, start = "", 0
    for bracket in _BRACKET.finditer(text):
        said = text[start : bracket.start()].strip()
        start = bracket.end()
        if bracket.group() == "[":
            phrase = said
            continue
        try:
            found.append((phrase, _pixels([int(number) for number in said.split(",")], size)))
        except (ValueError, IndexError, OverflowError):
            return None
        resume = _RESUME.search(text, start)
        start = resume.end() if resume else len(text)
    return found


def same_phrase(a: str, b: str) -> bool:
    """Whether two phrases are one, but for case, spaces and punctuation: `'` `"` `.` `,` `;` `!` `?` `|` `:` part words, other
    marks join them."""
    return _plain(a) == _plain(b)


def rec_boxes(text: str, size: Size) -> list[Box]:
    """The boxes of an answer to its question, whatever their phrases, at least one: the zero box when there is none.

    The first decides. A number of pixels beyond 64 bits stops their script; here the answer counts as one without boxes.
    """
    boxes = [box for _, box in read_boxes(text, size) or ()]
    if any(not -(2.0**63) <= value < 2.0**63 for box in boxes for value in box):
        return [ZERO_BOX]
    return boxes or [ZERO_BOX]


def rec_ious(boxes: Sequence[Box], truth: Box) -> NDArray[np.float32]:
    """IoU of each box (n, 4) with the ground truth, shape (n,), to be compared with `reaches`.

    In single precision, as theirs, which decides cases that lie on a threshold. Reversed boxes never overlap; their area may be
    negative, and an IoU NaN.
    """
    x0, y0, x1, y1 = np.asarray(boxes, dtype=np.float32).T
    left, top, right, bottom = np.asarray(truth, dtype=np.float32)
    return np.asarray(_iou((x0, y0, x1, y1), (left, top, right, bottom)), dtype=np.float32)


def reaches(iou: ArrayLike, threshold: float) -> NDArray[np.bool_]:
    """Whether IoUs of `rec_ious` are at least `threshold`, both in single precision; NaN is not."""
    return np.asarray(np.asarray(iou, dtype=np.float32) >= np.float32(threshold), dtype=np.bool_)


def phrase_boxes(text: str, size: Size, phrase: str) -> list[Box]:
    """The boxes of an answer to its question whose phrase is `phrase`, at least one: the zero box when there is none."""
    return [box for said, box in read_boxes(text, size) or () if same_phrase(said, phrase)] or [ZERO_BOX]


def first_phrase(phrase: str, phrases: Sequence[Phrase]) -> Phrase:
    """Of the phrases of a sentence the first with this very text: its boxes and types are those of every later one.

    Raises ValueError when there is none, as their script does.
    """
    for candidate in phrases:
        if candidate.phrase == phrase:
            return candidate
    raise ValueError(f"{phrase!r} is none of the sentence's phrases: {[candidate.phrase for candidate in phrases]}")


def phrase_ious(boxes: Sequence[Box], truth: Sequence[Box]) -> dict[int, float]:
    """For each k of `RECALLS` the best IoU of the first k boxes with the box around `truth`; at least 0.5 is a hit.

    A reversed box whose negative area cancels the truth's gives NaN, and so does every k that includes it: a miss.
    """
    # Whole numbers stay integers: sums that pass 64 bits then wrap here as they do there.
    ious = _iou(tuple(_integers(boxes).T), tuple(_integers([enclosing(truth)])[0]))
    return {k: float(ious.max() if k == -1 else ious[:k].max()) for k in RECALLS}


def yes_no(text: str) -> str:
    """`no` when the first sentence holds the word no or not, else `yes`: to an empty answer too.

    The answer is stripped and lower-cased, as model_pope.py saves it. Words are what single spaces part, without commas: the
    `no` of `no!` or of a line's end is none.
    """
    words = text.strip().lower().split(".")[0].replace(",", "").split(" ")
    return "no" if "no" in words or "not" in words else "yes"


def judged_text(answer: str, category: str) -> str:
    """What a judge of Ferret-Bench reads of a model's answer.

    In refer_desc and refer_reason brackets go, each with the space before it; one without a space stays. In ground_conv the
    numbers of a bracket are divided by 1000 and written with three decimals; a bracket of other than four numbers goes.
    Another category changes nothing. What is no number stops their script, and its bracket stays as it is here; so do fewer
    than four numbers, just after their bracket went.
    """
    for bracket in _BRACKETED.findall(answer):
        if category in ("refer_desc", "refer_reason"):
            answer = answer.replace(f" {bracket}", "")
        elif category == "ground_conv":
            answer = _with_shares(answer, bracket)
    return answer


def judge_prompt(context: str, question: str, reference: str, answer: str, role: str, rule: str) -> str:
    """What the judge of Ferret-Bench is asked: `reference` is its role 1, `answer` (of `judged_text`) its role 2.

    `role` and `rule` are the category's in rule.json. A backslash stands where a new line was meant, before the context.
    """
    return (
        f"[Context]\\{context}\n\n[Question]\n{question}\n\n"
        f"[{role} 1]\n{reference}\n\n[End of {role} 1]\n\n[{role} 2]\n{answer}\n\n[End of {role} 2]\n\n[System]\n{rule}\n\n"
    )


def parse_score(review: str) -> tuple[float, float]:
    """The scores of (reference, answer) in a review's first line, two numbers with one space or comma between them.

    `NO_SCORES` for anything else, `8, 9` and a space at the line's end included.
    """
    parts = review.split("\n")[0].replace(",", " ").split(" ")
    try:
        reference, answer = map(float, parts)
    except ValueError:
        return NO_SCORES
    return reference, answer


def score_ratio(scores: Sequence[tuple[float, float]]) -> float:
    """The answers' mean score in percent of the references', with one decimal, from means with three.

    `NO_SCORES` are averaged like any other. A mean of 0 for the references stops their script; it gives NaN here, and so do no
    scores at all.
    """
    if not scores:
        return float("nan")
    # Down the columns, as theirs: the mean of a row of numbers would add them in another order.
    reference, answer = (round(mean, 3) for mean in np.asarray(scores, dtype=np.float64).mean(axis=0).tolist())
    return round(answer / reference * 100, 1) if reference else float("nan")


def _pixels(numbers: Sequence[int], size: Size) -> Box:
    # Side over 1000 first, then times the number: the other order cuts some boxes to another pixel.
    across, down = size[0] / 1000, size[1] / 1000
    return (
        float(int(numbers[0] * across)),
        float(int(numbers[1] * down)),
        float(int(numbers[2] * across)),
        float(int(numbers[3] * down)),
    )


def _plain(phrase: str) -> str:
    return " ".join(_DROPPED.sub("", _SPACING.sub(" ", phrase.lower())).split())


def _iou(boxes: tuple[NDArray[Any], ...], truth: tuple[Any, ...]) -> NDArray[Any]:
    """The plain IoU of columns of boxes with one box, in whatever type they have; no area is held to be positive."""
    (x0, y0, x1, y1), (left, top, right, bottom) = boxes, truth
    with np.errstate(all="ignore"):
        width = np.clip(np.minimum(x1, right) - np.maximum(x0, left), 0, None)
        height = np.clip(np.minimum(y1, bottom) - np.maximum(y0, top), 0, None)
        overlap = width * height
        union = (x1 - x0) * (y1 - y0) + (right - left) * (bottom - top) - overlap
        return np.asarray(overlap / union)


def _integers(boxes: Sequence[Box]) -> NDArray[Any]:
    """Boxes (n, 4), whole numbers as integers."""
    return np.asarray([[int(value) if float(value).is_integer() else value for value in box] for box in boxes])


def _with_shares(answer: str, bracket: str) -> str:
    try:
        numbers = [float(number) for number in bracket.replace("[", "").replace("]", "").split(",")]
    except ValueError:
        return answer
    if len(numbers) != 4:
        answer = answer.replace(bracket, "")
    if len(numbers) < 4:
        return answer
    # Five numbers get here too: what stood around their bracket may have closed to the same one again.
    return answer.replace(bracket, f"[{', '.join(f'{number / 1000:.3f}' for number in numbers[:4])}]")
