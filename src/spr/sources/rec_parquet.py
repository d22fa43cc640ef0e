"""Referring expressions from parquet, as lmms-lab publishes RefCOCO, RefCOCO+ and RefCOCOg.

A row is a region: `question_id` (COCO's annotation), `answer` (the list of its expressions), `bbox` (x, y, width, height in
pixels), `file_name`, and the photo itself in `image`, of which only the header is read: tasks show the photos of the image
root. One file, or a folder of shards `<split>-00000-of-00004.parquet`. Columns after the data sets' cards on the hub.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from spr.boxes import Size
from spr.errors import DataError
from spr.images import upright_size
from spr.items import RecItem
from spr.sources.fields import check_inside, ident, listed, shown, text, xywh
from spr.sources.following import Meter, Tick, megabytes, unseen
from spr.sources.refcoco import COCO_ID
from spr.sources.referred import OFFICIAL_COUNTS, OFFICIAL_REGIONS, Referred, ReferredFile

_COLUMNS = ("question_id", "answer", "bbox", "file_name")
_SHARD = re.compile(r"(?P<split>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.parquet")
_LARGER = {8811: "refcoco_val", 7573: "refcocog_val"}
"""Regions of lmms-lab's val splits that hold about 5,000 more than the official ones."""


def read_rec_parquet(path: Path, split: str | None, meter: Meter = unseen) -> ReferredFile:
    """The expressions of a file, or of a folder's shards; ids are `<question_id>-<n>`, a region is a row.

    Raises DataError for a file that is cut off or lacks a column, a malformed row, a folder of several splits where none is
    named, and a folder that lacks a shard.
    """
    shards = _shards(path, split)
    rows: list[Referred] = []
    places: dict[str, tuple[Path, int]] = {}
    seen: Counter[str] = Counter()
    held = 0
    for shard in shards:
        for number, row in enumerate(_rows(shard)):
            for found in _referred(row, f"{shard}: row {number}", str(held), seen):
                rows.append(found)
                places[found.item.item_id] = (shard, number)
            held += 1
    with meter(f"hashing {path.name}", sum(megabytes(shard.stat().st_size) for shard in shards), "MB") as tick:
        digest = hashlib.sha256("".join(_digest(shard, tick) for shard in shards).encode()).hexdigest()
    measure = partial(_measured, places=places, name=path.name, meter=meter)
    return ReferredFile(tuple(rows), digest, "", tuple(_notes(path, held, len(rows))), measure)


def _shards(path: Path, split: str | None) -> list[Path]:
    if not path.is_dir():
        if split is not None:
            raise DataError(f"{path} is one file, for which split {split!r} has no meaning; leave split out")
        return [path]
    files = sorted(path.glob("*.parquet"))
    named = {file: _SHARD.fullmatch(file.name) for file in files}
    odd = [file.name for file, match in named.items() if not match]
    if odd:
        raise DataError(f"{path} holds {odd[0]}; shards are called <split>-00000-of-00004.parquet, or name one file")
    splits = sorted({match["split"] for match in named.values() if match})
    if split not in (splits if len(splits) > 1 else [None, *splits]):
        said = "has to be named" if split is None else f"{split!r} is none of them"
        raise DataError(f"{path} holds shards of {', '.join(splits)}; the split {said}, set split")
    shards = [(file, match) for file, match in named.items() if match and match["split"] == (split or splits[0])]
    for place, (file, match) in enumerate(shards):
        if int(match["number"]) != place or int(match["count"]) != len(shards):
            raise DataError(
                f"{path} holds {len(shards)} of the {int(match['count'])} shards that {file.name} is one of; add the others"
            )
    return [file for file, _ in shards]


def _rows(shard: Path) -> list[dict[str, Any]]:
    try:
        with pq.ParquetFile(shard) as file:
            lacking = [name for name in (*_COLUMNS, "image") if name not in file.schema_arrow.names]
            if lacking:
                raise DataError(
                    f"{shard} has no column {lacking[0]} (it has {', '.join(file.schema_arrow.names[:12])}); parquet of "
                    f"referring expressions has {', '.join(_COLUMNS)} and image"
                )
            found: list[dict[str, Any]] = file.read(columns=list(_COLUMNS)).to_pylist()
            return found
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _broken(shard, error) from None


