"""How questions and answers are written: by a chat template, or bare for the processors that write the rest themselves."""

from __future__ import annotations

import pytest

import tiny_random
from spr.errors import ModelError
from spr.models.conversation import conversation
from spr.models.loading import load_processor
from spr.recipe import Model


@pytest.fixture(scope="module")
def processors(tmp_path_factory):
    made = {}
    for family in ("llava", "kosmos2", "paligemma", "florence2"):
        folder = tmp_path_factory.mktemp(family)
        getattr(tiny_random, f"build_{family}")(folder)
        made[family] = load_processor(Model(name=str(folder), dialect="ferret"))
    return made


def test_a_chat_template_puts_the_images_first_and_ends_where_the_answer_begins(processors):
    text = conversation(processors["llava"]).question("where ?", 2)
    assert text == "<|im_start|>user\n<image>\n<image>\nwhere ?<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize(("family", "text"), [("kosmos2", "a dog"), ("paligemma", "<image>a dog"), ("florence2", "a dog")])
def test_a_bare_question_holds_an_image_mark_only_where_its_processor_wants_one(processors, family, text):
    bare = conversation(processors[family])
    assert bare.question("a dog", 1) == text
    assert bare.marks(text) == 1
    assert bare.marks(text + " <image>") == 2


@pytest.mark.parametrize(
    ("family", "end"), [("llava", "<|im_end|>\n"), ("kosmos2", "</s>"), ("paligemma", "<eos>"), ("florence2", "</s>")]
)
def test_an_answer_is_its_words_and_the_end(processors, family, end):
    tokenizer = processors[family].tokenizer
    ids = conversation(processors[family]).answer("where ?", "a dog")
    length = len(tokenizer(end, add_special_tokens=False)["input_ids"])
    assert tokenizer.decode(ids[:-length]).strip() == "a dog"
    assert tokenizer.decode(ids[-length:]) == end


def test_only_paligemmas_answers_have_a_type_of_their_own(processors):
    types = {family: dict(conversation(processor).answer_types) for family, processor in processors.items()}
    assert types == {"llava": {}, "kosmos2": {}, "paligemma": {"token_type_ids": 1}, "florence2": {}}


def test_another_processor_without_a_template_is_refused(processors, monkeypatch):
    monkeypatch.setattr(processors["llava"], "chat_template", None)
    with pytest.raises(ModelError, match="no chat template"):
        conversation(processors["llava"])


def test_a_processor_that_writes_prompts_itself_is_asked_bare_whatever_template_lies_beside_it(processors, monkeypatch):
    monkeypatch.setattr(processors["paligemma"], "chat_template", "<|im_start|>{{ messages }}")
    assert conversation(processors["paligemma"]).question("where ?", 1) == "<image>where ?"
