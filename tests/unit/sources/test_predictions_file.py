from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spr.errors import DataError
from spr.items import Answer
from spr.record_tables import to_table
from spr.records import Prediction, Scene
from spr.running.shards import parquet_bytes
from spr.sources.predictions_file import Given, read_predictions


def lines(path: Path, *rows: Any) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8")
    return path


def written(path: Path, rows: list[Any], record: type[Any], **said: str) -> Path:
    path.write_bytes(parquet_bytes(rows, record, said))
    return path


def prediction(item_id: str, task: str = "rec", **fields: Any) -> Prediction:
    given = {"answer": "it [1, 2, 3, 4]", "box": (1.0, 2.0, 3.0, 4.0), "status": "ok", "iou": 0.5, "payload": {"cut_off": 0.0}}
    return Prediction(task, item_id, "image", **(given | fields))


def test_texts_and_boxes_are_taken_word_for_word_and_other_keys_are_not_looked_at(tmp_path: Path) -> None:
    file = lines(
        tmp_path / "a.jsonl",
        {"item_id": "a", "answer": " it\n[1] ", "image": "1.jpg"},
        "",
        {"item_id": 7, "box": [1, 2.5, 3, -4]},
        {"item_id": "none", "box": None},
        {"item_id": "empty", "answer": ""},
    )
    found = read_predictions(file, "rec")
    assert list(found.rows.values()) == [
        Given("a", " it\n[1] ", None, "stop", f"{file}:1"),
        Given("7", "", (1.0, 2.5, 3.0, -4.0), "stop", f"{file}:3"),
        Given("none", "", None, "stop", f"{file}:4"),
        Given("empty", "", None, "stop", f"{file}:5"),
    ]
    assert found.digest == hashlib.sha256(file.read_bytes()).hexdigest()
    assert (found.protocol, found.of_run) == (None, False)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "1" + "0" * 400])
def test_numbers_that_no_float_holds_are_read(number: str, tmp_path: Path) -> None:
    file = lines(tmp_path / "a.jsonl", f'{{"item_id": "a", "box": [{number}, 0, 1, 1]}}')
    box = read_predictions(file, "rec").rows["a"].box
    assert box is not None
    assert not math.isfinite(box[0])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"item_id": "b", "box": [1, 2, 3]}', r":2 has box \[1, 2, 3\]; it must be four numbers \[x0, y0, x1, y1\]"),
        ('{"item_id": "b", "box": [1, 2, 3, 4, 5]}', ":2 has box .* four numbers"),
        ('{"item_id": "b", "box": [1, 2, 3, "4"]}', ":2 has box .* four numbers"),
        ('{"item_id": "b", "box": [1, 2, 3, true]}', ":2 has box .* four numbers"),
        ('{"item_id": "b", "box": {"x": 1}}', ":2 has box .* four numbers"),
        ('{"item_id": "b"}', ":2 has no answer; each line is one object with item_id and answer, or item_id and box"),
        ('{"item_id": "b", "answer": "x", "box": [1, 2, 3, 4]}', ":2 has both answer and box"),
        ('{"item_id": "b", "answer": null}', ":2 has answer None; it must be a text, which may be empty"),
        ('{"item_id": "b", "answer": ["x"]}', r":2 has answer \['x'\]"),
        ('{"item_id": "b", "answer": "\\ud800"}', ":2 has answer"),
        ('{"item_id": null, "answer": "x"}', ":2 has item_id None"),
        ('{"question_id": 1, "answer": "x"}', ":2 has no item_id"),
        ('{"item_id": "a", "answer": "first"}', r":2 answers a again, after .*:1; an item has one answer"),
        ('{"item_id": "a", "answer": "fir', ":2 is cut off"),
        ("[1]", ":2 holds list"),
    ],
)
def test_a_line_that_is_not_as_promised_is_named(line: str, said: str, tmp_path: Path) -> None:
    file = lines(tmp_path / "a.jsonl", {"item_id": "a", "answer": "first"}, line)
    with pytest.raises(DataError, match=said):
        read_predictions(file, "rec")


def test_a_file_that_is_no_such_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_predictions(tmp_path / "none.jsonl", "rec")
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(DataError, match="is empty"):
        read_predictions(tmp_path / "empty.jsonl", "rec")
    (tmp_path / "latin.jsonl").write_bytes('{"item_id": "a", "answer": "caf\xe9"}\n'.encode("latin-1"))
    with pytest.raises(DataError, match=r"latin\.jsonl:1 .*utf-8"):
        read_predictions(tmp_path / "latin.jsonl", "rec")
    (tmp_path / "list.json").write_text('[{"item_id": "a", "answer": "x"}]')
    with pytest.raises(DataError, match="is one json document"):
        read_predictions(tmp_path / "list.json", "rec")
    with pytest.raises(DataError, match="holds no parquet files"):
        read_predictions(tmp_path, "rec")


