"""The code of a card loads what it is about, as it stands: plain transformers, and where a family needs it this package."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import subprocess
import sys

import pytest
import torch
from conftest_training import TRAINABLE, make_pair, make_recipe
from PIL import Image
from safetensors import safe_open
from transformers import AutoModelForImageTextToText, AutoProcessor

from spr.models.transformers import TransformersModel
from spr.report.card_loading import loading_code
from spr.training.job import train
from spr.training.merge import merge

PAIRS = [make_pair(i) for i in range(4)]
OF_VIDEO = {"llava_onevision", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "internvl"}
"""Families whose processor plain transformers loads with torchvision only."""
QUESTION = "describe the region [0, 0, 40, 40]"


@pytest.fixture(scope="module")
def trained(models, image_root, tmp_path_factory):
    """The recipe, adapter and merged model of a family, made once."""
    made = {}

    def build(family):
        if family not in made:
            folder, recipe = tmp_path_factory.mktemp(family), make_recipe(models(family))
            recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"dtype": "float32"})})
            adapter = train(PAIRS, recipe, image_root, folder / "policy").adapter
            merge(recipe.model, adapter, folder / "merged", "float32")
            made[family] = recipe, adapter, folder / "merged"
        return made[family]

    return build


def answer(code, photo):
    """What the code of a card prints."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(code.replace('"photo.jpg"', json.dumps(str(photo))).replace("=128", "=8"), {})
    return said.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("family", TRAINABLE)
def test_the_code_of_both_cards_answers_like_the_tuned_policy(family, trained, image_root):
    if family in OF_VIDEO:
        pytest.importorskip("torchvision")
    from spr.models.base import Request, Sampling

    recipe, adapter, merged = trained(family)
    photo = image_root / "0.png"
    request = Request((Image.open(photo).convert("RGB"),), QUESTION, (1,))
    ((tuned,),) = TransformersModel(recipe.model, "cpu", adapter).generate([request], Sampling(0.0, 1.0, 8))
    base = recipe.model.name
    codes = (
        loading_code(recipe.model, base, str(adapter), adapter, QUESTION),
        loading_code(recipe.model, None, str(merged), adapter, QUESTION),
    )
    words = ["".join(ch for ch in answer(code, photo) if ch.isalnum()) for code in codes]
    assert words[0] == words[1]
    assert "".join(ch for ch in tuned.text if ch.isalnum()) in words[0]


def test_a_fresh_process_without_spr_gets_the_logits_of_base_and_adapter(trained, image_root, tmp_path):
    recipe, adapter, merged = trained("llava")
    lines = loading_code(recipe.model, recipe.model.name, str(adapter), adapter, QUESTION).splitlines()
    ahead = [line.replace("photo.jpg", str(image_root / "0.png")) for line in lines if not line.startswith(("answer", "print"))]
    script = [
        "import sys; sys.modules['spr'] = None",
        *ahead,
        "import torch",
        f"whole = AutoModelForImageTextToText.from_pretrained({str(merged)!r})",
        f"AutoProcessor.from_pretrained({str(merged)!r})",
        "with torch.no_grad(): tuned, got = model(**inputs).logits, whole(**inputs).logits",
        "with torch.no_grad(), model.disable_adapter(): before = model(**inputs).logits",
        "assert (tuned - before).abs().max() > 0.1",
        "torch.testing.assert_close(got, tuned, atol=1e-4, rtol=1e-4)",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(script)], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("family", ["qwen2_5_vl", "llava_onevision"])
def test_plain_transformers_treats_the_merged_processor_like_that_of_the_base(family, trained):
    recipe, _, merged = trained(family)

    def loaded(folder):
        try:
            return type(AutoProcessor.from_pretrained(folder)).__name__
        except Exception as error:
            return f"{type(error).__name__}: {error}".replace(str(folder), "FOLDER")

    assert loaded(merged) == loaded(recipe.model.name)
    if importlib.util.find_spec("torchvision") is None:
        assert "Torchvision" in loaded(merged)


def test_the_files_hold_what_the_merge_says(trained, tmp_path):
    recipe, adapter, _ = trained("llava")
    for dtype in ("bfloat16", "float32"):
        said = merge(recipe.model, adapter, tmp_path / dtype, dtype)
        assert said.dtype == dtype
        with safe_open(tmp_path / dtype / "model.safetensors", "pt") as file:
            names = list(file.keys())
            assert {file.get_tensor(name).dtype for name in names} == {getattr(torch, dtype)}
        assert json.loads((tmp_path / dtype / "config.json").read_text())["dtype"] == dtype
        whole = AutoModelForImageTextToText.from_pretrained(tmp_path / dtype)
        assert {parameter.dtype for parameter in whole.parameters()} == {getattr(torch, dtype)}
