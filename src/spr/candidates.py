"""Stage 2: K descriptions of each region, by the model itself or from a file of texts that were made elsewhere.

A prompt family makes the K candidates of a query differ: hints elicit what the model can do with help. The hints never
reach training, which asks the plain question. The same English templates serve every dialect, and the bundled tiny model
is trained on exactly these prompts.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image

from spr import images
from spr.errors import RecipeError
from spr.images import ImageFault
from spr.models import dialects
from spr.models.base import Dialect, Generation, GroundingModel, Request, Sampling
from spr.models.identity import directory_digest
from spr.models.opening import answer_each, identity_of, open_model, sampling_part
from spr.recipe import Candidates, PromptVariant
from spr.recipe_model import Model
from spr.records import Candidate, Dropped, RegionQuery
from spr.seeds import derive_random, derive_seed
from spr.sources.candidates_file import read_candidates_file

PARAPHRASES = (
    "list the objects in the region {region} , each with its box .",
    "describe the region {region} and give the box of every object .",
    "which objects are in the region {region} ? give the box of each .",
    "name every object in the region {region} and where it is .",
)
"""Other ways to ask the region question; `{region}` is the dialect's region text."""
NAMES_HINT = "{question} objects : {names} ."
CROP_HINT = "{question} the second image shows this region ."
_WITH_CROP = ("crop", "crop_names")
_WITH_NAMES = ("names", "crop_names")


def build_prompt(variant: PromptVariant, query: RegionQuery, dialect: Dialect, k: int) -> str:
    """The prompt of one variant about one query, in the model's own way of naming a region.

    `k` picks the paraphrase and the order of the names, which is drawn anew for each query and k, so that order is no hint.
    """
    if variant == "paraphrase":
        return PARAPHRASES[k % len(PARAPHRASES)].format(region=dialect.region_text(query.region, query.size))
    prompt = dialect.region_prompt(query.region, query.size, query.names)
    if variant in _WITH_CROP:
        prompt = CROP_HINT.format(question=prompt)
    if variant in _WITH_NAMES:
        names = [item.category for item in query.objects]
        derive_random("names", query.query_id, k).shuffle(names)
        prompt = NAMES_HINT.format(question=prompt, names=" , ".join(names))
    return prompt


def variant_images(variant: PromptVariant, image: Image.Image, query: RegionQuery) -> tuple[Image.Image, ...]:
    """What the prompt of a variant shows: the full image, and for the crop variants the region's own pixels after it."""
    return (image, images.crop(image, query.region)) if variant in _WITH_CROP else (image,)


def check_prompts(variants: Sequence[PromptVariant], dialect: Dialect) -> None:
    """Refuse prompt variants that a family cannot be asked by. Raises RecipeError."""
    if not dialect.instructed and set(variants) != {"plain"}:
        raise RecipeError(
            f"candidates.prompts is [{', '.join(variants)}], but {dialect.name} models know their own task prompts only; set "
            "candidates.prompts to [plain], and let candidates.temperature make the answers differ"
        )
    if dialect.single_image and (crops := [variant for variant in variants if variant in _WITH_CROP]):
        raise RecipeError(
            f"candidates.prompts holds {' and '.join(crops)}, which show a second image, but {dialect.name} models take one; "
            "leave them out"
        )


