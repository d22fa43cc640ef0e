"""Has the scripts of Ferret's authors judge generated answers, and writes answers and results beside itself.

    git clone https://github.com/apple/ml-ferret
    git clone https://github.com/ashkamath/mdetr
    pip install torch torchvision transformers prettytable tqdm pycocotools
    TQDM_DISABLE=1 python tests/golden/ferret_protocol/authors.py ml-ferret mdetr

made with commit 3c9e5c9 of ml-ferret, unmodified, and python 3.11, numpy 2.4.6, torch 2.13.0, torchvision 0.28.0. Their
`misc/refcoco/box_ops.py` is not public; what they import from it is MDETR's util/box_ops.py here, commit ea09acc. The judge
of Ferret-Bench is one that says what it is told to; every script runs as it is, to the end.
"""

from __future__ import annotations

import gzip
import importlib
import importlib.util
import json
import sys
import tempfile
import types
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any

from judged_boxes import N, Row, flickr, rec
from judged_words import bench, pope, scripted_judge
from made_answers import phrase
from PIL import Image

HERE = Path(__file__).parent


def loaded(path: Path, name: str) -> Any:
    """A file of theirs as a module, under a name of its own."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(name: str, rows: Iterable[Any]) -> None:
    """One line a row, in a gzip file that is the same each time."""
    lines = "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)
    with (HERE / f"{name}.jsonl.gz").open("wb") as raw, gzip.GzipFile("", "wb", mtime=0, fileobj=raw) as file:
        file.write(lines.encode())


def alike(script: Any, rng: Random) -> Iterable[Row]:
    """Pairs of phrases, most of them one but for marks, and whether they are one."""
    marks = [*" '\".,;!?|:-_()*/&\u2019\u0301\t\u00a0\u00b7", "  ", " - ", "\u200b"]
    for _ in range(N):
        one = phrase(rng)
        cuts = [rng.randint(0, len(one)) for _ in range(2)]
        other = one[: min(cuts)] + rng.choice(marks) + one[min(cuts) : max(cuts)] + rng.choice(["", *marks]) + one[max(cuts) :]
        other = rng.choice([other, other, other.upper(), other.title(), phrase(rng)])
        one = rng.choice([one, one, one.replace(" ", rng.choice(marks))])
        yield {"a": one, "b": other, "same": script.are_phrases_similar(one, other)}


def main(ferret: Path, mdetr: Path) -> None:
    """Write every file here anew."""

    sys.path.insert(0, str(ferret))
    scripts = ferret / "ferret" / "eval"
    names = ("misc", "misc.refcoco", "misc.refcoco.box_ops")
    sys.modules |= {name: types.ModuleType(name) for name in names} | {
        names[2]: loaded(mdetr / "util" / "box_ops.py", names[2])
    }
    sys.modules["openai"] = scripted_judge([], [])
    phrases, words = loaded(scripts / "eval_flickr_entities.py", "phrases"), loaded(scripts / "eval_pope.py", "words")
    refexp, judge = loaded(scripts / "eval_refexp.py", "refexp"), loaded(scripts / "eval_gpt_review_3newclass.py", "judge")
    figures: Row = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        Image.new("RGB", (8, 8)).save(folder / "photo.png")
        rows, figures["rec"] = rec(refexp, importlib.import_module("ferret.eval.model_refcoco"), folder, Random(1))
        write("rec", rows)
        rows, figures["flickr"] = flickr(phrases, importlib.import_module("ferret.eval.model_flickr"), folder, Random(2))
        write("flickr", rows)
        rows, figures["pope"] = pope(words, Random(3))
        write("pope", rows)
        rows, reviews, prompts, figures["bench"] = bench(judge, scripts, folder, Random(4))
        write("bench", rows)
        write("reviews", reviews)
        write("prompts", prompts)
    write("phrases", alike(refexp, Random(5)))
    write("figures", [figures])


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
