"""The small parts: the order of pairs, the log, the key."""

from __future__ import annotations

import json

import pytest
from conftest_training import make_pair, make_recipe

from spr.errors import ResumeError
from spr.recipe_train import Train
from spr.training import manifest
from spr.training.log import cut_log, quarters, read_log
from spr.training.order import stream, updates, warmup

IDS = ["a", "b", "c", "d", "e"]


def test_every_epoch_of_the_stream_holds_every_pair_once():
    order = stream(IDS, 0, 12)
    assert sorted(order[:5]) == sorted(order[5:10]) == [0, 1, 2, 3, 4]
    assert order[:5] != order[5:10]


def test_a_longer_stream_begins_like_a_shorter_one_and_a_seed_changes_it():
    assert stream(IDS, 0, 12)[:7] == stream(IDS, 0, 7)
    assert stream(IDS, 0, 10) != stream(IDS, 1, 10)


def test_updates_fill_up_the_last_batch():
    # 10 pairs in batches of 2 x 2: 2.5 updates, so 3; two epochs: 5.
    assert updates(10, Train(batch_size=2, gradient_accumulation=2)) == 3
    assert updates(10, Train(batch_size=2, gradient_accumulation=2, epochs=2.0)) == 5
    assert updates(10, Train(batch_size=2, gradient_accumulation=2, max_steps=7)) == 7


def test_warm_up_is_a_share_of_the_updates():
    assert warmup(100, Train(warmup_ratio=0.03)) == 3


def test_a_log_is_cut_at_the_checkpoint_and_a_half_line_is_left_out(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps({"step": step}) + "\n" for step in (1, 2, 3)) + '{"step": 4, "lo')
    assert [line["step"] for line in read_log(path)] == [1, 2, 3]
    cut_log(path, 2)
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'


def test_quarters_compare_the_beginning_with_the_end():
    lines = [{"x": float(x)} for x in (8, 6, 5, 5, 5, 5, 2, 0)]
    assert quarters(lines, lambda line: line["x"]) == (7.0, 1.0)
    assert quarters(lines[:1], lambda line: line["x"]) == (8.0, 8.0)


def test_the_key_hears_what_changes_the_adapter_and_nothing_else(models):
    pairs = [make_pair(i) for i in range(3)]
    recipe = make_recipe(models("llava"))

    def key(pairs, recipe):
        return manifest.key(manifest.key_parts(pairs, recipe))

    base = key(pairs, recipe)
    assert key(pairs[::-1], recipe) == base
    assert key(pairs, make_recipe(models("llava"), save_steps=7)) == base
    assert key(pairs, make_recipe(models("llava"), beta=0.2)) != base
    assert key([*pairs[:2], make_pair(2, chosen="other")], recipe) != base


def test_a_manifest_of_something_else_is_refused(tmp_path):
    (tmp_path / "manifest.json").write_text('{"stage": "pairs"}')
    with pytest.raises(ResumeError, match="not a manifest of a training"):
        manifest.read_manifest(tmp_path)