class CandidateStage:
    """K candidates a query from the policy itself; candidate k is asked by `prompts[k % len(prompts)]`.

    A query whose image cannot be used is dropped under the image's own reason, one of whose answers a server refuses as
    `refused`. With `adapter`, a folder, the model as it was tuned answers. What a server answered is kept at `log`. Raises
    RecipeError for prompt variants that the family cannot be asked by.
    """

    name = "candidates"
    version = 1
    output = Candidate

    def __init__(
        self,
        recipe: Candidates,
        model: Model,
        image_root: Path,
        seed: int,
        log: Path | None = None,
        adapter: Path | None = None,
    ) -> None:
        check_prompts(recipe.prompts, dialects.of(model))
        self._recipe = recipe
        self._model_recipe = model
        self._image_root = image_root
        self._seed = seed
        self._log = log
        self._adapter = adapter
        self._model: GroundingModel | None = None
        self._notes: Counter[str] = Counter()

    @cached_property
    def recipe_part(self) -> dict[str, Any]:
        """The recipe's options, the identity of model and adapter and how they are run, and the seed. Raises ModelError."""
        tuned = {} if self._adapter is None else {"adapter": directory_digest(self._adapter)}
        batches = set() if self._model_recipe.endpoint is None else {"batch_size"}  # A server makes its own.
        return {
            "candidates": self._recipe.model_dump(mode="json", exclude=batches),
            "model": {"identity": identity_of(self._model_recipe), **tuned, **sampling_part(self._model_recipe)},
            "seed": self._seed,
        }

    def setup(self, device: str) -> None:
        """Load the policy, with its adapter if there is one, or reach its server. Raises ModelError."""
        self._model = open_model(self._model_recipe, device, self._adapter, self._log)

    def prompts(self, query: RegionQuery, dialect: Dialect) -> Iterator[tuple[str, bool]]:
        """The K prompts of a query, and whether the region's crop is shown after the photo."""
        for k in range(self._recipe.k):
            yield build_prompt(self._variant(k), query, dialect, k), self._variant(k) in _WITH_CROP

    def process(self, rows: Sequence[RegionQuery]) -> Iterator[Candidate | Dropped]:
        """Ask about `batch_size` queries at a time, a server about one after the other; rows come out in the order of the
        queries, k ascending."""
        if self._model is None:
            raise RuntimeError("setup was not called")
        model, blocks = self._model, deque[list[RegionQuery | Dropped]]()

        def ask() -> Iterator[list[Request]]:
            size = 1 if self.served else self._recipe.batch_size
            for start in range(0, len(rows), size):
                block = [self._ask(row, model.dialect) for row in rows[start : start + size]]
                blocks.append([item if isinstance(item, Dropped) else item[0] for item in block])
                yield [request for item in block if not isinstance(item, Dropped) for request in item[1]]

        for answers in answer_each(model, ask(), self._sampling()):
            yield from self._told(blocks.popleft(), (answer for (answer,) in answers), model.identity)
        self._notes.update(model.take_notes())

    @property
    def served(self) -> bool:
        """Whether a server answers, which is asked by one worker: its concurrency is the server's, not a device's."""
        return self._model_recipe.endpoint is not None

    def _told(
        self, block: Sequence[RegionQuery | Dropped], answers: Iterator[Generation], model: str
    ) -> Iterator[Candidate | Dropped]:
        for item in block:
            if isinstance(item, Dropped):
                yield item
                continue
            its_answers = list(islice(answers, self._recipe.k))
            if any(answer.finish_reason == "refused" for answer in its_answers):
                yield Dropped(item.query_id, self.name, "refused")
                continue
            for k, answer in enumerate(its_answers):
                yield self._candidate(item, k, answer, model)

    def _sampling(self) -> Sampling:
        options = self._recipe
        return Sampling(options.temperature, options.top_p, options.max_new_tokens, options.batch_size)

    def _variant(self, k: int) -> PromptVariant:
        return self._recipe.prompts[k % len(self._recipe.prompts)]

    def _ask(self, query: RegionQuery, dialect: Dialect) -> tuple[RegionQuery, list[Request]] | Dropped:
        try:
            image = images.load(self._image_root, query.path, query.size)
        except ImageFault as fault:
            return Dropped(query.query_id, self.name, fault.reason)
        # One crop object for all variants that show it: the model encodes an object it has seen only once.
        shown = {variant in _WITH_CROP: variant_images(variant, image, query) for variant in set(self._recipe.prompts)}
        requests = [
            Request(shown[with_crop], prompt, (self._draw(query, k),))
            for k, (prompt, with_crop) in enumerate(self.prompts(query, dialect))
        ]
        return query, requests

    def _draw(self, query: RegionQuery, k: int) -> int:
        """The seed of one candidate."""
        return derive_seed(self._seed, query.query_id, k)

    def _candidate(self, query: RegionQuery, k: int, answer: Generation, model: str) -> Candidate:
        self._notes["prompt_tokens"] += answer.prompt_tokens
        self._notes["completion_tokens"] += answer.completion_tokens
        self._notes["cut_off"] += answer.finish_reason == "length"
        return Candidate(
            query.query_id,
            k,
            self._variant(k),
            self._draw(query, k),
            answer.text,
            answer.finish_reason,
            answer.prompt_tokens,
            answer.completion_tokens,
            model,
        )

    def row_id(self, row: RegionQuery) -> str:
        """The query's id."""
        return row.query_id

    def parent_id(self, row: Candidate) -> str:
        """The query's id."""
        return row.query_id

    def notes(self) -> dict[str, int]:
        """Tokens read and written, answers cut off, and what the model notes of its batches or its server, since the last
        call."""
        notes, self._notes = dict(self._notes), Counter()
        return notes


class ImportStage:
    """Candidates from a JSONL file, k in the order of the file; how many there are may differ from query to query.

    A query without a row is dropped as `no_candidates`, one with a single row as `one_candidate`. Rows about unknown
    queries are the file's own business: `CandidatesFile.unknown`. Raises DataError for a file that cannot be read.
    """

    name = "candidates"
    version = 1
    output = Candidate

    def __init__(self, recipe: Candidates) -> None:
        if recipe.path is None:
            raise RecipeError("candidates.path is missing; name the JSONL file with query_id, text and model")
        self.file = read_candidates_file(recipe.path)

    @property
    def recipe_part(self) -> dict[str, Any]:
        """The digest of the file."""
        return {"candidates": {"source": "file", "sha256": self.file.digest}}

    def setup(self, device: str) -> None:
        """Nothing to load."""

    def process(self, rows: Sequence[RegionQuery]) -> Iterator[Candidate | Dropped]:
        """The texts of each query, in the order of the queries."""
        for query in rows:
            found = self.file.rows.get(query.query_id, ())
            if len(found) < 2:
                yield Dropped(query.query_id, self.name, "one_candidate" if found else "no_candidates")
                continue
            for k, row in enumerate(found):
                yield Candidate(query.query_id, k, "imported", -1, row.text, row.finish_reason, 0, 0, row.model)

    def row_id(self, row: RegionQuery) -> str:
        """The query's id."""
        return row.query_id

    def parent_id(self, row: Candidate) -> str:
        """The query's id."""
        return row.query_id

    def notes(self) -> dict[str, int]:
        """Nothing to note."""
        return {}
