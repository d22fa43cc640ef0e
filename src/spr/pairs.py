"""Stage 4: the best candidate of a query, refined, against the worst.

Knows how to rank, refine and pair; how a text is scored it is told by a `Rescorer`. Every query that makes no pair is
dropped under its reason.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from spr.boxes import FloatArray
from spr.models.base import Dialect
from spr.recipe import Pairs
from spr.records import Dropped, PreferencePair, QueryScores, RegionQuery, ScoredCandidate
from spr.refinement import Refined, refine


class RescoredText(Protocol):
    """What pairing reads of a text's scores."""

    @property
    def localization(self) -> float:
        """S_loc."""

    @property
    def composite(self) -> float:
        """S."""


class Rescorer(Protocol):
    """Whatever scores a refined text by the same measure its candidate was ranked by."""

    @property
    def recipe_part(self) -> Mapping[str, Any]:
        """What of the recipe, and of the models, changes the scores."""

    def setup(self, device: str) -> None:
        """Prepare to load models on `device`."""

    def rescore(self, items: Sequence[tuple[QueryScores, ScoredCandidate, str]]) -> Sequence[RescoredText | str]:
        """Scores of a changed text of a candidate of each query, or why it cannot be scored."""

    def added_objects(self, row: QueryScores) -> FloatArray:
        """Boxes (m, 4) that count as ground truth of the query beside its annotations."""


@dataclass(frozen=True, slots=True)
class _Draft:
    """A pair before its refined text is scored. `rejected` is the chosen itself under `rejected: unrefined`."""

    query: RegionQuery
    chosen: ScoredCandidate
    rejected: ScoredCandidate
    refined: Refined


