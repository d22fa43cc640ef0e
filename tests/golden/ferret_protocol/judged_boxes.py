"""The answers with boxes of ferret_protocol/, and what the authors' scripts for expressions and phrases make of them."""

from __future__ import annotations

import contextlib
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from made_answers import FORMS, SIZES, Scene, box, near, phrase

N = 1000
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
TYPES = ("people", "clothing", "animals", "bodyparts", "other")
Row = dict[str, Any]


def tried(ask: Callable[..., Any], *given: Any) -> tuple[Any, str]:
    """(what it gives, "") or (None, the error that stopped it)."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return ask(*given), ""
    except Exception as fault:
        return None, f"{type(fault).__name__}: {str(fault)[:60]}"


def decoded(script: Any, row: Row) -> Row:
    found, fault = tried(script.decode_bbox_from_caption, row["text"], *row["size"])
    return {"decoded": None if fault else list(zip(*found, strict=True)), "decoding": fault}


def dump(path: Path, rows: Iterable[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


# Referring expressions.


def threshold_case(rng: Random) -> tuple[list[float], str]:
    """(truth, answer): in thousandths of 1000 pixels, so alike that their IoU is a threshold, but for rounding."""
    tenths, wide, high = rng.choice([5, 6, 7, 8, 9]), rng.randint(20, 300), rng.randint(20, 300)
    x, y = rng.randint(200, 500), rng.randint(200, 500)
    truth = [x + rng.randint(0, 10 - tenths) * wide / 10, y, wide * tenths / 10, high]
    if rng.random() < 0.5:
        truth[0] = round(x + rng.random() * wide * (10 - tenths) / 10, 2)
    return truth, f"a man [{x}, {y}, {x + wide}, {y + high}]."


def rec_rows(rng: Random) -> Iterator[Row]:
    for place in range(N):
        size = rng.choice(SIZES)
        x0, y0, x1, y1 = box(rng, size)
        truth: list[float] = [x0, y0, x1 - x0, y1 - y0]
        if rng.random() < 0.7:
            truth = [round(value + rng.random() * 0.9, 2) for value in truth]
        phrases = [phrase(rng) for _ in range(3)]
        spread = rng.choice([10, 40, 120])
        kind = list(FORMS)[place % len(FORMS)]
        text = FORMS[kind](rng, Scene(phrases, [near(rng, [x0, y0, x1, y1], size, spread) for _ in phrases]))
        if place >= N - 125:
            kind, size = "on a threshold", (1000, 1000)
            truth, text = threshold_case(rng)
        expression = rng.choice([phrases[0], f" {phrases[0]}, left ,", phrases[0].upper()])
        dataset = rng.choice(["refcoco", "refcoco+", "refcocog"])
        yield {"kind": kind, "text": text, "size": size, "expression": expression, "dataset": dataset, "truth": truth}


def rec_files(folder: Path, rows: Sequence[Row]) -> tuple[Path, Path]:
    images = [
        {"id": n, "file_name": "photo.png", "caption": row["expression"], "dataset_name": row["dataset"]}
        | {"width": row["size"][0], "height": row["size"][1]}
        for n, row in enumerate(rows)
    ]
    annotations = [{"id": n, "image_id": n, "bbox": row["truth"]} for n, row in enumerate(rows)]
    truth = dump(folder / "truth.json", [{"images": images, "annotations": annotations}])
    said = [{"image_id": n, "text": row["text"]} for n, row in reversed(list(enumerate(rows)))]
    return truth, dump(folder / "said.jsonl", said)


def rec_outcome(script: Any, folder: Path, rows: Sequence[Row], k: Sequence[Any]) -> list[Any]:
    """What their evaluator gives at each threshold."""
    truth, said = rec_files(folder, rows)
    evaluator = script.RefExpEvaluatorFromJsonl(str(truth), k=tuple(k))
    outcome = []
    for evaluator.thresh_iou in THRESHOLDS:
        outcome.append(evaluator.summarize(str(said)))
    return outcome


def rec(script: Any, asking: Any, folder: Path, rng: Random) -> tuple[list[Row], Any]:
    rows = list(rec_rows(rng))
    with contextlib.redirect_stdout(io.StringIO()):
        data = asking.RefExpGrounding(str(folder), str(rec_files(folder, rows)[0]), None)
    for n, row in enumerate(rows):
        row |= {"question": data[n][1]["question"], **decoded(script, row), "hits": {}}
        for k in (1, "mean", "upper bound"):
            found, row["fault"] = tried(rec_outcome, script, folder, [row], [k])
            row["hits"][k] = found and [one[row["dataset"]][0] for one in found]
    whole = [row for row in rows if not row["fault"]]
    with contextlib.redirect_stdout(io.StringIO()):
        return rows, rec_outcome(script, folder, whole, (1, "mean", "upper bound"))


# Phrases of Flickr30k Entities.


def flickr_photo(rng: Random, place: int) -> Row:
    """A photo of five sentences: its things, each with boxes or none, in files as published."""
    size = rng.choice(SIZES)
    things = {str(place * 100 + n): [box(rng, size) for _ in range(rng.choice([1, 1, 2, 3]))] for n in range(5)}
    return {"id": str(place), "size": size, "things": things | {str(place * 100 + 9): []}}


def flickr_rows(rng: Random, photo: Row) -> Iterator[Row]:
    for sentence in range(5):
        names = [phrase(rng) for _ in range(rng.randint(1, 3))]
        names += [names[0]] * (rng.random() < 0.3)
        ids = rng.sample([name for name, boxes in photo["things"].items() if boxes], len(names))
        phrases = [(name, rng.sample(TYPES, rng.choice([1, 1, 2])), one) for name, one in zip(names, ids, strict=True)]
        unseen = ("the scene", ["scene"], next(name for name, boxes in photo["things"].items() if not boxes))
        marked = [*phrases, unseen] if rng.random() < 0.3 else phrases
        kind = list(FORMS)[(int(photo["id"]) * 5 + sentence) % len(FORMS)]
        spread = rng.choice([10, 40, 120])
        marks = [
            near(rng, around(photo["things"][rng.choice([one, one, ids[0]])]), photo["size"], spread) for _, _, one in phrases
        ]
        row = {"kind": kind, "text": FORMS[kind](rng, Scene(names, marks)), "size": photo["size"], "sentence": sentence}
        if sentence == 4 and int(photo["id"]) % 4 == 0:
            row |= {"kind": "cancelled area", "text": cancelled(names[0], photo, ids[0])}
        yield row | {"photo": photo["id"], "marked": marked}


def around(boxes: Sequence[Sequence[int]]) -> list[int]:
    left, top, right, bottom = zip(*boxes, strict=True)
    return [min(left), min(top), max(right), max(bottom)]


def cancelled(name: str, photo: Row, thing: str) -> str:
    """A good box after a reversed one of the same area in pixels, where thousandths can say it."""
    x0, y0, x1, y1 = around(photo["things"][thing])
    wide, high, *good = [
        math.ceil(value * 1000 / photo["size"][axis % 2]) for axis, value in enumerate([x1 - x0, y1 - y0, x0, y0, x1, y1])
    ]
    return f"{name} [{wide}, 0, 0, {high}], {name} {good}."


def flickr_files(folder: Path, photos: Sequence[Row], rows: Sequence[Row]) -> None:
    (folder / "Annotations").mkdir()
    (folder / "Sentences").mkdir()
    (folder / "test.txt").write_text("\n".join(photo["id"] for photo in photos))
    for photo in photos:
        width, height = photo["size"]
        things = [_thing(name, one) for name, boxes in photo["things"].items() for one in boxes or [None]]
        size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
        whole = f"<annotation>{size}{''.join(things)}</annotation>"
        (folder / "Annotations" / f"{photo['id']}.xml").write_text(whole)
        own = [row for row in rows if row["photo"] == photo["id"]]
        lines = [" and ".join(f"[/EN#{one}/{'/'.join(kinds)} {name}]" for name, kinds, one in row["marked"]) for row in own]
        (folder / "Sentences" / f"{photo['id']}.txt").write_text("\n".join(lines) + "\n")


def _thing(name: str, bounds: Sequence[int] | None) -> str:
    sides = zip(("xmin", "ymin", "xmax", "ymax"), bounds or (), strict=False)
    inside = "".join(f"<{side}>{value}</{side}>" for side, value in sides)
    where = f"<bndbox>{inside}</bndbox>" if bounds else "<nobndbox>1</nobndbox><scene>0</scene>"
    return f"<object><name>{name}</name>{where}</object>"


def flickr_images(rows: Sequence[Row], photos: Mapping[str, Row], only: int | None = None) -> list[Row]:
    """What MDETR's json says of each sentence: its words, and where in them the phrases are that have boxes."""
    images = []
    for n, row in enumerate(rows):
        caption, spans = " and ".join(name for name, _, _ in row["marked"]), []
        start = 0
        for name, _, one in row["marked"]:
            if photos[row["photo"]]["things"][one]:
                spans.append([[start, start + len(name)]])
            start += len(f"{name} and ")
        width, height = map(str, row["size"])
        asked = spans if only is None else [spans[only]]
        image = {"id": n, "file_name": "photo.png", "caption": caption, "tokens_positive_eval": asked}
        images.append(
            image | {"original_img_id": int(row["photo"]), "sentence_id": row["sentence"], "width": width, "height": height}
        )
    return images


