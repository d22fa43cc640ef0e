"""Predictions that are there already, through the command line: what is known beforehand of each comes out to the digit.

The recipe names a model that does not exist: nothing may look for it. Photos are 200 x 100 pixels, so that Ferret's
thousandths name every pixel exactly.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from spr import cli
from spr.models import dialects

WIDTHS = (100, 60, 28, 20, 14, 8)
"""Of the six objects. Shifted by 4 pixels, one keeps IoU (w - 4) / (w + 4): 0.923, 0.875, 0.75, 0.667, 0.556, 0.333."""
SIZE = (200, 100)
FERRET = dialects.get("ferret")
TASKS = ("rec", "phrase_grounding", "pope", "gqa", "textvqa", "region_description")
THRESHOLDS = ("0.5", "0.6", "0.7", "0.8", "0.9")
Answers = list[dict[str, Any]]
Eval = Callable[..., int]


def write_lines(path: Path, rows: Answers) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def answer(item_id: str, text: str) -> dict[str, Any]:
    return {"item_id": item_id, "answer": text}


def boxes(shift: float = 0.0) -> Answers:
    return [{"item_id": f"{n}-0", "box": [40 + shift, 20, 40 + shift + width, 70]} for n, width in enumerate(WIDTHS)]


def _expressions() -> list[dict[str, Any]]:
    return [
        {
            "img_id": str(n),
            "sents": f"the number {n} object of {width} pixels",
            "bbox": [40, 20, width, 50],
            "width": 200,
            "height": 100,
            "file_name": f"{n}.jpg",
        }
        for n, width in enumerate(WIDTHS)
    ]


def _sentences() -> dict[str, Any]:
    """Two sentences `a dog by a cup`, a box a phrase."""
    images, annotations = [], []
    for n in range(2):
        spans = [[0, 5], [9, 14]]
        images.append(
            {
                "id": n,
                "file_name": f"{n}.jpg",
                "original_img_id": 700 + n,
                "sentence_id": 3,
                "width": "200",
                "height": "100",
                "caption": "a dog by a cup",
                "tokens_positive_eval": [[span] for span in spans],
            }
        )
        for place, span in enumerate(spans):
            box = [20 + 80 * place, 10, 60, 50]
            annotations.append({"id": 2 * n + place, "image_id": n, "bbox": box, "tokens_positive": [span]})
    return {"images": images, "annotations": annotations, "categories": []}


def _instances() -> dict[str, Any]:
    """Four objects on each of two photos."""
    annotations = [
        {"id": 4 * n + k, "image_id": n, "category_id": k, "bbox": [10 + 40 * k, 10 * (k + 1), 30, 40], "iscrowd": 0}
        for n in range(2)
        for k in range(4)
    ]
    return {
        "images": [{"id": n, "file_name": f"{n}.jpg", "width": 200, "height": 100} for n in range(2)],
        "annotations": annotations,
        "categories": [{"id": k, "name": name} for k, name in enumerate(("cup", "dog", "kite", "boat"))],
    }


def _perfect(task: str) -> Answers:
    """What a predictor says that is never wrong."""
    if task == "rec":
        return boxes()
    if task == "phrase_grounding":
        said = " ".join(f"{FERRET.ground(name, (x, 10, x + 60, 60), SIZE)}." for name, x in (("a dog", 20), ("a cup", 100)))
        return [answer("700-3", said), answer("701-3", said)]
    if task == "pope":
        return [answer(str(n), "yes" if n % 2 else "no") for n in range(4)]
    if task == "gqa":
        return [answer("q1", "left"), answer("q2", "blue")]
    if task == "textvqa":
        return [answer("31", "stop"), answer("32", "main street")]
    return [answer(str(n), row["sents"]) for n, row in enumerate(_expressions())]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("given")
    (folder / "images").mkdir()
    for n in range(len(WIDTHS)):
        Image.new("RGB", SIZE, "white").save(folder / "images" / f"{n}.jpg")
    texts = {"31": "stop", "32": "main street"}
    files = {
        "rec": _expressions(),
        "phrase_grounding": _sentences(),
        "gqa": {
            "q1": {"imageId": "0", "question": "Which side?", "answer": "left"},
            "q2": {"imageId": "1", "question": "Which colour?", "answer": "blue"},
        },
        "textvqa": {
            "data": [
                {"question_id": int(key), "image_id": "0", "question": "What does it say?", "answers": [text] * 10}
                for key, text in texts.items()
            ]
        },
        "region_description": _expressions(),
        "regions": _instances(),
    }
    for name, values in files.items():
        (folder / f"{name}.json").write_text(json.dumps(values))
    asked = [
        {"question_id": n, "image": f"{n}.jpg", "text": "Is there a cup in the image?", "label": "yes" if n % 2 else "no"}
        for n in range(4)
    ]
    write_lines(folder / "pope.json", asked)
    sections = {
        name: {"annotations": str(folder / f"{name}.json"), "image_root": str(folder / "images")} for name in (*files, "pope")
    }
    recipe = {
        "source": {"annotations": str(folder / "regions.json"), "image_root": str(folder / "images")},
        "model": {"name": "/nowhere/model", "dialect": "ferret"},
        "queries": {"max_region_area": 1.0},
        "score": {"weight": 0, "localization": {"preset": "annotations_only"}},
        "evaluation": {"bootstrap": 100, **sections},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return folder


@pytest.fixture
def spr_eval(world: Path, monkeypatch: pytest.MonkeyPatch) -> Eval:
    """`spr eval` on the recipe; returns the exit code."""

    def call(*arguments: str | Path, source: Path | None = None) -> int:
        monkeypatch.setattr(sys, "argv", ["spr", "eval", str(source or world / "recipe.yaml"), *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert isinstance(end.value.code, int)
        return end.value.code

    return call


def metrics(out: Path, name: str) -> Any:
    return json.loads((out / "eval" / name / "metrics.json").read_text())


def figures(task: str, side: dict[str, Any]) -> list[float]:
    """Everything that a perfect predictor has at its best, and an empty one at zero; CIDEr-D's best is 10, printed as 1,000."""
    if task == "rec":
        return [*side["acc"].values(), side["mean_acc"], 100 * side["mean_iou"]]
    if task == "phrase_grounding":
        return [value for kind in ("any", "merged") for recall in side[kind].values() for value in recall.values()]
    return [side["cider"] / 10 if task == "region_description" else side["accuracy"]]


