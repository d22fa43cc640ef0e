"""What is special to CogVLM, by hand: which expert a token has, where it stands, and what is refused."""

from __future__ import annotations

import pytest
import torch
from transformers import DynamicCache

from spr.models.cogvlm.config import CogVLMConfig
from spr.models.cogvlm.model import CogVLMForConditionalGeneration
from spr.models.cogvlm.tokens import Split, position_ids
from spr.models.cogvlm.vision import CogVLMProjector
from spr.models.loading import load_model_and_processor
from spr.recipe import Model
from tiny_random import build_cogvlm

PUBLISHED_BILLIONS = 17.6
IMAGE = 400
# Start, an image of 9 patches, three words.
IDS = torch.tensor([[1, *[IMAGE] * 11, 30, 31, 32]])
OF_VISION, OF_LANGUAGE = list(range(1, 11)), [0, 11, 12, 13, 14]
EXPERTS = {
    "vision": (OF_VISION, OF_LANGUAGE),
    "language": (OF_LANGUAGE, OF_VISION),
}


@pytest.fixture
def model(tmp_path):
    return load_model_and_processor(Model(name=str(build_cogvlm(tmp_path)), dialect="cogvlm"), "cpu", "float32")[0]


@pytest.fixture
def pixels():
    return torch.randn(1, 3, 42, 42, generator=torch.Generator().manual_seed(0))


def first_layer(model, ids, pixels, part=lambda layer: layer):
    """What (a part of) the first layer gives, (length, width)."""
    seen = []
    hook = part(model.get_decoder().layers[0]).register_forward_hook(lambda _module, _args, out: seen.append(out[0]))
    with torch.no_grad():
        model(ids, pixel_values=pixels)
    hook.remove()
    return seen[0]


def bools(*rows):
    return torch.tensor([[mark == "x" for mark in row] for row in rows])


def test_patches_share_one_position_and_beginning_end_and_words_have_their_own():
    assert position_ids(bools(".xxxxx...")).tolist() == [[0, 1, 2, 2, 2, 3, 4, 5, 6]]
    assert position_ids(bools("....")).tolist() == [[0, 1, 2, 3]]


def test_an_image_at_the_end_of_a_prompt_that_goes_on_later_stands_where_the_whole_prompt_has_it():
    assert position_ids(bools(".xxxxx")).tolist() == [[0, 1, 2, 2, 2, 3]]


def test_pads_count_nothing_on_either_side():
    mask = torch.tensor([[0, 0, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 0, 0]])
    found = position_ids(bools("...xxxx.", ".xxxx..."), mask)
    assert found[0, 2:].tolist() == [0, 1, 2, 2, 3, 4]
    assert found[1, :6].tolist() == [0, 1, 2, 2, 3, 4]


def test_the_last_image_token_is_the_language_experts():
    split = Split.of(bools(".xxx.", "....."))
    assert split.vision.tolist() == [1, 2]
    assert split.language.tolist() == [0, 3, 4, 5, 6, 7, 8, 9]
    values = torch.arange(10)
    assert torch.equal(torch.cat([values[split.vision], values[split.language]])[split.back], values)


def test_words_alone_need_no_split():
    assert Split.of(bools("....")) is None


@pytest.mark.parametrize("kind", EXPERTS)
def test_zeroing_what_an_expert_writes_changes_its_own_tokens_alone(kind, model, pixels):
    before = first_layer(model, IDS, pixels)
    layer = model.get_decoder().layers[0]
    torch.nn.init.zeros_(getattr(layer.self_attn, f"{kind}_expert_dense").weight)
    torch.nn.init.zeros_(getattr(layer.mlp, f"{kind}_mlp").down_proj.weight)
    after = first_layer(model, IDS, pixels)
    own, other = EXPERTS[kind]
    assert torch.equal(before[other], after[other])
    assert (before[own] != after[own]).any(dim=1).all()


