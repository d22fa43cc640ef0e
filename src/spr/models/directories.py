"""A new directory that appears whole or not at all, for what writes a model. Not here: what is in it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError

from spr.errors import ModelError, RecipeError


def free(out: Path) -> Path:
    """The place that `out` names: links followed, `~` read. Raises RecipeError where a file or a folder with files is."""
    place = out.expanduser().resolve()
    if place.exists() and not place.is_dir():
        raise RecipeError(f"{out} is a file; name a new directory")
    if place.is_dir() and any(place.iterdir()):
        raise RecipeError(f"{out} is not empty; name a new directory")
    return place


@contextlib.contextmanager
def new_directory(place: Path) -> Iterator[Path]:
    """A folder to write into, which becomes `place` (of `free`) in the end, and vanishes where something fails.

    It lies hidden in a folder `.NAME.` and some letters, beside `place`, or in it where that is there already, so on one disk
    with it. Only a killed process leaves such a folder, and nobody takes it for his own. Raises ModelError where the disk
    refuses what is written, whichever library says so.
    """
    try:
        home = place if place.is_dir() else place.parent
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{place.name}.", dir=home) as hidden:
            partial = Path(hidden, "partial")  # the hidden folder is its owner's alone, and this one as readable as usual
            partial.mkdir()
            yield partial
            if home is place:
                for file in sorted(partial.iterdir(), key=lambda file: file.name == "config.json"):
                    file.rename(place / file.name)  # config.json last: without it nothing loads
            else:
                partial.rename(place)
    except (OSError, SafetensorError) as error:
        said = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        raise ModelError(
            f"{place} cannot be written: {said}; make room (or mend the permissions) and give the same command again, nothing "
            "of it was kept"
        ) from error
