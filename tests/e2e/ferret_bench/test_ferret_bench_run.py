"""Ferret-Bench from questions to ratios: a scripted model answers, a scripted judge reviews, both behind real servers."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bench import KINDS, asked_of, digests, draw_bench, fair, notes, recipe
from PIL import Image
from small_world import draw_world, recipe_values, write_recipe

from chat_server import Body, ChatServer, Reply, chat_server, says
from spr.evaluation.ferret_protocol import JUDGE_SYSTEM
from spr.pipeline import evaluate, plan
from spr.recipe import check_recipe
from spr.running.files import read_json
from tiny_random import build_llava_onevision


def test_base_and_tuned_are_judged_and_compared(world: Path, model: ChatServer, adapter: Path, tmp_path: Path) -> None:
    with chat_server(fair) as judge:
        found = evaluate(recipe(world, model, judge), tmp_path / "eval", adapter=adapter)["ferret_bench"]
    # Base has 4 + 4 + 2 of 8 + 8 + 8, tuned 6 + 6 + 4.
    shares = {"score": 41.667, "refer_desc": 50, "refer_reason": 50, "ground_conv": 25, "judged": 100}
    assert {key: found["base"][key] for key in shares} == pytest.approx(shares, abs=0.001)
    shares = {"score": 66.667, "refer_desc": 75, "refer_reason": 75, "ground_conv": 50, "judged": 100}
    assert {key: found["tuned"][key] for key in shares} == pytest.approx(shares, abs=0.001)
    assert (found["n"], found["images"]) == (6, 2)
    assert found["delta"]["score"] == pytest.approx(25)
    assert len(judge.bodies) == 12


def test_what_the_judge_is_asked(world: Path, model: ChatServer, tmp_path: Path) -> None:
    with chat_server(fair) as judge:
        evaluate(recipe(world, model, judge, max_new_tokens=99), tmp_path / "eval")
        evaluate(recipe(world, model, judge, temperature=0), tmp_path / "cold")
    asked = {asked_of(body): body for body in judge.bodies[:6]}
    prompt = (
        "[Context]\\A dog.\n\n[Question]\nQuestion 1 of ground_conv about [0.25, 0.5, 0.75, 1.000]?\n\n"
        "[Assistant 1]\nIt.\n\n[End of Assistant 1]\n\n[Assistant 2]\nA cat [0.250, 0.500, 0.750, 1.000].\n\n"
        "[End of Assistant 2]\n\n[System]\nJudge ground_conv.\n\n"
    )
    body = asked[prompt]
    assert body["messages"][0] == {"role": "system", "content": JUDGE_SYSTEM}
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("judge", 0.2, 99)
    assert all("[Assistant 2]\nA cat.\n" in text for text in asked if "Judge refer" in text)
    assert len({body["seed"] for body in judge.bodies[:6]}) == 6
    assert all("seed" not in body and body["temperature"] == 0 for body in judge.bodies[6:])
    assert "Question 0 of ground_conv about [250, 500, 750, 1000] <region_fea>?" in model.prompts


def test_without_a_judge_answers_are_saved_and_judged_later(
    world: Path, model: ChatServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = evaluate(recipe(world, model, None), tmp_path / "eval")["ferret_bench"]
    assert (found["n"], found["base"]["judged"]) == (6, 0)
    assert math.isnan(found["base"]["score"])
    said = " ".join(capsys.readouterr().err.split())
    assert "evaluation.ferret_bench has no judge, so the answers are saved and not judged; add judge: {endpoint:" in said
    asked, answers = len(model.bodies), digests(tmp_path / "eval", "base")
    with chat_server(fair) as judge:
        found = evaluate(recipe(world, model, judge), tmp_path / "eval")["ferret_bench"]
    assert found["base"]["score"] == pytest.approx(41.667, abs=0.001)
    assert (len(model.bodies), digests(tmp_path / "eval", "base")) == (asked, answers)


def test_another_judge_reviews_the_same_answers(world: Path, model: ChatServer, tmp_path: Path) -> None:
    out = tmp_path / "eval"
    with chat_server(fair) as judge:
        evaluate(recipe(world, model, judge), out)
        asked, answers, reviews = len(model.bodies), digests(out, "base"), digests(out, "base-judged")
        evaluate(recipe(world, model, judge, endpoint={"concurrency": 1, "timeout": 9}), out)
        assert (len(judge.bodies), digests(out, "base-judged")) == (6, reviews)
    with chat_server(lambda body, _: says("10 10")) as stern:
        found = evaluate(recipe(world, model, stern, endpoint={"served_name": "stern"}), out)["ferret_bench"]
        assert found["base"]["score"] == 100
        assert (len(stern.bodies), len(model.bodies), digests(out, "base")) == (6, asked, answers)
        assert digests(out, "base-judged") != reviews
        evaluate(recipe(world, model, stern, endpoint={"served_name": "judge"}), out)
        # The first judge's words are still in the log.
        assert len(stern.bodies) == 6
        assert digests(out, "base-judged") == reviews
        assert notes(out, "base-judged")["from_log"] == 6


def test_a_changed_rule_makes_the_reviews_anew_and_nothing_else(world: Path, model: ChatServer, tmp_path: Path) -> None:
    bench = draw_bench(tmp_path / "world" / "bench")
    draw_world(tmp_path / "world" / "drawn")
    with chat_server(fair) as judge:
        asked = recipe(world, model, judge).model_dump(mode="json")
        asked["evaluation"]["ferret_bench"] |= {"annotations": str(bench), "image_root": str(bench / "photos")}
        evaluate(check_recipe(asked, "test"), tmp_path / "eval")
        rules = json.loads((bench / "rule.json").read_text())
        rules["refer_desc"]["prompt"] += " Be kind."
        (bench / "rule.json").write_text(json.dumps(rules))
        count = len(model.bodies)
        evaluate(check_recipe(asked, "test"), tmp_path / "eval")
    assert len(model.bodies) == count
    # The two questions whose words changed; the others are in the log.
    assert ["Be kind." in asked_of(body) for body in judge.bodies[6:]] == [True, True]


def test_a_plan_names_the_judges_step(world: Path, model: ChatServer, tmp_path: Path) -> None:
    with chat_server(fair) as judge:
        asked = recipe(world, model, judge)
    rows = {row.state.name: row for row in plan(asked, tmp_path / "run", lambda _: None)}
    judged = rows["eval/ferret_bench/base-judged"]
    assert (judged.rows, judged.estimate.seconds) == (6, None)
    assert "the judge's server answers" in judged.estimate.why


def test_the_official_questions_are_asked_and_judged(
    real_data: Path, world: Path, model: ChatServer, adapter: Path, tmp_path: Path
) -> None:
    """Photos of their names are drawn, for the official ones are not beside the annotations."""
    bench, photos = real_data / "ferret_bench", tmp_path / "photos"
    photos.mkdir()
    for file in bench.glob("*/question.jsonl"):
        for line in file.read_text().splitlines():
            Image.new("RGB", (64, 48)).save(photos / json.loads(line)["image"])
    rules = json.loads((bench / "rule.json").read_text())

    def fair(body: Body, _: int) -> Reply:
        prompt = asked_of(body)
        by_rule = any(prompt.endswith(f"[System]\n{rule['prompt']}\n\n") for rule in rules.values())
        return says(f"8 {6 if '[Assistant 2]' + chr(10) + 'A dog' in prompt else 4}" if by_rule else "no rule")

    with chat_server(fair) as judge:
        asked = recipe(world, model, judge, "ferret").model_dump(mode="json")
        asked["evaluation"]["ferret_bench"] |= {"annotations": str(bench), "image_root": str(photos)}
        found = evaluate(check_recipe(asked | {"shard_size": 64}, "test"), tmp_path / "eval", adapter=adapter)["ferret_bench"]
    assert (found["n"], found["images"], "subset_of" in found) == (120, len(list(photos.iterdir())), False)
    for side, score in (("base", 50.0), ("tuned", 75.0)):
        assert [found[side][key] for key in ("score", *KINDS.values(), "judged")] == [score] * 4 + [100]


@pytest.mark.slow
def test_spr_eval_asks_a_real_model_and_shows_the_table(world: Path, tmp_path: Path) -> None:
    values = recipe_values(world, build_llava_onevision(tmp_path / "model"), "llava-onevision", shard_size=4)
    bench = {"annotations": str(world / "bench"), "image_root": str(world / "bench" / "photos"), "limit": 5}
    with chat_server(lambda body, _: says("8 6")) as judge:
        bench["judge"] = {"endpoint": {"url": judge.url, "served_name": "judge"}}
        values["evaluation"] = {"max_new_tokens": 4, "bootstrap": 100, "ferret_bench": bench}
        path = write_recipe(tmp_path / "recipe.yaml", values)
        words = ["eval", str(path), "--task", "ferret_bench", "--out", str(tmp_path / "eval")]
        done = subprocess.run([sys.executable, "-m", "spr.cli", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Ferret-Bench, bench (5 questions, 2 images, subset of 6)" in done.stdout
    assert "75.0" in done.stdout
    metrics: Any = read_json(tmp_path / "eval" / "eval" / "ferret_bench" / "metrics.json")
    assert metrics["base"]["score"] == 75
    assert len(judge.bodies) == 5
