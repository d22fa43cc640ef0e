"""The two files that Flickr30k Entities keeps of a photo: its sentences with their phrases marked, and the boxes.

    Sentences/134206.txt      [/EN#9237/people Baseball players] are playing on [/EN#9238/scene a field] .
    Annotations/134206.xml    <object><name>9237</name><bndbox>xmin, ymin, xmax, ymax</bndbox></object>, or scene and nobndbox

A chain (EN#) may have several boxes, an object several names. The whole numbers of the xml are taken as they are, as edges
in pixels: so do MDETR's and Ferret's evaluators, whose figures are those published (BryanPlummer/flickr30k_entities
itself takes one off each).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from spr.boxes import Box, Size
from spr.errors import DataError
from spr.sources.fields import check_inside, side

_OPENED = re.compile(r"\[/EN#(\d+)((?:/[^/\[\]\s]+)+)")


@dataclass(frozen=True, slots=True)
class Marked:
    """A phrase of a sentence, the chain that it belongs to, and its coarse types."""

    phrase: str
    chain: str
    types: tuple[str, ...]


def read_sentence(line: str, where: str) -> tuple[str, list[Marked]]:
    """A marked sentence -> its words, joined by spaces, and its phrases in their order.

    Raises DataError for brackets that do not close or open, a mark that is not [/EN#id/type ...], and an empty phrase.
    """
    words: list[str] = []
    phrases: list[Marked] = []
    opened: tuple[int, re.Match[str]] | None = None
    for token in line.split():
        if token.startswith("["):
            mark = _OPENED.fullmatch(token)
            if opened or not mark:
                fault = "opens inside another phrase" if opened else "is no mark [/EN#id/type ...]"
                raise DataError(f"{where}: {token[:60]!r} {fault}; mend the file or download it again")
            opened = len(words), mark
            continue
        ends = token.endswith("]")
        word = token.removesuffix("]")
        if "]" in word or not word or (ends and not opened):
            raise DataError(f"{where}: {token[:60]!r} closes no phrase; mend the file or download it again")
        words.append(word)
        if ends and opened:
            start, mark = opened
            phrases.append(Marked(" ".join(words[start:]), mark[1], tuple(mark[2][1:].split("/"))))
            opened = None
    if opened:
        raise DataError(f"{where}: {opened[1][0][:60]!r} is never closed; mend the file or download it again")
    return " ".join(words), phrases


@dataclass(frozen=True, slots=True)
class Drawn:
    """The size of a photo, and the boxes of each chain that has any, in the order of the xml."""

    size: Size
    boxes: Mapping[str, tuple[Box, ...]]


class _NoDoctype(ElementTree.TreeBuilder):
    """Refuses documents that declare a type: only those can define entities that grow or lead elsewhere."""

    def doctype(self, name: str, *_: str | None) -> None:
        raise DataError(f"declares a document type {name[:40]!r}, which no file of Flickr30k Entities does; refused")


def read_boxes(raw: bytes, path: Path) -> Drawn:
    """The boxes of one photo's xml.

    Raises DataError for xml that is broken or declares a document type, and for an object without a name, with a box that
    is degenerate or outside the image, or with neither a box nor scene or nobndbox.
    """
    try:
        root = ElementTree.fromstring(raw, ElementTree.XMLParser(target=_NoDoctype()))
    except DataError as fault:
        raise DataError(f"{path} {fault}, download it again from a source you trust") from None
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # Unknown and unfit encodings are the latter two.
        raise DataError(f"{path} is no whole xml ({error}); copy or download it again") from None
    given = {key: (root.findtext(f"./size/{key}") or "").strip() for key in ("width", "height")}
    width, height = (side(given, key, f"{path}: size", written=True) for key in given)
    boxes: dict[str, tuple[Box, ...]] = {}
    for place, one in enumerate(root.findall("object")):
        where = f"{path}: object {place}"
        names = [(name.text or "").strip() for name in one.findall("name")]
        if not names or not all(name.isascii() and name.isdigit() for name in names):
            raise DataError(f"{where} has names {names[:6]}; an object has the numbers of its chains; mend the file")
        if box := _box(one, (width, height), where):
            for name in names:
                boxes[name] = (*boxes.get(name, ()), box)
    return Drawn((width, height), boxes)


def _box(one: ElementTree.Element, size: Size, where: str) -> Box | None:
    drawn = one.find("bndbox")
    if drawn is None:
        if one.find("nobndbox") is None and one.find("scene") is None:
            raise DataError(f"{where} has neither bndbox nor scene or nobndbox; mend the file")
        return None
    x0, y0, x1, y1 = (_edge(drawn, key, where) for key in ("xmin", "ymin", "xmax", "ymax"))
    if x1 <= x0 or y1 <= y0:
        raise DataError(f"{where} has the box ({x0:g}, {y0:g}, {x1:g}, {y1:g}), which has no area; mend the file")
    check_inside((x0, y0, x1, y1), size, where)
    return (x0, y0, x1, y1)


def _edge(drawn: ElementTree.Element, key: str, where: str) -> float:
    written = (drawn.findtext(key) or "").strip()
    if not re.fullmatch(r"-?\d{1,6}", written, re.ASCII):
        raise DataError(f"{where} has {key} {written[:40]!r}; it must be a whole number of pixels")
    return float(written)
