"""What a batch holds: the prompt as generation sees it, the answers with their end, and each image once."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from conftest_training import FAMILIES, make_pair, make_recipe
from PIL import Image
from transformers import AutoProcessor

from spr.errors import DataError, ModelError
from spr.models import dialects
from spr.models.loading import load_model_and_processor, load_processor
from spr.models.prompts import Prompts
from spr.training.collator import ChosenCollator, PreferenceCollator, join_fields
from spr.training.encoding import PairEncoder
from spr.training.preflight import preflight

PAIRS = [make_pair(i) for i in range(4)]


@pytest.fixture(scope="module")
def processor(models):
    return AutoProcessor.from_pretrained(models("llava"))


@pytest.fixture(scope="module")
def encoder(processor, image_root):
    return PairEncoder(processor, image_root)


@pytest.fixture(scope="module")
def ready(encoder, processor):
    return preflight(PAIRS, encoder, 4096, processor.image_token_id)


def rows(*numbers):
    return [{"image": "unused", "row": number} for number in numbers]


def test_chosen_rows_come_first_and_masks_mark_the_answers(encoder, ready, processor):
    batch = PreferenceCollator(ready, encoder)(rows(0, 1))
    texts = []
    for ids, mask in zip(batch["input_ids"], batch["completion_mask"], strict=True):
        texts.append(processor.tokenizer.decode(ids[mask.bool()]))
    expected = [pair.chosen for pair in PAIRS[:2]] + [pair.rejected for pair in PAIRS[:2]]
    assert texts == [f"{text}<|im_end|>\n" for text in expected]


def test_padding_is_on_the_right_and_unattended(encoder, ready, processor):
    batch = PreferenceCollator(ready, encoder)(rows(0, 3))
    lengths = batch["attention_mask"].sum(dim=1)
    assert lengths.max() == batch["input_ids"].shape[1]
    for ids, attention, length in zip(batch["input_ids"], batch["attention_mask"], lengths, strict=True):
        assert attention[:length].all()
        assert (ids[length:] == processor.tokenizer.pad_token_id).all()


def test_a_pair_brings_its_image_once(encoder, ready):
    assert PreferenceCollator(ready, encoder)(rows(0, 1, 2))["images"]["pixel_values"].shape == (3, 3, 32, 32)


def test_a_pair_weighs_the_same_wherever_it_lies_in_a_batch(encoder, processor):
    pairs = [dataclasses.replace(PAIRS[0], margin=0.1), dataclasses.replace(PAIRS[1], margin=0.3)]
    collate = PreferenceCollator(preflight(pairs, encoder, 4096, processor.image_token_id), encoder, "margin")
    assert collate(rows(1, 0))["pair_weights"] == pytest.approx((1.5, 0.5))
    assert collate(rows(1))["pair_weights"] == pytest.approx((1.5,))


def test_sft_labels_are_the_chosen_answer_alone(encoder, ready, processor):
    batch = ChosenCollator(ready, encoder)(rows(1, 0))
    first = batch["labels"][0]
    assert processor.tokenizer.decode(first[first != -100]) == f"{PAIRS[1].chosen}<|im_end|>\n"
    assert "completion_mask" not in batch


def test_prompt_and_answer_make_the_tokens_of_the_whole_conversation(encoder, processor, image_root):
    pair = PAIRS[2]
    messages = [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": pair.prompt}]},
        {"role": "assistant", "content": [{"type": "text", "text": pair.chosen}]},
    ]
    text = processor.apply_chat_template(messages, tokenize=False)
    whole = processor(text=[text], images=[[Image.open(image_root / pair.path)]], return_tensors="pt")["input_ids"][0]
    ours = torch.cat([encoder.prompt(pair).tokens["input_ids"], encoder.answers(pair).chosen])
    assert torch.equal(ours, whole)


@pytest.mark.parametrize("family", FAMILIES)
def test_prompt_tokens_and_pixels_are_those_of_a_chat_call(family, models, image_root):
    processor = load_processor(make_recipe(models(family)).model)
    image = Image.open(image_root / PAIRS[1].path)
    content = [{"type": "image", "image": image}, {"type": "text", "text": PAIRS[1].prompt}]
    called = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    prompt = PairEncoder(processor, image_root).prompt(PAIRS[1])
    assert torch.equal(prompt.tokens["input_ids"], called["input_ids"][0])
    model, _ = load_model_and_processor(make_recipe(models(family)).model, "cpu", "float32")
    asked = Prompts(model, processor, dialects.get("ferret")).ask((image,), PAIRS[1].prompt)
    generated_from = processor(text=[asked.text], images=[list(asked.images)], return_tensors="pt")
    assert torch.equal(prompt.tokens["input_ids"], generated_from["input_ids"][0])
    assert all(torch.equal(value, called[name]) for name, value in prompt.pixels.items())


def test_an_answer_that_begins_with_a_blank_follows_the_prompts_own_tokens(encoder, processor):
    # Joined texts would be tokenized across the border; generation cannot do that.
    answers = encoder.answers(make_pair(0, chosen="\n a dog", rejected="a dog"))
    assert processor.tokenizer.decode(answers.chosen) == "\n a dog<|im_end|>\n"


def test_eos_is_added_where_the_template_writes_none(processor, image_root):
    template = processor.chat_template
    try:
        processor.chat_template = template.replace("<|im_end|>\n", " ")
        encoder = PairEncoder(processor, image_root)
        assert processor.tokenizer.decode(encoder.answers(PAIRS[0]).chosen) == f"{PAIRS[0].chosen}<|im_end|>"
    finally:
        processor.chat_template = template


def test_a_template_that_rewrites_the_prompt_is_refused(processor, image_root):
    template = processor.chat_template
    try:
        processor.chat_template = template.replace("<|im_start|>assistant", "<|im_start|>assistant (thinking)")
        with pytest.raises(ModelError, match="writes the prompt of an answered turn differently"):
            PairEncoder(processor, image_root).answers(PAIRS[0])
    finally:
        processor.chat_template = template


def test_prompts_past_the_memory_budget_are_made_again_alike(processor, image_root):
    small = PairEncoder(processor, image_root, budget=1)
    first = small.prompt(PAIRS[0])
    small.prompt(PAIRS[1])
    again = small.prompt(PAIRS[0])
    assert again is not first
    assert torch.equal(again.pixels["pixel_values"], first.pixels["pixel_values"])


def test_images_with_fewer_tiles_are_padded_with_zeros():
    joined = join_fields([{"pixel_values": torch.ones(1, tiles, 2)} for tiles in (3, 1)])["pixel_values"]
    assert joined.shape == (2, 3, 2)
    assert joined[1].tolist() == [[1, 1], [0, 0], [0, 0]]


class TestPreflight:
    """What is dropped before training, and under which name."""

    def reasons(self, encoder, processor, *pairs, max_tokens=4096, context=None):
        result = preflight([PAIRS[0], *pairs], encoder, max_tokens, processor.image_token_id, context=context)
        return [row.reason for row in result.dropped]

    def test_a_pair_over_the_budget(self, encoder, processor):
        assert self.reasons(encoder, processor, make_pair(1, chosen="a dog " * 200), max_tokens=200) == ["too_long"]

    def test_the_budget_counts_image_tokens_and_the_longer_answer(self, encoder, processor):
        answers, prompt = encoder.answers(PAIRS[0]), encoder.prompt(PAIRS[0]).tokens["input_ids"]
        need = len(prompt) + max(len(answers.chosen), len(answers.rejected))
        assert (prompt == processor.image_token_id).sum() == 16
        assert self.reasons(encoder, processor, max_tokens=need) == []
        with pytest.raises(DataError, match=r"too_long 1 \(pair-0\); train.max_tokens is"):
            self.reasons(encoder, processor, max_tokens=need - 1)

    def test_a_prompt_that_lost_its_image(self, processor, image_root):
        template = processor.chat_template
        try:
            processor.chat_template = template.replace("<image>", "")
            with pytest.raises(DataError, match=r"pair pair-0 \(0.png\): its image has no place in the prompt's tokens"):
                preflight(PAIRS, PairEncoder(processor, image_root), 4096, processor.image_token_id)
        finally:
            processor.chat_template = template

    def test_an_image_token_among_the_words_of_a_prompt(self, encoder, processor):
        pair = dataclasses.replace(make_pair(1), prompt="what is <image> here")
        assert self.reasons(encoder, processor, pair) == ["image_token_in_prompt"]

    def test_an_image_token_in_an_answer(self, encoder, processor):
        assert self.reasons(encoder, processor, make_pair(1, rejected="a <image>")) == ["image_tokens_in_answer"]

    def test_an_end_of_turn_inside_an_answer(self, encoder, processor):
        assert self.reasons(encoder, processor, make_pair(1, chosen="a <|im_end|> dog")) == ["eos_inside"]

    def test_a_missing_photo(self, encoder, processor):
        assert self.reasons(encoder, processor, make_pair(1, path="none.png")) == ["image_missing"]

    def test_lengths_are_those_of_the_tokens(self, encoder, ready):
        chosen = sorted(len(encoder.answers(pair).chosen) for pair in PAIRS)
        assert ready.lengths["chosen"]["min"] == chosen[0]
        assert ready.lengths["chosen"]["median"] == (chosen[1] + chosen[2]) / 2
        assert ready.lengths["chosen"]["max"] == chosen[-1]

    def test_pairs_are_taken_in_the_order_of_their_ids(self, encoder, processor):
        result = preflight(list(reversed(PAIRS)), encoder, 4096, processor.image_token_id)
        assert [pair.pair_id for pair in result.pairs] == [pair.pair_id for pair in PAIRS]

    def test_a_repeated_id_is_an_error(self, encoder, processor):
        with pytest.raises(DataError, match="pair_id twice"):
            self.reasons(encoder, processor, PAIRS[0])
