"""Pairs, photos and recipes for training tests on tiny random models."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import tiny_random
from spr.recipe import Recipe, check_recipe
from spr.records import PreferencePair
from spr.training.features import Images

FAMILIES = ("llava", "llava_onevision", "qwen2_5_vl")
"""What every test of batches and jobs is tried on."""
SHARING = (*FAMILIES, "qwen2_vl", "qwen3_vl", "internvl", "cogvlm", "ferret")
"""Families whose two answers are computed in one row."""
TRAINABLE = (*SHARING, "kosmos2", "paligemma")
WORDS = ["a red circle", "the bench", "a person", "the blue square", "next to", "a dog"]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folders of tiny random models by family, built once."""
    root = tmp_path_factory.mktemp("models")

    def build(family: str) -> Path:
        folder = root / family
        if not folder.exists():
            half = root / f"{family}.half"
            shutil.rmtree(half, ignore_errors=True)
            half.mkdir()
            getattr(tiny_random, f"build_{family}")(half)
            half.rename(folder)
        return folder

    return build


@pytest.fixture(scope="session")
def image_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight photos of noise, 80 x 60 pixels and 60 x 80 pixels in turn."""
    root = tmp_path_factory.mktemp("images")
    for i in range(8):
        pixels = np.random.default_rng(i).integers(0, 255, (60, 80, 3) if i % 2 == 0 else (80, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{i}.png")
    return root


def make_pair(i: int, chosen: str | None = None, rejected: str | None = None, path: str | None = None) -> PreferencePair:
    """The i-th of endlessly many pairs; its texts differ in length from those of others."""
    words = [WORDS[(i + j) % len(WORDS)] for j in range(2 + i % 4)]
    width, height = (80, 60) if i % 2 == 0 else (60, 80)
    return PreferencePair(
        pair_id=f"pair-{i}",
        query_id=f"query-{i}",
        image_id=f"image-{i % 8}",
        path=path or f"{i % 8}.png",
        width=width,
        height=height,
        region=(0.0, 0.0, 40.0, 40.0),
        objects=(),
        prompt=f"describe the region [0, 0, {40 + i}, 40]",
        chosen=" ".join(f"{w} [{i}, 2, 30, 40]" for w in words) if chosen is None else chosen,
        chosen_unrefined="",
        rejected=" ".join(words) if rejected is None else rejected,
        chosen_k=0,
        rejected_k=1,
        chosen_score=0.9,
        refined_score=0.9,
        rejected_score=0.1,
        chosen_localization=0.9,
        refined_localization=0.9,
        rejected_localization=0.1,
        margin=0.8,
        refined=1,
        stripped=0,
        model="tiny",
    )


def rows_of(model, batch):
    """A batch of preferences as the fields of a plain forward over its 2B rows, each with features of its image."""
    shown = Images(batch["images"], batch["layout"].sizes, reused=True).inputs(model, batch["layout"].image_of * 2)
    regions = {name: torch.cat([value] * 2) for name, value in batch.get("regions", {}).items()}
    return {name: batch[name] for name in batch.keys() - {"images", "layout", "regions"}} | shown | regions


def make_recipe(model: Path, **train: object) -> Recipe:
    """A recipe that trains `model` in float32, two pairs an update; `train` overrides."""
    values = {
        "dtype": "float32",
        "gradient_checkpointing": False,
        "batch_size": 2,
        "gradient_accumulation": 1,
        "max_steps": 2,
        "learning_rate": 1e-2,
        "warmup_ratio": 0.0,
        "scheduler": "linear",
        **({} if train.get("method") == "full" else {"lora": {"r": 4, "alpha": 8}}),
        **train,
    }
    return check_recipe(
        {
            "source": {"annotations": "unused.json", "image_root": "."},
            "model": {"name": str(model), "dialect": "ferret"},
            "score": {"weight": 0.0, "localization": {"preset": "annotations_only"}},
            "train": values,
        },
        "test",
    )
