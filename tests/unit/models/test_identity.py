"""The identity of a model changes with its content, and with nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from spr.errors import ModelError
from spr.models import identity as identities
from spr.models.identity import directory_digest, identity


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "clip"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 4)
    return folder


def test_other_weights_under_the_same_path_are_another_model(checkpoint: Path) -> None:
    before = directory_digest(checkpoint)
    (checkpoint / "model.safetensors").write_bytes(bytes(range(256)) * 3 + bytes(256))
    assert directory_digest(checkpoint) != before


def test_processor_settings_count(checkpoint: Path) -> None:
    before = directory_digest(checkpoint)
    (checkpoint / "preprocessor_config.json").write_text('{"max_pixels": 1}')
    assert directory_digest(checkpoint) != before


def test_readme_hidden_files_and_place_do_not_count(checkpoint: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / "clip"
    shutil.copytree(checkpoint, copy)
    (copy / "README.md").write_text("words")
    (copy / ".cache").mkdir()
    (copy / ".cache" / "x.json").write_text("{}")
    assert identity(str(copy)) == identity(str(checkpoint))


def test_a_large_file_is_sampled_at_its_ends_and_between(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identities, "WHOLE_BELOW", 1024)
    size = 32 * 2**20
    digests = set()
    for changed in (None, 0, size // 2, size - 1):
        data = bytearray(size)
        if changed is not None:
            data[changed : changed + 2**17] = b"\1" * len(data[changed : changed + 2**17])
        (checkpoint / "model.safetensors").write_bytes(data)
        digests.add(directory_digest(checkpoint))
    assert len(digests) == 4


def test_a_hub_name_is_named_with_its_revision() -> None:
    assert identity("openai/clip-vit-base-patch32", "abc") == "openai/clip-vit-base-patch32@abc"
    assert identity("openai/clip-vit-base-patch32") == "openai/clip-vit-base-patch32@main"


def test_a_directory_without_model_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model files"):
        identity(str(tmp_path))
