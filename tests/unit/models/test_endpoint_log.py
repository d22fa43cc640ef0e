"""The log of requests: what was answered is found again, what was torn is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spr.errors import ModelError
from spr.models.base import Generation
from spr.models.endpoint_log import RequestLog

DOG, CAT = Generation("a dog", "stop", 5, 2), Generation("a cat \N{CAT}", "length", 5, 3)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "requests" / "candidates.jsonl"


def test_answers_are_found_by_their_key(path: Path) -> None:
    log = RequestLog(path)
    log.add("one", {"prompt": "what ?"}, [DOG, CAT])
    again = RequestLog(path)
    assert again.find("one") == [DOG, CAT]
    assert again.find("two") is None
    assert json.loads(path.read_text())["prompt"] == "what ?"


@pytest.mark.parametrize("kept", [1, 20, -2])
def test_a_torn_last_line_is_passed_over_and_the_next_one_stands_alone(path: Path, kept: int) -> None:
    log = RequestLog(path)
    log.add("one", {}, [DOG])
    whole = path.read_bytes()
    log.add("two", {}, [CAT])
    path.write_bytes(path.read_bytes()[: len(whole) + kept if kept > 0 else kept])
    torn = RequestLog(path)
    assert (torn.find("one"), torn.find("two")) == ([DOG], None)
    torn.add("three", {}, [CAT])
    torn.add("four", {}, [DOG])
    again = RequestLog(path)
    assert [again.find(key) for key in ("one", "two", "three", "four")] == [[DOG], None, [CAT], [DOG]]


def test_a_log_knows_who_answered_before(path: Path) -> None:
    log = RequestLog(path)
    log.add("one", {"model": "base"}, [DOG])
    assert not log.knows("base")
    again = RequestLog(path)
    assert (again.knows("base"), again.knows("tuned")) == (True, False)


def test_without_a_path_nothing_is_kept(tmp_path: Path) -> None:
    RequestLog(None).add("one", {}, [DOG])
    assert list(tmp_path.iterdir()) == []


def test_a_log_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "requests").write_text("a file where a folder should be")
    with pytest.raises(ModelError, match=r"candidates\.jsonl cannot be written: .*give the same command again"):
        RequestLog(tmp_path / "requests" / "candidates.jsonl").add("one", {}, [DOG])


def test_a_log_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read: Is a directory; mend it, or delete it to ask again"):
        RequestLog(tmp_path)