class PairStage:
    """Makes at most one preference pair a query. Reasons for none, in the order they are looked for:

    too_few_candidates: not two to compare (or none, under `rejected: unrefined`);
    no_same_mentions: no two candidates name the same things (under `same_mentions: true` only);
    chosen_cut_off: the best candidate stopped at its token limit;
    equal_texts: best and worst read the same, before or after refinement;
    small_margin: the best is less than `min_margin` above the worst;
    no_box_matched: no box of the best meets the ground truth, so the pair would prefer words alone, and no boxes at all once
    the strays are stripped (ours);
    refined_worse: refined, the best is less than `min_margin` above the worst (a moved box can lose a little to the grid
    it is written on, so the refined text may score below its own original; against the rejected it must hold);
    an image's own reason: the refined words must be scored again, and the image cannot be read.

    Under `rejected: unrefined` nothing is ranked but the refined text against its original: the margin is theirs.
    """

    name = "pairs"
    version = 3
    output = PreferencePair

    def __init__(self, recipe: Pairs, dialect: Dialect, scorer: Rescorer) -> None:
        self._recipe, self._dialect, self._scorer = recipe, dialect, scorer
        self._notes: Counter[str] = Counter()

    @property
    def recipe_part(self) -> dict[str, Any]:
        """The pairs' options, and what the scores of the refined texts depend on."""
        return {"pairs": self._recipe.model_dump(mode="json"), **self._scorer.recipe_part}

    def setup(self, device: str) -> None:
        """Name the device to the scorer."""
        self._scorer.setup(device)

    def process(self, rows: Sequence[QueryScores]) -> Iterator[PreferencePair | Dropped]:
        """Pair each query's candidates, in order."""
        drafts = [self._draft(row) for row in rows]
        texts = [(row, d.chosen, d.refined.text) for row, d in zip(rows, drafts, strict=True) if isinstance(d, _Draft)]
        rescored = iter(self._scorer.rescore(texts))
        for row, draft in zip(rows, drafts, strict=True):
            outcome = draft if isinstance(draft, str) else self._judge(draft, next(rescored))
            if isinstance(outcome, str):
                yield Dropped(row.query.query_id, self.name, outcome)
            else:
                self._notes["refined_boxes"] += outcome.refined
                self._notes["stripped_boxes"] += outcome.stripped
                yield outcome

    def row_id(self, row: QueryScores) -> str:
        """The query's id."""
        return row.query.query_id

    def parent_id(self, row: PreferencePair) -> str:
        """The query's id."""
        return row.query_id

    def notes(self) -> dict[str, int]:
        """Boxes moved to the ground truth and boxes taken away in the chosen texts, since the last call."""
        notes, self._notes = dict(self._notes), Counter()
        return notes

    def _draft(self, row: QueryScores) -> _Draft | str:
        """The best and the worst candidate and the refined best, or the reason why there is no pair."""
        compared: Sequence[ScoredCandidate] = row.candidates
        unrefined = self._recipe.rejected == "unrefined"
        if len(compared) < (1 if unrefined else 2):
            return "too_few_candidates"
        if self._recipe.same_mentions and not (compared := same_mentions(compared)):
            return "no_same_mentions"
        ranked = rank(compared)
        chosen, rejected = ranked[0], ranked[0] if unrefined else ranked[-1]
        if chosen.finish_reason == "length":
            return "chosen_cut_off"
        if not unrefined and chosen.text == rejected.text:
            return "equal_texts"
        if not unrefined and chosen.composite - rejected.composite < self._recipe.min_margin:
            return "small_margin"
        gt = [item.box for item in row.query.objects]
        added, options = self._scorer.added_objects(row), self._recipe
        refined = refine(chosen.text, self._dialect, row.query.size, gt, options.min_iou, options.unmatched, added)
        if refined.refined == 0:
            return "no_box_matched"
        if refined.text == rejected.text:
            return "equal_texts"
        return _Draft(row.query, chosen, rejected, refined)

    def _judge(self, draft: _Draft, scores: RescoredText | str) -> PreferencePair | str:
        """The pair, or the reason why the refined text makes none."""
        if isinstance(scores, str):
            return scores
        unrefined = self._recipe.rejected == "unrefined"
        gain = scores.composite - draft.rejected.composite
        if gain < self._recipe.min_margin:
            return "small_margin" if unrefined else "refined_worse"
        query, chosen, rejected = draft.query, draft.chosen, draft.rejected
        return PreferencePair(
            pair_id=f"{query.query_id}-pair",
            query_id=query.query_id,
            image_id=query.image_id,
            path=query.path,
            width=query.width,
            height=query.height,
            region=query.region,
            objects=query.objects,
            prompt=self._dialect.region_prompt(query.region, query.size, query.names),
            chosen=draft.refined.text,
            chosen_unrefined=chosen.text,
            rejected=rejected.text,
            chosen_k=chosen.k,
            rejected_k=rejected.k,
            chosen_score=chosen.composite,
            refined_score=scores.composite,
            rejected_score=rejected.composite,
            chosen_localization=chosen.localization,
            refined_localization=scores.localization,
            rejected_localization=rejected.localization,
            margin=gain if unrefined else chosen.composite - rejected.composite,
            refined=draft.refined.refined,
            stripped=draft.refined.stripped,
            model=chosen.model,
        )


def rank(candidates: Sequence[ScoredCandidate]) -> list[ScoredCandidate]:
    """Best first by composite score; of equals the one with the smaller k comes first."""
    return sorted(candidates, key=lambda candidate: (-candidate.composite, candidate.k))


def same_mentions(candidates: Sequence[ScoredCandidate]) -> list[ScoredCandidate]:
    """The candidates of the group with the largest spread of scores, all of which name the same things equally often.

    Names are compared as written but for case and spacing; texts that name nothing are in no group. Of equal spreads the
    group with the smallest k comes first. Empty when no group has two members.
    """
    groups: defaultdict[tuple[str, ...], list[ScoredCandidate]] = defaultdict(list)
    for candidate in sorted(candidates, key=lambda candidate: candidate.k):
        names = sorted(" ".join((mention.phrase or "").casefold().split()) for mention in candidate.mentions)
        groups[tuple(names)].append(candidate)
    usable = [group for names, group in groups.items() if any(names) and len(group) > 1]
    return max(usable, key=_spread, default=[])


def _spread(group: Sequence[ScoredCandidate]) -> float:
    scores = [candidate.composite for candidate in group]
    return max(scores) - min(scores)
