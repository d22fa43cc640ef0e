from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModel, CLIPConfig, GroundingDinoConfig, GroundingDinoForObjectDetection, SwinConfig

from spr.errors import ModelError
from spr.models.image_tokens import Seen, merged
from spr.models.shapes import Shape
from spr.pipeline.estimates import costs, device, disk, steps, work
from spr.pipeline.estimates.costs import Batch, Pairs
from spr.pipeline.estimates.device import Speed, measure
from spr.pipeline.estimates.scorers import ENCODERS, FINDERS, scoring
from spr.pipeline.estimates.units import bytes_text, time_text
from spr.recipe import Recipe, check_recipe
from spr.recipe_score import Score
from spr.recipe_train import Train

# A language model of two layers: 1,000 weights in its blocks, two tables of 10 words by 4.
SHAPE = Shape(
    family="llava",
    language=1080,
    vision=500,
    layers=2,
    hidden=4,
    inner=8,
    kv_width=6,
    vocabulary=10,
    linear_width=50,
    tied=False,
)
# 100 products, 10 bytes and no waiting a second: what is left is the arithmetic.
SPEED = Speed("cpu", flops=100.0, bandwidth=10.0, call=0.0)
BATCH = Batch(rows=3, encoded=20, longest=10, patches=5, answer=4, most=8, sampled=True)
PAIRS = Pairs(rows=1, prompt=10, answer=4, patches=5, rank=2, shared=True, sft=False, checkpointed=False)


def recipe(**parts: Any) -> Recipe:
    data: dict[str, Any] = {
        "source": {"annotations": "a.json", "image_root": "."},
        "model": {"name": "someone/model", "dialect": "ferret"},
        "score": {"weight": 0, "localization": {"preset": "annotations_only"}},
    }
    return check_recipe(data | parts, "test")


def test_weights_take_their_numbers_and_four_bits_spare_the_tables() -> None:
    assert SHAPE.blocks == 1000
    assert costs.weights(SHAPE, "bfloat16", quantized=False) == 2 * 1580
    assert costs.weights(SHAPE, "bfloat16", quantized=True) == 2 * 80 + 1500 * 4.5 / 8


def test_generation_holds_weights_cache_activations_and_logits() -> None:
    cache = 3 * (10 + 8) * 2 * 6 * 2
    activations = 20 * (4 * 4 + 3 * 8) * 2
    expected = 2 * 1580 + cache + activations + 3 * 10 * 24 + costs.LIBRARIES
    assert costs.generation_memory(SHAPE, BATCH, "bfloat16", quantized=False) == expected


def test_two_experts_take_the_time_of_one_and_the_room_of_both() -> None:
    # Twice the 1,000 weights in the blocks, and twice the layers that an adapter sits on.
    two = dataclasses.replace(SHAPE, language=2080, linear_width=100, experts=2)
    for speed in (SPEED, Speed("cpu", flops=1.0, bandwidth=1000.0, call=0.0)):
        written, alone = (costs.generation_seconds(shape, BATCH, "bfloat16", False, speed) for shape in (two, SHAPE))
        assert written == alone
        trained, alone = (costs.training_seconds(shape, PAIRS, speed, fused=True) for shape in (two, SHAPE))
        assert trained == alone
    assert costs.weights(two, "bfloat16", quantized=False) - costs.weights(SHAPE, "bfloat16", quantized=False) == 2 * 1000
    assert costs.adapter(two, rank=2) == 2 * 2 * 50


def test_reading_is_bound_by_products_and_writing_by_memory() -> None:
    # Half of 100 products a second.
    reading = (2 * 1000 * 20 + 2 * 500 * 5 + 4 * 4 * 2 * 20 * 10) / 50
    # Six steps for answers of four tokens; 1,040 weights and three times the cache of 3 * (10 + 3) tokens go by each time.
    traffic = (2 * 1040 + 3 * (3 * 13 * 2 * 6 * 2)) / 10
    assert traffic > 2 * 3 * 1040 / 50
    assert costs.generation_seconds(SHAPE, BATCH, "bfloat16", False, SPEED) == pytest.approx(reading + 6 * traffic)


def test_small_operations_are_waited_for_in_every_step() -> None:
    slow = dataclasses.replace(SPEED, flops=1e12, bandwidth=1e12, call=1.0)
    calls = 2 * 2 * costs.CALLS + 6 * (2 * costs.CALLS + 3 * costs.DRAW)
    assert costs.generation_seconds(SHAPE, BATCH, "bfloat16", False, slow) == pytest.approx(calls, rel=1e-6)


