"""Stage 4: the best candidate of a query, refined, against the worst; or more of its candidates against each other.

Knows how to rank, refine and pair; how a text is scored it is told by a `Rescorer`. Every query that makes no pair is
dropped under its reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from spr.boxes import FloatArray
from spr.models.base import Dialect
from spr.ranking import contests, rank, same_mentions
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
    """Makes preference pairs of the candidates of a query: the best against the worst, or as `per_query` says every two
    (`all`) or the n widest apart (`top_n`); of pairs that read the same the widest counts. What makes no pair, in the order
    it is looked for:

    too_few_candidates: not two to compare (or none, under `rejected: unrefined`);
    no_same_mentions: no two candidates name the same things (under `same_mentions: true` only);
    chosen_cut_off: the better candidate stopped at its token limit;
    equal_texts: both read the same, before or after refinement;
    small_margin: the better is less than `min_margin` above the worse;
    no_box_matched: no box of the better meets the ground truth, so the pair would prefer words alone, and no boxes at all
    once the strays are stripped (ours);
    lengths_differ: one of the texts has more than `max_length_ratio` times the words of the other;
    refined_worse: refined, the better is less than `min_margin` above the worse (a moved box can lose a little to the grid
    it is written on, so the refined text may score below its own original; against the rejected it must hold);
    an image's own reason: the refined words must be scored again, and the image cannot be read.

    A query without any pair is dropped for what its widest one lacked. Where a query gives some pairs, the others are counted
    in the notes as not_paired_<reason>.

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
        """The pairs' options, and what the scores of the refined texts depend on. What a pair weighs in training changes no
        pair."""
        return {"pairs": self._recipe.model_dump(mode="json", exclude={"weights"}), **self._scorer.recipe_part}

    def setup(self, device: str) -> None:
        """Name the device to the scorer."""
        self._scorer.setup(device)

    def process(self, rows: Sequence[QueryScores]) -> Iterator[PreferencePair | Dropped]:
        """Pair each query's candidates, in order; of one query the widest pair first. A chosen text is refined and scored again
        once, however many it is preferred to."""
        drafted = [self._drafts(row) for row in rows]
        texts = [
            (row, d.chosen, d.refined.text) for row, drafts in zip(rows, drafted, strict=True) for d in _each_chosen(drafts)
        ]
        rescored = iter(self._scorer.rescore(texts))
        for row, drafts in zip(rows, drafted, strict=True):
            scores = {draft.chosen.k: next(rescored) for draft in _each_chosen(drafts)}
            judged = [draft if isinstance(draft, str) else self._judge(draft, scores[draft.chosen.k]) for draft in drafts]
            pairs = [one for one in judged if isinstance(one, PreferencePair)]
            faults = [one for one in judged if isinstance(one, str)]
            yield from pairs
            if not pairs:
                yield Dropped(row.query.query_id, self.name, faults[0])
            self._count(pairs, faults)

    def row_id(self, row: QueryScores) -> str:
        """The query's id."""
        return row.query.query_id

    def parent_id(self, row: PreferencePair) -> str:
        """The query's id."""
        return row.query_id

    def notes(self) -> dict[str, int]:
        """Boxes moved to the ground truth and boxes taken away in the chosen texts, each text counted once, and what was not
        paired in queries that gave other pairs; since the last call."""
        notes, self._notes = dict(self._notes), Counter()
        return notes

    def _count(self, pairs: Sequence[PreferencePair], faults: Sequence[str]) -> None:
        for pair in {pair.chosen_k: pair for pair in pairs}.values():
            self._notes["refined_boxes"] += pair.refined
            self._notes["stripped_boxes"] += pair.stripped
        if pairs:
            self._notes.update(f"not_paired_{fault}" for fault in faults)

    def _drafts(self, row: QueryScores) -> list[_Draft | str]:
        """The pairs of a query before their refined texts are scored, and the reasons why others are none, widest first; of
        pairs that read the same the first alone."""
        compared: Sequence[ScoredCandidate] = row.candidates
        if len(compared) < (1 if self._recipe.rejected == "unrefined" else 2):
            return ["too_few_candidates"]
        if self._recipe.same_mentions and not (compared := same_mentions(compared)):
            return ["no_same_mentions"]
        drafts: list[_Draft | str] = []
        refined: dict[int, Refined] = {}
        texts: set[tuple[str, str]] = set()
        for chosen, rejected in self._contests(compared):
            draft = self._draft(row, chosen, rejected, refined)
            if not isinstance(draft, str):
                if (both := (draft.refined.text, rejected.text)) in texts:
                    continue
                texts.add(both)
            drafts.append(draft)
            if len(texts) == self._recipe.n:
                break
        return drafts

    def _contests(self, compared: Sequence[ScoredCandidate]) -> list[tuple[ScoredCandidate, ScoredCandidate]]:
        """Who stands against whom, the better one first."""
        if self._recipe.rejected == "unrefined":
            best = rank(compared)[0]
            return [(best, best)]
        return contests(compared)[: 1 if self._recipe.per_query == "best_worst" else None]

    def _draft(
        self, row: QueryScores, chosen: ScoredCandidate, rejected: ScoredCandidate, refined: dict[int, Refined]
    ) -> _Draft | str:
        """One pair, or the reason why it is none. `refined` keeps the refined texts of the query's candidates."""
        options, unrefined = self._recipe, self._recipe.rejected == "unrefined"
        if chosen.finish_reason == "length":
            return "chosen_cut_off"
        if not unrefined and chosen.text == rejected.text:
            return "equal_texts"
        if not unrefined and chosen.composite - rejected.composite < options.min_margin:
            return "small_margin"
        if chosen.k not in refined:
            gt, added = [item.box for item in row.query.objects], self._scorer.added_objects(row)
            refined[chosen.k] = refine(
                chosen.text, self._dialect, row.query.size, gt, options.min_iou, options.unmatched, added
            )
        better = refined[chosen.k]
        if better.refined == 0:
            return "no_box_matched"
        if better.text == rejected.text:
            return "equal_texts"
        if self._lengths_differ(better.text, rejected.text, row.query):
            return "lengths_differ"
        return _Draft(row.query, chosen, rejected, better)

    def _lengths_differ(self, chosen: str, rejected: str, query: RegionQuery) -> bool:
        """Whether one text has more than `max_length_ratio` times the words of the other, box mark-up not counted."""
        if self._recipe.max_length_ratio is None:
            return False
        fewer, more = sorted(len(self._dialect.words(text, query.size).split()) for text in (chosen, rejected))
        return more > self._recipe.max_length_ratio * fewer

    def _judge(self, draft: _Draft, scores: RescoredText | str) -> PreferencePair | str:
        """The pair, or the reason why the refined text makes none."""
        if isinstance(scores, str):
            return scores
        unrefined = self._recipe.rejected == "unrefined"
        gain = scores.composite - draft.rejected.composite
        if gain < self._recipe.min_margin:
            return "small_margin" if unrefined else "refined_worse"
        query, chosen, rejected = draft.query, draft.chosen, draft.rejected
        which = "" if self._recipe.per_query == "best_worst" else f"-{chosen.k}-{rejected.k}"
        return PreferencePair(
            pair_id=f"{query.query_id}-pair{which}",
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


def _each_chosen(drafts: Sequence[_Draft | str]) -> list[_Draft]:
    """One draft of each chosen candidate, in the order of the drafts."""
    return list({draft.chosen.k: draft for draft in drafts if not isinstance(draft, str)}.values())