@pytest.mark.parametrize("task", TASKS)
def test_a_perfect_predictor_has_a_hundred_everywhere(task: str, spr_eval: Eval, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "perfect.jsonl", _perfect(task))
    assert spr_eval("--task", task, "--base", file, "--out", tmp_path / "run") == 0
    found = metrics(tmp_path / "run", task)
    assert figures(task, found["base"]) == pytest.approx([100.0] * len(figures(task, found["base"])))
    assert found["base"]["parse_rate"] == 100
    assert "subset_of" not in found
    assert found["from"]["base"]["file"] == "perfect.jsonl"


@pytest.mark.parametrize("task", TASKS)
def test_an_empty_predictor_has_nothing_anywhere(task: str, spr_eval: Eval, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "empty.jsonl", [answer(row["item_id"], "") for row in _perfect(task)])
    assert spr_eval("--task", task, "--base", file, "--out", tmp_path / "run") == 0
    found = metrics(tmp_path / "run", task)
    assert set(figures(task, found["base"])) == {0.0}
    assert found["base"]["parse_rate"] == 0


def test_ferrets_authors_take_nothing_said_for_a_yes(spr_eval: Eval, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "empty.jsonl", [answer(str(n), "") for n in range(4)])
    ferret = ("--set", "evaluation.protocol=ferret")
    assert spr_eval("--task", "pope", "--base", file, "--out", tmp_path / "run", *ferret) == 0
    base = metrics(tmp_path / "run", "pope")["base"]
    assert (base["accuracy"], base["yes_rate"], base["recall"], base["parse_rate"]) == (50.0, 100.0, 100.0, 0.0)


