"""Open-vocabulary detectors of transformers behind one shape: images are seen once, then asked for phrases as often as wanted.

Each family says how phrases become its input, which of its modules sees the image, and how its outputs read. While a
batch of asks runs, that module is swapped for a stand-in that hands out what it made of each image before: the
rest of the stock forward runs unchanged, and gives the same numbers as with the module run again for every ask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import nn
from transformers.image_transforms import center_to_corners_format

from spr.boxes import Size
from spr.errors import ModelError
from spr.rewards.captions import CLS, DOT, QUESTION, SEP, SPECIAL, Caption, pack

_LABELS_A_PASS = 64
Reading = Literal["whole", "part", "none"]


@dataclass(frozen=True, slots=True)
class Ask:
    """Phrases that one pass can look for, and what the family reads them as."""

    phrases: tuple[str, ...]
    tokens: int
    input: Any


@dataclass(frozen=True, slots=True)
class Seen:
    """What the vision module made of N images of one size: `pixel_values` (N, 3, H, W) and its output."""

    pixel_values: torch.Tensor
    output: Any


class Family(Protocol):
    """One kind of detector."""

    def asks(self, phrases: Sequence[str]) -> list[Ask]:
        """The phrases in as few passes as the model's text length allows, in order."""

    def reading(self, phrase: str) -> Reading:
        """How much of the phrase the model reads."""

    def see(self, pixel_values: torch.Tensor) -> Seen:
        """Run the vision module on images of one size."""

    def find(self, seen: Seen, rows: Sequence[int], asks: Sequence[Ask]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Look for ask i in image rows[i]: boxes (n, Q, 4) xyxy in 0..1 of the processed frame, and for each ask the scores
        (Q, P) in 0..1 of its phrases."""

    def frame(self, size: Size) -> tuple[float, float]:
        """(width, height) in pixels of the original image that 0..1 spans."""


class GroundedCaption:
    """Grounding DINO and MM-Grounding-DINO: all phrases in one caption; a phrase scores the mean of its tokens."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self._model, self._tokenizer = model, tokenizer
        self._length = min(int(model.config.max_text_len), int(tokenizer.model_max_length))
        ids = tokenizer.convert_tokens_to_ids(["[CLS]", "[SEP]", ".", "?"])
        if ids != [CLS, SEP, DOT, QUESTION]:
            raise ModelError(
                f"its tokenizer gives [CLS], [SEP], '.' and '?' the ids {ids}, where the model separates phrases at "
                f"{[CLS, SEP, DOT, QUESTION]}; use the tokenizer that it was trained with"
            )

    def asks(self, phrases: Sequence[str]) -> list[Ask]:
        """Captions of at most the model's text length."""
        captions = pack(phrases, self._tokenize, self._length)
        return [Ask(caption.phrases, len(caption.input_ids), caption) for caption in captions]

    def reading(self, phrase: str) -> Reading:
        """A caption holds the phrase, [CLS], "." and [SEP]."""
        tokens = len(self._tokenize(phrase))
        return "none" if tokens == 0 else "part" if tokens > self._length - SPECIAL else "whole"

    def _tokenize(self, phrase: str) -> list[int]:
        """No tokens for a phrase with a word that the vocabulary cannot spell: [UNK] would stand for any such word."""
        ids = list(self._tokenizer(phrase, add_special_tokens=False, verbose=False).input_ids)
        return [] if self._tokenizer.unk_token_id in ids else ids

    def see(self, pixel_values: torch.Tensor) -> Seen:
        """Feature maps of the backbone with their position embeddings."""
        mask = torch.ones(pixel_values[:, 0].shape, dtype=torch.long, device=pixel_values.device)
        return Seen(pixel_values, self._model.model.backbone(pixel_values, mask))

    def find(self, seen: Seen, rows: Sequence[int], asks: Sequence[Ask]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """See `Family.find`."""
        captions: list[Caption] = [ask.input for ask in asks]
        longest = max(len(caption.input_ids) for caption in captions)
        ids = torch.tensor([[*c.input_ids, *[0] * (longest - len(c.input_ids))] for c in captions])
        ids = ids.to(seen.pixel_values.device)
        inner = self._model.model
        with _standing_in(inner, "backbone", seen.output, rows, keep="position_embedding"):
            out = self._model(
                pixel_values=seen.pixel_values[:1].expand(len(rows), -1, -1, -1),
                input_ids=ids,
                attention_mask=(ids != 0).long(),
            )
        probabilities = out.logits.float().sigmoid()
        scores = [
            torch.stack([row[:, start:stop].mean(-1) for start, stop in caption.spans], dim=-1)
            for row, caption in zip(probabilities, captions, strict=True)
        ]
        return center_to_corners_format(out.pred_boxes.float()), scores

    def frame(self, size: Size) -> tuple[float, float]:
        """The image itself."""
        return (float(size[0]), float(size[1]))


class Owlv2:
    """OWLv2: each phrase is a query of its own; images are padded to squares at their right and lower edges."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self._model, self._tokenizer = model, tokenizer
        self._length = int(model.config.text_config.max_position_embeddings)

    def asks(self, phrases: Sequence[str]) -> list[Ask]:
        """Up to 64 queries a pass, each cut at the text encoder's length."""
        groups = [tuple(phrases[i : i + _LABELS_A_PASS]) for i in range(0, len(phrases), _LABELS_A_PASS)]
        return [Ask(group, len(group), self._tokens(group)) for group in groups]

    def reading(self, phrase: str) -> Reading:
        """A query is one text of the encoder, whose tokens are bytes at the least."""
        return "whole" if len(self._tokenizer(phrase, verbose=False).input_ids) <= self._length else "part"

    def _tokens(self, phrases: tuple[str, ...]) -> torch.Tensor:
        options = {"padding": "max_length", "truncation": True, "max_length": self._length, "return_tensors": "pt"}
        ids: torch.Tensor = self._tokenizer(list(phrases), **options).input_ids
        return ids

    def see(self, pixel_values: torch.Tensor) -> Seen:
        """Tokens of the vision tower."""
        return Seen(pixel_values, self._model.owlv2.vision_model(pixel_values=pixel_values))

    def find(self, seen: Seen, rows: Sequence[int], asks: Sequence[Ask]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """See `Family.find`. Rows with fewer queries are filled with queries of zeros, which the model masks."""
        most = max(len(ask.phrases) for ask in asks)
        padded = [nn.functional.pad(ask.input, (0, 0, 0, most - len(ask.phrases))) for ask in asks]
        ids = torch.cat(padded).to(seen.pixel_values.device)
        with _standing_in(self._model.owlv2, "vision_model", seen.output, rows, keep="post_layernorm"):
            out = self._model(
                input_ids=ids,
                pixel_values=seen.pixel_values[:1].expand(len(rows), -1, -1, -1),
                attention_mask=(ids != self._tokenizer.pad_token_id).long(),
            )
        probabilities = out.logits.float().sigmoid()
        scores = [row[:, : len(ask.phrases)] for row, ask in zip(probabilities, asks, strict=True)]
        return center_to_corners_format(out.pred_boxes.float()), scores

    def frame(self, size: Size) -> tuple[float, float]:
        """The padded square."""
        return (float(max(size)), float(max(size)))


class OmDetTurbo:
    """OmDet-Turbo: phrases as classes, and a task sentence that lists them."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self._model, self._tokenizer = model, tokenizer
        self._length = int(model.config.text_config.max_position_embeddings)

    def asks(self, phrases: Sequence[str]) -> list[Ask]:
        """As many classes a pass as their task sentence has room for; one that is too long by itself is cut."""
        groups: list[list[str]] = []
        for phrase in phrases:
            longer = [*groups[-1], phrase] if groups else [phrase]
            if groups and self.reading(", ".join(longer)) == "whole":
                groups[-1] = longer
            else:
                groups.append([phrase])
        return [Ask(tuple(group), len(group), (_task(", ".join(group)), group)) for group in groups]

    def reading(self, phrase: str) -> Reading:
        """The task sentence, which is longer than the class, is one text of the encoder."""
        return "whole" if len(self._tokenizer(_task(phrase), verbose=False).input_ids) <= self._length else "part"

    def see(self, pixel_values: torch.Tensor) -> Seen:
        """Feature maps of the backbone."""
        return Seen(pixel_values, self._model.vision_backbone(pixel_values))

    def find(self, seen: Seen, rows: Sequence[int], asks: Sequence[Ask]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """See `Family.find`."""
        device = seen.pixel_values.device
        tasks = self._tokens([ask.input[0] for ask in asks], device)
        classes = self._tokens([label for ask in asks for label in ask.input[1]], device)
        # Embeddings kept from other batches differ in their last bits; results must not depend on what ran before.
        for memory in (self._model.language_cache_class, self._model.language_cache_prompt):
            memory.cache.clear()
            memory.current_load = 0
        with _standing_in(self._model, "vision_backbone", seen.output, rows):
            out = self._model(
                pixel_values=seen.pixel_values[:1].expand(len(rows), -1, -1, -1),
                classes_input_ids=classes.input_ids,
                classes_attention_mask=classes.attention_mask,
                tasks_input_ids=tasks.input_ids,
                tasks_attention_mask=tasks.attention_mask,
                classes_structure=torch.tensor([len(ask.phrases) for ask in asks], device=device),
            )
        probabilities = out.decoder_class_logits.float().sigmoid()
        scores = [row[:, : len(ask.phrases)] for row, ask in zip(probabilities, asks, strict=True)]
        return center_to_corners_format(out.decoder_coord_logits.float()), scores

    def _tokens(self, texts: list[str], device: torch.device) -> Any:
        options = {"padding": "max_length", "truncation": True, "max_length": self._length, "return_tensors": "pt"}
        return self._tokenizer(texts, **options).to(device)

    def frame(self, size: Size) -> tuple[float, float]:
        """The image itself."""
        return (float(size[0]), float(size[1]))


FAMILIES: dict[str, Callable[[Any, Any], Family]] = {
    "grounding-dino": GroundedCaption,
    "mm-grounding-dino": GroundedCaption,
    "owlv2": Owlv2,
    "omdet-turbo": OmDetTurbo,
}
"""By the config's model_type."""


def _task(labels: str) -> str:
    return f"Detect {labels}."


class _StandIn(nn.Module):
    """Answers with rows of an output made before, whatever it is called with."""

    def __init__(self, output: Any, rows: torch.Tensor) -> None:
        super().__init__()
        self._output, self._rows = output, rows

    def forward(self, *_: Any, **__: Any) -> Any:
        return _take(self._output, self._rows)


@contextmanager
def _standing_in(owner: nn.Module, name: str, output: Any, rows: Sequence[int], keep: str = "") -> Iterator[None]:
    """Swap `owner.name` for a stand-in; `keep` is the one submodule that the owner reaches for past it."""
    real = getattr(owner, name)
    stand_in = _StandIn(output, torch.tensor(rows, device=next(real.parameters()).device))
    if keep:
        setattr(stand_in, keep, getattr(real, keep))
    setattr(owner, name, stand_in)
    try:
        yield
    finally:
        setattr(owner, name, real)


def _take(tree: Any, rows: torch.Tensor) -> Any:
    """The rows of every tensor of a nested output, in fresh containers: models append to the lists they are given."""
    if isinstance(tree, torch.Tensor):
        return tree.index_select(0, rows)
    if isinstance(tree, dict):
        return type(tree)(**{name: _take(value, rows) for name, value in tree.items()})
    if isinstance(tree, (list, tuple)):
        return type(tree)(_take(value, rows) for value in tree)
    return tree
