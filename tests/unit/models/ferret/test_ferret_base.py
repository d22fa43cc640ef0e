"""Whether the delta was taken from this base, this tower and no other, by their numbers and their configurations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import CLIPVisionConfig

from spr.errors import ModelError
from spr.models.ferret.convert import added
from spr.models.ferret.published import published_config
from tiny_random.ferret import publish_ferret

TOWER = {"image_size": 336, "patch_size": 14, "num_hidden_layers": 24, "hidden_size": 1024, "num_attention_heads": 16}


@pytest.fixture
def published(tmp_path: Path) -> tuple[Path, Path]:
    """The folders of the delta and of the tower."""
    delta, _, vision = publish_ferret(tmp_path)
    return delta, vision


def edit(folder: Path, **values: object) -> None:
    """Change values of a config.json; None takes one away."""
    file = folder / "config.json"
    merged = {**json.loads(file.read_text()), **values}
    file.write_text(json.dumps({key: value for key, value in merged.items() if value is not None}))


@pytest.mark.parametrize("spread", [1e-5, 1e-3, 1e-1])
def test_the_right_base_never_rounds_and_a_sibling_does(spread: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spr.models.ferret.convert.ROUNDED", 0.0)
    generator = torch.Generator().manual_seed(0)
    base = (0.02 * torch.randn(100_000, generator=generator)).half()
    target = (base.float() + spread * torch.randn(100_000, generator=generator)).half()
    assert added("w", target - base, base).shape == (100_000,)
    sibling = (base.float() + 1e-4 * torch.randn(100_000, generator=generator)).half()
    with pytest.raises(ModelError, match="w: the delta was not taken from this base"):
        added("w", target - base, sibling)


@pytest.mark.parametrize("rounding", [50, 200])
def test_a_base_is_refused_from_one_rounded_sum_in_a_thousand_on(rounding: int) -> None:
    # From 1 to 2 float16 counts in steps of 2^-10: adding one is exact, and adding a quarter of one rounds.
    base, change = torch.ones(100_000).half(), torch.full((100_000,), 2.0**-10).half()
    change[:rounding] = 2.0**-12
    if rounding == 50:
        assert added("w", change, base)[-1] == 1 + 2.0**-10
    else:
        with pytest.raises(ModelError, match=r"w: the delta was not taken from this base: 0\.2% of the sums"):
            added("w", change, base)


def test_what_is_looked_at_is_spread_over_the_whole_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spr.models.ferret.convert._LOOKED_AT", 100)
    base, change = torch.ones(10_000).half(), torch.full((10_000,), 2.0**-10).half()
    change[5000:] = 2.0**-12
    with pytest.raises(ModelError, match=r"50\.0% of the sums had to be rounded"):
        added("w", change, base)


def test_zeros_where_the_base_has_weights_are_an_unfinished_file() -> None:
    generator = torch.Generator().manual_seed(0)
    base, change = ((spread * torch.randn(200, 1000, generator=generator)).half() for spread in (0.02, 1e-4))
    change = (base + change) - base  # as a delta of this base is
    assert float((base == 0).float().mean()) < 1e-4
    assert added("w", change, base).shape == (200, 1000)
    base[197:] = 0  # 3 rows of 200
    with pytest.raises(ModelError, match=r"w: 1\.5% of the base's numbers are 0; a file is unfinished, fetch the base again"):
        added("w", change, base)


@pytest.mark.parametrize(("key", "value"), [("image_size", 224), ("patch_size", 16), ("num_hidden_layers", 23)])
def test_another_clip_of_the_same_width_is_refused(key: str, value: int, published: tuple[Path, Path]) -> None:
    delta, vision = published
    edit(delta, mm_vision_tower="openai/clip-vit-large-patch14-336", mm_hidden_size=1024)
    CLIPVisionConfig(**TOWER).save_pretrained(vision)
    assert published_config(delta, vision).image_seq_length == 24 * 24
    CLIPVisionConfig(**{**TOWER, key: value}).save_pretrained(vision)
    with pytest.raises(ModelError, match=rf"clip-vit-large-patch14-336, whose {key} is {TOWER[key]}, and \S+ has {value}$"):
        published_config(delta, vision)


def test_the_deltas_configuration_is_taken_over(published: tuple[Path, Path]) -> None:
    delta, vision = published
    edit(delta, rms_norm_eps=0.25, pad_token_id=None)
    config = published_config(delta, vision)
    assert config.text_config.rms_norm_eps == 0.25
    assert config.text_config.pad_token_id == 0  # the unknown word
    assert config.to_dict()["dtype"] == "float16"
    assert config.vision_feature_layer == -2
    edit(delta, pad_token_id=2)
    assert published_config(delta, vision).text_config.pad_token_id == 2


def test_features_of_another_layer_are_refused(published: tuple[Path, Path]) -> None:
    delta, vision = published
    edit(delta, mm_vision_select_layer=-1)
    with pytest.raises(ModelError, match="mm_vision_select_layer is -1, and -2 in Ferret"):
        published_config(delta, vision)


def test_a_tower_without_a_config_is_not_taken_for_clips_smallest(published: tuple[Path, Path]) -> None:
    delta, vision = published
    (vision / "config.json").unlink()
    with pytest.raises(ModelError, match=r"--vision \S+vision holds no config\.json; name the whole folder"):
        published_config(delta, vision)


def test_a_tower_that_cannot_be_is_said(published: tuple[Path, Path]) -> None:
    delta, vision = published
    edit(vision, num_attention_heads=5)
    with pytest.raises(
        ModelError, match=r"no configuration: .*\(32\) is not a multiple of the number of attention heads \(5\)"
    ):
        published_config(delta, vision)
