"""`spr doctor` as a command: what it prints, and which options go together."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from PIL import Image

from spr import cli
from spr.doctor import visit

TINY = Path(visit.__file__).parents[1] / "tiny" / "models" / "mllm"


def spr(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["spr", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code


def test_the_command_prints_tables_and_the_path_of_the_sheet(monkeypatch, tmp_path, capsys):
    assert spr(monkeypatch, "doctor", "--out", tmp_path / "new") == 0
    said = capsys.readouterr().out
    sheet = tmp_path / "new" / "dialects.png"
    assert said.splitlines()[-1] == str(sheet)
    assert Image.open(sheet).size[0] > 1000
    for name in ("transformers", "kosmos-2", "bitsandbytes", "llava-onevision (frame: padded)"):
        assert name in said


@pytest.mark.parametrize("option", ["--source", "--dialect", "--limit", "--image-root", "--set"])
def test_the_command_refuses_what_belongs_to_a_model_without_one(monkeypatch, tmp_path, capsys, option):
    assert spr(monkeypatch, "doctor", "--out", tmp_path / "new", option, "10") == 2
    assert f"{option}" in (said := capsys.readouterr().err)
    assert said.endswith("are for a model; name it with --model\n")
    assert not (tmp_path / "new").exists()


def test_the_command_refuses_a_place_for_a_sheet_that_is_not_drawn(monkeypatch, tmp_path, capsys):
    assert spr(monkeypatch, "doctor", "--out", tmp_path / "new", "--model", TINY) == 2
    assert f"--out {tmp_path / 'new'} is for the sheet, which is not drawn for a model" in capsys.readouterr().err


def test_the_command_refuses_a_file_in_the_place_of_the_sheets_folder(monkeypatch, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert spr(monkeypatch, "doctor", "--out", tmp_path / "file") == 2
    assert "name a directory that can be written" in capsys.readouterr().err


def test_the_command_calibrates(monkeypatch, world, capsys):
    assert spr(monkeypatch, "doctor", "--model", TINY, "--source", world / "rec.json", "--dialect", "tiny", "--limit", 4) == 0
    assert "Readings of the same 4 answers" in capsys.readouterr().out
    limits = ("--set", "model.dialect_options.frame=padded")
    assert spr(monkeypatch, "doctor", "--model", TINY, "--source", world / "rec.json", "--dialect", "tiny", *limits) == 2
    assert "dialect tiny: unknown option frame" in capsys.readouterr().err
