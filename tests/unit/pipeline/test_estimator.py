"""The estimates of whole steps: what the batches, photos, shards, workers and updates of a recipe make of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from spr.models.image_tokens import Seen
from spr.models.shapes import PUBLISHED
from spr.pipeline.assembly import data_steps
from spr.pipeline.estimates import costs, disk, work
from spr.pipeline.estimates.device import Speed
from spr.pipeline.estimates.steps import ROW_SECONDS, TOWER, UNTRAINED, Estimator
from spr.recipe import check_recipe
from spr.running.run_dir import RunDir
from spr.running.shards import Manifest, Origin
from spr.running.steps import DONE, TO_DO, StepState
from spr.sources.coco import read_scenes

QWEN = "Qwen/Qwen2.5-VL-7B-Instruct"
KOSMOS = "microsoft/kosmos-2-patch14-224"
SMALL, LARGE = (280, 280), (1120, 1120)
INSTANT = Speed("cpu", flops=1e30, bandwidth=1e30, call=0.0)
WAITING = Speed("cpu", flops=1e30, bandwidth=1e30, call=1.0)
PRODUCTS = Speed("cpu", flops=1e12, bandwidth=1e30, call=0.0)
BOXES_ALONE = {"weight": 0, "localization": {"preset": "annotations_only"}}


def estimator(
    folder: Path, sizes: list[tuple[int, int]], speed: Speed = INSTANT, name: str = KOSMOS, done: int = 0, **parts: object
) -> Estimator:
    """Of one query an image and shards of two images, at a speed that is given; `done` shards of candidates are there."""
    boxes = [[10 + 50 * i, 20, 45, 45] for i in range(5)]
    annotations = folder / f"{len(list(folder.iterdir()))}.json"
    objects = [
        {"id": 10 * image + i, "image_id": image, "category_id": 1, "bbox": box, "area": 2025, "iscrowd": 0}
        for image in range(len(sizes))
        for i, box in enumerate(boxes)
    ]
    images = [{"id": i, "file_name": f"{i}.jpg", "width": width, "height": height} for i, (width, height) in enumerate(sizes)]
    annotations.write_text(json.dumps({"images": images, "annotations": objects, "categories": [{"id": 1, "name": "dog"}]}))
    given = {
        "source": {"annotations": str(annotations), "image_root": str(folder)},
        "model": {"name": name, "dialect": "ferret"},
        "score": BOXES_ALONE,
        "candidates": {"prompts": ["plain"], "k": 2, "batch_size": 1, "max_new_tokens": 30},
        "resources": {"devices": ["cpu"]},
        "shard_size": 2,
    }
    recipe = check_recipe(given | parts, "test")
    run = RunDir(folder / f"run-{annotations.stem}")
    found = {
        step.name: step for step in data_steps(recipe, run, read_scenes(recipe.source, recipe.queries, lambda _: None).scenes)
    }
    shards = range(-(-len(sizes) // 2))
    states = {step: StepState(step, dict.fromkeys(shards, TO_DO), (), 0) for step in [*found, "train"]}
    for index in range(done):
        origin = Origin("candidates", 1, {}, 1, "")
        found["candidates"].store.write(index, [], [], Manifest(index, "", origin, "", "", 2, 4, 2, {}, 1.0, {}, {}))
        states["candidates"].shards[index] = DONE
    rows = {
        "queries": len(sizes),
        "candidates": 2 * len(sizes),
        "scores": 2 * len(sizes),
        "pairs": len(sizes),
        "train": len(sizes),
    }
    made = Estimator(recipe, found, states, rows)
    made.__dict__.update(asking=speed, training=speed)  # instead of measuring this machine
    return made


def test_time_is_that_of_every_batch_of_every_shard(tmp_path: Path) -> None:
    # Waiting alone counts: 8 rows one by one, each read in 2 * 24 layers of calls and written in 15 steps of 24, with its draw.
    found = estimator(tmp_path, [SMALL] * 4, WAITING).of("candidates")
    layers = PUBLISHED[KOSMOS].layers
    row = 2 * layers * costs.CALLS + 15 * (layers * costs.CALLS + costs.DRAW)
    assert found.seconds == pytest.approx(8 * row, rel=1e-6)


def test_workers_on_one_device_share_its_memory_and_the_time(tmp_path: Path) -> None:
    one = estimator(tmp_path, [SMALL] * 4, WAITING)
    two = estimator(tmp_path, [SMALL] * 4, WAITING, resources={"devices": ["cpu", "cpu"]})
    apart = estimator(tmp_path, [SMALL] * 4, WAITING)
    apart.__dict__["devices"] = ("cuda:0", "cuda:1")
    for name in ("queries", "candidates"):
        alone, both, spread = (which.of(name) for which in (one, two, apart))
        assert alone.memory is not None
        assert alone.seconds is not None
        assert (both.memory, both.seconds) == pytest.approx((2 * alone.memory, alone.seconds / 2))
        assert (spread.memory, spread.seconds) == pytest.approx((alone.memory, alone.seconds / 2))
    apart.__dict__["devices"] = ("cpu", "cuda:0", "cpu")
    assert apart.of("queries").memory == 2 * costs.LIBRARIES
    assert one.of("queries").seconds == 4 * ROW_SECONDS
    assert two.of("scores").memory == 2 * costs.LIBRARIES
    assert two.of("scores").seconds == 4 * ROW_SECONDS / 2
    assert two.of("train") == one.of("train")


@pytest.mark.parametrize("name", ["candidates", "train"])
def test_memory_is_that_of_the_largest_photo_and_time_that_of_the_mean(name: str, tmp_path: Path) -> None:
    small, mixed, large = (
        estimator(tmp_path, sizes, PRODUCTS, QWEN).of(name) for sizes in ([SMALL] * 4, [*[SMALL] * 3, LARGE], [LARGE] * 4)
    )
    assert small.memory < mixed.memory == large.memory
    assert small.seconds < mixed.seconds < large.seconds


def test_a_training_goes_over_all_pairs_however_many_make_an_update(tmp_path: Path) -> None:
    sizes = [SMALL] * 8
    one, four = (
        estimator(tmp_path, sizes, PRODUCTS, train={"batch_size": 1, "gradient_accumulation": count, "epochs": 1}).of("train")
        for count in (1, 4)
    )
    assert one.seconds == pytest.approx(four.seconds)


def test_what_is_left_goes_as_the_finished_shards_did(tmp_path: Path) -> None:
    # One shard of three took a second.
    one = estimator(tmp_path, [SMALL] * 6, done=1)
    two = estimator(tmp_path, [SMALL] * 6, done=1, resources={"devices": ["cpu", "cpu"]})
    assert (one.of("candidates").seconds, two.of("candidates").seconds) == (2.0, 1.0)


def test_the_longest_answers_are_to_fit_into_a_training(tmp_path: Path) -> None:
    found = estimator(tmp_path, [SMALL] * 2)
    step = work.training_step(found.recipe, Seen(64, 257), "kosmos-2", 30)
    assert found.of("train").memory == costs.training_memory(PUBLISHED[KOSMOS], step, found.recipe.train.dtype, fused=False)


def test_a_training_of_the_model_itself_never_has_the_figures_of_an_adapter(tmp_path: Path) -> None:
    shape = PUBLISHED[KOSMOS]
    adapter = estimator(tmp_path, [SMALL] * 2, PRODUCTS).of("train")
    full = estimator(tmp_path, [SMALL] * 2, PRODUCTS, train={"method": "full"}).of("train")
    # Kosmos-2's language model four times in float32 and the rest once, for all in bfloat16 and the adapter four times.
    more = 14 * shape.language + 2 * shape.vision - 16 * 128 * shape.linear_width
    assert full.memory - adapter.memory == more
    assert full.seconds > adapter.seconds
    assert full.disk > 6 * (shape.language + shape.vision)


def test_an_adapter_on_four_bits_takes_less(tmp_path: Path) -> None:
    whole = estimator(tmp_path, [SMALL] * 2).of("train")
    model = {"name": KOSMOS, "dialect": "ferret", "quantization": "4bit"}
    four = estimator(tmp_path, [SMALL] * 2, model=model).of("train")
    assert four.why == ""
    assert four.memory < whole.memory
    for key in ({"method": "full"}, {"vision_tower": "tuned"}):
        refused = estimator(tmp_path, [SMALL] * 2, model=model, train=key).of("train")
        assert (refused.memory, refused.disk, refused.seconds, refused.why) == (None, None, None, UNTRAINED)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_tuned_tower_has_no_figures(method: str, tmp_path: Path) -> None:
    found = estimator(tmp_path, [SMALL] * 2, train={"vision_tower": "tuned", "method": method}).of("train")
    assert (found.memory, found.disk, found.seconds, found.why) == (None, None, None, TOWER)


def test_the_head_scores_every_position_on_a_cpu_and_the_answers_on_a_gpu(tmp_path: Path) -> None:
    slow, fast = estimator(tmp_path, [SMALL] * 2), estimator(tmp_path, [SMALL] * 2)
    fast.__dict__["devices"] = ("cuda:0",)
    # Kosmos-2: 64 image tokens and a question of 60, twice; logits three times in float32, of at most 32,768 words at once.
    rows = slow.recipe.train.batch_size
    assert slow.of("train").memory - fast.of("train").memory == rows * 2 * (64 + 60) * 3 * 4 * 32768


def test_finished_shards_count_with_their_bytes_and_others_by_their_rows(tmp_path: Path) -> None:
    found = estimator(tmp_path, [SMALL] * 6, done=1)
    store = found.steps["candidates"].store
    there = sum(path.stat().st_size for path in (store.part(0), store.dropped_part(0), store.manifest_file(0)))
    # Two shards of four candidates each, with texts of 10 tokens.
    assert found.of("candidates").disk == there + 2 * 5000 + 2 * 4 * (120 + 2 * 10)
    assert found.of("pairs").disk == 3 * 5000 + 6 * (800 + 3 * 2 * 10)
    step = work.training_step(found.recipe, Seen(64, 257), "kosmos-2", 30)
    assert found.of("train").disk == disk.policy(PUBLISHED[KOSMOS], step, found.recipe.train, 1, "bfloat16")


def test_descriptions_of_the_round_before_say_how_long_the_next_ones_are(tmp_path: Path) -> None:
    first = estimator(tmp_path, [SMALL] * 2)
    assert first.answer == 30 / 3
    assert replace(first, told=12.0).answer == 12.0
