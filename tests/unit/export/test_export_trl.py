"""The TRL export: what `datasets` reads back, and that stock TRL trains on it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from datasets import load_dataset
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor
from trl import DPOConfig, DPOTrainer

from spr.errors import DataError, RecipeError
from spr.export.trl import export_trl

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))

from conftest_training import image_root, make_pair, models  # noqa: F401

PAIRS = [make_pair(i) for i in range(4)]


@pytest.fixture(autouse=True)
def _caches(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def test_rows_read_back_are_conversations_of_plain_strings(image_root, tmp_path):  # noqa: F811
    assert export_trl(PAIRS, image_root, tmp_path / "out") == []
    data = load_dataset(str(tmp_path / "out"), split="train")
    row = data[1]
    assert data["pair_id"] == [pair.pair_id for pair in PAIRS]
    assert row["prompt"] == [{"role": "user", "content": PAIRS[1].prompt}]
    assert row["chosen"] == [{"role": "assistant", "content": PAIRS[1].chosen}]
    assert row["rejected"] == [{"role": "assistant", "content": PAIRS[1].rejected}]
    assert [image.size for image in row["images"]] == [(60, 80)]


def test_a_turned_photo_is_stored_upright(tmp_path):
    photo = Image.new("RGB", (60, 80), "red")
    exif = photo.getexif()
    exif[0x0112] = 6
    photo.save(tmp_path / "turned.jpg", exif=exif)
    export_trl([make_pair(0, path="turned.jpg")], tmp_path, tmp_path / "out")
    image = load_dataset(str(tmp_path / "out"), split="train")[0]["images"][0]
    assert image.size == (80, 60)


def test_pairs_without_their_image_are_dropped_by_name(image_root, tmp_path):  # noqa: F811
    dropped = export_trl([*PAIRS, make_pair(9, path="missing.png")], image_root, tmp_path / "out")
    assert [(row.row_id, row.reason) for row in dropped] == [("pair-9", "image_missing")]


def test_nothing_to_write_is_an_error_and_leaves_no_file(image_root, tmp_path):  # noqa: F811
    with pytest.raises(DataError, match="none of 1"):
        export_trl([make_pair(9, path="missing.png")], image_root, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_in_use_is_refused(image_root, tmp_path):  # noqa: F811
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RecipeError, match="is not empty"):
        export_trl(PAIRS, image_root, tmp_path)


def test_stock_dpo_trainer_takes_it_as_it_is(image_root, models, tmp_path):  # noqa: F811
    export_trl(PAIRS, image_root, tmp_path / "out")
    folder = models("llava")
    arguments = DPOConfig(
        str(tmp_path / "trl"),
        max_steps=1,
        per_device_train_batch_size=2,
        max_length=None,
        bf16=False,
        gradient_checkpointing=False,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
    )
    trainer = DPOTrainer(
        model=AutoModelForImageTextToText.from_pretrained(folder),
        ref_model=AutoModelForImageTextToText.from_pretrained(folder),
        args=arguments,
        train_dataset=load_dataset(str(tmp_path / "out"), split="train"),
        processing_class=AutoProcessor.from_pretrained(folder),
    )
    assert trainer.train().training_loss == pytest.approx(0.693147, abs=1e-4)