@pytest.mark.parametrize("kind", EXPERTS)
def test_zeroing_an_experts_projection_changes_what_its_own_tokens_ask_and_answer_alone(kind, model, pixels):
    names = {"vision": 0, "language": 1}
    layer = model.get_decoder().layers[0]

    def projected(name):
        return first_layer(model, IDS, pixels, lambda one: getattr(one.self_attn, f"{name}_expert_query_key_value"))

    before = {name: projected(name) for name in names}
    torch.nn.init.zeros_(getattr(layer.self_attn, f"{kind}_expert_query_key_value").weight)
    (other,) = names.keys() - {kind}
    assert torch.equal(projected(other), before[other])
    assert not projected(kind).any()


def test_each_expert_computes_its_own_tokens_only(model, pixels):
    rows = []
    layer = model.get_decoder().layers[0]
    for kind in EXPERTS:
        getattr(layer.mlp, f"{kind}_mlp").register_forward_pre_hook(lambda _module, args: rows.append(len(args[0])))
    with torch.no_grad():
        model(IDS, pixel_values=pixels)
    assert rows == [len(OF_VISION), len(OF_LANGUAGE)]


def test_the_published_size_has_17_6_billion_parameters():
    config = CogVLMConfig()
    with torch.device("meta"):
        model = CogVLMForConditionalGeneration(config)
    assert config.image_seq_length == 1227
    assert model.num_parameters() / 1e9 == pytest.approx(PUBLISHED_BILLIONS, rel=0.01)


def test_other_pixels_make_another_answer_with_and_without_features_encoded_before(model, pixels):
    with torch.no_grad():
        one, other = (model(IDS, pixel_values=image).logits[0, -1] for image in (pixels, -pixels))
        features = model.model.get_image_features(pixels)
        encoded = model(IDS, mm_encoder_outputs={"image": features}).logits[0, -1]
    assert features.pooler_output.shape == (1, 11, 32)
    assert not torch.allclose(one, other)
    assert torch.equal(one, encoded)


@pytest.mark.parametrize(("ids", "given"), [(IDS, 0), (IDS[:, 1:10], 11), (torch.tensor([[1, 30]]), 11)])
def test_image_tokens_without_their_image_are_refused(ids, given, model, pixels):
    marked = int((ids == IMAGE).sum())
    with pytest.raises(ValueError, match=f"the rows hold {marked} image tokens, and the images given take {given}"):
        model(ids, pixel_values=pixels if given else None)


def test_going_on_from_a_cache_without_positions_is_refused(model, pixels):
    cache = DynamicCache(config=model.config)
    with torch.no_grad():
        model(IDS, pixel_values=pixels, past_key_values=cache)
    with pytest.raises(ValueError, match="needs position_ids"):
        model(torch.tensor([[33]]), past_key_values=cache)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"output_hidden_states": True}, "gives no hidden_states"),
        ({"output_attentions": True}, "gives no attentions"),
        ({"return_dict": False}, "gives no tuples"),
    ],
)
def test_outputs_that_are_not_given_are_refused(asked, said, model, pixels):
    with pytest.raises(ValueError, match=said):
        model(IDS, pixel_values=pixels, **asked)
    with torch.no_grad():
        model(IDS, pixel_values=pixels, **{name: not value for name, value in asked.items()})


def test_pixels_are_taken_in_the_precision_of_the_tower(model, pixels):
    with torch.no_grad():
        logits = model.bfloat16()(IDS, pixel_values=pixels.float()).logits
    assert logits.dtype == torch.bfloat16


def test_the_projectors_norm_adds_a_hundred_thousandth_to_the_variance(model):
    projector = CogVLMProjector(model.config.vision_config, model.config.text_config)
    small = torch.full((32,), 3e-5**0.5)
    small[::2] *= -1  # mean 0, variance 3e-5
    expected = small.sign() * 0.75**0.5
    torch.testing.assert_close(projector.norm1(small), expected, atol=1e-4, rtol=0)


def test_embeddings_in_place_of_ids_are_refused(model):
    with pytest.raises(ValueError, match="give it input_ids"):
        model(None, inputs_embeds=torch.zeros(1, 3, 32))
