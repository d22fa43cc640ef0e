"""Every step of a run with what it will take: memory on its device, bytes in the run directory, seconds still to go.

A figure that nothing here can give is None, and the estimate says why; no figure is guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from spr.errors import ModelError
from spr.models.own_shape import own_shape
from spr.models.shapes import Known, Shape, published
from spr.pipeline.estimates import costs, disk, work
from spr.pipeline.estimates.costs import LIBRARIES
from spr.pipeline.estimates.device import Speed, measure
from spr.pipeline.estimates.scorers import scoring
from spr.recipe import Recipe
from spr.recipe_model import Model
from spr.running.devices import device_names
from spr.running.inputs import ShardInput
from spr.running.shards import Manifest
from spr.running.steps import DONE, Step, StepState

ROW_SECONDS = 0.002
"""Seconds of a row of the steps that ask no model."""
SERVER = "the server of model.endpoint answers, at a speed of its own"
JUDGE = "the judge's server answers, at a speed of its own"
UNTRAINED = "encoder-decoders are not trained here, nor 4-bit weights themselves"
TOWER = "what a tuned vision tower takes is not counted"
SCORERS = "the time is known when the first shard of scores is done"
_WIDE = (1024, 4096)
"""Widths of the products of a large CLIP."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Of one step: bytes on a device at the peak, all its workers there together; bytes on disk when it is done; seconds
    from now on. None is unknown, and `why` says why."""

    memory: float | None
    disk: float | None
    seconds: float | None
    why: str = ""


def uncounted(recipe: Recipe, shape: Shape) -> str:
    """Why there are no figures of this training; empty where there are."""
    train = recipe.train
    themselves = train.method == "full" or train.vision_tower == "tuned"
    if shape.encoder_decoder or (recipe.model.quantization != "none" and themselves):
        return UNTRAINED
    return TOWER if train.vision_tower == "tuned" else ""


def known_shape(model: Model) -> Known | str:
    """The shape of the recipe's model, from its own files or from the table of published ones; or why it is unknown."""
    try:
        return own_shape(model) or published(model)
    except ModelError as fault:
        return str(fault)


