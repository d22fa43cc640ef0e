"""Ferret-Bench: 120 questions whose answers are judged by another model, 40 of each of three kinds.

Three folders (`ground_conv`, `refer_caption`, `refer_reason`) with three files of json lines: `question`, `answer` (the
reference) and `context` (what a judge is told of the photo), each with `question_id`, `image`, `category`, `text`. Beside
them `rule.json`: by category, the `role` of who answers and the `prompt` that a judge judges by. Photos are COCO val2017.
Source: `ferret/eval/ferret_gpt4_data` of apple/ml-ferret (You et al. 2023, arXiv 2310.07704).

A question's boxes are fractions of the photo's own sides, each axis alone: the authors cut `fraction * 1000` to a whole
number for the text and `fraction * side` for the region's features, and resize the photo without padding or cropping
(`ferret/eval/model_gpt4eval_3newclass.py`). So they become pixels of the photo here, and each model's dialect writes those.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

from spr.boxes import Box, Size
from spr.errors import DataError
from spr.items import BenchItem
from spr.sources.json_file import is_text, read_json
from spr.sources.json_lines import Row, read_json_lines
from spr.sources.reading import Reading, check_image_root, reading, sizes

FOLDERS = ("ground_conv", "refer_caption", "refer_reason")
QUESTIONS = 40
"""Questions of each official folder."""
_FILES = ("question", "answer", "context")
_BRACKET = re.compile(r"\[([^\]]*)\]")


def read_ferret_bench(folder: Path, image_root: Path, limit: int | None = None) -> Reading[BenchItem]:
    """Read the three folders as one set: the first question of each, then the second of each, and so on, so that the first
    `limit` of them are of all kinds. Ids are `<category>-<question_id>`, for a question id counts within a category.

    Regions are pixels of the photo, whose size its header tells; (0, 0, 0, 0) where the photo is missing. In `question` the
    n-th box is `{n}` from 0 on, and a brace of the text itself is doubled, as `str.format` takes it.

    Raises DataError when a file is missing, cut off or no json (lines), when a line is malformed, when a question has no
    answer, context or rule, or another photo there, when a bracket in a question is no box, when two questions have one id,
    when an image lies outside the image root, when the image root is no directory, or when none of the images is there.
    """
    check_image_root(image_root)
    read = {name: _joined(folder / name) for name in FOLDERS}
    rules, of_rules = read_json(folder / "rule.json")
    notes = [
        f"{folder / name} holds {len(rows)} questions; the official set has {QUESTIONS}: results are not comparable"
        for name, (rows, _) in read.items()
        if len(rows) != QUESTIONS
    ]
    turns = [one for turn in zip_longest(*(rows for rows, _ in read.values())) for one in turn if one]
    asked = turns[:limit]
    measured = sizes(image_root, [question.text("image") for question, _, _ in asked])
    items = [_item(rows, measured[rows[0].text("image")], _rule(folder / "rule.json", rules, rows[0])) for rows in asked]
    digest = hashlib.sha256("".join([*(digest for _, digest in read.values()), of_rules]).encode()).hexdigest()
    return reading(folder, image_root, items, len(turns), digest, "questions", None, notes)


_Joined = tuple[Row, Row, Row]
"""A question's lines in the three files."""


def _joined(folder: Path) -> tuple[list[_Joined], str]:
    """The questions of one folder, each with its answer and its context, and the digests of the three files."""
    read = {name: read_json_lines(folder / f"{name}.jsonl", ("question_id", "image", "category", "text")) for name in _FILES}
    by_id = {name: _by_id(rows) for name, (rows, _) in read.items()}
    found = []
    for question in read["question"][0]:
        key = question.identity("question_id")
        for name in ("answer", "context"):
            other = by_id[name].get(key)
            if other is None:
                raise DataError(f"{question.where}: question {key} is not in {folder / name}.jsonl; copy both files again")
            if other.text("image") != question.text("image"):
                raise DataError(f"{other.where} speaks of {other.text('image')}, its question of {question.text('image')}")
        found.append((question, by_id["answer"][key], by_id["context"][key]))
    return found, "".join(digest for _, digest in read.values())


def _by_id(rows: list[Row]) -> dict[str, Row]:
    found: dict[str, Row] = {}
    for row in rows:
        key = row.identity("question_id")
        if key in found:
            raise DataError(f"{found[key].where} and {row.where} have one question_id, {key}; ids must differ")
        found[key] = row
    return found


def _rule(path: Path, rules: Any, question: Row) -> Mapping[str, str]:
    """The role and the prompt of a question's category."""
    category = question.text("category")
    rule = rules.get(category) if isinstance(rules, dict) else None
    if not isinstance(rule, dict) or not all(is_text(rule.get(key)) for key in ("role", "prompt")):
        raise DataError(
            f"{path} has no role and prompt for {category}, the category of {question.where}; copy both files again"
        )
    return rule


def _item(rows: _Joined, size: Size, rule: Mapping[str, str]) -> BenchItem:
    question, answer, context = rows
    category = question.text("category")
    words, boxes = _regions(question)
    return BenchItem(
        item_id=f"{category}-{question.identity('question_id')}",
        path=question.text("image"),
        width=size[0],
        height=size[1],
        category=category,
        question=words,
        regions=tuple((x0 * size[0], y0 * size[1], x1 * size[0], y1 * size[1]) for x0, y0, x1, y1 in boxes),
        reference=answer.text("text"),
        context=context.text("text"),
        text=question.text("text"),
        role=rule["role"],
        rule=rule["prompt"],
    )


def _regions(question: Row) -> tuple[str, list[Box]]:
    """The question with {0}, {1}, ... in place of its boxes, and the boxes as fractions."""
    text = question.text("text")
    words, end = "", 0
    boxes: list[Box] = []
    for match in _BRACKET.finditer(text):
        words += f"{_escaped(text[end : match.start()])}{{{len(boxes)}}}"
        boxes.append(_box(match, question.where))
        end = match.end()
    return words + _escaped(text[end:]), boxes


def _box(match: re.Match[str], where: str) -> Box:
    try:
        x0, y0, x1, y1 = (float(number) for number in match[1].split(","))
    except ValueError:
        x0 = y0 = x1 = y1 = -1.0
    if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
        raise DataError(
            f"{where} has {match[0][:80]} in its text; a bracket must hold a box, x0, y0, x1, y1 in 0..1 of the photo"
        )
    return (x0, y0, x1, y1)


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
