"""Any `AutoModelForImageTextToText` with a processor, a way to be asked and a dialect, asked in batches.

No family is treated apart; what a family needs is in its configuration, its processor and its dialect. Threads and devices
are the runner's business.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel

from spr.errors import ModelError
from spr.models import dialects
from spr.models.base import Generation, Request, Sampling
from spr.models.gumbel import GumbelNoise
from spr.models.loading import load_model_and_processor, load_processor, model_identity
from spr.models.prompts import Asked, Prompts
from spr.models.quiet import quiet
from spr.recipe_model import Model

__all__ = ["TransformersModel", "load_model_and_processor", "load_processor", "model_identity"]


_NO_ROOM = "one prompt alone does not fit into the device's memory; lower the pixel limits, or free the device"


@dataclass(frozen=True, slots=True)
class _Row:
    """One answer to make: to the request at `place`, for its seed number `draw`."""

    place: int
    draw: int
    asked: Asked
    seed: int


class TransformersModel:
    """A `GroundingModel` run by transformers, with a LoRA adapter on top if `adapter` names one.

    Raises ModelError for what cannot be loaded or asked.
    """

    def __init__(self, recipe_part: Model, device: str, adapter: Path | None = None) -> None:
        self.dialect = dialects.get(recipe_part.dialect, **recipe_part.dialect_options)
        self.identity = model_identity(recipe_part, adapter)
        model, processor = load_model_and_processor(recipe_part, device)
        self._tokenizer = processor.tokenizer
        self._ends = _end_tokens(model, self._tokenizer)
        self._model = model if adapter is None else _with_adapter(model, adapter)
        _set_generation(self._model, self._ends, self._tokenizer.pad_token_id)
        self._prompts = Prompts(self._model, processor, self.dialect)
        self._notes: Counter[str] = Counter()

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, progress: Callable[[int], None] | None = None
    ) -> list[list[Generation]]:
        """Answer all requests, one list a request with one generation a seed, in order.

        Requests with equally many images (and equally long ones, where a model takes no pads) are answered together,
        `sampling.batch_size` rows at a time in their order.
        """
        asked = [self._prompts.ask(request.images, request.prompt) for request in requests]
        draws = [request.seeds[:1] if sampling.temperature == 0 else request.seeds for request in requests]
        rows = [_Row(i, j, asked[i], seed) for i, seeds in enumerate(draws) for j, seed in enumerate(seeds)]
        answers: dict[tuple[int, int], Generation] = {}
        kinds = self._kinds(asked)
        for kind in sorted(set(kinds)):
            queue = [row for row in rows if kinds[row.place] == kind]
            for start in range(0, len(queue), sampling.batch_size):
                batch = queue[start : start + sampling.batch_size]
                made = self._answer(batch, sampling)
                answers |= {(row.place, row.draw): answer for row, answer in zip(batch, made, strict=True)}
                if progress is not None:
                    progress(len(batch))
        greedy = sampling.temperature == 0
        return [[answers[i, 0 if greedy else j] for j in range(len(request.seeds))] for i, request in enumerate(requests)]

    def take_notes(self) -> dict[str, int]:
        """`halved_batches`: how often a batch did not fit into memory and was cut in two, since the last call."""
        notes, self._notes = dict(self._notes), Counter()
        return notes

    def _kinds(self, asked: Sequence[Asked]) -> list[tuple[int, int]]:
        try:
            return [self._prompts.kind(item) for item in asked]
        except torch.OutOfMemoryError:
            raise ModelError(_NO_ROOM) from None

    def _answer(self, rows: list[_Row], sampling: Sampling) -> list[Generation]:
        try:
            return self._write(rows, sampling)
        except torch.OutOfMemoryError:
            if len(rows) == 1:
                raise ModelError(_NO_ROOM) from None
        # Outside the except clause, whose traceback would keep the failed batch's tensors alive.
        self._notes["halved_batches"] += 1
        torch.cuda.empty_cache()
        half = (len(rows) + 1) // 2
        return self._answer(rows[:half], sampling) + self._answer(rows[half:], sampling)

    @torch.inference_mode()
    def _write(self, rows: Sequence[_Row], sampling: Sampling) -> list[Generation]:
        inputs = self._prompts.inputs([row.asked for row in rows], sampling.max_new_tokens)
        noise = LogitsProcessorList()
        if sampling.temperature > 0:
            noise.append(GumbelNoise([row.seed for row in rows], sampling.temperature, sampling.top_p))
        written = self._model.generate(**inputs, logits_processor=noise, max_new_tokens=sampling.max_new_tokens)
        lengths = inputs["attention_mask"].sum(dim=1).tolist()
        # A decoder of its own begins with its start token, any other model with the prompt.
        begin = 1 if self._model.config.is_encoder_decoder else inputs["input_ids"].shape[1]
        answers = written[:, begin:].tolist()
        return [self._generation(tokens, length) for tokens, length in zip(answers, lengths, strict=True)]

    def _generation(self, tokens: list[int], prompt_tokens: int) -> Generation:
        end = next((place for place, token in enumerate(tokens) if token in self._ends), None)
        # A decoder of its own may write the sequence's beginning before the answer.
        begin = int(self._model.config.is_encoder_decoder and tokens[:1] == [self._tokenizer.bos_token_id])
        text = self._tokenizer.decode(
            tokens[begin:end], skip_special_tokens=self.dialect.skip_special_tokens, clean_up_tokenization_spaces=False
        )
        if end is None:
            return Generation(text, "length", prompt_tokens, len(tokens))
        return Generation(text, "stop", prompt_tokens, end + 1)


def _end_tokens(model: PreTrainedModel, tokenizer: Any) -> frozenset[int]:
    """The tokens that end an answer: the generation config's, else the text model's, else the tokenizer's."""
    text = model.config.get_text_config()
    for found in (model.generation_config.eos_token_id, text.eos_token_id, tokenizer.eos_token_id):
        if found is not None:
            return frozenset([found] if isinstance(found, int) else found)
    raise ModelError("the model names no token that ends an answer; set eos_token_id in generation_config.json")


def _set_generation(model: PreTrainedModel, ends: frozenset[int], pad: int) -> None:
    """Greedy decoding to the end tokens: the checkpoint's own sampling habits (penalties, top-k, beams) are not the
    recipe's, but with which tokens a decoder begins is."""
    begin = {}
    for name in ("decoder_start_token_id", "forced_bos_token_id"):
        own = getattr(model.generation_config, name)
        begin[name] = getattr(model.config.get_text_config(), name, None) if own is None else own
    config = GenerationConfig(eos_token_id=sorted(ends), pad_token_id=pad, do_sample=False, num_beams=1, **begin)
    for module in model.modules():  # Kosmos-2 hands `generate` on to the text model inside
        if isinstance(getattr(module, "generation_config", None), GenerationConfig):
            module.generation_config = config


def _with_adapter(model: PreTrainedModel, adapter: Path) -> PreTrainedModel:
    """The same model with the adapter's layers in it, unmerged."""
    try:
        with quiet():
            from peft import PeftModel

            return PeftModel.from_pretrained(model, adapter).eval().get_base_model()
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ModelError(f"adapter {adapter} does not fit the model: {' '.join(str(error).split())[:300]}") from error