def test_a_shared_prompt_is_one_sequence_and_two_answers() -> None:
    assert PAIRS.tokens == 10 + 2 * 4
    assert dataclasses.replace(PAIRS, shared=False).tokens == 2 * (10 + 4)
    assert dataclasses.replace(PAIRS, sft=True).tokens == 10 + 4


def test_the_head_sees_answers_alone_of_packed_rows_and_on_a_gpu() -> None:
    apart, chosen = dataclasses.replace(PAIRS, shared=False), dataclasses.replace(PAIRS, sft=True)
    assert [PAIRS.scored(fused) for fused in (True, False)] == [8, 8]
    assert [apart.scored(fused) for fused in (True, False)] == [8, 28]
    assert [chosen.scored(fused) for fused in (True, False)] == [4, 14]


def test_training_passes_reference_policy_and_gradient_and_the_checkpointed_forward_again() -> None:
    one_pass = 2 * 1000 * 18 + 2 * 40 * 8 + 4 * 4 * 2 * 18**2
    vision, adapter = 2 * 500 * 5, 2 * 100 * 18
    assert costs.training_seconds(SHAPE, PAIRS, SPEED, fused=False) == pytest.approx((3 * one_pass + 3 * adapter + vision) / 50)
    again = dataclasses.replace(PAIRS, checkpointed=True)
    assert costs.training_seconds(SHAPE, again, SPEED, fused=False) == pytest.approx((4 * one_pass + 4 * adapter + vision) / 50)


def test_checkpointing_keeps_one_layer_whole() -> None:
    layer = 18 * (10 * 4 + 4 * 8 + 6) * 4
    fixed = 4 * 1580 + 16 * 100 + 3 * 4 * 8 * 10 + costs.LIBRARIES
    assert costs.training_memory(SHAPE, PAIRS, "float32", fused=False) == fixed + 2 * layer
    again = dataclasses.replace(PAIRS, checkpointed=True)
    assert costs.training_memory(SHAPE, again, "float32", fused=False) == fixed + layer + 2 * 18 * 4 * 4


def test_weights_that_are_trained_are_held_four_times_in_float32_and_frozen_ones_once() -> None:
    full, alone = dataclasses.replace(PAIRS, full=True), dataclasses.replace(PAIRS, full=True, rank=64)
    assert costs.held(SHAPE, PAIRS, "bfloat16") == 2 * 1580 + 16 * 100
    assert costs.held(SHAPE, full, "bfloat16") == costs.held(SHAPE, alone, "float32") == 16 * 1080 + 4 * 500
    more = costs.training_memory(SHAPE, full, "bfloat16", True) - costs.training_memory(SHAPE, PAIRS, "bfloat16", True)
    assert more == 14 * 1080 + 2 * 500 - 16 * 100
    assert costs.update_seconds(SHAPE, PAIRS, SPEED) == 2 * 16 * 100 / 10
    assert costs.update_seconds(SHAPE, full, SPEED) == 2 * 16 * 1080 / 10


def test_the_gradients_of_weights_are_a_pass_of_their_own() -> None:
    one_pass = 2 * 1000 * 18 + 2 * 40 * 8 + 4 * 4 * 2 * 18**2
    full = dataclasses.replace(PAIRS, full=True)
    assert costs.training_seconds(SHAPE, full, SPEED, fused=False) == pytest.approx((4 * one_pass + 2 * 500 * 5) / 50)


def test_an_adapter_on_four_bits_is_in_bfloat16() -> None:
    four = dataclasses.replace(PAIRS, quantized=True)
    assert costs.held(SHAPE, four, "bfloat16") == 2 * 80 + 1500 * 4.5 / 8 + 8 * 100
    assert costs.update_seconds(SHAPE, four, SPEED) == 2 * 8 * 100 / 10


def test_the_candidates_of_a_query_by_the_images_they_show() -> None:
    default = work.candidate_askings(recipe())
    assert [dataclasses.astuple(one) for one in default] == [(1, 3, 3), (2, 2, 2)]
    plain = work.candidate_askings(recipe(candidates={"prompts": ["plain"]}))
    assert [dataclasses.astuple(one) for one in plain] == [(1, 5, 1)]


