"""What is asked about tiny scenes when a model is evaluated: referring expressions, sentences with several names, and whether
something is there. Each is written in a published format, and read by the reader of that format.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from spr.tiny.language import absent, expressions, named_together, present
from spr.tiny.scenes import SIDE, TinyObject, layout
from spr.tiny.splits import file_name


def write_tasks(split: range, count: int, out: Path, expressions_each: int = 3, most: int = 400) -> None:
    """Write the questions about the first `count` scenes of a range, beside their pictures.

    `rec.json` has up to `expressions_each` rows a scene (img_id, file_name, sents, bbox as xywh pixels, height, width);
    `sentences.json` is laid out as MDETR does Flickr30k's, `probe.json` as POPE does: one question about something there
    and one about something that is not. Sentences and probes are of the first `most` scenes alone.
    """
    scenes = [(seed, layout(seed)) for seed in split[:count]]
    rec = [row for seed, objects in scenes for row in _references(seed, objects, expressions_each)]
    (out / "rec.json").write_text(json.dumps(rec) + "\n")
    (out / "sentences.json").write_text(json.dumps(_sentences(scenes[:most])) + "\n")
    probes = [row for place, (seed, objects) in enumerate(scenes[:most]) for row in _probes(place, seed, objects)]
    (out / "probe.json").write_text("".join(json.dumps(row) + "\n" for row in probes))


def _references(seed: int, objects: tuple[TinyObject, ...], count: int) -> list[dict[str, Any]]:
    return [
        {
            "img_id": f"tiny_{seed:012d}_{number}",
            "file_name": file_name(seed),
            "sents": expression.text,
            "bbox": _xywh(objects[expression.target]),
            "height": SIDE,
            "width": SIDE,
        }
        for number, expression in enumerate(expressions(objects, random.Random(seed), count))
    ]


def _sentences(scenes: list[tuple[int, tuple[TinyObject, ...]]]) -> dict[str, Any]:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for seed, objects in scenes:
        caption, spans = "", []
        for name, held in named_together(objects, random.Random(seed)):
            caption += " , " if caption else ""
            spans.append([[len(caption), len(caption) + len(name)]])
            caption += name
            annotations += [
                {"id": len(annotations) + i, "image_id": len(images), "bbox": _xywh(objects[one]), "tokens_positive": spans[-1]}
                for i, one in enumerate(held)
            ]
        images.append(
            {
                "id": len(images),
                "original_img_id": seed,
                "sentence_id": 0,
                "file_name": file_name(seed),
                "caption": caption,
                "tokens_positive_eval": spans,
                "height": str(SIDE),
                "width": str(SIDE),
            }
        )
    return {"images": images, "annotations": annotations}


def _probes(place: int, seed: int, objects: tuple[TinyObject, ...]) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    asked = (present(objects, rng), absent(objects, rng))
    return [
        {"question_id": 2 * place + i, "image": file_name(seed), "text": question, "label": label}
        for i, (question, label) in enumerate(asked)
    ]


def _xywh(item: TinyObject) -> list[int]:
    x0, y0, x1, y1 = item.box
    return [x0, y0, x1 - x0, y1 - y0]
