"""Our Ferret gives the numbers of its authors': see tests/parity for what both were given, and who asked theirs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from parity.ferret_cases import CASES, CHANNELS, EXPECTED, NEW_TOKENS, SIDE, SIZE, WIDTH, disc, feature_map, photo, weights
from spr.models.conversation import conversation
from spr.models.ferret.model import FerretForConditionalGeneration
from spr.models.ferret.names import TOWER, of_language
from spr.models.ferret.processor import CHAT_TEMPLATE, FerretProcessor
from spr.models.ferret.regions import areas, draw
from spr.models.ferret.sampler import RegionSampler
from tiny_random.ferret import build_config, build_images, build_tokenizer

every_case = pytest.mark.parametrize("name", CASES)
with_regions = pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.pixels or case.mask])
TOLERANCE = {"atol": 1e-4, "rtol": 0}


@pytest.fixture(scope="module")
def expected():
    with np.load(EXPECTED) as file:
        return {name: torch.from_numpy(file[name]) if file[name].dtype.kind != "U" else file[name] for name in file}


@pytest.fixture(scope="module")
def processor():
    return FerretProcessor(build_images(), build_tokenizer(), patch_size=8, chat_template=CHAT_TEMPLATE)


@pytest.fixture(scope="module")
def model(expected):
    ours = FerretForConditionalGeneration(build_config(build_tokenizer())).eval()
    shapes = {name: value.shape for name, value in ours.state_dict().items()}
    published = {of_language(str(name)): str(name) for name in expected["names"]}
    tower = {name: f"vision_tower.{name.removeprefix(TOWER)}" for name in shapes if name.startswith(TOWER)}
    known_as = {**published, **tower}
    values = weights({known_as[name]: shape for name, shape in shapes.items()})
    ours.load_state_dict({name: values[known_as[name]] for name in shapes})
    return ours


def fields(processor, case):
    """What the processor makes of a case, drawn from one generator seeded like the authors' global one."""
    text = conversation(processor).question(case.question, 1)
    masks = [[masked(case)]] if case.mask else None
    generator = torch.Generator().manual_seed(case.seed)
    return processor(text=[text], images=[[photo()]], region_masks=masks, generator=generator, return_tensors="pt")


def masked(case):
    """Their free forms are cut to the box that is written beside them."""
    box = np.zeros((SIZE[1], SIZE[0]), dtype=bool)
    box[15:46, 20:61] = True  # [250, 250, 750, 750] of 80 x 60 pixels
    return disc() & box


def greedy(model, given, **options):
    return model.generate(**given, max_new_tokens=NEW_TOKENS, do_sample=False, eos_token_id=None, **options)[0, -NEW_TOKENS:]


@with_regions
def test_a_region_covers_the_pixels_that_a_pencil_counts(name):
    case = CASES[name]
    masks = [masked(case)] if case.mask else None
    counts = tuple(area.count for area in areas(case.question, SIZE, masks))
    assert counts == (case.pixels or (int(disc().sum()),))


@with_regions
def test_the_sampler_gives_the_authors_features(name, expected):
    case = CASES[name]
    sampler = RegionSampler(CHANNELS, WIDTH)
    sampler.load_state_dict(weights({key: value.shape for key, value in sampler.state_dict().items()}))
    found = areas(case.question, SIZE, [masked(case)] if case.mask else None)
    points, starts = draw(found, torch.Generator().manual_seed(case.seed))
    maps = feature_map().view(1, SIDE, SIDE, CHANNELS).permute(0, 3, 1, 2).expand(len(found), -1, -1, -1)
    with torch.no_grad():
        ours = sampler(maps, points / torch.tensor(SIZE).float(), starts)
    torch.testing.assert_close(ours, expected[f"{name}.region"], **TOLERANCE)


@every_case
def test_a_prompt_is_written_and_cut_like_the_authors(name, processor, expected):
    text = conversation(processor).question(CASES[name].question, 1)
    assert text == str(expected[f"{name}.text"])
    ids = fields(processor, CASES[name])["input_ids"][0]
    theirs = expected[f"{name}.ids"]
    image = int((theirs == -200).nonzero())
    assert torch.equal(ids[:image], theirs[:image])
    assert (ids[image : image + 16] == processor.image_token_id).all()
    assert torch.equal(ids[image + 16 :], theirs[image + 1 :])


@every_case
def test_the_pixels_are_the_authors(name, processor, expected):
    torch.testing.assert_close(fields(processor, CASES[name])["pixel_values"][0], expected[f"{name}.pixels"], **TOLERANCE)


@every_case
def test_logits_and_greedy_answer_are_the_authors(name, model, processor, expected):
    given = fields(processor, CASES[name])
    with torch.no_grad():
        logits = model(**given).logits[0, -24:]
    torch.testing.assert_close(logits, expected[f"{name}.logits"], **TOLERANCE)
    assert greedy(model, given).tolist() == expected[f"{name}.answer"].tolist()
    assert greedy(model, given, use_cache=False).tolist() == expected[f"{name}.answer"].tolist()
