"""What a detector is asked for on behalf of a text: the phrases that the model itself tied to boxes; where it tied none, the
text's noun chunks (with a spaCy pipeline that the recipe names), or its sentences.

Plain words in, phrases out, in reading order and as they are written; how a detector wants them is said in `captions`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from spr.errors import ModelError
from spr.records import Mention
from spr.rewards.text_chunks import sentences

NounChunks = Callable[[str], list[str]]
_LONGEST_TEXT = 10**9
"""Characters; spaCy's own limit guards the memory of whole books."""


def phrases_of(mentions: Sequence[Mention], words: str, noun_chunks: NounChunks | None = None) -> list[str]:
    """The phrases of a text with the given mentions, whose `words` are the text without box mark-up.

    Sentences stand apart because detectors take a full stop for the end of a phrase anyway. Empty for a text without words.
    """
    marked = [mention.phrase.strip() for mention in mentions if mention.phrase and mention.phrase.strip()]
    if marked:
        return marked
    chunks = noun_chunks(words) if noun_chunks else []
    return chunks or sentences(words)


def load_noun_chunks(pipeline: str) -> NounChunks:
    """A spaCy pipeline's noun chunks; `pipeline` is an installed package's name (en_core_web_sm) or a directory.

    Raises ModelError when spaCy or the pipeline is missing, the pipeline parses nothing, or spaCy knows no noun chunks of
    its language.
    """
    where = f"score.detector.noun_chunks {pipeline}"
    try:
        import spacy
    except ImportError:
        raise ModelError(f"{where}: spaCy is not installed; pip install 'spatial-preference-rewarding[spacy]'") from None
    try:
        parse: Any = spacy.load(pipeline)
    except (OSError, ValueError, ImportError) as error:
        raise ModelError(
            f"{where} cannot be loaded ({str(error).splitlines()[0][:160]}); install it with `python -m spacy download`, or "
            "name its directory"
        ) from None
    if not {"parser"} & set(parse.pipe_names):
        raise ModelError(f"{where} has no dependency parser, which noun chunks come from; name a pipeline that has one")
    if parse.vocab.get_noun_chunks is None:
        raise ModelError(f"{where} is for the language {parse.lang}, of which spaCy knows no noun chunks; leave the key out")
    parse.max_length = _LONGEST_TEXT
    return lambda words: [chunk.text for chunk in parse(words).noun_chunks]


def pipeline_identity(pipeline: str) -> str:
    """What a pipeline is, in one line, without loading it: the digest of a directory's files, or a package's version; and the
    version of spaCy that reads it."""
    path = Path(pipeline).expanduser()
    if path.is_dir():
        total = hashlib.sha256()
        for file in sorted(path.rglob("*")):
            if file.is_file():
                total.update(f"{file.relative_to(path).as_posix()}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
        what = f"sha256:{total.hexdigest()[:16]}"
    else:
        what = f"{pipeline}@{_version(pipeline)}"
    return f"{what} spacy@{_version('spacy')}"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except (metadata.PackageNotFoundError, ValueError):
        return "missing"
