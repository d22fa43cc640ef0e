"""Preference pairs as a dataset that stock TRL trains on as it is.

One parquet file with the images inside, in `datasets`' own column types; rows are conversational with plain string
contents (structured ones would come back from Arrow with keys of their own). Not here: any training.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Features, List, Value
from datasets import Image as ImageColumn
from PIL import Image

from spr import images
from spr.errors import DataError, RecipeError
from spr.records import Dropped, PreferencePair
from spr.running.files import writing

FILE = "train-00000-of-00001.parquet"
ROW_GROUP = 100
"""Rows held in memory, with their images, at a time; a reader decodes as many at once."""
_ORIENTATION = 0x0112
_MESSAGES = List({"role": Value("string"), "content": Value("string")})
FEATURES = Features(
    {"pair_id": Value("string"), "images": List(ImageColumn()), "prompt": _MESSAGES, "chosen": _MESSAGES, "rejected": _MESSAGES}
)


def export_trl(pairs: Sequence[PreferencePair], image_root: Path, out: Path) -> list[Dropped]:
    """Write `pairs` in their order to the folder `out`; `datasets.load_dataset(str(out), split="train")` reads it.

    Returns the pairs whose image could not be used. Raises RecipeError when `out` is not empty, DataError when nothing
    is left to write, DiskError when the folder cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RecipeError(f"{out} is not empty; export into a new directory")
    dropped: list[Dropped] = []
    partial = out / (FILE + ".partial")
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        written = _write(partial, _rows(pairs, image_root, dropped))
    if not written:
        partial.unlink()
        raise DataError(f"none of {len(pairs)} preference pairs can be exported; see why in the funnel of the run")
    partial.rename(out / FILE)
    return dropped


def _rows(pairs: Sequence[PreferencePair], image_root: Path, dropped: list[Dropped]) -> Iterator[dict[str, Any]]:
    for pair in pairs:
        try:
            image = _encoded(image_root, pair)
        except images.ImageFault as fault:
            dropped.append(Dropped(pair.pair_id, "export", fault.reason))
            continue
        yield {
            "pair_id": pair.pair_id,
            "images": [{"bytes": image, "path": pair.path}],
            "prompt": [{"role": "user", "content": pair.prompt}],
            "chosen": [{"role": "assistant", "content": pair.chosen}],
            "rejected": [{"role": "assistant", "content": pair.rejected}],
        }


def _encoded(image_root: Path, pair: PreferencePair) -> bytes:
    """The photo's own file where every reader sees in it what the boxes speak of, else its pixels as PNG: readers differ
    on colour modes, and they turn photos by their EXIF tag without knowing which way the boxes were drawn."""
    pixels = images.load(image_root, pair.path, pair.size)
    file = images.resolve(image_root, pair.path)
    with Image.open(file) as photo:
        if photo.format in ("JPEG", "PNG") and photo.mode == "RGB" and not photo.getexif().get(_ORIENTATION):
            return file.read_bytes()
    stream = io.BytesIO()
    pixels.save(stream, "PNG")
    return stream.getvalue()


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    schema, group, written = FEATURES.arrow_schema, [], 0
    with pq.ParquetWriter(path, schema) as writer:
        for row in rows:
            group.append(row)
            written += 1
            if len(group) == ROW_GROUP:
                writer.write_table(pa.Table.from_pylist(group, schema=schema))
                group = []
        if group:
            writer.write_table(pa.Table.from_pylist(group, schema=schema))
    return written