def test_a_runs_predictions_are_its_answers_again(tmp_path: Path) -> None:
    rows = [prediction("a"), prediction("b", answer="cut [1,", box=None, status="unreadable", payload={"cut_off": 1.0})]
    found = read_predictions(written(tmp_path / "p.parquet", rows, Prediction, **{"spr.protocol": "ferret"}), "rec")
    assert [row.answer for row in found.rows.values()] == [Answer("a", "it [1, 2, 3, 4]"), Answer("b", "cut [1,", "length")]
    assert [row.box for row in found.rows.values()] == [None, None]
    assert (found.protocol, found.of_run) == ("ferret", True)


def test_boxes_that_came_without_a_text_are_boxes_again(tmp_path: Path) -> None:
    rows = [
        prediction("box", answer=""),
        prediction("bad", answer="", box=None, status="unreadable"),
        prediction("none", answer="", box=None, status="none"),
    ]
    found = read_predictions(written(tmp_path / "p.parquet", rows, Prediction), "rec").rows
    assert found["box"].box == (1.0, 2.0, 3.0, 4.0)
    assert found["bad"].box is not None
    assert math.isnan(found["bad"].box[0])
    assert found["none"].box is None


def test_the_phrases_of_a_sentence_are_one_answer(tmp_path: Path) -> None:
    def phrases(*rows: tuple[str, str]) -> Path:
        made = [prediction(item_id, "phrase_grounding", answer=text) for item_id, text in rows]
        return written(tmp_path / "p.parquet", made, Prediction)

    found = read_predictions(phrases(("1#x-3#0", "said"), ("1#x-3#1", "said"), ("2-0#0", "")), "phrase_grounding").rows
    assert {name: row.text for name, row in found.items()} == {"1#x-3": "said", "2-0": ""}
    with pytest.raises(DataError, match=r"row 1 has item_id 1#1 and another answer than .*row 0"):
        read_predictions(phrases(("1#0", "said"), ("1#1", "other")), "phrase_grounding")
    with pytest.raises(DataError, match="row 1 answers 1#0 again"):
        read_predictions(phrases(("1#0", "said"), ("1#0", "said")), "phrase_grounding")


def test_the_parts_of_a_run_are_read_together(tmp_path: Path) -> None:
    first = written(tmp_path / "part-00000.parquet", [Answer("a", "x"), Answer("b", "y", "length")], Answer)
    written(tmp_path / "part-00001.parquet", [Answer("c", "z")], Answer)
    (tmp_path / "part-00000.json").write_text("{}")
    both = read_predictions(tmp_path, "pope")
    assert [row.answer for row in both.rows.values()] == [Answer("a", "x"), Answer("b", "y", "length"), Answer("c", "z")]
    assert both.protocol is None
    assert both.of_run
    assert list(read_predictions(first, "pope").rows) == ["a", "b"]
    written(tmp_path / "part-00002.parquet", [Answer("a", "x")], Answer)
    with pytest.raises(DataError, match=r"part-00002.parquet: row 0 answers a again, after .*part-00000.parquet: row 0"):
        read_predictions(tmp_path, "pope")


def test_a_folder_of_predictions_by_two_protocols_is_refused(tmp_path: Path) -> None:
    for name, protocol in (("a", "plain"), ("b", "ferret")):
        written(tmp_path / f"{name}.parquet", [prediction(name)], Prediction, **{"spr.protocol": protocol})
    with pytest.raises(DataError, match="holds predictions by several protocols; name one of its files"):
        read_predictions(tmp_path, "rec")
    assert read_predictions(tmp_path / "b.parquet", "rec").protocol == "ferret"


def test_parquet_of_another_task_kind_or_version_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path / "p.parquet", [prediction("a", "pope")], Prediction)
    with pytest.raises(DataError, match="row 0 is a prediction of pope, and --task names rec"):
        read_predictions(file, "rec")
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DataError, match="cannot be read"):
        read_predictions(file, "rec")
    written(file, [Scene("1", "1.jpg", 1, 1, ())], Scene)
    with pytest.raises(DataError, match="is parquet, but no answers or predictions of spr"):
        read_predictions(file, "rec")
    answers = to_table([Answer("a", "x")], Answer)
    pq.write_table(answers.replace_schema_metadata({**answers.schema.metadata, b"spr.schema_version": b"0"}), file)
    with pytest.raises(DataError, match="schema version 0"):
        read_predictions(file, "rec")
    pq.write_table(answers.drop_columns("prompt_tokens").replace_schema_metadata(answers.schema.metadata), file)
    with pytest.raises(DataError, match="or altered ones"):
        read_predictions(file, "rec")
    pq.write_table(pa.table({"item_id": ["a"], "text": ["x"]}), file)
    with pytest.raises(DataError, match="give those of another tool as json lines"):
        read_predictions(file, "rec")
    written(file, [], Answer)
    with pytest.raises(DataError, match="holds no rows"):
        read_predictions(file, "rec")
