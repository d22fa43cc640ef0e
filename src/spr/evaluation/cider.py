"""CIDEr-D: how much a description says what people said of the same thing, and few would say of another.

Vedantam, Zitnick and Parikh 2015 (arXiv 1411.5726), equation 5 onwards, as `pycocoevalcap/cider` of tylin/coco-caption
counts it: n-grams of 1 to 4 words weighted by tf-idf, the idf over the corpus's own sets of references; cosine similarity
with the candidate's weights clipped to the reference's; a Gaussian penalty on the difference of lengths; mean over orders
and references, times 10. A caption of fewer than four words has no n-grams of the higher orders, so that it stays below 10
even against itself.

Words are ours to split, close to what coco-caption gets from Stanford's PTBTokenizer in lower case, less the punctuation.
Known differences: brackets are dropped (PTB's `-lrb-` slips through coco-caption's list and stays a word), a period after
an abbreviation is dropped, cannot, gonna, wanna and the like stay whole, and a tag or an address comes in pieces.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from spr.boxes import FloatArray

ORDERS = 4
SIGMA = 6.0
_CLITIC = r"'(?:s|re|ve|ll|d|m)(?!\w)"
_WORD = re.compile(
    rf"""n't(?!\w)|{_CLITIC}|\w+?(?=n't(?!\w))|\w+(?:[-./]\w+|(?<=\d)[,:](?=\d)\w+|(?!{_CLITIC})'\w+)*|[#$%&+=@*^~<>|\\/]"""
)

Grams = Mapping[tuple[str, ...], float]


def words(caption: str) -> list[str]:
    """The words of a caption in lower case: `don't` is do and n't, `dog's` is dog and 's, `t-shirt`, `3.5` and `10:30` are one
    word each, a sign such as & or % is a word of its own, punctuation and brackets are none."""
    return _WORD.findall(caption.lower().replace("’", "'"))


def cider_d(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> FloatArray:
    """Scores, shape (n,), of n candidates against each one's own references (one or more); their mean is the corpus's score.

    Scores lie in 0..10; an empty candidate has 0. In a corpus of one item all idf are 0 and so is its score, as in
    coco-caption: the measure compares items. Raises ValueError when the two do not belong together, or without a reference.
    """
    if len(candidates) != len(references):
        raise ValueError(f"{len(candidates)} candidates and {len(references)} sets of references; there must be one set each")
    if not all(references):
        raise ValueError(f"item {[bool(several) for several in references].index(False)} has no reference; give one at least")
    known = [[_counts(words(reference)) for reference in several] for several in references]
    idf = _Idf(known)
    scores = np.zeros(len(candidates))
    for item, (candidate, several) in enumerate(zip(candidates, known, strict=True)):
        said = _Weighed(_counts(words(candidate)), idf)
        scores[item] = 10.0 * sum(_similarity(said, _Weighed(one, idf)) for one in several) / len(several)
    return scores


class _Idf:
    """log(items / items whose references hold the n-gram); an n-gram of no reference counts as one of a single item."""

    def __init__(self, known: Sequence[Sequence[Grams]]) -> None:
        self._total = math.log(len(known)) if known else 0.0
        self._items: Counter[tuple[str, ...]] = Counter()
        for several in known:
            self._items.update(set().union(*several))

    def __call__(self, gram: tuple[str, ...]) -> float:
        return self._total - math.log(max(1, self._items[gram]))


class _Weighed:
    """A caption's tf-idf weights, their norm for each order, and its length in pairs of words.

    The length is counted so by coco-caption: captions of no word and of one are equally long.
    """

    def __init__(self, counts: Grams, idf: _Idf) -> None:
        self.weights = {gram: count * idf(gram) for gram, count in counts.items()}
        squares = [0.0] * ORDERS
        for gram, weight in self.weights.items():
            squares[len(gram) - 1] += weight * weight
        self.norms = [math.sqrt(square) for square in squares]
        self.pairs = sum(count for gram, count in counts.items() if len(gram) == 2)


def _counts(caption: Sequence[str]) -> Grams:
    grams = (tuple(caption[i : i + n]) for n in range(1, ORDERS + 1) for i in range(len(caption) - n + 1))
    return Counter(grams)


def _similarity(said: _Weighed, reference: _Weighed) -> float:
    """In 0..1: the mean over the orders of the clipped cosine, times the penalty."""
    products = [0.0] * ORDERS
    for gram, weight in said.weights.items():
        other = reference.weights.get(gram, 0.0)
        products[len(gram) - 1] += min(weight, other) * other
    norms = [a * b for a, b in zip(said.norms, reference.norms, strict=True)]
    cosines = [product / norm if norm else 0.0 for product, norm in zip(products, norms, strict=True)]
    return sum(cosines) / ORDERS * math.exp(-((said.pairs - reference.pairs) ** 2) / (2 * SIGMA**2))
