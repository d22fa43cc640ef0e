"""Ferret-Bench from questions to ratios: a scripted model answers, a scripted judge reviews, both behind real servers."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from small_world import draw_world, recipe_values, write_recipe

from chat_server import Body, ChatServer, Reply, chat_server, fails, says
from spr.errors import ModelError
from spr.evaluation.ferret_protocol import JUDGE_SYSTEM
from spr.models import endpoint_server
from spr.pipeline import evaluate, plan
from spr.recipe import Recipe, check_recipe
from spr.running.files import file_digest, read_json
from tiny_random import build_llava_onevision

KINDS = {"ground_conv": "ground_conv", "refer_caption": "refer_desc", "refer_reason": "refer_reason"}
KEY = "sk-nobody-may-see-this"
Judging = Callable[[Body, int], Reply]


def draw_bench(folder: Path, each: int = 2) -> Path:
    """`each` questions of every kind about as many photos of 64 x 48 pixels, in the authors' files."""
    (folder / "photos").mkdir(parents=True)
    for name, category in KINDS.items():
        (folder / name).mkdir()
        rows = [{"question_id": n, "image": f"{n}.png", "category": category} for n in range(each)]
        texts = {
            "question": f"Question {{}} of {category} about [0.25, 0.5, 0.75, 1.000]?",
            "answer": "It.",
            "context": "A dog.",
        }
        for kind, text in texts.items():
            lines = [json.dumps(row | {"text": text.format(row["question_id"])}) + "\n" for row in rows]
            (folder / name / f"{kind}.jsonl").write_text("".join(lines))
    for number in range(each):
        Image.new("RGB", (64, 48), (40 * number, 90, 200)).save(folder / "photos" / f"{number}.png")
    rules = {category: {"role": "Assistant", "prompt": f"Judge {category}."} for category in KINDS.values()}
    (folder / "rule.json").write_text(json.dumps(rules))
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    draw_world(folder)
    draw_bench(folder / "bench")
    return folder


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow each other at once."""
    monkeypatch.setattr(endpoint_server, "FIRST_WAIT", 0.01)


@pytest.fixture
def model() -> Iterator[ChatServer]:
    """Base sees a cat, tuned a dog, where the question says."""
    seen = {"base": "A cat [250, 500, 750, 1000].", "mine": "A dog [250, 500, 750, 1000]."}
    with chat_server(lambda body, _: says(seen[body["model"]])) as server:
        yield server


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    return folder


def asked_of(body: Body) -> str:
    return str(body["messages"][1]["content"])


def fair(body: Body, _: int) -> Reply:
    """The reference has 8; a dog has 6, a cat 4, and 2 less where places are asked for."""
    prompt = asked_of(body)
    return says(f"8 {(6 if 'A dog' in prompt.partition('[Assistant 2]')[2] else 4) - 2 * ('Judge ground_conv' in prompt)}\nSo.")


def recipe(world: Path, model: ChatServer, judge: ChatServer | None, protocol: str = "plain", **options: Any) -> Recipe:
    """Three shards of two questions; `options` are the judge's."""
    endpoint = options.pop("endpoint", {})
    asked = {"served_name": "judge", "retries": 1, "timeout": 5, **endpoint}
    values = recipe_values(world, Path("base"), "ferret", shard_size=2)
    bench: dict[str, Any] = {"annotations": str(world / "bench"), "image_root": str(world / "bench" / "photos")}
    if judge:
        bench["judge"] = {"endpoint": {"url": judge.url, **asked}, **options}
    values["model"] |= {"name": "base", "endpoint": {"url": model.url, "tuned_name": "mine", "retries": 0}}
    values["evaluation"] = {"backend": "endpoint", "bootstrap": 100, "protocol": protocol, "ferret_bench": bench}
    return check_recipe(values, "test")


def digests(out: Path, side: str) -> list[str | None]:
    return [file_digest(path) for path in sorted((out / "eval" / "ferret_bench" / side / "parts").glob("*.parquet"))]


def notes(out: Path, side: str) -> dict[str, int]:
    """Of all shards together."""
    total: dict[str, int] = {}
    for path in sorted((out / "eval" / "ferret_bench" / side / "parts").glob("*.json")):
        manifest: Any = read_json(path)
        for name, count in manifest["notes"].items():
            total[name] = total.get(name, 0) + count
    return total


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


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (fails(500, "out of memory"), "the server answered 500: out of memory"),
        (Reply(text="<html>"), "a reply that is no json: <html>"),
        (Reply(0), "no connection"),
        (Reply(text="{}", after=3), r"no answer within evaluation\.ferret_bench\.judge\.endpoint\.timeout 0\.4 s"),
    ],
)
def test_a_judge_that_breaks_down_is_asked_for_the_rest_later(
    world: Path, model: ChatServer, tmp_path: Path, fault: Reply, said: str
) -> None:
    out = tmp_path / "eval"
    hurry = {"timeout": 0.4, "concurrency": 1}
    with (
        chat_server(lambda body, number: fair(body, 0) if number < 3 else fault) as judge,
        pytest.raises(ModelError, match=rf"^evaluation\.ferret_bench\.judge\.endpoint\.url http://.*: {said}.* \(tries: 2\)"),
    ):
        evaluate(recipe(world, model, judge, endpoint=hurry), out)
    count = len(model.bodies)
    assert (count, len(digests(out, "base")), len(digests(out, "base-judged"))) == (6, 3, 1)
    with chat_server(fair) as judge:
        found = evaluate(recipe(world, model, judge), out)["ferret_bench"]
        # One shard was whole, and one more review is in the log.
        assert (len(judge.bodies), len(model.bodies)) == (3, count)
    assert found["base"]["score"] == pytest.approx(41.667, abs=0.001)


