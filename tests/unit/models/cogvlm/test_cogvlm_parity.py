"""CogVLM against what the authors' code gave on the same tiny weights, from their files to an answer."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForImageTextToText

from parity import cogvlm_cases as tiny
from spr.models.cogvlm.convert import convert
from spr.models.cogvlm.language import CogVLMRotaryEmbedding
from spr.models.ported import register
from tiny_random.cogvlm import llama_words

CASES = [(case, row) for case, rows in tiny.TEXTS.items() for row in range(len(rows))]
IMAGE = tiny.CONFIG["vocab_size"]
every_case = pytest.mark.parametrize(("case", "row"), CASES)


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """The seeded weights in the published layout, in two files, converted."""
    root = tmp_path_factory.mktemp("cogvlm")
    published = root / "published"
    published.mkdir()
    (published / "config.json").write_text(json.dumps(tiny.CONFIG))
    weights = sorted(tiny.state_dict().items())
    index = {}
    for place, part in enumerate((weights[::2], weights[1::2]), start=1):
        file = f"model-{place:05}-of-00002.safetensors"
        save_file(dict(part), published / file)
        index |= {name: file for name, _ in part}
    (published / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    convert(published, llama_words(root / "words"), root / "converted")
    return root / "converted"


@pytest.fixture(scope="module", params=["sdpa", "eager"])
def model(converted, request):
    register()
    return AutoModelForImageTextToText.from_pretrained(converted, attn_implementation=request.param).eval()


@pytest.fixture(scope="module")
def told():
    return tiny.expected()


def row_of(case, row):
    """A row's ids: start, image (but for `text`), words; and its pixels."""
    words = tiny.TEXTS[case][row]
    image = [] if case == "text" else [IMAGE] * (tiny.PATCHES + 2)
    pixels = {} if case == "text" else {"pixel_values": tiny.images(case)[row : row + 1]}
    return torch.tensor([[1, *image, *words]]), pixels


def padded(side):
    """Both rows of `batch` in one, the shorter one padded on a side."""
    rows = [row_of("batch", row) for row in range(2)]
    width = max(ids.shape[1] for ids, _ in rows)
    gaps = [(width - ids.shape[1], 0) if side == "left" else (0, width - ids.shape[1]) for ids, _ in rows]
    ids = torch.cat([torch.nn.functional.pad(ids, gap) for (ids, _), gap in zip(rows, gaps, strict=True)])
    mask = torch.cat([torch.nn.functional.pad(torch.ones_like(ids), gap) for (ids, _), gap in zip(rows, gaps, strict=True)])
    return {"input_ids": ids, "attention_mask": mask, "pixel_values": torch.cat([pixels["pixel_values"] for _, pixels in rows])}


@every_case
def test_logits_are_the_authors(case, row, model, told):
    ids, pixels = row_of(case, row)
    with torch.no_grad():
        logits = model(ids, **pixels).logits[0]
    np.testing.assert_allclose(logits, told[f"{case}_{row}"], atol=1e-4, rtol=0)


@every_case
def test_positions_are_the_authors(case, row, model, told):
    ids, _ = row_of(case, row)
    assert model.model.get_position_ids(ids)[0].tolist() == told[f"{case}_{row}_positions"].tolist()


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_padded_batch_has_the_logits_of_its_rows(side, model, told):
    batch = padded(side)
    with torch.no_grad():
        logits = model(**batch).logits
    for row in range(2):
        real = logits[row][batch["attention_mask"][row].bool()]
        np.testing.assert_allclose(real, told[f"batch_{row}"], atol=1e-4, rtol=0)


@every_case
@pytest.mark.parametrize("use_cache", [True, False])
def test_greedy_answers_are_the_authors_with_a_cache_and_without(case, row, use_cache, model, told):
    ids, pixels = row_of(case, row)
    options = {"max_new_tokens": tiny.NEW_TOKENS, "do_sample": False, "eos_token_id": None}
    written = model.generate(ids, **pixels, **options, use_cache=use_cache)
    assert written[0, ids.shape[1] :].tolist() == told[f"{case}_{row}_answer"].tolist()


def test_a_padded_batch_answers_like_its_rows(model, told):
    batch = padded("left")
    options = {"max_new_tokens": tiny.NEW_TOKENS, "do_sample": False, "eos_token_id": None}
    written = model.generate(**batch, **options)[:, batch["input_ids"].shape[1] :]
    assert written.tolist() == [told[f"batch_{row}_answer"].tolist() for row in range(2)]


def test_in_half_precision_far_positions_fall_together_as_the_authors_do(model, told):
    config = model.config.text_config
    positions = torch.arange(600)[None]
    cos, _ = CogVLMRotaryEmbedding(config)(torch.zeros(1, dtype=torch.bfloat16), positions)
    width = config.head_dim // 2
    np.testing.assert_array_equal(cos[0, :, :width].float(), told["bfloat16_cos"])
    assert torch.equal(cos[0, 256], cos[0, 257])


@pytest.mark.parametrize("gap", [1, 300])
def test_pads_before_a_row_move_none_of_its_positions_where_far_ones_fall_together(gap, converted):
    half = AutoModelForImageTextToText.from_pretrained(converted, attn_implementation="eager", dtype="bfloat16").eval()
    ids, pixels = row_of("image", 0)
    behind = torch.nn.functional.pad(ids, (gap, 0))
    mask = torch.nn.functional.pad(torch.ones_like(ids), (gap, 0))
    options = {"max_new_tokens": tiny.NEW_TOKENS, "do_sample": False, "eos_token_id": None}
    told = {"return_dict_in_generate": True, "output_logits": True}
    with torch.no_grad():
        assert torch.equal(half(behind, attention_mask=mask, **pixels).logits[:, gap:], half(ids, **pixels).logits)
    alone = half.generate(ids, **pixels, **options, **told).logits
    padded = half.generate(behind, attention_mask=mask, **pixels, **options, **told).logits
    assert torch.equal(torch.stack(padded), torch.stack(alone))


def test_the_expected_tensors_are_small():
    assert tiny.EXPECTED.stat().st_size < 2**20
