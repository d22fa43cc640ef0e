"""What the preflight counts and says: lengths, context, what is lost on the way, the work to come."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest
from conftest_training import make_pair, make_recipe
from transformers import LlamaConfig

from spr.errors import DataError
from spr.models.loading import load_processor
from spr.recipe_train import Train
from spr.training.context import positions
from spr.training.encoding import PairEncoder
from spr.training.job import train
from spr.training.lengths import bars, columns, histogram
from spr.training.outlook import outlook
from spr.training.preflight import preflight, reasons

PAIRS = [make_pair(i) for i in range(4)]


@pytest.fixture(scope="module")
def processor(models):
    return load_processor(make_recipe(models("llava")).model)


@pytest.fixture
def encoder(processor, image_root):
    return PairEncoder(processor, image_root)


def dropped(encoder, processor, *pairs, **limits):
    result = preflight([PAIRS[0], *pairs], encoder, limits.get("max_tokens", 4096), processor.image_token_id, **limits)
    return [row.reason for row in result.dropped]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"chosen": "a dog", "rejected": "a dog"}, "chosen_equals_rejected"),
        ({"chosen": "a dog", "rejected": "a dog "}, None),
        ({"chosen": " \n"}, "empty_answer"),
        ({"rejected": ""}, "empty_answer"),
        ({"prompt": " "}, "empty_prompt"),
    ],
)
def test_pairs_that_teach_nothing_are_dropped(fields, reason, encoder, processor):
    pair = dataclasses.replace(make_pair(1), **fields)
    assert dropped(encoder, processor, pair) == ([reason] if reason else [])


def test_texts_that_differ_and_tokens_that_do_not_are_equal(processor, image_root):
    template = processor.chat_template
    try:
        processor.chat_template = template.replace("{{ content['text'] }}", "{{ content['text'] | trim }}")
        pair = make_pair(1, chosen="a dog", rejected="a dog ")
        assert dropped(PairEncoder(processor, image_root), processor, pair) == ["chosen_equals_rejected"]
    finally:
        processor.chat_template = template


@pytest.mark.parametrize("longer", ["chosen", "rejected"])
def test_more_tokens_than_the_model_has_positions_go_whatever_the_budget(longer, encoder, processor):
    long = make_pair(1, **{longer: "a dog " * 200})
    length = len(encoder.prompt(long).tokens["input_ids"]) + len(getattr(encoder.answers(long), longer))
    assert dropped(encoder, processor, long, context=length) == []
    assert dropped(encoder, processor, long, context=length - 1) == ["beyond_context"]
    with pytest.raises(DataError, match=r"beyond_context 1 \(pair-1\); the model has 50 positions, lower the pixel limits"):
        preflight([long], encoder, 4096, processor.image_token_id, context=50)


def test_an_image_with_too_few_places_stops_everything(processor, image_root):
    encoder = PairEncoder(processor, image_root)
    cut = encoder.prompt(PAIRS[1])
    places = (cut.tokens["input_ids"] == processor.image_token_id).nonzero().flatten().tolist()
    cut.tokens["input_ids"] = cut.tokens["input_ids"][places[0] + 1 :]
    with pytest.raises(DataError, match=r"pair pair-1 \(1.png\): its image has no place .* model.processor leaves them out"):
        preflight(PAIRS, encoder, 4096, processor.image_token_id)


def test_answers_without_their_end_stop_everything(processor, image_root):
    encoder = PairEncoder(processor, image_root)
    encoder.tokenizer = type("Other", (), {"eos_token_id": 2**30, "decode": processor.tokenizer.decode})()
    with pytest.raises(DataError, match=r"pair pair-0 .* do not hold the end of the turn, .* tokenizer and chat template"):
        preflight(PAIRS, encoder, 4096, processor.image_token_id)


def test_an_image_gone_since_pairing_is_dropped_and_named(models, image_root, tmp_path, capsys):
    photos = tmp_path / "photos"
    shutil.copytree(image_root, photos)
    for name in ("1.png", "3.png"):
        (photos / name).unlink()
    train(PAIRS, make_recipe(models("llava"), max_steps=1), photos, tmp_path / "out")
    said = capsys.readouterr().err
    assert "preflight: 2 of 4 pairs can be trained on; left out are image_missing 2 (pair-1, pair-3)\n" in said
    shutil.rmtree(photos)
    with pytest.raises(
        DataError, match=r"none of 4 preference pairs can be trained on: image_missing 4 \(pair-0, pair-1, pair-2, "
    ):
        train(PAIRS, make_recipe(models("llava"), max_steps=1), photos, tmp_path / "nothing")


def test_reasons_come_most_first_with_three_names(encoder, processor):
    pairs = [make_pair(i, chosen="") for i in range(1, 5)] + [make_pair(5, chosen="a dog", rejected="a dog")]
    result = preflight([PAIRS[0], *pairs], encoder, 4096, processor.image_token_id)
    assert reasons(result.dropped) == "empty_answer 4 (pair-1, pair-2, pair-3, ...), chosen_equals_rejected 1 (pair-5)"


def test_a_histogram_has_round_edges_and_every_pair():
    counts = [(100, 5, 7), (100, 20, 3), (110, 40, 2), (190, 3, 9)]
    sequences = columns(counts)["sequence"]
    assert sequences.tolist() == [107, 120, 150, 199]
    assert histogram(sequences) == {"edges": [*range(100, 201, 10)], "pairs": [1, 0, 1, 0, 0, 1, 0, 0, 0, 1]}
    assert histogram(np.array([7])) == {"edges": [7, 8], "pairs": [1]}
    assert histogram(np.array([0, 20])) == {"edges": [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22], "pairs": [1] + [0] * 9 + [1]}


def test_bars_are_as_long_as_their_counts_and_none_is_lost():
    assert bars({"edges": [900, 950, 1000, 1050], "pairs": [80, 0, 1]}) == [
        "  900 to   949 " + "█" * 40 + " 80",
        "  950 to   999 " + " " * 40 + " 0",
        "1,000 to 1,049 █" + " " * 39 + " 1",
    ]


def test_the_work_to_come_is_said_before_it_and_its_pace_after_the_third_update(models, image_root, tmp_path, capsys):
    recipe = make_recipe(models("llava"), max_steps=5)
    told = []
    report = train(
        PAIRS,
        recipe,
        image_root,
        tmp_path,
        foresee=lambda ready, left: told.append((len(ready.pairs), left)) or ["train: memory"],
    )
    said = capsys.readouterr().err.splitlines()
    start = said.index("preflight: 4 of 4 pairs can be trained on")
    assert (
        said[start + 1]
        == "preflight: tokens of a prompt with its longer answer, of 4,096 allowed (train.max_tokens), and pairs:"
    )
    drawn = bars(report.histogram)
    assert [line.strip() for line in said[start + 2 : start + 2 + len(drawn)]] == [line.strip() for line in drawn]
    assert sum(report.histogram["pairs"]) == 4
    assert said[start + 2 + len(drawn) :][:2] == ["train: 5 updates of 2 pairs, 2.5 epochs", "train: memory"]
    (pace,) = [line for line in said if "an update, so about" in line]
    assert pace.endswith("for the 2 that are left")
    assert told == [(4, 5)]


def test_a_resumed_training_says_what_is_done(encoder, processor):
    ready = preflight(PAIRS, encoder, 4096, processor.image_token_id)
    assert outlook(ready, Train(batch_size=2, gradient_accumulation=3), 10, 4)[-1] == (
        "train: 10 updates of 6 pairs, 15 epochs, 4 of them done"
    )


@pytest.mark.parametrize(
    ("rope", "expected"),
    [
        ({"rope_type": "default", "rope_theta": 1e4}, 100),
        ({"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}, 400),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 100, "rope_theta": 1e4}, 400),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 25, "rope_theta": 1e4}, 100),
    ],
)
def test_positions_are_those_that_scaled_embeddings_reach(rope, expected):
    assert positions(LlamaConfig(max_position_embeddings=100, rope_parameters=rope)) == expected
