"""When two ways to the same answers count as one, and which decoders are told where their tokens stand."""

from __future__ import annotations

import pytest
import torch

import tiny_random
from spr.models import dialects
from spr.models.loading import load_model_and_processor
from spr.models.prefill import agree, told_positions
from spr.models.prompts import Prompts
from spr.recipe import Model

# Three steps, one row, three tokens; at every step the spread is 10 and the second token is chosen.
LOGITS = torch.tensor([[[0.0, 10.0, 5.0]]] * 3)


def moved(step, token, by):
    other = LOGITS.clone()
    other[step, 0, token] += by
    return other


def test_a_tenth_of_the_spread_is_rounding_and_more_is_not():
    assert agree(LOGITS, moved(1, 0, 0.9))
    assert not agree(LOGITS, moved(1, 0, 1.1))


def test_one_row_that_differs_is_enough():
    assert not agree(torch.cat([LOGITS, LOGITS], dim=1), torch.cat([LOGITS, moved(2, 2, -3.0)], dim=1))


def test_rows_are_compared_until_a_tie_parts_them():
    tied = torch.tensor([[[0.0, 10.0, 9.8]], [[0.0, 10.0, 5.0]]])
    other = torch.tensor([[[0.0, 10.0, 10.2]], [[9.0, 0.0, 5.0]]])
    assert agree(tied, other)
    assert not agree(tied[1:], other[1:])


@pytest.mark.parametrize(("family", "told"), [("llava", True), ("qwen3_vl", True), ("paligemma", True), ("kosmos2", False)])
def test_which_decoders_are_told_their_positions(family, told, tmp_path):
    getattr(tiny_random, f"build_{family}")(tmp_path)
    model, processor = load_model_and_processor(Model(name=str(tmp_path), dialect="ferret", dtype="float32"), "cpu")
    prompts = Prompts(model, processor, dialects.get("ferret"))
    inputs = prompts._whole(prompts._about_grey("where is it ?"), 3)
    with told_positions(model) as calls:
        model.generate(**inputs, max_new_tokens=3, min_new_tokens=3, do_sample=False)
    assert calls == [told] * 3
    model.generate(**inputs, max_new_tokens=1)
    assert len(calls) == 3  # no longer listened to
