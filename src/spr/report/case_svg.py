"""One case over its photo, as an SVG element of layers: the ground truth always, and one layer for each text.

A layer holds a text's own boxes with their numbers, and what the detector found for it, dotted, with letters. Which layer is
seen is the page's business (class `layer`, `data-layer`). Every box bears the key `data-box` that its words bear in the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from spr import boxes, images
from spr.boxes import Box
from spr.records import Detection, Mention
from spr.report.boxes_svg import numbered
from spr.report.case import Case
from spr.report.photo_svg import (
    CHOSEN,
    FOUND,
    OTHER,
    REJECTED,
    TRUTH,
    nearest,
    opening,
    outline,
    photo_part,
    shown_view,
    tag,
    veil,
)

_LONGEST = 960
_SHOWN = 540
_STYLE = {"chosen": (CHOSEN, 3.0, ""), "rejected": (REJECTED, 2.6, "6 4"), "other": (OTHER, 2.6, "")}


@dataclass(frozen=True, slots=True)
class Layer:
    """One text's boxes: `key` names the layer, `role` is chosen, rejected or other; `before` are boxes to be shown faintly
    beneath, where the text's boxes were moved from."""

    key: str
    label: str
    role: str
    mentions: Sequence[Mention]
    detections: Sequence[Detection] = ()
    before: Sequence[Mention] = ()


def letter(index: int) -> str:
    """The letter of the index-th detection, from 0: a to z, then aa, ab, and so on."""
    first, last = divmod(index, 26)
    return (letter(first - 1) if first else "") + chr(ord("a") + last)


def draw_case(case: Case, layers: Sequence[Layer], root: Path) -> str:
    """The SVG of a case with its layers; `root` is the photos' folder. Shown is the region with every box of every layer.

    Raises ImageFault when the photo cannot be used.
    """
    pair = case.pair
    photo = images.load(root, pair.path, pair.size)
    written = [item.box for layer in layers for item in numbered(layer.mentions)]
    found = [detection.box for layer in layers for detection in layer.detections]
    view = shown_view(pair.region, [*(box for box, _ in case.truth), *written, *found], pair.size)
    unit = max(view[2] - view[0], view[3] - view[1]) / _SHOWN
    head = opening(view, f"Boxes of the candidates and of the ground truth of pair {pair.pair_id}", "group")
    parts = [head, photo_part(photo, view, _LONGEST), veil(view, pair.region)]
    parts += [_layer(layer, _written(layer, case.truth)) for layer in layers]
    parts += [_truth(number, case) for number in range(1, len(case.truth) + 1)]
    parts += [_layer(layer, _numbers(layer, view, unit) + _found(layer, case.truth, view, unit)) for layer in layers]
    return "".join([*parts, "</svg>"])


def _layer(layer: Layer, marks: Sequence[str]) -> str:
    return f'<g class="layer" data-layer="{layer.key}">{"".join(marks)}</g>' if marks else ""


def _written(layer: Layer, truth: Sequence[tuple[Box, str]]) -> list[str]:
    """A text's own boxes, the largest first, so that the pointer reaches the small ones that lie in them."""
    colour, width, dash = _STYLE[layer.role]
    ghosts = [outline(b.box, CHOSEN, 1.0, "before refinement", "3 3", ' class="ghost"') for b in numbered(layer.before)]
    marks = []
    for item in sorted(numbered(layer.mentions), key=lambda item: -float(boxes.area([item.box])[0])):
        title = _title(f"{layer.label}, box {item.number}", item.mention.phrase or "", item.box, truth)
        attributes = _attributes("written", f"{layer.key}-{item.number}")
        marks.append(outline(item.box, colour, width, title, dash, attributes))
    return ghosts + marks


def _numbers(layer: Layer, view: Box, unit: float) -> list[str]:
    """The numbers of a text's boxes, apart from them: no line of the ground truth may cross them."""
    colour, _, _ = _STYLE[layer.role]
    corner = (2, 3) if layer.role == "rejected" else (0, 1)
    return [
        f'<g class="mark sign" data-box="{layer.key}-{item.number}">'
        f"{tag(str(item.number), item.box, colour, view, unit, corner)}</g>"
        for item in numbered(layer.mentions)
    ]


def _found(layer: Layer, truth: Sequence[tuple[Box, str]], view: Box, unit: float) -> list[str]:
    """What the detector found for a text; the pointer reaches its outlines and letters, and through them what lies beneath."""
    marks = []
    for index, detection in enumerate(layer.detections):
        title = _title(f"detector, {detection.score:.2f}", detection.phrase, detection.box, truth)
        sign = tag(letter(index), detection.box, FOUND, view, unit, corner=(2, 1))
        attributes = _attributes("found", f"{layer.key}-{letter(index)}")
        marks.append(outline(detection.box, FOUND, 3.4, title, "0 6.5", attributes, sign))
    return marks


def _truth(number: int, case: Case) -> str:
    """One ground-truth box, the detector's dashed."""
    box, name = case.truth[number - 1]
    added = number > len(case.pair.objects)
    attributes = _attributes("truth", f"t-{number}")
    return outline(box, TRUTH, 1.1, f"ground truth: {name}", "5 3" if added else "", attributes)


def _attributes(kind: str, key: str) -> str:
    focus = "" if kind == "truth" else ' tabindex="0"'
    return f' class="mark {kind}" data-box="{key}"{focus}'


def _title(label: str, phrase: str, box: Box, truth: Sequence[tuple[Box, str]]) -> str:
    overlap, name = nearest(box, truth)
    fit = f"IoU {overlap:.2f} with {name}" if overlap else "touches no ground-truth box"
    return f"{label}: {phrase} ({fit})" if phrase else f"{label} ({fit})"
