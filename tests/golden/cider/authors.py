"""Asks coco-caption's CIDEr-D and writes its scores to scores.json.gz.

    pip download --no-deps pycocoevalcap==1.2 && unzip pycocoevalcap-1.2-py3-none-any.whl -d theirs
    python tests/golden/cider/authors.py theirs

made with that release, unmodified: tylin/coco-caption for Python 3. Its scorer splits captions at spaces, so they are drawn as
words already, and the tokenizer is out of the question.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import random
import sys
from pathlib import Path

EXPECTED = Path(__file__).with_name("scores.json.gz")
ITEMS = 500
TEXT = (
    "a the man woman dog cat red blue shirt hat left right of on with in front behind table chair white black and holding "
    "umbrella bike t-shirt 's does n't 2 sitting standing second from person wearing glasses big small brown horse"
)
WORDS = TEXT.split()


def caption(dice: random.Random) -> list[str]:
    """Up to a dozen words, common ones more often."""
    return [WORDS[min(int(dice.expovariate(0.12)), len(WORDS) - 1)] for _ in range(dice.randint(1, 12))]


def changed(dice: random.Random, words: list[str]) -> list[str]:
    """Some words replaced, dropped or said twice."""
    found: list[str] = []
    for word in words:
        found += dice.choice(([word], [word], [word], [], [word, word], caption(dice)[:1]))
    return found


def drawn(dice: random.Random) -> tuple[str, list[str]]:
    """A candidate, now and then empty, one of its references or far too long, and one to five references."""
    root = caption(dice)
    references = [" ".join(changed(dice, root) or root) for _ in range(dice.choice((1, 2, 3, 5, 5)))]
    candidates = [" ".join(changed(dice, root))] * 6 + ["", dice.choice(references), " ".join(caption(dice) * 3)]
    return dice.choice(candidates), references


if __name__ == "__main__":
    source = Path(sys.argv[1]) / "pycocoevalcap" / "cider" / "cider_scorer.py"
    spec = importlib.util.spec_from_file_location("cider_scorer", source)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{sys.argv[1]} does not hold pycocoevalcap")
    theirs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(theirs)
    dice = random.Random(14115726)
    items = [drawn(dice) for _ in range(ITEMS)]
    scorer = theirs.CiderScorer(n=4, sigma=6.0)
    for candidate, references in items:
        scorer += (candidate, references)
    mean, scores = scorer.compute_score()
    said = {"candidates": [one for one, _ in items], "references": [several for _, several in items]}
    said |= {"scores": scores.tolist(), "mean": float(mean)}
    EXPECTED.write_bytes(gzip.compress(json.dumps(said).encode(), mtime=0))
