"""What authors publish that does not load as it is: which of the families brought along it is, and what reads its words.

Not here: making a directory that loads, which is `spr models convert`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers.utils import is_protobuf_available, is_sentencepiece_available

from spr.errors import ModelError

_COMMANDS = {
    "cogvlm": "spr models convert cogvlm --weights ... --tokenizer ... --out ...",
    "ferret": "spr models convert ferret --delta ... --base ... --vision ... --out ...",
}


def published_kind(config: Mapping[str, Any]) -> str | None:
    """The family whose authors publish such a config.json, `cogvlm` or `ferret`; None for what loads, or is another's."""
    if config.get("model_type") in _COMMANDS:
        return None
    if "configuration_cogvlm" in str(config.get("auto_map")):
        return "cogvlm"
    vision = config.get("vision_config")
    if "model_type" not in config and isinstance(vision, dict) and "num_heads" in vision:
        return "cogvlm"
    return "ferret" if "region_geo_sampler" in config else None


def check_converted(name: str, config: Mapping[str, Any]) -> None:
    """Raises ModelError for what the authors of a family published, with the command that makes a model of it."""
    if kind := published_kind(config):
        raise ModelError(
            f"model.name {name} is {kind} as its authors published it, which does not load as it is; convert it first: "
            f"{_COMMANDS[kind]}"
        )


def check_words(folder: Path) -> None:
    """Raises ModelError where a tokenizer of SentencePiece alone lies in `folder`, and what reads it is not installed."""
    if (folder / "tokenizer.json").is_file() or not (folder / "tokenizer.model").is_file():
        return
    if not (is_sentencepiece_available() and is_protobuf_available()):
        raise ModelError(f"{folder}/tokenizer.model needs two packages to be read: pip install sentencepiece protobuf")