@pytest.mark.parametrize("written", ["boxes", "texts"])
def test_boxes_shifted_by_four_pixels_lose_one_of_six_at_each_threshold(written: str, spr_eval: Eval, tmp_path: Path) -> None:
    rows = boxes(4)
    if written == "texts":
        rows = [answer(row["item_id"], FERRET.ground("it", tuple(row["box"]), SIZE)) for row in rows]
    base, tuned = write_lines(tmp_path / "shifted.jsonl", rows), write_lines(tmp_path / "perfect.jsonl", boxes())
    assert spr_eval("--task", "rec", "--base", base, "--tuned", tuned, "--out", tmp_path / "run") == 0
    found = metrics(tmp_path / "run", "rec")
    sixths = [100 * hits / 6 for hits in (5, 4, 3, 2, 1)]
    assert [found["base"]["acc"][threshold] for threshold in THRESHOLDS] == pytest.approx(sixths)
    assert found["base"]["mean_iou"] == pytest.approx((96 / 104 + 56 / 64 + 24 / 32 + 16 / 24 + 10 / 18 + 4 / 12) / 6)
    assert [found["delta"]["acc"][threshold] for threshold in THRESHOLDS] == pytest.approx([100 - value for value in sixths])
    assert found["delta"]["mcnemar"]["0.9"]["gained"] == 5


def test_phrases_shifted_by_ten_pixels_are_found_at_the_lower_thresholds_alone(spr_eval: Eval, tmp_path: Path) -> None:
    """60 pixels wide, they meet with IoU 50 / 70 = 0.714."""
    dog, cup = FERRET.ground("a dog", (30, 10, 90, 60), SIZE), FERRET.ground("a cup", (110, 10, 170, 60), SIZE)
    rows = [answer("700-3", f"{dog}. {cup}."), answer("701-3", f"{dog}. {cup}.")]
    file = write_lines(tmp_path / "shifted.jsonl", rows)
    assert spr_eval("--task", "phrase_grounding", "--base", file, "--out", tmp_path / "run") == 0
    base = metrics(tmp_path / "run", "phrase_grounding")["base"]
    for kind in ("any", "merged"):
        assert base[kind]["r@1"] == {"0.5": 100.0, "0.6": 100.0, "0.7": 100.0, "0.8": 0.0, "0.9": 0.0}


def test_held_out_descriptions_are_scored_too(spr_eval: Eval, tmp_path: Path) -> None:
    """The regions are drawn as they are for a model; the questions say which they are."""
    assert spr_eval("--task", "regions", "--questions", tmp_path / "asked.jsonl") == 0
    asked = [json.loads(line) for line in (tmp_path / "asked.jsonl").read_text().splitlines()]
    assert len(asked[0]["region"]) == 4
    names = ("cup", "dog", "kite", "boat")
    drawn = [(10 + 40 * k, 10 * (k + 1), 40 + 40 * k, 10 * (k + 1) + 40) for k in range(4)]
    said = " ".join(f"{FERRET.ground(name, box, SIZE)}." for name, box in zip(names, drawn, strict=True))
    file = write_lines(tmp_path / "perfect.jsonl", [answer(row["item_id"], said) for row in asked])
    assert spr_eval("--task", "regions", "--base", file, "--out", tmp_path / "run") == 0
    base = metrics(tmp_path / "run", "regions")["base"]
    assert (base["localization"], base["boxes"], base["right_count"], base["names_right"]) == (1.0, 4.0, 100.0, 100.0)


def test_what_was_scored_from_a_file_is_scored_again_to_the_same_numbers(spr_eval: Eval, tmp_path: Path) -> None:
    rows = [*boxes(4)[:4], {"item_id": "4-0", "box": [float("nan"), 0, 1, 1]}, {"item_id": "5-0", "box": None}]
    file = write_lines(tmp_path / "first.jsonl", rows)
    assert spr_eval("--task", "rec", "--base", file, "--out", tmp_path / "first") == 0
    again = tmp_path / "first" / "eval" / "rec" / "base" / "predictions.parquet"
    assert spr_eval("--task", "rec", "--base", again, "--out", tmp_path / "again") == 0
    assert metrics(tmp_path / "again", "rec")["base"] == metrics(tmp_path / "first", "rec")["base"]
    assert metrics(tmp_path / "first", "rec")["base"]["parse_rate"] == pytest.approx(400 / 6)
    copy = tmp_path / "again" / "eval" / "rec" / "base" / "predictions.parquet"
    assert copy.read_bytes() == again.read_bytes()


