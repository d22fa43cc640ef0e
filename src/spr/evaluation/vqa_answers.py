"""When an answer counts as right: VQA accuracy for TextVQA, exact match for GQA, a plain yes or no for POPE.

TextVQA's answers are compared in the form that its challenge on EvalAI gave them: `EvalAIAnswerProcessor` and
`TextVQAAccuracyEvaluator` of facebookresearch/mmf, which LLaVA's `llava/eval/m4c_evaluator.py` repeats. The older evaluation
of VQA itself (`vqaEval.py` of GT-Vision-Lab/VQA) is another measure: it keeps the answers as they are, capitals and all, when
all ten are equal; it does not set `'s` apart; and it deletes question marks and commas only as other marks, a comma between
digits making it delete every mark of the answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

ANSWERS = 10
"""Human answers a question, on which VQA accuracy is defined."""
_ARTICLES = frozenset(("a", "an", "the"))
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBERS = {"none": "0"} | {word: str(number) for number, word in enumerate(_DIGITS)}
_MARKS = ';/[]"{}()=+\\_-><@`!'
_PERIOD = re.compile(r"\.(?!\d)")
_PERIODS = 32
"""Periods that are taken out of one answer; the standard's code hands `re.sub` a flag in the place of this count."""

_SHORTENED = {
    "n't": "ai are ca could did does do had has have is might must need ought sha should was were wo would",
    "n't've": "could had might should would",
    "'ve": "could might must not should they we what where who would you",
    "'d": "he how it someone something there they where who you",
    "'d've": "he it she somebody someone something there they we who y'all you",
    "'ll": "how it somebody someone something they what who why y'all you",
    "'re": "there they what why you",
    "'s": "he how somebody someone that there what when where who why",
    "": "ma'am o'clock 'twas y'all 'ow's'at",
}


def _contractions() -> dict[str, str]:
    """Every way of leaving out one apostrophe -> the contraction. The standard turns `somebody'd` round, and so it stays."""
    whole = [f"{stem}{ending}" for ending, stems in _SHORTENED.items() for stem in stems.split()]
    places = [(word, place) for word in whole for place, sign in enumerate(word) if sign == "'"]
    return {word[:place] + word[place + 1 :]: word for word, place in places} | {"somebody'd": "somebodyd"}


_CONTRACTIONS = _contractions()


def normalised(answer: str) -> str:
    """The form in which TextVQA compares answers: lower case, without articles, with digits for none and zero to ten, without
    punctuation but for a period before a digit, with the apostrophes of contractions. It may be empty."""
    text = answer.lower().replace(",", "").replace("?", "").replace("'s", " 's")
    text = text.replace("\n", " ").replace("\t", " ").strip()
    # A mark that touches a space anywhere is deleted everywhere; one that only joins words becomes a space.
    joins = {ord(mark): "" if f" {mark}" in text or f"{mark} " in text else " " for mark in _MARKS}
    text = _PERIOD.sub("", text.translate(joins), count=_PERIODS)
    words = (_NUMBERS.get(word, word) for word in text.split())
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def vqa_accuracy(answer: str, references: Sequence[str]) -> float:
    """TextVQA's accuracy of one answer in 0..1: the mean, over the ten ways of leaving out one of the ten human answers, of
    min(1, equal answers among the other nine / 3).

    Raises ValueError for another number of references.
    """
    if len(references) != ANSWERS:
        raise ValueError(f"{len(references)} references; VQA accuracy is defined on {ANSWERS}")
    said = normalised(answer)
    equal = [normalised(reference) == said for reference in references]
    return sum(min(1.0, (sum(equal) - left_out) / 3) for left_out in equal) / ANSWERS


def gqa_correct(answer: str, reference: str) -> bool:
    """Whether the answer is the reference, both in lower case and without periods at their end (`convert_gqa_for_eval.py` of
    LLaVA does this to the answer; GQA's references are written so)."""
    return _plain(answer) == _plain(reference)


def strict_yes_no(answer: str) -> str | None:
    """yes or no where the answer is that word and nothing more but for case, spaces around it and periods at its end."""
    said = _plain(answer).strip()
    return said if said in ("yes", "no") else None


def _plain(answer: str) -> str:
    return answer.strip().rstrip(".").lower()
