"""The published delta becomes a directory that loads like any other, or one sentence says why not."""

from __future__ import annotations

import json
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText, AutoProcessor, AutoTokenizer, CLIPConfig, CLIPModel, CLIPTextConfig

from parity.ferret_cases import CASES, EXPECTED, photo
from spr.errors import ModelError, RecipeError
from spr.models import ported
from spr.models.conversation import conversation
from spr.models.ferret.convert import convert
from spr.models.ferret.names import of_language, of_tower
from spr.models.loading import load_model_and_processor
from spr.recipe_model import Model
from tiny_random.ferret import VISION, publish_ferret

DELTA_FILES = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    publish_ferret(folder)
    return folder


@pytest.fixture
def published(kept: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(kept, tmp_path / "published"))


def converted(published: Path, out: Path | None = None) -> Path:
    out = out or published / "out"
    convert(published / "delta", published / "base", out, published / "vision")
    return out


def delta_tensors(published: Path) -> dict[str, torch.Tensor]:
    return {name: value for file in DELTA_FILES for name, value in load_file(published / "delta" / file).items()}


def rewrite_delta(published: Path, values: dict[str, torch.Tensor]) -> None:
    for file in (*DELTA_FILES, "model.safetensors.index.json"):
        (published / "delta" / file).unlink(missing_ok=True)
    save_file(values, published / "delta" / "model.safetensors", metadata={"format": "pt"})


def base_tensors(published: Path) -> dict[str, torch.Tensor]:
    return torch.load(published / "base" / "pytorch_model.bin", weights_only=True)


def rewrite_base(published: Path, values: dict[str, torch.Tensor]) -> None:
    torch.save(values, published / "base" / "pytorch_model.bin")


def edit_config(folder: Path, **values: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def test_every_weight_is_the_sum_and_new_ones_come_alone(published: Path) -> None:
    model, _ = load_model_and_processor(Model(name=str(converted(published)), dialect="ferret", dtype="float16"), "cpu")
    ours, base = model.state_dict(), base_tensors(published)
    delta = delta_tensors(published)
    for name, change in delta.items():
        expected = change.clone()
        if name in base:
            expected[: len(base[name])] += base[name]  # as the authors add: float16, the block on top
        assert torch.equal(ours[of_language(name)], expected), name
    assert ours["lm_head.weight"].shape[0] == base["lm_head.weight"].shape[0] + 1
    tower = load_file(published / "vision" / "model.safetensors")
    assert all(torch.equal(ours[of_tower(name)], value.half()) for name, value in tower.items())
    assert len(ours) == len(delta) + len(tower)


def test_the_directory_asks_and_answers_in_the_authors_words(published: Path) -> None:
    out = converted(published)
    assert sorted(file.name for file in out.iterdir()) == [
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "processor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    model, processor = load_model_and_processor(Model(name=str(out), dialect="ferret"), "cpu")
    assert (model.generation_config.max_new_tokens, model.generation_config.do_sample) == (1024, False)
    assert model.config.text_config.vocab_size == processor.region_token_id + 1 == processor.image_token_id
    text = processor.apply_chat_template(
        [
            {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "a?"}]},
            {"role": "assistant", "content": "b"},
        ]
    )
    assert text.endswith("Follow instructions.  USER: <image>\na? ASSISTANT: b</s>")


def test_a_photo_is_shown_to_it_as_to_the_authors_and_its_region_answered(published: Path) -> None:
    ported.register()
    out = converted(published)
    model, processor = AutoModelForImageTextToText.from_pretrained(out), AutoProcessor.from_pretrained(out)
    images = processor.image_processor
    assert (images.resample, dict(images.size), images.do_center_crop) == (3, {"height": 32, "width": 32}, False)  # 3: bicubic
    text = conversation(processor).question(CASES["point"].question, 1)
    given = processor(text=[text], images=[[photo()]], return_tensors="pt")
    with np.load(EXPECTED) as authors:
        torch.testing.assert_close(given["pixel_values"][0], torch.from_numpy(authors["point.pixels"]), atol=1e-4, rtol=0)
    with torch.no_grad():
        logits = model(**given.to(dtype=torch.float16)).logits
    assert model.dtype == torch.float16
    assert logits.shape == (1, given["input_ids"].shape[1], 421)
    assert logits.isfinite().all()


