"""The funnel: what went into every stage, what came out, and what was dropped why. Every entry balances:
in = parents + dropped, where `parents` counts the input rows that have output rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from spr.records import Dropped
from spr.running.files import read_json, write_atomic, write_json
from spr.running.run_dir import RunDir
from spr.running.shards import Manifest, parquet_bytes, reasons
from spr.sources.candidates_file import CandidatesFile
from spr.sources.coco import SceneReading

Entry = dict[str, Any]
"""{"in", "out", "parents", "dropped": {reason: n}}"""


def entry(out: int, parents: int, dropped: Mapping[str, int]) -> Entry:
    """One stage's counts."""
    return {"in": parents + sum(dropped.values()), "out": out, "parents": parents, "dropped": dict(dropped)}


def of_manifests(manifests: Iterable[Manifest]) -> Entry:
    """A stage's counts, summed over its shards."""
    out = parents = 0
    dropped: Counter[str] = Counter()
    for manifest in manifests:
        out += manifest.rows_out
        parents += manifest.parents
        dropped.update(manifest.dropped)
    return entry(out, parents, dict(sorted(dropped.items())))


SOURCE = "source.json"


def write_source(run: RunDir, reading: SceneReading, where: Path = Path()) -> None:
    """Keep what reading a source dropped: rows in dropped/WHERE/images, counts in WHERE/source.json. `where` is empty for the
    run's own source, eval/TASK for a task's. Raises DiskError."""
    write_dropped(run, str(where / "images"), reading.dropped)
    unused = {reason: n for reason, n in reading.annotations.items() if reason != "usable"}
    usable = reading.annotations.get("usable", 0)
    counts = {
        "images": entry(len(reading.scenes), len(reading.scenes), reasons(reading.dropped)),
        "annotations": entry(usable, usable, unused),
    }
    write_json(run.path / where / SOURCE, {"digest": reading.digest, "funnel": counts})


def add_imported(run: RunDir, imported: CandidatesFile, queries: Iterable[str]) -> int:
    """Count the query ids of a candidates file; those that no query has are dropped rows. Returns how many those are."""
    unknown = imported.unknown(set(queries))
    write_dropped(run, "imported", unknown)
    known = len(imported.rows) - len(unknown)
    values: Any = read_json(run.path / SOURCE)
    values["funnel"]["imported"] = entry(known, known, reasons(unknown))
    write_json(run.path / SOURCE, values)
    return len(unknown)


def write_dropped(run: RunDir, name: str, dropped: Sequence[Dropped]) -> None:
    """Keep the dropped rows of something that is no sharded stage. Raises DiskError."""
    write_atomic(run.path / "dropped" / name / "part-00000.parquet", parquet_bytes(dropped, Dropped))


def of_source(run: RunDir) -> dict[str, Entry]:
    """Images, annotations and imported texts, as they were counted; empty for a directory that has only evaluated."""
    return _counted(run.path / SOURCE)


def of_task_sources(run: RunDir) -> dict[str, Entry]:
    """The same of each evaluation task that reads a COCO file, under eval/TASK/images and eval/TASK/annotations."""
    files = sorted([*run.path.glob(f"eval/*/{SOURCE}"), *run.path.glob(f"eval/*/*/{SOURCE}")])
    places = {file: file.parent.relative_to(run.path).as_posix() for file in files}
    return {f"{place}/{name}": counts for file, place in places.items() for name, counts in _counted(file).items()}


def _counted(file: Path) -> dict[str, Entry]:
    values: Any = read_json(file) or {}
    return dict(values.get("funnel", {}))


def of_training(report: Mapping[str, Any]) -> Entry:
    """The pairs that were trained on, and those that the preflight refused, from a training's report."""
    refused = Counter(row["reason"] for row in report["dropped"])
    return entry(int(report["pairs"]), int(report["pairs"]), dict(sorted(refused.items())))


def shards_in_all(run: RunDir) -> int | None:
    """The shards of every data stage, from the images that the source gave; None before it was read."""
    images = of_source(run).get("images")
    recipe = run.recipe_values()
    return -(-int(images["out"]) // int(recipe["shard_size"])) if images and recipe else None