def flickr_outcome(evaluator: Any, folder: Path, rows: Sequence[Row], photos: Mapping[str, Row], only: int | None) -> list[Any]:
    """What their evaluator gives at each threshold."""
    truth = dump(folder / "truth.json", [{"images": flickr_images(rows, photos, only)}])
    said = dump(folder / "said.jsonl", [{"text": row["text"]} for row in rows])
    return [evaluator.evaluate(str(truth), str(said)) for evaluator.iou_thresh in THRESHOLDS]


def flickr(script: Any, asking: Any, folder: Path, rng: Random) -> tuple[list[Row], Any]:
    photos = {str(place): flickr_photo(rng, place) for place in range(N // 5)}
    rows = [row for photo in photos.values() for row in flickr_rows(rng, photo)]
    flickr_files(folder, list(photos.values()), rows)
    whole = dump(folder / "whole.json", [{"images": flickr_images(rows, photos), "annotations": []}])
    with contextlib.redirect_stdout(io.StringIO()):
        data = asking.FlickrGrounding(str(folder), str(whole), None)
        evaluator = script.Flickr30kEntitiesRecallEvaluatorFromJsonl(str(folder), merge_boxes=True, verbose=False)
    for n, row in enumerate(rows):
        things = photos[row["photo"]]["things"]
        row["phrases"] = [[name, kinds, things[one]] for name, kinds, one in row["marked"] if things[one]]
        row |= {"question": data[n][1]["question"], **decoded(script, row), "hits": []}
        for only in range(len(row["phrases"])):
            found, row["fault"] = tried(flickr_outcome, evaluator, folder, [row], photos, only)
            row["hits"].append(found and {k: [one[k]["all"] for one in found] for k in evaluator.topk})
    clean = [row for row in rows if not row["fault"]]
    with contextlib.redirect_stdout(io.StringIO()):
        figures = flickr_outcome(evaluator, folder, clean, photos, None)
    return [{key: value for key, value in row.items() if key not in ("photo", "sentence", "marked")} for row in rows], figures