def test_an_image_is_read_once_for_all_rows_where_prefixes_are_shared() -> None:
    three = work.Asking(images=1, variants=3, different=3)
    # Four queries are twelve rows, in two batches of six: two queries each.
    batch, count = work.batches(three, 4, 8, Seen(100, 400), "llava", 5, 9, True)
    assert (batch.rows, count, batch.encoded, batch.patches) == (6, 2, 2 * 100 + 6 * work.QUESTION, 800)
    whole, _ = work.batches(three, 4, 8, Seen(100, 400), "paligemma", 5, 9, True)
    assert (whole.encoded, whole.patches) == (6 * (100 + work.QUESTION), 2400)


def test_scoring_sees_an_image_once_and_looks_for_every_caption() -> None:
    clip, dino = "openai/clip-vit-large-patch14-336", "IDEA-Research/grounding-dino-base"
    score = Score.model_validate({"semantic": {"model": clip}, "detector": {"model": dino, "batch_size": 2}})
    # 640 x 480 is shown as 1067 x 800; five texts of 100 tokens are two passes each.
    found = scoring(score, [(640, 480)], 5, 100)
    assert found is not None
    assert found.products == pytest.approx(2 * 381.9e9 + 10 * 13.3e9 + 564.7e9 + 5 * 549.4e9, rel=1e-3)
    assert found.memory == pytest.approx(costs.LIBRARIES + 4 * (427_944_193 + 232_315_264) + 2 * 1.13e9, rel=1e-3)
    with_small = scoring(score, [(640, 480), (480, 480)], 5, 100)
    assert with_small is not None
    assert with_small.memory == found.memory
    assert with_small.products < found.products
    other = Score.model_validate({"semantic": {"model": "someone/clip"}, "localization": {"preset": "annotations_only"}})
    assert scoring(other, [(640, 480)], 5, 100) is None


def test_the_products_of_a_clip_are_those_of_its_architecture() -> None:
    text = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    tower = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
    config = CLIPConfig(text_config=text, vision_config={**tower, "image_size": 336, "patch_size": 14}, projection_dim=768)
    with torch.device("meta"):
        model = AutoModel.from_config(config).eval()
        image, words = torch.zeros(1, 3, 336, 336), torch.zeros(1, 77, dtype=torch.long)
        with torch.no_grad(), FlopCounterMode(display=False) as seen:
            model.get_image_features(pixel_values=image)
        with torch.no_grad(), FlopCounterMode(display=False) as read:
            model.get_text_features(input_ids=words)
    known = ENCODERS["openai/clip-vit-large-patch14-336"]
    assert sum(item.numel() for item in model.parameters()) == known.parameters
    assert (seen.get_total_flops(), read.get_total_flops()) == pytest.approx((known.image, known.text), rel=0.001)


@pytest.mark.slow
def test_the_products_of_a_detector_are_those_of_its_architecture() -> None:
    swin = SwinConfig(
        window_size=12, image_size=384, embed_dim=128, depths=[2, 2, 18, 2], num_heads=[4, 8, 16, 32], out_indices=[2, 3, 4]
    )
    model = GroundingDinoForObjectDetection(GroundingDinoConfig(backbone_config=swin)).eval()
    known = FINDERS["IDEA-Research/grounding-dino-base"]
    assert sum(item.numel() for item in model.parameters()) == known.parameters
    words = {name: torch.ones(1, 64, dtype=torch.long) for name in ("input_ids", "attention_mask")}
    with torch.no_grad(), FlopCounterMode(display=False) as counted:
        model(pixel_values=torch.zeros(1, 3, 800, 1066), **words)
    see = sum(counted.get_flop_counts()["GroundingDinoForObjectDetection.model.backbone"].values())
    assert (see, counted.get_total_flops() - see) == pytest.approx((known.see, known.look), rel=0.001)


def test_a_photo_of_a_shape_that_no_processor_shows_is_named() -> None:
    with pytest.raises(ModelError, match=r"an image of 2000 x 8 pixels is refused by the model's processor: .*leave it out"):
        work.photos([(400, 300), (2000, 8)], merged(14, 56 * 56, 28 * 28 * 100))


def test_photos_are_counted_by_their_sizes() -> None:
    found = work.photos([(10, 10), (10, 10), (40, 10)], lambda size: Seen(size[0], 2 * size[0]))
    assert (found.mean, found.largest) == (Seen(20, 40), Seen(40, 80))


