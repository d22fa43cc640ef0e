"""What authors publish that does not load as it is: the user is told to convert it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tiny_random
from parity import cogvlm_cases
from spr.errors import ModelError
from spr.models.loading import load_config
from spr.models.published import check_words, published_kind
from spr.recipe import Model

COGVLM = cogvlm_cases.CONFIG
POINTERS = {"AutoConfig": "configuration_cogvlm.CogVLMConfig", "AutoModelForCausalLM": "modeling_cogvlm.CogVLMForCausalLM"}
FERRET = {"architectures": ["FERRETLlamaForCausalLM"], "model_type": "ferret_llama", "region_geo_sampler": True}
PUBLISHED = {
    "cogvlm": (COGVLM, "spr models convert cogvlm --weights"),
    "cogvlm with its code": ({**COGVLM, "auto_map": POINTERS}, "spr models convert cogvlm --weights"),
    "ferret": (FERRET, "spr models convert ferret --delta"),
    "ferret, a Llama by its type": ({**FERRET, "model_type": "llama"}, "spr models convert ferret --delta"),
}


@pytest.mark.parametrize("case", PUBLISHED)
@pytest.mark.parametrize("trusted", [False, True])
def test_what_authors_published_is_to_be_converted(case: str, trusted: bool, tmp_path: Path) -> None:
    config, command = PUBLISHED[case]
    (tmp_path / "config.json").write_text(json.dumps(config))
    part = Model(name=str(tmp_path), dialect="cogvlm", trust_remote_code=trusted, revision="a" * 40 if trusted else None)
    with pytest.raises(ModelError, match=f"as its authors published it.* convert it first: {command}"):
        load_config(part)


@pytest.mark.parametrize("family", ["cogvlm", "ferret", "qwen2_vl", "llava"])
def test_what_loads_is_nobodys_to_convert(family: str, tmp_path: Path) -> None:
    folder = getattr(tiny_random, f"build_{family}")(tmp_path / family)
    assert published_kind(json.loads((folder / "config.json").read_text())) is None


@pytest.mark.parametrize("missing", ["sentencepiece", "protobuf"])
def test_words_that_nothing_can_read_are_said_in_one_sentence(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("sentencepiece", "protobuf"):
        monkeypatch.setattr(f"spr.models.published.is_{package}_available", lambda package=package: package != missing)
    (tmp_path / "tokenizer.model").touch()
    with pytest.raises(ModelError, match=r"tokenizer\.model needs two packages to be read: pip install sentencepiece protobuf"):
        check_words(tmp_path)
    (tmp_path / "tokenizer.json").touch()
    check_words(tmp_path)
