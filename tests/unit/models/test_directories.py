"""A new directory is whole, or nothing is left of it, whoever else wants the place."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from spr.errors import ModelError, RecipeError
from spr.models.directories import free, new_directory


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fill(place: Path) -> None:
    with new_directory(free(place)) as partial:
        (partial / "config.json").write_text("{}")
        (partial / "weights").write_text("1")


def test_it_appears_whole_with_the_folders_above_it_and_nothing_beside_it(tmp_path: Path) -> None:
    with new_directory(free(tmp_path / "a" / "out")) as partial:
        (partial / "weights").write_text("1")
        assert not (tmp_path / "a" / "out").exists()
        assert partial.parent.name.startswith(".out.")
    assert names(tmp_path / "a") == ["out"]
    assert names(tmp_path / "a" / "out") == ["weights"]
    (tmp_path / "usual").mkdir()
    assert (tmp_path / "a" / "out").stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize("there", [True, False], ids=["an empty folder", "no folder"])
def test_what_fails_leaves_nothing(there: bool, tmp_path: Path) -> None:
    place = tmp_path / "out"
    if there:
        place.mkdir()

    def fail() -> None:
        with new_directory(free(place)) as partial:
            (partial / "weights").write_text("1")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert names(tmp_path) == (["out"] if there else [])
    assert not there or names(place) == []


def test_an_empty_folder_is_filled_where_it_is_also_as_a_dot_or_through_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("here", "far"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "far")
    before = (tmp_path / "here").stat().st_ino
    monkeypatch.chdir(tmp_path / "here")
    fill(Path())
    assert names(Path()) == ["config.json", "weights"]
    assert Path().stat().st_ino == before  # still the folder that a shell stands in
    fill(tmp_path / "link")
    assert names(tmp_path / "far") == ["config.json", "weights"]
    assert (tmp_path / "link").is_symlink()


def test_a_folder_of_the_users_beside_it_stays(tmp_path: Path) -> None:
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "mine").touch()
    fill(tmp_path / "out")
    assert names(tmp_path / "out.partial") == ["mine"]


def test_of_two_at_a_time_the_first_to_finish_stays_whole(tmp_path: Path) -> None:
    place = free(tmp_path / "out")

    def second() -> None:
        with new_directory(place) as slow:
            (slow / "weights").write_text("2")
            fill(place)
            assert (slow / "weights").read_text() == "2"

    with pytest.raises(ModelError, match="out cannot be written: Directory not empty"):
        second()
    assert names(tmp_path) == ["out"]
    assert (place / "weights").read_text() == "1"


def test_files_and_full_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RecipeError, match="file is a file; name a new directory"):
        free(tmp_path / "file")
    with pytest.raises(RecipeError, match="is not empty; name a new directory"):
        free(tmp_path)
    with pytest.raises(ModelError, match=r"out cannot be written: (Not a directory|File exists)"):
        fill(tmp_path / "file" / "out")


def test_a_full_disk_is_one_sentence_whichever_library_writes(tmp_path: Path) -> None:
    code = (
        "import resource, sys, torch; from pathlib import Path\n"
        "from spr.errors import SprError; from spr.models.checkpoints import write_shards\n"
        "from spr.models.directories import free, new_directory\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "weights = lambda folder: write_shards(folder, {'w': 4000}, [('w', torch.zeros(1000))])\n"
        "text = lambda folder: (folder / 'a').write_text('a' * 4000)\n"
        "for write in (weights, text):\n"
        "    try:\n"
        "        with new_directory(free(Path(sys.argv[1]))) as folder:\n            write(folder)\n"
        "    except SprError as error:\n        print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "out")], capture_output=True, text=True, check=True)
    of_weights, of_text = done.stdout.splitlines()
    for said in (of_weights, of_text):
        assert said.startswith(f"{tmp_path / 'out'} cannot be written: ")
        assert "File too large" in said
        assert said.endswith("give the same command again, nothing of it was kept")
    assert names(tmp_path) == []