def test_the_policys_disk_is_the_adapter_and_its_last_checkpoints() -> None:
    # 50 * 2 parameters of 4 bytes; a checkpoint holds them three times; 80 bytes a word of the tokenizer, beside each.
    train = Train.model_validate({"lora": {"r": 2}, "save_steps": 10})
    assert disk.policy(SHAPE, PAIRS, train, 9, "bfloat16") == (1 + 3) * 400 + 2 * 800
    assert disk.policy(SHAPE, PAIRS, train, 100, "bfloat16") == (1 + 6) * 400 + 3 * 800
    # On 4-bit weights the adapter is in bfloat16.
    assert disk.policy(SHAPE, dataclasses.replace(PAIRS, quantized=True), train, 9, "bfloat16") == (1 + 3) * 200 + 2 * 800


def test_the_disk_of_a_model_that_is_trained_itself_holds_all_of_it() -> None:
    # 1,580 weights in bfloat16; two checkpoints of them in float32, with two moments of the 1,080 that move.
    train = Train.model_validate({"save_steps": 9, "method": "full"})
    expected = 2 * 1580 + 2 * (4 * 1580 + 8 * 1080) + 3 * 800
    assert disk.policy(SHAPE, dataclasses.replace(PAIRS, full=True), train, 100, "bfloat16") == expected


@pytest.mark.parametrize(("number", "text"), [(512, "512 B"), (1536, "1.5 kB"), (15.4 * 2**30, "15 GB"), (3 * 2**40, "3.0 TB")])
def test_bytes_are_said_with_two_digits(number: float, text: str) -> None:
    assert bytes_text(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.31, "0.3 s"), (89, "89 s"), (600, "10 min"), (3.4 * 3600, "3.4 h"), (90 * 3600, "3.8 days")],
)
def test_seconds_are_said_in_the_largest_fitting_unit(seconds: float, text: str) -> None:
    assert time_text(seconds) == text


def test_a_device_is_measured_within_two_seconds() -> None:
    import time

    started = time.perf_counter()
    speed = measure("cpu", "float32", 1, (64, 128))
    assert time.perf_counter() - started < 2
    assert speed.flops > 1e8
    assert speed.bandwidth > 1e8
    assert 0 < speed.call < 0.01


def test_a_device_is_measured_with_the_threads_that_will_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    before, asked = torch.get_num_threads(), []
    set_threads = torch.set_num_threads
    monkeypatch.setattr(torch, "set_num_threads", lambda count: asked.append(count) or set_threads(count))
    measure("cpu", "float32", 2, (64, 128))
    assert asked == [2, before]


def test_speeds_are_what_was_done_in_the_seconds_that_it_took(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_seconds", lambda operation, name: 0.5)
    speed = measure("cpu", "float32", 1, (64, 4096))
    # 1,024 tokens by 64 by at most 1,024, a product and a sum each; 64 MiB read and written.
    assert (speed.flops, speed.bandwidth, speed.call) == (2 * 1024 * 64 * 1024 / 0.5, 2 * 2**26 / 0.5, 0.5)


def test_what_takes_over_a_second_is_done_once() -> None:
    import time

    calls: list[float] = []

    def slow() -> torch.Tensor:
        calls.append(time.sleep(1.05) or 0.0)
        return torch.zeros(1)

    assert device._seconds(slow, "cpu") == pytest.approx(1.05, abs=0.3)
    assert len(calls) == 1


ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    "said",
    [
        f"A question has {work.QUESTION} tokens",
        f"without any, {work.BOX_ANSWER} |",
        f"a batch writes {costs.LONGEST:g} times as long as its mean answer",
        f"{costs.CALLS} small operations a layer; sampled rows {costs.DRAW} more each",
        f"({costs.LIBRARIES >> 20} MB a worker)",
        f"{costs.FUSED_COLUMNS:,} words at a time",
        f"Products reach {'half' if costs.USE_OF_PRODUCTS == 0.5 else costs.USE_OF_PRODUCTS} of",
        f"{1000 * steps.ROW_SECONDS:g} ms a row",
        f"Shards: {disk.SHARD // 1000} kB each",
        f"({min(disk.ROW.values())} to {max(disk.ROW.values())} bytes) with {disk.TOKEN:g} bytes a token",
        f"({disk.TOKENIZER} bytes a word). Report: {disk.REPORT >> 20} MB",
    ],
)
def test_every_assumption_is_the_one_that_the_document_states(said: str) -> None:
    assert said in " ".join((ROOT / "docs/plan.md").read_text().split())