def test_text_is_cut_as_legacy_sentencepiece_cuts_each_stretch(published: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(converted(published))
    ids = tokenizer("USER: <image>\na [1] <region_fea>? on a").input_ids
    # A blank before each stretch, also before a line's end and a question mark; none is left over at the region.
    assert tokenizer.convert_ids_to_tokens(ids) == [
        *("<s>", "▁", "USER", ":", "▁", "<image>", "▁", "<0x0A>", "a", "▁[1", "]"),
        *("<region_fea>", "▁", "?", "▁", "on", "▁a"),
    ]
    assert tokenizer.decode(tokenizer(" on a </s>").input_ids, skip_special_tokens=True).strip() == "on a"


def test_a_whole_clip_serves_as_the_tower(published: Path) -> None:
    text = CLIPTextConfig(hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=50)
    clip = CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=VISION))
    shutil.rmtree(published / "vision")
    clip.save_pretrained(published / "vision")
    model, _ = load_model_and_processor(Model(name=str(converted(published)), dialect="ferret", dtype="float32"), "cpu")
    place = "embeddings.patch_embedding.weight"
    ours, theirs = model.model.vision_tower.state_dict()[place], clip.vision_model.state_dict()[place]
    assert torch.equal(ours, theirs.half().float())


def test_the_tower_beside_the_delta_is_taken_and_else_asked_for(published: Path) -> None:
    (published / "vision").rename(published / "delta" / "vision_tower")
    convert(published / "delta", published / "base", published / "out")
    assert (published / "out" / "config.json").is_file()
    shutil.rmtree(published / "delta" / "vision_tower")
    with pytest.raises(ModelError, match=r"holds no vision_tower; give --vision .*clip-vit-large-patch14-336"):
        convert(published / "delta", published / "base", published / "out2")


def test_missing_and_unexpected_names_are_listed_and_nothing_is_written(published: Path) -> None:
    values = delta_tensors(published)
    rewrite_delta(published, {name: value for name, value in values.items() if not name.startswith("model.mm_projector")})
    with pytest.raises(ModelError, match=r"delta lacks model\.multi_modal_projector\.bias, .*projector\.weight; it is"):
        converted(published)
    rewrite_delta(published, {**values, "model.region_fea_adapter.weight": torch.zeros(2)})
    with pytest.raises(ModelError, match=r"delta holds model\.region_fea_adapter\.weight, which Ferret has not"):
        converted(published)
    assert sorted(file.name for file in published.iterdir()) == ["base", "delta", "vision"]


def test_a_base_of_another_depth_or_width_is_refused_by_name_and_shape(published: Path) -> None:
    base = base_tensors(published)
    deeper = {name.replace("layers.1.", "layers.2."): value for name, value in base.items() if "layers.1." in name}
    rewrite_base(published, {**base, **deeper})
    with pytest.raises(ModelError, match=r"base holds model\.layers\.2\.\S+, .* \(9 in all\), which Vicuna has not"):
        converted(published)
    rewrite_base(published, {**base, "model.norm.weight": torch.zeros(40).half()})
    with pytest.raises(
        ModelError, match=r"base: model\.norm\.weight is \(40,\), and Ferret's is \(32,\); it is of another size"
    ):
        converted(published)


def test_a_base_of_another_vocabulary_is_refused(published: Path) -> None:
    base = base_tensors(published)
    rewrite_base(published, {**base, "lm_head.weight": base["lm_head.weight"][:-1].clone()})
    with pytest.raises(ModelError, match=r"base: lm_head\.weight is \(419, 32\), and Ferret's is \(420, 32\)"):
        converted(published)


@pytest.mark.parametrize("wrong", ["the delta", "a converted Ferret"])
def test_a_ferret_given_as_the_base_is_told_from_vicuna(wrong: str, published: Path) -> None:
    folder = published / "delta" if wrong == "the delta" else converted(published)
    with pytest.raises(ModelError, match=rf"{folder.name} holds model\.\S+projector\.bias, .*, which Vicuna has not"):
        convert(published / "delta", folder, published / "again", published / "vision")


@pytest.mark.parametrize("option", ["delta", "base", "vision"])
def test_a_folder_that_is_not_there_is_named_with_its_option(option: str, published: Path) -> None:
    folders = {name: published / name for name in ("delta", "base", "vision")} | {option: Path("~/no such folder")}
    with pytest.raises(RecipeError, match=rf"^--{option} ~/no such folder is no folder; name one that is there$"):
        convert(**folders, out=published / "out")


def test_a_home_is_read_in_every_path(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(published))
    convert(Path("~/delta"), Path("~/base"), Path("~/out"), Path("~/vision"))
    assert (published / "out" / "config.json").is_file()


