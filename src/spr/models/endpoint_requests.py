"""What is asked of a server, and what makes two questions the same: names, pictures, and one key a question.

Knows no network and no package of it, so that a run's keys can be told without either.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import threading
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from spr.errors import RecipeError
from spr.models.base import Request, Sampling
from spr.models.identity import directory_digest
from spr.recipe_model import Model

Place = tuple[int, int]
"""An answer's place: the number of its request, and of the seed in it."""


def served_name(model: Model, adapter: Path | None = None) -> str:
    """The name to ask for: the base model's, or with `adapter` the tuned one's. Raises RecipeError where that has no name."""
    endpoint = model.endpoint
    if endpoint is None:
        raise RecipeError("model.endpoint is missing; name the server's url")
    if adapter is None:
        return endpoint.served_name or model.name
    if endpoint.tuned_name is None:
        raise RecipeError(
            "model.endpoint.tuned_name is null, but the tuned policy is to be asked by the endpoint; serve it (`spr merge`) "
            "and set the name it is served by, or set evaluation.backend: transformers"
        )
    return endpoint.tuned_name


def served_identity(model: Model, adapter: Path | None = None) -> str:
    """`endpoint:<served name>@<model.revision or main>`, and the digest of the adapter that is said to be behind it.

    The weights behind a name cannot be seen from here: who serves others under the same name changes `model.revision`.
    Raises RecipeError for a tuned policy without a name.
    """
    identity = f"endpoint:{served_name(model, adapter)}@{model.revision or 'main'}"
    return identity if adapter is None else f"{identity} adapter@sha256:{directory_digest(adapter)[:16]}"


class Picture:
    """An image as a server gets it: a PNG, which loses nothing, made when it is first needed and then kept."""

    def __init__(self, image: Image.Image) -> None:
        self._image = image  # This object, and no copy: as long as it lives, its id is its own.
        self._lock = threading.Lock()
        self._url: str | None = None
        self.digest = hashlib.sha256(repr(image.size).encode() + image.convert("RGB").tobytes()).hexdigest()
        """Sha256 of size and pixels."""

    def url(self) -> str:
        """The picture as a data URL; safe to call from several threads."""
        with self._lock:
            if self._url is None:
                # Pixels alone: an orientation or a colour profile left in the file would be applied again by the server.
                bare = Image.frombytes("RGB", self._image.size, self._image.convert("RGB").tobytes())
                file = io.BytesIO()
                bare.save(file, "PNG", compress_level=1)
                self._url = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
            return self._url


@dataclass(frozen=True, slots=True)
class Ask:
    """One question to the server, for one answer a place; `seed` is None for a greedy one."""

    pictures: tuple[Picture, ...]
    prompt: str
    seed: int | None
    places: tuple[Place, ...]
    sampling: Sampling
    keeps_special_tokens: bool

    @property
    def n(self) -> int:
        """How many answers to ask for; a greedy one is the same for every seed."""
        return 1 if self.seed is None else len(self.places)

    def options(self) -> dict[str, Any]:
        """What is asked besides pictures and words, as the server takes it. One answer needs no `n`, which not all know."""
        options: dict[str, Any] = {
            "temperature": self.sampling.temperature,
            "top_p": 1.0 if self.seed is None else self.sampling.top_p,
            "max_tokens": self.sampling.max_new_tokens,
        }
        if self.seed is not None:
            options["seed"] = self.seed
        if self.n > 1:
            options["n"] = self.n
        if self.keeps_special_tokens:
            options["skip_special_tokens"] = False
        return options

    def body(self, name: str) -> dict[str, Any]:
        """The request as the chat API takes it: all pictures before the words."""
        content = [{"type": "image_url", "image_url": {"url": picture.url()}} for picture in self.pictures]
        words = {"type": "text", "text": self.prompt}
        return {"model": name, "messages": [{"role": "user", "content": [*content, words]}], **self.options()}

    def key(self, identity: str) -> str:
        """Sha256 of everything that is asked, and of whom."""
        asked = [identity, [picture.digest for picture in self.pictures], self.prompt, self.options()]
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def asks_of(
    requests: Sequence[Request],
    sampling: Sampling,
    by_n: bool,
    keeps_special_tokens: bool,
    pictures: MutableMapping[int, Picture],
) -> list[Ask]:
    """The questions that answer all requests, with one `Picture` an image object: that of `pictures` where it has one under
    the object's id, and else a new one, which is put there.

    One a seed; with `by_n` one for all seeds of requests about the same images in the same words, under the first seed. A
    greedy request is asked once, whatever its seeds.
    """
    made = {id(image): pictures.get(id(image)) or Picture(image) for request in requests for image in request.images}
    pictures.update(made)
    greedy = sampling.temperature == 0
    asks = []
    for places in _together(requests, by_n, greedy):
        first, draw = places[0]
        shown = tuple(made[id(image)] for image in requests[first].images)
        seed = None if greedy else requests[first].seeds[draw]
        asks.append(Ask(shown, requests[first].prompt, seed, places, sampling, keeps_special_tokens))
    return asks


def _together(requests: Sequence[Request], by_n: bool, greedy: bool) -> list[tuple[Place, ...]]:
    """All places, laid together where one question answers them."""
    together: dict[tuple[Any, ...], list[Place]] = {}
    for i, request in enumerate(requests):
        for j in range(len(request.seeds)):
            alike = (i,) if greedy else (*map(id, request.images), request.prompt) if by_n else (i, j)
            together.setdefault(alike, []).append((i, j))
    return [tuple(places) for places in together.values()]
