"""Open questions about photos, with the answers that people gave: GQA and TextVQA.

GQA (Hudson and Manning 2019): one object, question id -> `imageId`, `question`, `answer`, `types`; one answer each.
TextVQA (Singh et al. 2019): an object whose `data` lists `question_id`, `image_id`, `question`, `answers`; ten answers each,
some of which may be empty. The sizes of photos come from their headers: GQA states none, and TextVQA's `image_width` and
`image_height` are not looked at, for what counts is the photo that is shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from spr.boxes import Size
from spr.errors import DataError
from spr.items import VqaItem
from spr.sources.fields import shown
from spr.sources.json_file import is_text, read_json
from spr.sources.json_lines import Row, holds_json_lines
from spr.sources.reading import Reading, check_image_root, official_count, reading, sizes

GQA_COUNTS: Mapping[str, int] = {"testdev_balanced_questions": 12578}
TEXTVQA_COUNTS: Mapping[str, int] = {"textvqa_0.5.1_val": 5000}
"""Questions of the official splits, by the file's name without `.json`, in lower case."""
TEXTVQA_ANSWERS = 10


def read_gqa(path: Path, image_root: Path, limit: int | None = None) -> Reading[VqaItem]:
    """Read GQA's questions, e.g. testdev_balanced_questions.json, the first `limit` of them; the photo of one is
    `<imageId>.jpg`, its kind `types.structural`, where the file has types: choose, compare, logical, query or verify.

    Raises DataError when the file is missing, cut off or no such object, when a question is malformed or has no answer, as in
    the sets whose answers are kept secret, when an image lies outside the image root, when the image root is no directory, or
    when none of the images is there.
    """
    content, digest = _read(path, image_root, "GQA's questions are one object, question id -> question")
    rows = {key: _row(f"{path}: question {key}", value) for key, value in islice(content.items(), limit)}
    asked = [_Asked(key, row, row.identity("imageId"), (_one(row),), _kind(row)) for key, row in rows.items()]
    items = _items(asked, image_root)
    return reading(path, image_root, items, len(content), digest, "questions", official_count(path, GQA_COUNTS))


def read_textvqa(path: Path, image_root: Path, limit: int | None = None) -> Reading[VqaItem]:
    """Read TextVQA's questions, e.g. TextVQA_0.5.1_val.json, the first `limit` of them; the photo of one is
    `<image_id>.jpg`, for train and val in the folder `train_images` of the authors' archive.

    Raises DataError as `read_gqa` does, when two questions have one id, and for a question without exactly ten answers.
    """
    layout = "TextVQA's questions are an object with a list under data"
    content, digest = _read(path, image_root, layout)
    data = content.get("data")
    if not isinstance(data, list):
        raise DataError(f"{path} has data {type(data).__name__}; {layout}")
    rows = [_row(f"{path}: question {place}", value) for place, value in enumerate(data[:limit])]
    asked = [_Asked(row.identity("question_id"), row, row.identity("image_id"), _ten(row)) for row in rows]
    items = _items(asked, image_root)
    return reading(path, image_root, items, len(data), digest, "questions", official_count(path, TEXTVQA_COUNTS))


@dataclass(frozen=True, slots=True)
class _Asked:
    """One question before the size of its photo is known."""

    item_id: str
    row: Row
    image: str
    answers: tuple[str, ...]
    kind: str = ""

    @property
    def path(self) -> str:
        return f"{self.image}.jpg"

    def item(self, size: Size) -> VqaItem:
        return VqaItem(self.item_id, self.path, *size, self.row.text("question"), self.answers, self.kind)


def _items(asked: Sequence[_Asked], image_root: Path) -> list[VqaItem]:
    measured = sizes(image_root, [one.path for one in asked])
    return [one.item(measured[one.path]) for one in asked]


def _read(path: Path, image_root: Path, layout: str) -> tuple[dict[str, Any], str]:
    check_image_root(image_root)
    try:
        content, digest = read_json(path)
    except DataError:
        if holds_json_lines(path):
            raise DataError(f"{path} holds json lines; {layout}: name the file that the authors publish") from None
        raise
    if not isinstance(content, dict):
        raise DataError(f"{path} holds {type(content).__name__}; {layout}")
    return content, digest


def _row(where: str, value: Any) -> Row:
    if not isinstance(value, dict):
        raise DataError(f"{where} is {type(value).__name__}, not an object with the question, its image and its answer")
    return Row(where, value)


def _one(row: Row) -> str:
    if "answer" not in row.values:
        raise DataError(f"{row.where} has no answer, as in GQA's test and challenge sets; read a testdev or val set")
    return row.text("answer")


def _kind(row: Row) -> str:
    types = row.values.get("types")
    if types is None:
        return ""
    if not isinstance(types, dict) or not is_text(types.get("structural")):
        raise DataError(f"{row.where} has types {shown(types)}; it must be an object with structural, e.g. query")
    return str(types["structural"])


def _ten(row: Row) -> tuple[str, ...]:
    answers = row.values.get("answers")
    if answers is None:
        raise DataError(f"{row.where} has no answers, as in TextVQA's test set; read the val set")
    if not isinstance(answers, list) or len(answers) != TEXTVQA_ANSWERS or not all(map(_may_be_empty, answers)):
        raise DataError(f"{row.where} has answers {shown(answers)}; they must be a list of {TEXTVQA_ANSWERS} texts")
    return tuple(answers)


def _may_be_empty(answer: Any) -> bool:
    return isinstance(answer, str) and (not answer.strip() or is_text(answer))