def test_a_stumble_is_tried_again(world: Path, model: ChatServer, tmp_path: Path) -> None:
    with chat_server(lambda body, number: fair(body, 0) if number % 2 else fails(503, "busy")) as judge:
        evaluate(recipe(world, model, judge, endpoint={"concurrency": 1}), tmp_path / "eval")
    assert notes(tmp_path / "eval", "base-judged")["retried"] == 6


def test_a_question_that_the_judge_refuses_counts_on_neither_side(
    world: Path, model: ChatServer, adapter: Path, tmp_path: Path
) -> None:
    def squeamish(body: Body, number: int) -> Reply:
        prompt = asked_of(body)
        disliked = "Question 0 of refer_desc" in prompt and "[Assistant 2]\nA dog" in prompt
        return fails(400, "no dogs") if disliked else fair(body, number)

    with chat_server(squeamish) as judge:
        found = evaluate(recipe(world, model, judge), tmp_path / "eval", adapter=adapter)["ferret_bench"]
    assert found["n"] == 6
    assert found["base"]["judged"] == 100
    assert found["tuned"]["judged"] == pytest.approx(100 * 5 / 6)
    # 4 + 4 + 4 + 2 + 2 of 40: the refused one is in neither sum.
    assert found["base"]["score"] == pytest.approx(40)
    assert found["tuned"]["score"] == pytest.approx(65)


def test_a_judge_that_refuses_everything_stops_the_run(world: Path, model: ChatServer, tmp_path: Path) -> None:
    with (
        chat_server(lambda body, _: fails(400, "max_tokens is not supported")) as judge,
        pytest.raises(ModelError, match=r"judge refuses whatever it is asked; to the first .* max_tokens is not supported"),
    ):
        evaluate(recipe(world, model, judge), tmp_path / "eval")


@pytest.mark.parametrize(("protocol", "score"), [("plain", 50.0), ("ferret", 42.9)])
def test_a_judge_that_raves_gives_no_scores(
    world: Path, model: ChatServer, tmp_path: Path, protocol: str, score: float
) -> None:
    """Three times 8 and 4, three times nothing: 12 of 24, and by Ferret's protocol, with -1 for both, 1.5 of 3.5."""

    def raves(body: Body, number: int) -> Reply:
        return says("Both are lovely." if number % 2 else "8 4")

    with chat_server(raves) as judge:
        found = evaluate(recipe(world, model, judge, protocol), tmp_path / "eval")["ferret_bench"]
    assert (found["base"]["judged"], found["base"]["score"], found["protocol"]) == (50, score, protocol)


def test_the_key_is_sent_to_the_judge_and_written_nowhere(
    world: Path, model: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    with chat_server(lambda body, _: says(f"8 4\nI was called with {KEY}.")) as judge:
        evaluate(recipe(world, model, judge, endpoint={"api_key_env": "JUDGE_KEY"}), tmp_path / "eval")
        assert all(headers["authorization"] == f"Bearer {KEY}" for headers in judge.headers)
    written = [path for path in (tmp_path / "eval").rglob("*") if path.is_file()]
    assert len(written) > 10
    assert not [path for path in written if KEY.encode() in path.read_bytes()]
    assert KEY not in "".join(capsys.readouterr())
    assert all("authorization" not in headers for headers in model.headers)


def test_a_judge_without_its_key_is_named(world: Path, model: ChatServer, tmp_path: Path) -> None:
    with chat_server(fair) as judge:
        asked = recipe(world, model, judge, endpoint={"api_key_env": "NO_SUCH_KEY"})
        with pytest.raises(
            ModelError, match=r"^evaluation\.ferret_bench\.judge\.endpoint\.api_key_env is NO_SUCH_KEY, but this"
        ):
            evaluate(asked, tmp_path / "eval")
        asked = recipe(world, model, judge, endpoint={"served_name": "gpt"})
    with chat_server(fair, Reply(text='{"data": [{"id": "other"}]}')) as judge:
        asked = recipe(world, model, judge)
        said = r"knows no model judge: it serves other; set evaluation\.ferret_bench\.judge\.endpoint\.served_name"
        with pytest.raises(ModelError, match=said):
            evaluate(asked, tmp_path / "eval")


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
    assert "Ferret-Bench (5 questions, subset of 6)" in done.stdout
    assert "75.0" in done.stdout
    metrics: Any = read_json(tmp_path / "eval" / "eval" / "ferret_bench" / "metrics.json")
    assert metrics["base"]["score"] == 75
    assert len(judge.bodies) == 5