def test_predictions_of_phrases_are_read_as_their_sentences_answers(spr_eval: Eval, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "first.jsonl", _perfect("phrase_grounding"))
    assert spr_eval("--task", "phrase_grounding", "--base", file, "--out", tmp_path / "first") == 0
    again = tmp_path / "first" / "eval" / "phrase_grounding" / "base" / "predictions.parquet"
    assert spr_eval("--task", "phrase_grounding", "--base", again, "--out", tmp_path / "again") == 0
    assert metrics(tmp_path / "again", "phrase_grounding")["n"] == 4
    assert metrics(tmp_path / "again", "phrase_grounding")["base"] == metrics(tmp_path / "first", "phrase_grounding")["base"]


def test_the_results_stand_where_those_of_a_model_stand(
    spr_eval: Eval, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_lines(tmp_path / "some.jsonl", boxes(4)[:3])
    assert spr_eval("--task", "rec", "--base", file, "--tuned", file, "--out", tmp_path / "run") == 0
    assert "Referring expressions (3 expressions, subset of 6)" in capsys.readouterr().out
    run = tmp_path / "run"
    for side in ("base", "tuned"):
        assert (run / "eval" / "rec" / side / "predictions.parquet").is_file()
        assert json.loads((run / "eval" / "rec" / side / "metrics.json").read_text())["n"] == 3
    whole = json.loads((run / "metrics.json").read_text())["tasks"]["rec"]
    assert whole == metrics(run, "rec")
    assert whole["subset_of"] == 6
    assert whole["from"]["base"] == whole["from"]["tuned"]
    assert spr_eval("--task", "rec", "--base", file, "--out", run) == 0
    assert "tuned" not in metrics(run, "rec")
    assert not (run / "eval" / "rec" / "tuned" / "predictions.parquet").exists()


@pytest.mark.parametrize(
    ("task", "about"),
    [
        ("rec", {"expression": "the number 0 object of 100 pixels"}),
        ("phrase_grounding", {"sentence": "a dog by a cup", "phrases": ["a dog", "a cup"]}),
        ("pope", {}),
        ("gqa", {}),
        ("textvqa", {}),
        ("region_description", {"region": [40.0, 20.0, 140.0, 70.0]}),
    ],
)
def test_the_questions_of_a_data_set_are_written_for_other_tools(
    task: str, about: dict[str, Any], spr_eval: Eval, tmp_path: Path
) -> None:
    asked = tmp_path / "asked.jsonl"
    assert spr_eval("--task", task, "--questions", asked) == 0
    rows = [json.loads(line) for line in asked.read_text(encoding="utf-8").splitlines()]
    assert [row["item_id"] for row in rows] == [row["item_id"] for row in _perfect(task)]
    shown = ("item_id", "image", "width", "height", "question")
    first = {key: rows[0].pop(key) for key in shown}
    assert (first["image"], first["width"], first["height"]) == ("0.jpg", 200, 100)
    assert rows[0] == about
    if task == "rec":
        assert first["question"] == FERRET.rec_prompt("the number 0 object of 100 pixels")
    assert spr_eval("--task", task, "--questions", asked) == 2
    file = write_lines(tmp_path / "answered.jsonl", [row | answer(row["item_id"], "") for row in rows[1:]])
    assert spr_eval("--task", task, "--base", file, "--out", tmp_path / "run") == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("--tuned", "a"),
        ("--base", "a", "--adapter", "b"),
        ("--questions", "a", "--base", "b"),
        ("--questions", "a", "--out", "b"),
    ],
)
def test_options_that_do_not_go_together_are_bad_usage(
    arguments: tuple[str, ...], spr_eval: Eval, capsys: pytest.CaptureFixture[str]
) -> None:
    assert spr_eval("--task", "rec", *arguments) == 2
    assert "--tuned goes with --base" in capsys.readouterr().err


def test_a_run_is_scored_by_its_own_recipe(spr_eval: Eval, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "a.jsonl", boxes())
    assert spr_eval("--task", "rec", "--base", file, "--out", tmp_path / "run") == 0
    texts = write_lines(tmp_path / "b.jsonl", _perfect("gqa"))
    assert spr_eval("--task", "gqa", "--base", texts, source=tmp_path / "run") == 0
    assert list(json.loads((tmp_path / "run" / "metrics.json").read_text())["tasks"]) == ["rec", "gqa"]
