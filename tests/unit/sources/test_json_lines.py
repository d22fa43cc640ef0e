"""Json lines: one object a line, and a sentence with the line for whatever is not."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from spr.errors import DataError
from spr.sources.json_lines import holds_json_lines, read_json_lines


def written(folder: Path, raw: bytes) -> Path:
    (folder / "lines.jsonl").write_bytes(raw)
    return folder / "lines.jsonl"


def test_lines_are_counted_from_one_and_blank_ones_are_passed_over(tmp_path: Path) -> None:
    raw = b'\xef\xbb\xbf{"a": 1}\r\n\n  \n{"a": "x\xc3\xa9"}'
    path = written(tmp_path, raw)
    rows, digest = read_json_lines(path, ["a"])
    assert [(row.where, row.values) for row in rows] == [(f"{path}:1", {"a": 1}), (f"{path}:4", {"a": "xé"})]
    assert digest == hashlib.sha256(raw).hexdigest()


def test_an_id_is_a_text_or_a_whole_number(tmp_path: Path) -> None:
    rows, _ = read_json_lines(written(tmp_path, b'{"a": 1}\n{"a": "x"}\n{"a": true}\n{"a": 1.0}\n{"a": ""}'), ["a"])
    assert [row.identity("a") for row in rows[:2]] == ["1", "x"]
    for row in rows[2:]:
        with pytest.raises(DataError, match=r"lines.jsonl:\d has a .*; it must be an id, a whole number or a text"):
            row.identity("a")


def test_a_text_and_an_id_are_shown_short_however_long_they_are(tmp_path: Path) -> None:
    (row,), _ = read_json_lines(written(tmp_path, b'{"a": 1%s, "b": [%s0]}' % (b"0" * 4000, b"7, " * 999)), ["a", "b"])
    for key, check in (("a", row.identity), ("b", row.text)):
        with pytest.raises(DataError, match=rf"lines.jsonl:1 has {key} .*; it must be") as caught:
            check(key)
        assert len(str(caught.value)) < len(str(tmp_path)) + 200


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "is empty (0 bytes)"),
        (b" \n\n", "is empty (3 bytes)"),
        (b'{"a": 1, "b": 2}\n{"a": "b', ":2 is cut off ("),
        (b'{"a": 1, "b": 2}\n{"a" 1}\n{"a": 1}', ":2 is not valid json ("),
        (b'{"a": 1, "b": 2}\n{"a": "\xff"}', ":2 is not valid json ("),
        (b'{"a": 1, "b": 2}\n["a"]', ":2 holds list; each line is one object with a, b"),
        (b'{"a": 1, "b": 2}\n{"a": 1}', ":2 has no b; each line is one object with a, b"),
        (b'[{"a": 1, "b": 2}]', "is one json document (list), not json lines; each line is one object with a, b"),
        (b'{\n "a": 1,\n "b": 2\n}', "is one json document (dict), not json lines"),
        (b"[" * 100_000, ":1 is cut off ("),
    ],
)
def test_what_is_no_such_file_is_one_sentence(tmp_path: Path, raw: bytes, said: str) -> None:
    with pytest.raises(DataError) as caught:
        read_json_lines(written(tmp_path, raw), ["a", "b"])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.jsonl: No such file"):
        read_json_lines(tmp_path / "none.jsonl", [])


@pytest.mark.parametrize(
    ("raw", "lines"), [(b'{"a": 1}\n{"a": 2}\n', True), (b'{"a": 1}\n', False), (b'{\n"a": 1}', False), (b"", False)]
)
def test_two_objects_tell_json_lines_from_one_json(tmp_path: Path, raw: bytes, lines: bool) -> None:
    assert holds_json_lines(written(tmp_path, raw)) is lines
