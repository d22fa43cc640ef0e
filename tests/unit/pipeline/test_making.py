"""Where a run's training runs: on the device of its recipe, unless a launcher gave the process a GPU."""

from __future__ import annotations

import pytest
import torch

from spr.pipeline.making import _own_device
from spr.recipe import check_recipe


@pytest.mark.parametrize(
    ("devices", "environment", "device"),
    [
        (["cuda:1"], {}, "cuda:1"),
        (["cuda:1", "cuda:2"], {"LOCAL_RANK": "3", "RANK": "11", "WORLD_SIZE": "16"}, "cuda:3"),
        (["cuda:1"], {"LOCAL_RANK": "0", "RANK": "0", "WORLD_SIZE": "1"}, "cuda:0"),
        (["cpu"], {"LOCAL_RANK": "1", "RANK": "1", "WORLD_SIZE": "2"}, "cpu"),
    ],
)
def test_a_launcher_chooses_the_gpu(
    devices: list[str], environment: dict[str, str], device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    recipe = check_recipe(
        {
            "source": {"annotations": "none.json", "image_root": "none"},
            "model": {"name": "/nowhere/model", "dialect": "ferret"},
            "score": {"weight": 0, "localization": {"preset": "annotations_only"}},
            "resources": {"devices": devices},
        },
        "test",
    )
    assert _own_device(recipe) == device
