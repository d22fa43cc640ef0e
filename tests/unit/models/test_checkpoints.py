"""Weights come out of files as they went in, whichever files they are in."""

from __future__ import annotations

import json
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from spr.errors import ModelError
from spr.models.checkpoints import Checkpoint, listed, write_shards

VALUES = {name: torch.arange(4, dtype=torch.float16) + number for number, name in enumerate("cabde")}


def write(folder: Path, limit: int) -> list[str]:
    write_shards(folder, dict.fromkeys(VALUES, 8), iter(VALUES.items()), limit)
    return sorted(file.name for file in folder.iterdir())


@pytest.mark.parametrize(
    ("limit", "files"),
    [
        (40, ["model.safetensors"]),
        (39, [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]),
        (16, [f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)]),
        (1, [f"model-0000{n}-of-00005.safetensors" for n in (1, 2, 3, 4, 5)]),
    ],
)
def test_shards_hold_at_most_so_many_bytes_and_are_read_back(limit: int, files: list[str], tmp_path: Path) -> None:
    index = [] if len(files) == 1 else ["model.safetensors.index.json"]
    assert write(tmp_path, limit) == [*files, *index]
    read = Checkpoint(tmp_path)
    assert read.files.keys() == VALUES.keys()
    for name, value in VALUES.items():
        assert torch.equal(read.tensor(name), value)
        assert read.shape(name) == (4,)
    if index:
        assert json.loads((tmp_path / index[0]).read_text())["metadata"] == {"total_size": 40}


@pytest.mark.parametrize("mapped", [True, False], ids=["zip", "before 1.6"])
def test_pytorchs_own_shards_are_read(mapped: bool, tmp_path: Path) -> None:
    names = list(VALUES)
    parts = {"pytorch_model-1.bin": names[:2], "pytorch_model-2.bin": names[2:]}
    for file, held in parts.items():
        torch.save({name: VALUES[name] for name in held}, tmp_path / file, _use_new_zipfile_serialization=mapped)
    where = {name: file for file, held in parts.items() for name in held}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": where}))
    read = Checkpoint(tmp_path)
    assert all(torch.equal(read.tensor(name), VALUES[name]) for name in (names[0], names[4], names[1]))
    assert read.shape(names[3]) == (4,)


def test_an_index_reaches_no_file_outside_its_folder(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../../etc/secret.safetensors"}}))
    assert Checkpoint(tmp_path).files == {"a": tmp_path / "secret.safetensors"}
    with pytest.raises(ModelError, match=r"secret\.safetensors cannot be read as weights"):
        Checkpoint(tmp_path).tensor("a")


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"weight_map": 3}'])
def test_a_broken_index_is_said(text: str, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(ModelError, match=r"index\.json cannot be read as weights"):
        Checkpoint(tmp_path)


def test_a_file_cut_short_is_said(tmp_path: Path) -> None:
    write(tmp_path, 40)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(ModelError, match=r"model\.safetensors cannot be read as weights .* fetch it again, whole"):
        Checkpoint(tmp_path)


def test_long_lists_are_counted() -> None:
    assert listed(["b", "a"]) == "a, b"
    assert listed([f"n{number}" for number in range(7)]) == "n0, n1, n2, n3, n4 ... (7 in all)"


@pytest.mark.parametrize("held", [[torch.ones(2)], {"a": 3}, torch.ones(2)], ids=["list", "number", "tensor"])
def test_a_file_of_other_things_than_tensors_by_name_is_said(held: object, tmp_path: Path) -> None:
    torch.save(held, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pytorch_model\.bin cannot be read as weights .*it holds no tensors by name"):
        Checkpoint(tmp_path)


def test_one_files_tensors_are_held_at_a_time(tmp_path: Path) -> None:
    made: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []

    def coming() -> Iterator[tuple[str, torch.Tensor]]:
        for number in range(6):
            value = torch.zeros(4)
            made.append(weakref.ref(value))
            alive.append(sum(one() is not None for one in made))
            yield f"t{number}", value

    write_shards(tmp_path, {f"t{number}": 16 for number in range(6)}, coming(), limit=32)
    assert alive == [1, 2, 1, 2, 1, 2]
