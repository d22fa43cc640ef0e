"""What flows between the stages: frozen dataclasses.

Every row carries the ids of its parents. Boxes are float xyxy pixels of the original image. How a record is stored is
`spr.record_tables`'.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from spr.boxes import Box, Size


@dataclass(frozen=True, slots=True)
class SceneObject:
    """One annotated object: its id in the source, its category name and its box."""

    annotation_id: str
    category: str
    box: Box


@dataclass(frozen=True, slots=True)
class Scene:
    """One annotated image. `path` is relative to the source's image root; pixels are never stored."""

    image_id: str
    path: str
    width: int
    height: int
    objects: tuple[SceneObject, ...]

    @property
    def size(self) -> Size:
        """(width, height) in pixels."""
        return (self.width, self.height)


@dataclass(frozen=True, slots=True)
class RegionQuery:
    """A region to describe, and the annotated objects inside it (the ground truth A of the localization score)."""

    query_id: str
    image_id: str
    path: str
    width: int
    height: int
    region: Box
    objects: tuple[SceneObject, ...]

    @property
    def size(self) -> Size:
        """(width, height) in pixels."""
        return (self.width, self.height)

    @property
    def item_id(self) -> str:
        """Its id as an item of the evaluation."""
        return self.query_id

    @property
    def names(self) -> tuple[str, ...]:
        """The different names of the objects inside, in the order of the objects."""
        return tuple(dict.fromkeys(item.category for item in self.objects))


@dataclass(frozen=True, slots=True)
class Candidate:
    """One description of a query's region. `seed` is -1 where the text was imported, `finish_reason` is
    stop | length | imported, `model` the identity of what wrote it."""

    query_id: str
    k: int
    variant: str
    seed: int
    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    model: str


@dataclass(frozen=True, slots=True)
class Mention:
    """One box in a text, or one attempt at a box.

    `span` is the half-open character range of the box mark-up alone (inside `[[a;b]]` the part of this one box);
    `phrase` the words the model tied to it, if any. `status` is ok | unreadable; an unreadable mention has box None
    and a `reason`, an ok one reason "".
    """

    phrase: str | None
    box: Box | None
    status: str
    reason: str
    span: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Detection:
    """One box that an open-vocabulary detector found for a phrase of a text; `score` in 0..1."""

    phrase: str
    box: Box
    score: float


@dataclass(frozen=True, slots=True)
class ScoredCandidate:
    """A candidate with its mentions, what a detector found for its phrases inside the region (nothing without a detector), and
    its scores; `detail` holds every part that made them, by name."""

    query_id: str
    k: int
    variant: str
    seed: int
    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    model: str
    mentions: tuple[Mention, ...]
    semantic_crop: float
    semantic_local: float
    semantic: float
    localization: float
    composite: float
    detections: tuple[Detection, ...] = ()
    detail: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class QueryCandidates:
    """A query with all its candidates, k ascending: the unit that scoring works on. Joined in memory, never stored."""

    query: RegionQuery
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class QueryScores:
    """A query with all its scored candidates, k ascending: the unit that pairing works on. Never stored."""

    query: RegionQuery
    candidates: tuple[ScoredCandidate, ...]


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """Chosen (refined) and rejected answers to the plain region question of one query.

    `prompt` is that question in the model's own words. Scores are given before refinement (`chosen_score`) and after it
    (`refined_score`); `margin` is what the ranking saw: chosen_score - rejected_score, or refined_score - rejected_score
    where the rejected is the chosen itself, unrefined. `refined` counts the boxes that were moved to a ground-truth box,
    `stripped` the mentions that lost their box. `objects` is the ground truth.
    """

    pair_id: str
    query_id: str
    image_id: str
    path: str
    width: int
    height: int
    region: Box
    objects: tuple[SceneObject, ...]
    prompt: str
    chosen: str
    chosen_unrefined: str
    rejected: str
    chosen_k: int
    rejected_k: int
    chosen_score: float
    refined_score: float
    rejected_score: float
    chosen_localization: float
    refined_localization: float
    rejected_localization: float
    margin: float
    refined: int
    stripped: int
    model: str

    @property
    def size(self) -> Size:
        """(width, height) in pixels."""
        return (self.width, self.height)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What one answer of one model to one item of an evaluation task is worth; a sentence gives one a phrase.

    `cluster` is what the bootstrap resamples (the image), at `path` below the task's image root, of width x height pixels.
    `question` is what was asked for in people's words (the expression, the phrase, the question); `truth` are the boxes that
    are right, `expected` the words that are, where words count. `status` is ok | unreadable | none: whether an answer was
    found in the text. `payload` holds the task's own numbers, `groups` what results are broken down by, e.g. size: small.
    """

    task: str
    item_id: str
    cluster: str
    answer: str
    box: Box | None
    status: str
    iou: float
    payload: dict[str, float] = field(default_factory=dict)
    question: str = ""
    path: str = ""
    width: int = 0
    height: int = 0
    truth: tuple[Box, ...] = ()
    expected: str = ""
    groups: dict[str, str] = field(default_factory=dict)

    @property
    def size(self) -> Size:
        """(width, height) in pixels."""
        return (self.width, self.height)


@dataclass(frozen=True, slots=True)
class Dropped:
    """A row that went no further: the id it had in the stage's input, the stage, and one short reason."""

    row_id: str
    stage: str
    reason: str
