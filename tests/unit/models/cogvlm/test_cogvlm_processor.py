"""What CogVLM is given: the words as the authors tokenize them, and the picture as they resize it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from spr.errors import ModelError
from spr.models.cogvlm.config import CogVLMConfig
from spr.models.cogvlm.processor import build_processor
from spr.models.conversation import conversation
from spr.models.loading import load_processor
from spr.models.shapes import published
from spr.recipe import Model
from tiny_random import build_cogvlm
from tiny_random.cogvlm import llama_words

MEAN, SPREAD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
QUESTION, ANSWER = "where is the blue square ?", "a dog [[086,540,400,760]]"


@pytest.fixture(scope="module")
def processor(tmp_path_factory):
    return load_processor(Model(name=str(build_cogvlm(tmp_path_factory.mktemp("cogvlm"))), dialect="cogvlm"))


@pytest.fixture
def picture():
    pixels = np.random.default_rng(0).integers(0, 255, (60, 100, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def alone(processor, text):
    """A text's ids as the authors take them: tokenized by itself, without special tokens."""
    return processor.tokenizer(text, add_special_tokens=False)["input_ids"]


def test_a_prompt_is_the_start_the_image_and_the_bare_question(processor, picture):
    asked = conversation(processor)
    fields = asked.encode([asked.question(QUESTION, 1)], [[picture]])
    image = [processor.image_token_id] * 11
    assert fields["input_ids"][0].tolist() == [1, *image, *alone(processor, QUESTION)]
    assert fields.keys() == {"input_ids", "attention_mask", "pixel_values"}


def test_an_answer_is_tokenized_by_itself_and_closed(processor):
    assert conversation(processor).answer(QUESTION, ANSWER) == [*alone(processor, ANSWER), 2]


def test_what_is_written_is_read_back_without_the_blank_before_it(processor):
    assert processor.tokenizer.decode(conversation(processor).answer(QUESTION, ANSWER)[:-1]) == ANSWER


def test_a_picture_is_squeezed_into_the_square_and_not_padded(processor, picture):
    fields = processor(text="<image> a", images=picture, return_tensors="pt")
    small = np.asarray(picture.resize((42, 42), Image.Resampling.BICUBIC)) / 255
    expected = torch.tensor((small - MEAN) / SPREAD).permute(2, 0, 1).float()
    torch.testing.assert_close(fields["pixel_values"][0], expected, atol=1e-5, rtol=0)


def test_every_picture_takes_equally_many_tokens(processor):
    counted = processor._get_num_multimodal_tokens(image_sizes=[(60, 80), (1000, 20)])
    assert counted["num_image_tokens"] == [11, 11]


def test_a_prompt_of_two_pictures_is_refused(processor, picture):
    with pytest.raises(ValueError, match="takes one image a prompt, and was given 2"):
        processor(text="<image><image> a", images=[picture, picture], return_tensors="pt")


def test_at_full_size_a_plan_counts_as_many_image_tokens_as_the_processor_writes(tmp_path, picture):
    config = CogVLMConfig(image_token_id=400)
    written = build_processor(llama_words(tmp_path), config)(text="<image> a", images=picture, return_tensors="pt")
    planned = published(Model(name="models/cogvlm-17b", dialect="cogvlm")).image(picture.size)
    assert planned.tokens == int((written["input_ids"] == 400).sum()) == 1227
    assert planned.patches == 1226


def test_pads_are_the_unknown_word_where_the_tokenizer_names_none(tmp_path):
    settings = llama_words(tmp_path) / "tokenizer_config.json"
    named = json.loads(settings.read_text())
    assert named.pop("pad_token") == "<unk>"
    settings.write_text(json.dumps(named))
    assert build_processor(tmp_path, CogVLMConfig(image_token_id=400)).tokenizer.pad_token_id == 0


@pytest.mark.parametrize(("one", "other"), [("<s>", "</s>"), ("<unk>", "<s>"), ("<0x00>", "<0xFF>")])
def test_a_tokenizer_of_the_same_size_with_other_words_is_refused(one, other, tmp_path):
    file = llama_words(tmp_path) / "tokenizer.json"
    text = file.read_text()
    for word, new in ((one, "@"), (other, one), ("@", other)):
        text = text.replace(json.dumps(word), json.dumps(new))
    file.write_text(text)
    with pytest.raises(ModelError, match=r"gives \S+ the id \d+, and the model \d+; name the folder of lmsys"):
        build_processor(tmp_path, CogVLMConfig(image_token_id=400))