@dataclass(frozen=True)
class Estimator:
    """Estimates the steps of one round. `rows` are the output rows of each step, known or at most; `told` the mean tokens of
    the descriptions of the round before, 0 without any."""

    recipe: Recipe
    steps: Mapping[str, Step]
    states: Mapping[str, StepState]
    rows: Mapping[str, int]
    told: float = 0.0

    @cached_property
    def devices(self) -> tuple[str, ...]:
        """The device of every worker; training takes the first."""
        return device_names(self.recipe.resources.devices)

    @cached_property
    def model(self) -> Known | str:
        """The policy's shape, or why it is unknown."""
        return known_shape(self.recipe.model)

    @cached_property
    def asking(self) -> Speed:
        """The first device, as a worker that generates uses it."""
        return self._speed(self.recipe.model.dtype, self.recipe.resources.threads)

    @cached_property
    def training(self) -> Speed:
        """The first device as training uses it."""
        train = self.recipe.train
        same = (train.dtype, train.threads) == (self.recipe.model.dtype, self.recipe.resources.threads)
        return self.asking if same else self._speed(train.dtype, train.threads)

    @cached_property
    def photos(self) -> work.Photos | None:
        """The source's images as the model sees them; None of an unknown model."""
        return self._photos(self.steps["queries"].source)

    @property
    def longest_prompt(self) -> int:
        """Tokens of the longest prompt of training; 0 of an unknown model, or one that is not trained."""
        trained = not isinstance(self.model, str) and not self.model.shape.encoder_decoder
        return self.photos.largest.tokens + work.QUESTION if trained and self.photos is not None else 0

    @cached_property
    def answer(self) -> float:
        """Tokens of a description: the mean of those made, here or a round before, or a third of the longest allowed."""
        return self.written or self.told or self.recipe.candidates.max_new_tokens / 3

    @property
    def written(self) -> float:
        """Mean tokens of the descriptions that are made; 0 without any."""
        return self._mean_answer("candidates")

    def of(self, name: str) -> Estimate:
        """One step's estimate."""
        if name == "train":
            return self._train()
        kind = name.rsplit("/", 1)[-1]
        if kind in ("base", "tuned"):
            estimate = self._evaluation(name)
        elif kind in ("base-judged", "tuned-judged"):
            estimate = Estimate(None, None, None, JUDGE)
        elif kind == "candidates" and self.recipe.candidates.source == "model":
            estimate = self._candidates()
        elif kind == "scores":
            estimate = self._scores()
        else:
            rows = self.rows[name] * self._left(name)
            estimate = Estimate(LIBRARIES * self._together, None, ROW_SECONDS * rows / len(self.devices))
        measured = self._measured(name)
        if measured is not None:  # what is finished needs no reason for what is unknown of it
            estimate = replace(estimate, seconds=measured, why=estimate.why if measured else "")
        return replace(estimate, disk=self._disk(name))

    def _candidates(self) -> Estimate:
        if self.recipe.model.endpoint is not None:
            return Estimate(None, None, None, SERVER)
        options = self.recipe.candidates
        return self._asked(
            "candidates",
            self.photos,
            work.candidate_askings(self.recipe),
            (options.batch_size, self.answer, options.max_new_tokens, options.temperature > 0),
        )

    def _scores(self) -> Estimate:
        """Seconds by the speed of wide products in float32, the type in which boxes and cosines are computed."""
        queries = self.rows["scores"] / self.recipe.candidates.k
        first = self.steps["queries"].source
        sizes = [row.size for index in range(first.count()) for row in first.rows(index)]
        found = scoring(self.recipe.score, sizes, self.recipe.candidates.k, self.answer)
        if found is None:
            return Estimate(None, None, None, SCORERS)
        seconds = ROW_SECONDS * queries
        if found.products:
            speed = measure(self.devices[0], "float32", self.recipe.resources.threads, _WIDE)
            seconds += queries * found.products / (speed.flops * costs.USE_OF_PRODUCTS)
        return Estimate(found.memory * self._together, None, seconds * self._left("scores") / len(self.devices))

    def _evaluation(self, name: str) -> Estimate:
        if self.recipe.evaluation.backend == "endpoint":
            return Estimate(None, None, None, SERVER)
        options = self.recipe.evaluation
        folder = name.rpartition("/")[0]
        made = self.steps.get(f"{folder}/items") or self.steps[f"{folder}/base"]
        photos = self._photos(made.source)
        answer = self._evaluation_answer(folder)
        asking = [work.Asking(images=1, variants=1, different=1)]
        return self._asked(name, photos, asking, (options.batch_size, answer, options.max_new_tokens, False))

    def _evaluation_answer(self, folder: str) -> float:
        """Mean tokens of an answer in eval/TASK: as its finished shards say, or by the kind of task."""
        most = self.recipe.evaluation.max_new_tokens
        by_kind = {"regions": self.answer, "ferret_bench": self.answer, **dict.fromkeys(("pope", "gqa", "textvqa"), work.WORDS)}
        kind = folder.split("/")[1]
        otherwise = min(by_kind[kind], most) if kind in by_kind else min(work.BOX_ANSWER, most / 3)
        return self._mean_answer(f"{folder}/base") or otherwise

    def _asked(
        self, name: str, photos: work.Photos | None, askings: list[work.Asking], how: tuple[int, float, int, bool]
    ) -> Estimate:
        """Memory of the largest batch, seconds of all that are left."""
        if isinstance(self.model, str) or photos is None:
            return Estimate(None, None, None, str(self.model))
        shape = self.model.shape
        shards = max(1, len(self.states[name].shards))
        questions = self.rows[name] / shards / (self.recipe.candidates.k if name == "candidates" else 1)
        size, answer, most, sampled = how
        run = self.recipe.model.dtype, self.recipe.model.quantization == "4bit"
        memory = seconds = 0.0
        for asking in askings:
            rest = size, photos.mean, shape.family, answer, most, sampled
            mean, count = work.batches(asking, questions, *rest)
            largest, _ = work.batches(asking, questions, size, photos.largest, *rest[2:])
            memory = max(memory, costs.generation_memory(shape, largest, *run))
            seconds += count * costs.generation_seconds(shape, mean, *run, self.asking)
        left = self._left(name) * shards
        return Estimate(memory * self._together, None, seconds * left / len(self.devices))

    def _train(self) -> Estimate:
        train, state = self.recipe.train, self.states["train"]
        if isinstance(self.model, str):
            return Estimate(None, None, 0.0 if state.finished else None, self.model)
        shape = self.model.shape
        if why := uncounted(self.recipe, shape):
            return Estimate(None, None, 0.0 if state.finished else None, why)
        photos = self.photos
        assert photos is not None
        updates = work.update_count(self.recipe, self.rows["train"])
        fused = self.devices[0] != "cpu"
        largest = work.training_step(self.recipe, photos.largest, shape.family, self.recipe.candidates.max_new_tokens)
        memory = costs.training_memory(shape, largest, train.dtype, fused)
        seconds = 0.0
        if not state.finished:
            step = work.training_step(self.recipe, photos.mean, shape.family, self.answer)
            batches = train.gradient_accumulation
            seconds = costs.all_updates_seconds(shape, step, self.training, fused, batches, updates)
        return Estimate(memory, disk.policy(shape, largest, train, updates, self.recipe.model.dtype), seconds)

    def _photos(self, source: ShardInput) -> work.Photos | None:
        """The images of a step's input, whose rows name their sizes."""
        if isinstance(self.model, str):
            return None
        return work.photos((row.size for index in range(source.count()) for row in source.rows(index)), self.model.image)

    def _speed(self, dtype: str, threads: int) -> Speed:
        assert isinstance(self.model, Known)  # without a model nothing is to be measured
        return measure(self.devices[0], dtype, threads, (self.model.shape.hidden, self.model.shape.inner))

    @property
    def _together(self) -> int:
        """Workers that share the fullest device."""
        return max(self.devices.count(device) for device in self.devices)

    def _disk(self, name: str) -> float:
        step = self.steps.get(name) or self.steps[name.replace("tuned", "base")]
        tokens = self._evaluation_answer(name.rpartition("/")[0]) if name.startswith("eval/") else self.answer
        return disk.shards(step, self.states[name], self.rows[name], tokens)

    def _left(self, name: str) -> float:
        """The share of a step's shards that is still to be made."""
        shards = self.states[name].shards
        return 1 - self.states[name].count(DONE) / max(1, len(shards))

    def _made(self, name: str) -> list[Manifest]:
        """The manifests of a step's finished shards."""
        if name not in self.steps:
            return []
        done = self.states[name].shards
        return [item for item in self.steps[name].store.manifests() if done.get(item.shard) == DONE]

    def _measured(self, name: str) -> float | None:
        """Seconds that are left if the rest goes as its finished shards did; None without any."""
        made = self._made(name)
        if not made:
            return 0.0 if not self.states[name].shards else None
        spent = sum(item.seconds for item in made) / len(made)
        served = name in self.steps and getattr(self.steps[name].stage, "served", False)
        return spent * (len(self.states[name].shards) - len(made)) / (1 if served else len(self.devices))

    def _mean_answer(self, name: str) -> float:
        """Mean tokens of the answers in a step's finished shards; 0 without any."""
        made = self._made(name)
        written = sum(item.notes.get("completion_tokens", 0) for item in made)
        return written / max(1, sum(item.rows_out for item in made))
