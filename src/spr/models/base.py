"""What the pipeline asks of a multimodal model, and of the way it writes boxes.

`Dialect` is the only door between a model's box text and the project's boxes. `GroundingModel` writes text about images.
Stages know these two protocols and nothing of how a model is run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from PIL import Image

from spr.boxes import Box, Size
from spr.records import Mention


class Dialect(Protocol):
    """How one family of models writes a box. Sizes are (width, height) of the original image in pixels."""

    name: str
    skip_special_tokens: bool
    """Whether decoding may skip special tokens: False where the box mark-up is made of them."""
    single_image: bool
    """Whether the family takes one image a prompt and no more: then no prompt can show a crop beside the photo."""
    instructed: bool
    """Whether the family follows free instructions. One that knows fixed task prompts only can be asked plainly alone."""

    @property
    def options(self) -> Mapping[str, Any]:
        """What it was built with, as plain values: two with equal names and options read every text alike."""

    def format(self, box: Box, size: Size) -> str:
        """The mark-up of one box alone, quantised to the family's grid."""

    def ground(self, phrase: str, box: Box, size: Size) -> str:
        """A phrase tied to its box, the way the family writes it."""

    def parse(self, text: str, size: Size) -> list[Mention]:
        """All boxes of a text in reading order, readable or not; no text makes it raise, and it is linear in its length."""

    def rewrite(self, text: str, size: Size, boxes: Mapping[int, Box | None]) -> str:
        """Replace the boxes of the mentions named by index (as `parse` numbers them); None takes the mark-up away and
        leaves the words. All other text survives byte for byte. Raises KeyError for an index that is not there."""

    def drop(self, text: str, size: Size, indices: Collection[int]) -> str:
        """Take mentions away whole: mark-up, phrase and the punctuation that joined them to their neighbours. All other
        text survives byte for byte. Raises KeyError for an index that is not there."""

    def words(self, text: str, size: Size) -> str:
        """The text without any box mark-up and coordinates, readable or not: what CLIP is shown."""

    def rec_prompt(self, expression: str) -> str:
        """The question for the box of a referring expression."""

    def phrases_prompt(self, phrases: Sequence[str]) -> str:
        """The question for the boxes of several phrases of one sentence at once. Raises ModelError for a family that takes them
        one by one."""

    def answer_prompt(self, question: str) -> str:
        """A question to be answered in a word or two. Raises ModelError for a family that answers none."""

    def caption_prompt(self, box: Box, size: Size) -> str:
        """The question for a few words about a region, without boxes. Raises ModelError for a family that has none."""

    def region_text(self, box: Box, size: Size) -> str:
        """The region as it stands inside a question."""

    def point_text(self, point: tuple[float, float], size: Size) -> str:
        """A point (x, y) in pixels as it stands inside a question. Raises ModelError for a family that takes none."""

    def region_prompt(self, box: Box, size: Size, names: Sequence[str] = ()) -> str:
        """The plain question that asks for a grounded description of a region. `names` are the different names of what
        lies inside; only families that detect by name, and cannot be asked openly, put them into the question."""


@runtime_checkable
class AbsoluteFrame(Protocol):
    """What a dialect offers besides that counts in pixels of the resized image."""

    def processed_size(self, size: Size) -> Size:
        """(width, height) of the image that the model sees, for an original of `size`."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to draw: temperature 0 is greedy; top_p in (0, 1]. `batch_size` is how many answers are made at a time; it is
    here because the last bits of the logits depend on it."""

    temperature: float
    top_p: float
    max_new_tokens: int
    batch_size: int = 8


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt about one or two images, to be answered once for each seed (a greedy answer ignores its seed)."""

    images: tuple[Image.Image, ...]
    prompt: str
    seeds: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Generation:
    """One answer. `finish_reason` is stop, length (cut off at max_new_tokens), or refused (by a server: there is no text)."""

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int


class GroundingModel(Protocol):
    """A multimodal model that can be asked. `identity` names weights and processor settings, so that other weights
    under the same path make other shards."""

    identity: str
    dialect: Dialect

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, progress: Callable[[int], None] | None = None
    ) -> list[list[Generation]]:
        """Answer all requests, one list a request with one generation a seed, in order.

        A row's draws depend on its own seed only. `progress` is told how many answers each batch brought.
        """

    def take_notes(self) -> dict[str, int]:
        """Counts worth a line in the manifest since the last call (batches halved, requests tried again)."""