def _referred(row: dict[str, Any], where: str, region: str, seen: Counter[str]) -> Iterator[Referred]:
    question_id = ident(row, "question_id", where)
    name = text(row, "file_name", where)
    coco = COCO_ID.fullmatch(name.removesuffix(".jpg"))
    photo = f"{coco[1]}.jpg" if coco else name
    box = xywh(row, "bbox", where)
    for place, expression in enumerate(listed(row, "answer", where)):
        said = text({f"answer {place}": expression}, f"answer {place}", where).strip()
        item_id = f"{question_id}-{seen[question_id]}"
        seen[question_id] += 1
        yield Referred(RecItem(item_id, photo, 0, 0, said, box), f"{question_id}-row{region}")


def _measured(rows: Sequence[Referred], places: dict[str, tuple[Path, int]], name: str, meter: Meter) -> list[Referred]:
    wanted: dict[Path, set[int]] = {}
    for row in rows:
        shard, number = places[row.item.item_id]
        wanted.setdefault(shard, set()).add(number)
    sizes: dict[tuple[Path, int], Size] = {}
    with meter(f"sizes of the photos in {name}", sum(map(len, wanted.values())), "photos") as tick:
        for shard, numbers in wanted.items():
            for number, size in _sizes(shard, numbers):
                sizes[shard, number] = size
                tick(1)
    found = []
    for row in rows:
        place = places[row.item.item_id]
        check_inside(row.item.box, sizes[place], f"{place[0]}: row {place[1]}")
        found.append(replace(row, item=replace(row.item, width=sizes[place][0], height=sizes[place][1])))
    return found


def _sizes(shard: Path, numbers: set[int]) -> Iterator[tuple[int, Size]]:
    """The sizes of some rows' photos, reading no further than the last of them."""
    number, last = 0, max(numbers)
    try:
        with pq.ParquetFile(shard) as file:
            for batch in file.iter_batches(batch_size=64, columns=["image"]):
                for image in batch.column(0):
                    if number in numbers:
                        yield number, _size(image.as_py(), f"{shard}: row {number}")
                    number += 1
                if number > last:
                    return
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _broken(shard, error) from None


def _size(image: Any, where: str) -> Size:
    content = image.get("bytes") if isinstance(image, dict) else None
    if not isinstance(content, bytes):
        raise DataError(f"{where} has image {shown(image)}; it must be {{bytes, path}} with the photo's bytes")
    try:
        with Image.open(io.BytesIO(content)) as photo:
            return upright_size(photo)
    except Exception as error:  # Decoders fail on broken files in many ways; each of them is this one fault.
        raise DataError(f"{where} has an image that cannot be read ({str(error)[:80]!r}); download the file again") from None


def _broken(shard: Path, error: Exception) -> DataError:
    said = " ".join(str(error).split())[:120]
    return DataError(f"{shard} is no whole parquet file ({said}); copy or download it again")


def _digest(shard: Path, tick: Tick) -> str:
    digest = hashlib.sha256()
    with shard.open("rb") as file:
        while chunk := file.read(1_000_000):
            digest.update(chunk)
            tick(1)
    return digest.hexdigest()


def _notes(path: Path, regions: int, expressions: int) -> Iterator[str]:
    yield f"{path.name}: read as lmms-lab's parquet, {regions} regions with {expressions} expressions"
    split = _LARGER.get(regions)
    if split:
        yield (
            f"{path} is lmms-lab's {split}: {regions} regions with {expressions} expressions, where the official split has "
            f"{OFFICIAL_REGIONS[split]} with {OFFICIAL_COUNTS[split]}: results are not comparable"
        )
    elif expressions not in OFFICIAL_COUNTS.values():
        yield f"{path} holds {expressions} expressions, as no official split of RefCOCO, RefCOCO+ or RefCOCOg does"
