"""docs/models.md says what runs, and every word of it has a test of that name, for that family."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

TESTS = Path(__file__).parents[2]
PAGE = (TESTS.parent / "docs" / "models.md").read_text(encoding="utf-8")
SECTION = re.split(r"^## ", PAGE.split("## What runs", 1)[1], flags=re.MULTILINE)[0]
HEAD, *ROWS = re.findall(r"^\| (.+) \|$", SECTION, re.MULTILINE)


def module(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(path).stem, TESTS / path)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def cells() -> dict[str, dict[str, str]]:
    names = HEAD.split(" | ")
    rows = [dict(zip(names, row.split(" | "), strict=True)) for row in ROWS]
    return {row["family"].strip("`"): row for row in rows}


def test_every_test_that_is_named_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", SECTION))
    sources = "\n".join(path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py"))
    assert len(named) > 10
    assert sorted(name for name in named if f"def {name}(" not in sources) == []


def test_the_families_and_their_dialects_are_those_that_are_tested() -> None:
    tested = module("unit/models/test_families.py")
    assert {family: re.sub("[`¹]", "", row["dialect"]) for family, row in cells().items()} == {
        family: dialect for family, (dialect, _) in tested.FAMILIES.items()
    }
    shared = {"_continued": "all up to the image", "_repeated": "the whole prompt", "_decoded": "the encoder's outputs"}
    for family, row in cells().items():
        assert row["the K answers of a prompt share"] == shared[tested.WAYS.get(family, "_continued")]


def test_the_families_that_train_are_those_that_are_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TESTS))
    tested = module("unit/training/conftest_training.py")
    assert {family for family, row in cells().items() if row["train"].startswith("yes")} == set(tested.TRAINABLE)
    unshared = {family for family, row in cells().items() if row["train"] == "yes³"}
    assert unshared == set(tested.TRAINABLE) - set(tested.SHARING)
