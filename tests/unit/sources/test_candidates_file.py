"""Reading a user's own generations: every line counts, and a bad one is named."""

from __future__ import annotations

import pytest

from spr.errors import DataError
from spr.sources.candidates_file import ImportedText, read_candidates_file

GOOD = b'{"query_id": "q1", "text": "a dog", "model": "m"}\n'


def test_reads_texts_by_query_in_order(tmp_path):
    path = tmp_path / "texts.jsonl"
    path.write_bytes(GOOD + b"\n" + '{"query_id": "q1", "text": "zwei Vögel", "model": "n", "finish_reason": "stop"}'.encode())
    found = read_candidates_file(path)
    assert found.rows == {"q1": (ImportedText("a dog", "m", "imported"), ImportedText("zwei Vögel", "n", "stop"))}
    assert len(found.digest) == 64


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"query_id": "q1", "text": "a d', ":2: not valid json"),
        (b"\xff\xfe", ":2: not valid json"),
        (b'{"query_id": "q1", "text": "\\ud800", "model": "m"}', ":2: not valid json"),
        (b"[1, 2]", ":2: holds list"),
        (b'{"query_id": "q1", "model": "m"}', ":2: text is missing"),
        (b'{"text": "a", "model": "m"}', ":2: query_id is missing"),
        (b'{"query_id": 7, "text": "a", "model": "m"}', ":2: query_id is 7"),
        (b'{"query_id": "", "text": "a", "model": "m"}', ':2: query_id is ""; it must be a text, not empty'),
        (b'{"query_id": "q1", "text": null, "model": "m"}', ":2: text is null"),
        (b'{"query_id": "q1", "text": "a", "model": "m", "score": 1}', ":2: unknown key score"),
        (b'{"query_id": "q1", "text": "a", "model": "m", "finish_reason": "tired"}', ":2: finish_reason is 'tired'"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(tmp_path, line, said):
    path = tmp_path / "texts.jsonl"
    path.write_bytes(GOOD + line + b"\n" + GOOD)
    with pytest.raises(DataError) as caught:
        read_candidates_file(path)
    assert f"{path}{said}" in str(caught.value)


def test_an_empty_text_is_a_text(tmp_path):
    path = tmp_path / "texts.jsonl"
    path.write_bytes(b'{"query_id": "q1", "text": "", "model": "m"}')
    assert read_candidates_file(path).rows["q1"][0].text == ""


def test_a_file_without_rows_and_no_file_at_all(tmp_path):
    (tmp_path / "empty.jsonl").write_bytes(b"\n\n")
    with pytest.raises(DataError, match="holds no rows"):
        read_candidates_file(tmp_path / "empty.jsonl")
    with pytest.raises(DataError, match="No such file"):
        read_candidates_file(tmp_path / "missing.jsonl")