@pytest.mark.parametrize("apart", ["another training", "once rounded to bfloat16", "a little further trained"])
def test_a_base_that_the_delta_was_not_taken_from_is_refused(apart: str, published: Path) -> None:
    generator = torch.Generator().manual_seed(1)

    def other(value: torch.Tensor) -> torch.Tensor:
        if apart == "once rounded to bfloat16":
            return value.bfloat16().half()
        noise = torch.randn(value.shape, generator=generator)
        return (0.1 * noise if apart == "another training" else value.float() + 1e-3 * noise).half()

    rewrite_base(published, {name: other(value) for name, value in base_tensors(published).items()})
    with pytest.raises(ModelError, match=r"was not taken from this base: \d+\.\d% of the sums had to be rounded, and none is"):
        converted(published)
    assert sorted(file.name for file in published.iterdir()) == ["base", "delta", "vision"]  # writing had begun


def test_one_layer_of_another_base_is_enough(published: Path) -> None:
    base = base_tensors(published)
    name = "model.layers.1.mlp.up_proj.weight"
    rewrite_base(published, {**base, name: base[name].flip(0)})
    with pytest.raises(ModelError, match=r"language_model\.layers\.1\.mlp\.up_proj\.weight: the delta was not taken from this"):
        converted(published)


def test_damaged_numbers_are_said(published: Path) -> None:
    base = base_tensors(published)
    base["model.norm.weight"][3] = float("nan")
    rewrite_base(published, base)
    with pytest.raises(ModelError, match=r"language_model\.norm\.weight: delta and base do not add up to finite numbers"):
        converted(published)


def test_a_file_that_runs_code_is_not_read(published: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "touched",))

    (published / "base" / "pytorch_model.bin").write_bytes(pickle.dumps({"w": Evil()}))
    with pytest.raises(ModelError, match=r"pytorch_model\.bin cannot be read as weights"):
        converted(published)
    torch.save({"w": Evil()}, published / "base" / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pytorch_model\.bin cannot be read as weights"):
        converted(published)
    assert not (tmp_path / "touched").exists()


def test_other_bad_input_is_one_sentence(published: Path) -> None:
    edit_config(published / "delta", sampler_pooler_mode="mean")
    with pytest.raises(ModelError, match=r"sampler_pooler_mode is 'mean', and 'max' in Ferret"):
        converted(published)
    edit_config(published / "delta", sampler_pooler_mode="max", mm_hidden_size=1024)
    with pytest.raises(ModelError, match=r"trained on a tower of width 1024 with 421 words; \S+vision is of width 32"):
        converted(published)
    edit_config(published / "delta", mm_hidden_size=32)
    (published / "delta" / DELTA_FILES[1]).unlink()
    with pytest.raises(ModelError, match=r"model-00002-of-00002\.safetensors cannot be read as weights"):
        converted(published)
    (published / "base" / "pytorch_model.bin").unlink()
    with pytest.raises(ModelError, match="base holds no weights"):
        converted(published)
    (published / "delta" / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"delta: (no tokenizer can be read|its tokenizer has 3 words, and the weights 420)"):
        converted(published)
    (published / "delta" / "tokenizer.model").touch()
    with pytest.raises(ModelError, match=r"tokenizer\.model needs two packages|no tokenizer can be read"):
        converted(published)
    (published / "full").mkdir()
    (published / "full" / "x").touch()
    with pytest.raises(RecipeError, match="full is not empty; name a new directory"):
        converted(published, published / "full")


def test_the_published_directory_itself_is_told_to_be_converted(published: Path) -> None:
    with pytest.raises(ModelError, match="has to be converted: spr models convert ferret"):
        load_model_and_processor(Model(name=str(published / "delta"), dialect="ferret"), "cpu")


@pytest.mark.slow
def test_the_command_converts_with_progress(published: Path) -> None:
    command = [sys.executable, "-m", "spr.cli", "models", "convert", "ferret"]
    parts = [f"--{name}={published / name}" for name in ("delta", "base", "vision", "out")]
    done = subprocess.run([*command, *parts], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"{published / 'out'}\n"), done.stderr
    assert re.search(r"convert: 94 tensors in", done.stderr)
    again = subprocess.run([*command, *parts], capture_output=True, text=True, check=False)
    assert (again.returncode, again.stderr) == (2, f"error: {published / 'out'} is not empty; name a new directory\n")
