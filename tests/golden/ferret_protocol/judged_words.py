"""The answers in words of ferret_protocol/, yes and no and Ferret-Bench's, and what the authors' scripts make of them."""

from __future__ import annotations

import contextlib
import io
import json
import runpy
import sys
import tempfile
import types
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

from judged_boxes import N, Row, dump, tried
from made_answers import bench_answer, phrase, review, yes_no_answer

CATEGORIES = ("refer_desc", "refer_reason", "ground_conv")
RULES = {name: {"role": "Assistant", "prompt": f"Rate both for {name}.\nTwo scores first."} for name in CATEGORIES}


def pope_figures(script: Any, rows: Sequence[Row]) -> Any:
    """What eval_pope.py writes, the answers saved as model_pope.py saves them: stripped, and in lower case."""
    with tempfile.TemporaryDirectory() as folder:
        said, labels = Path(folder, "said"), Path(folder, "labels.json")
        said.mkdir()
        dump(said / "0_of_1.jsonl", [{"answer": row["text"].strip().lower()} for row in rows])
        script.args = Namespace(prediction_file=str(said))
        script.evaluate_pope(str(said), str(dump(labels, [{"label": row["label"]} for row in rows])))
        return json.loads((said / "metric.json").read_text())


def pope(script: Any, rng: Random) -> tuple[list[Row], list[Row]]:
    """Answers with what is made of each, and of lists of them: all, some, and those that stop the script."""
    rows = [dict(zip(("kind", "text"), yes_no_answer(rng), strict=True)) for _ in range(N)]
    witness = {"text": "yes", "label": "yes"}
    for row in rows:
        row["label"] = rng.choice(["yes", "no"])
        figures, fault = tried(pope_figures, script, [row, witness])
        assert not fault, fault
        row["said"] = "yes" if figures["Yes ratio"] == 1 else "no"
    chosen: list[Callable[[Row], bool]] = [
        lambda row: True,
        lambda row: row["label"] == "yes",
        lambda row: row["said"] == "yes",
        lambda row: row["said"] == "no",
        lambda row: row["label"] == "no",
        lambda row: row["said"] == row["label"],
        lambda row: row["said"] != row["label"],
        lambda row: False,
    ]
    parts = [[place for place, row in enumerate(rows) if test(row)] for test in chosen]
    parts += [rng.sample(range(N), rng.choice([2, 3, 5, 40])) for _ in range(60)]
    figures = []
    for part in parts:
        found, fault = tried(pope_figures, script, [rows[place] for place in part])
        figures.append({"rows": part, "figures": found, "fault": fault})
    return rows, figures


def scripted_judge(reviews: Sequence[str], asked: list[Any]) -> types.ModuleType:
    """A module in place of openai: its judge writes down what it is asked and gives the next review."""

    def create(**request: Any) -> Any:
        asked.append(request["messages"])
        return {"choices": [{"message": {"content": reviews[len(asked) - 1]}}]}

    module = types.ModuleType("openai")
    vars(module)["ChatCompletion"] = Namespace(create=create)
    vars(module)["error"] = Namespace(RateLimitError=ConnectionError)
    return module


def run(script: Path, *options: str) -> None:
    """Run a script as its command line does, every word of it its own."""
    with patch.object(sys, "argv", [str(script), *options]), contextlib.redirect_stdout(io.StringIO()):
        runpy.run_path(str(script), run_name="__main__")


def judged(scripts: Path, folder: Path, rows: Sequence[Row], reviews: Sequence[str]) -> list[Row]:
    """What the judge is asked about each answer, from eval_gpt_review_3newclass.py run to the end."""
    for n, row in enumerate(rows):
        row["image"] = f"{n}.jpg"
    asked: list[Any] = []
    files = {"question": "question", "context": "context", "reference": "reference", "answer": "text"}
    for name, key in files.items():
        dump(
            folder / name,
            [
                {"question_id": n, "image": row["image"], "category": row["category"], "text": row[key]}
                for n, row in enumerate(rows)
            ],
        )
    dump(folder / "rule", [RULES])
    with patch.dict(sys.modules, openai=scripted_judge(reviews, asked)), patch("time.sleep"):
        run(
            scripts / "eval_gpt_review_3newclass.py",
            "-q",
            str(folder / "question"),
            "-c",
            str(folder / "context"),
            "-a",
            str(folder / "reference"),
            str(folder / "answer"),
            "-r",
            str(folder / "rule"),
            "-o",
            str(folder / "review_all.jsonl"),
        )
    said = [json.loads(line) for line in (folder / "review_all.jsonl").read_text().splitlines()]
    return [
        {"messages": messages, "review": one["content"], "scores": one["tuple"], "answer": one["answer2"]}
        for messages, one in zip(asked, said, strict=True)
    ]


def ratios(scripts: Path, rows: Sequence[Row]) -> Any:
    """What summarize_gpt_review.py saves of reviews: one number for each category, and for all."""
    with tempfile.TemporaryDirectory() as folder:
        dump(Path(folder, "review_all.jsonl"), [{"category": row["category"], "tuple": row["scores"]} for row in rows])
        run(scripts / "summarize_gpt_review.py", "-d", folder, "-s")
        return json.loads(Path(folder, "metric.json").read_text())[0]


def bench(script: Any, scripts: Path, folder: Path, rng: Random) -> tuple[list[Row], list[Row], list[Row], list[Row]]:
    """Answers and what is judged of them, reviews and their scores, whole prompts, and ratios of lists of scores."""
    rows = [dict(zip(("kind", "text"), bench_answer(rng), strict=True)) for _ in range(N)]
    for row in rows:
        row["category"] = rng.choice([*CATEGORIES, "ground_conv"])
        row["judged"], row["fault"] = tried(script.postprocess_answer, row["text"], row["category"])
    reviews = [{"review": text, "scores": tried(script.parse_score, text)[0]} for text in (review(rng) for _ in range(N))]
    clean = [row for row in rows if not row["fault"]]
    told = [
        {
            "category": row["category"],
            "text": row["text"],
            "question": f"What is {phrase(rng)} [0.1, 0.25, 0.5, 1.0]?",
            "context": f"Objects:\n{phrase(rng)} {{0}}\n",
            "reference": f"It is {phrase(rng)}.\nYes.",
        }
        for row in clean
    ]
    finite = [row["review"] for row in reviews if all(abs(score) < 100 for score in row["scores"])]
    prompts = judged(scripts, folder, told, [rng.choice(finite) for _ in told])
    whole = [
        one | {key: row[key] for key in ("category", "question", "context", "reference", "text")}
        for one, row in zip(prompts, told, strict=True)
    ]
    figures = []
    for rated in [whole, *(rng.sample(whole, rng.choice([1, 2, 3, 7, 40])) for _ in range(60))]:
        scored = [{"category": row["category"], "scores": row["scores"]} for row in rated]
        found, fault = tried(ratios, scripts, scored)
        figures.append({"rated": scored, "ratios": found, "fault": fault})
    zero = [{"category": "ground_conv", "scores": [0.0, 5.0]}, {"category": "ground_conv", "scores": [0.0, 7.0]}]
    found, fault = tried(ratios, scripts, zero)
    figures.append({"rated": zero, "ratios": found, "fault": fault})
    return rows, reviews, whole[:60], figures
