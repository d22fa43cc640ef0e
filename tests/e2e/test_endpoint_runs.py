"""Runs whose descriptions come from a server: a real `transformers serve` with the bundled model, and a scripted one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image
from small_world import draw_world, recipe_values, write_recipe

import spr.tiny
from chat_server import Body, Reply, chat_server, fails, says
from served import transformers_serve
from spr.errors import ModelError, RecipeError, ResumeError
from spr.items import Answer
from spr.models.base import Request, Sampling
from spr.models.opening import open_model
from spr.pipeline import evaluate, plan, run
from spr.recipe import Recipe, check_recipe
from spr.record_tables import from_table
from spr.records import Candidate, Prediction
from spr.running.files import file_digest
from spr.running.shards import ShardStore

BUNDLED = Path(spr.tiny.__file__).parent / "models" / "mllm"
QUERIES = 11  # Twelve photos, and the last one has too few objects.


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    draw_world(folder)
    return folder


@pytest.fixture(scope="module")
def sampler(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled model; `transformers serve` draws only where the model's own generation config says so."""
    folder = Path(shutil.copytree(BUNDLED, tmp_path_factory.mktemp("models") / "mllm"))
    file = folder / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"do_sample": True, "top_k": 0}))
    return folder


@pytest.fixture(scope="module")
def served(sampler: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with transformers_serve(sampler, tmp_path_factory.mktemp("server")) as url:
        yield url


def recipe(world: Path, model: Path | str, url: str | None, endpoint: Any = None, **changes: Any) -> Recipe:
    served = {"endpoint": {"url": url, "retries": 0, **(endpoint or {})}} if url else {}
    values = recipe_values(world, Path(model), "tiny", **changes)
    values["model"] |= served | {"name": str(model)}
    return check_recipe(values, "test")


def store(out: Path, stage: str, record: type[Any]) -> ShardStore:
    return ShardStore(out / stage, out / "dropped" / stage, record)


def candidates(out: Path) -> list[Candidate]:
    return store(out, "candidates", Candidate).all_rows()


def predictions(out: Path, task: str) -> list[Prediction]:
    return from_table(pq.read_table(out / "eval" / task / "base" / "predictions.parquet"), Prediction)


def bytes_of(out: Path, stage: str) -> list[str | None]:
    return [file_digest(path) for path in sorted((out / stage).glob("*.parquet"))]


def test_greedy_answers_of_a_real_server_are_those_of_the_model_itself(world: Path, sampler: Path, served: str) -> None:
    photos = [Image.open(world / "images" / f"{number:03d}.png").convert("RGB") for number in range(6)]
    crop = photos[0].crop((10, 10, 60, 50))
    requests = [Request((photo,), "what is in <10> <19> <48> <77> ?", (0, 1)) for photo in photos]
    requests += [Request((photos[0], crop), "what is in <10> <19> <48> <77> ? the second image shows this region .", (0,))]
    model = recipe(world, sampler, served).model
    there = open_model(model, "cpu").generate(requests, Sampling(0.0, 1.0, 48))
    here = open_model(model.model_copy(update={"endpoint": None}), "cpu").generate(requests, Sampling(0.0, 1.0, 48, 1))
    assert there == here
    assert len({answers[0].text for answers in there}) >= 4


def test_an_evaluation_by_a_real_server_gives_the_predictions_of_the_model_itself(
    world: Path, sampler: Path, served: str, tmp_path: Path
) -> None:
    tasks = recipe_values(world, sampler, "tiny")["evaluation"] | {"max_new_tokens": 48, "batch_size": 1}
    for backend in ("transformers", "endpoint"):
        asked = recipe(world, sampler, served, evaluation=tasks | {"backend": backend})
        evaluate(asked, tmp_path / backend)
    for task, count in (("rec", 8), ("regions", 4)):
        here, there = (predictions(tmp_path / by, task) for by in ("transformers", "endpoint"))
        assert [(row.item_id, row.answer, row.box) for row in here] == [(row.item_id, row.answer, row.box) for row in there]
        assert len(here) == count
    assert (tmp_path / "endpoint" / "requests" / "eval" / "rec" / "base.jsonl").is_file()
    assert not (tmp_path / "transformers" / "requests").exists()


@pytest.mark.slow
def test_a_run_to_its_pairs_with_a_real_server(world: Path, sampler: Path, served: str, tmp_path: Path) -> None:
    drawn = {"k": 3, "prompts": ["plain", "crop"], "temperature": 1.3, "max_new_tokens": 48}
    source = recipe_values(world, sampler, "tiny")["source"] | {"limit": 5}
    asked = recipe(world, sampler, served, {"concurrency": 1}, source=source, candidates=drawn, pairs={"min_margin": 0.001})
    run(asked, tmp_path / "run", until="pairs")
    rows = candidates(tmp_path / "run")
    assert len(rows) == 15
    assert {row.model for row in rows} == {f"endpoint:{sampler}@main"}
    plain = [(row.query_id, row.text) for row in rows if row.variant == "plain"]
    assert len(set(plain)) > 5  # Two draws of the plain question differ.
    assert all("<" in row.text for row in rows)
    funnel = json.loads((tmp_path / "run" / "metrics.json").read_text())["funnel"]
    assert funnel["pairs"]["in"] == 5
    assert funnel["pairs"]["out"] >= 1
    run(asked, tmp_path / "again", until="pairs")
    assert bytes_of(tmp_path / "again", "candidates") == bytes_of(tmp_path / "run", "candidates")


def test_a_server_that_cannot_do_what_a_dialect_needs_says_so_itself(world: Path, sampler: Path, served: str) -> None:
    model = open_model(recipe(world, sampler, served).model.model_copy(update={"dialect": "qwen2-vl"}), "cpu")
    photos = [Image.new("RGB", (8, side)) for side in (8, 9, 10)]
    with pytest.raises(ModelError, match=r"422: Unexpected fields in the request: \{'skip_special_tokens'\}"):
        model.generate([Request((photo,), "what ?", (1,)) for photo in photos], Sampling(1.0, 1.0, 4))


def names_one(body: Body, number: int) -> Reply:
    return says(f"red square <{10 + number % 9}> <20> <48> <77>")


def test_a_run_needs_no_weights_and_a_plan_no_server(world: Path, tmp_path: Path) -> None:
    with chat_server(names_one) as server:
        asked = recipe(world, "no/such-model", server.url)
        run(asked, tmp_path / "run", until="pairs")
    assert len(candidates(tmp_path / "run")) == len(server.bodies) == 2 * QUERIES
    states = {row.state.name: row.state.finished for row in plan(asked, tmp_path / "run")}
    assert [states[stage] for stage in ("queries", "candidates", "scores", "pairs")] == [True] * 4


def test_another_way_to_the_same_server_leaves_everything_as_it_is(world: Path, tmp_path: Path) -> None:
    with chat_server(names_one) as server:
        run(recipe(world, "no/such-model", server.url), tmp_path / "run", until="candidates")
        spoken_to = server.listed
        elsewhere = {"url": server.url.replace("127.0.0.1", "localhost"), "concurrency": 1, "timeout": 3, "retries": 1}
        run(recipe(world, "no/such-model", server.url, elsewhere), tmp_path / "run", until="candidates")
        assert (len(server.bodies), server.listed) == (2 * QUERIES, spoken_to)
        with pytest.raises(ResumeError, match=r"endpoint:no/such-model@main.* -> .*endpoint:other@main"):
            run(recipe(world, "no/such-model", server.url, {"served_name": "other"}), tmp_path / "run", until="candidates")


def test_a_deleted_shard_is_made_again_from_the_log(world: Path, tmp_path: Path) -> None:
    with chat_server(names_one) as server:
        asked = recipe(world, "no/such-model", server.url)
        out = run(asked, tmp_path / "run", until="candidates").path
        before = bytes_of(out, "candidates")
        (out / "candidates" / "part-00001.json").unlink()
        run(asked, out, until="candidates")
    assert bytes_of(out, "candidates") == before
    assert len(server.bodies) == 2 * QUERIES
    notes = store(out, "candidates", Candidate).manifests()[1].notes
    assert notes["from_log"] == 6  # Three queries, two descriptions each.


def test_refused_queries_and_items_are_counted_where_they_were_dropped(world: Path, tmp_path: Path) -> None:
    def refuses_the_first(body: Body, number: int) -> Reply:
        return fails(400, "image too large") if number == 0 else names_one(body, number)

    tasks = recipe_values(world, Path("m"), "tiny")["evaluation"] | {"backend": "endpoint"}
    with chat_server(refuses_the_first) as server:
        asked = recipe(world, "no/such-model", server.url, {"concurrency": 1}, evaluation=tasks)
        out = run(asked, tmp_path / "run", until="candidates").path
    assert len(candidates(out)) == 2 * (QUERIES - 1)
    (dropped,) = store(out, "candidates", Candidate).all_dropped()
    assert (dropped.stage, dropped.reason) == ("candidates", "refused")
    assert json.loads((out / "metrics.json").read_text())["funnel"]["candidates"]["dropped"] == {"refused": 1}
    with chat_server(refuses_the_first) as server:
        asked = recipe(world, "no/such-model", server.url, {"concurrency": 1}, evaluation=tasks)
        assert evaluate(asked, tmp_path / "eval", "rec")["rec"]["n"] == 7
    parts = ShardStore(tmp_path / "eval" / "eval/rec/base/parts", tmp_path / "eval" / "dropped/eval/rec/base", Answer)
    assert [row.reason for row in parts.all_dropped()] == ["refused"]


def test_a_last_shard_that_is_refused_is_dropped_and_counted(world: Path, tmp_path: Path) -> None:
    def refuses_the_last(body: Body, number: int) -> Reply:
        return names_one(body, number) if number < 2 * (QUERIES - 1) else fails(400, "image too large")

    with chat_server(refuses_the_last) as server:
        asked = recipe(world, "no/such-model", server.url, {"concurrency": 1}, shard_size=1)
        out = run(asked, tmp_path / "run", until="candidates").path
    assert len(candidates(out)) == 2 * (QUERIES - 1)
    assert [row.reason for row in store(out, "candidates", Candidate).all_dropped()] == ["refused"]


def test_several_devices_are_no_more_requests_at_a_time(world: Path, tmp_path: Path) -> None:
    def slowly(body: Body, number: int) -> Reply:
        return Reply(text=names_one(body, number).text, after=0.1)

    with chat_server(slowly) as server:
        asked = recipe(world, "no/such-model", server.url, {"concurrency": 2}, resources={"devices": ["cpu", "cpu"]})
        run(asked, tmp_path / "run", until="candidates")
    assert server.most_at_once == 2


def test_base_and_tuned_are_asked_by_their_names(world: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    tasks = recipe_values(world, Path("m"), "tiny")["evaluation"] | {"backend": "endpoint"}

    def tuned_is_better(body: Body, number: int) -> Reply:
        return says("<0> <0> <96> <80>" if body["model"] == "tuned" else "nothing")

    with chat_server(tuned_is_better) as server:
        named = recipe(world, "no/such-model", server.url, {"tuned_name": "tuned"}, evaluation=tasks)
        metrics = evaluate(named, tmp_path / "eval", "rec", adapter)["rec"]
        assert metrics["base"]["parse_rate"] == 0
        assert metrics["tuned"]["parse_rate"] == 100
        assert [body["model"] for body in server.bodies].count("tuned") == len(server.bodies) / 2 == 8
        unnamed = recipe(world, "no/such-model", server.url, evaluation=tasks)
        with pytest.raises(RecipeError, match=r"model\.endpoint\.tuned_name is null"):
            evaluate(unnamed, tmp_path / "other", "rec", adapter)


def test_an_item_that_one_side_was_refused_is_left_out_of_both(world: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    tasks = recipe_values(world, Path("m"), "tiny")["evaluation"] | {"backend": "endpoint"}
    refused: list[Body] = []

    def refuses_two(body: Body, number: int) -> Reply:
        wanted = {"no/such-model": 1, "tuned": 2}[body["model"]]
        if [one["model"] for one in refused].count(body["model"]) < wanted and number % 2:
            refused.append(body)
            return fails(400, "maximum context length")
        return says("<0> <0> <96> <80>")

    with chat_server(refuses_two) as server:
        named = recipe(world, "no/such-model", server.url, {"tuned_name": "tuned", "concurrency": 1}, evaluation=tasks)
        metrics = evaluate(named, tmp_path / "eval", "rec", adapter)["rec"]
        asked, counted = len(server.bodies), (tmp_path / "eval" / "eval" / "rec" / "metrics.json").read_text()
        evaluate(named, tmp_path / "eval", "rec", adapter)
        assert (tmp_path / "eval" / "eval" / "rec" / "metrics.json").read_text() == counted
        assert len(server.bodies) == asked == 16
    # Base lost the second of eight photos, tuned the second and the fourth.
    assert (metrics["n"], metrics["dropped"]) == (6, {"refused": 2})
    assert metrics["delta"]["acc"]["0.5"] == 0
    written = json.loads((tmp_path / "eval" / "metrics.json").read_text())
    assert written["tasks"]["rec"]["dropped"] == {"refused": 2}
    assert [written["funnel"][f"eval/rec/{side}"]["dropped"]["refused"] for side in ("base", "tuned")] == [1, 2]


def test_an_evaluation_goes_on_at_another_address(world: Path, tmp_path: Path) -> None:
    tasks = recipe_values(world, Path("m"), "tiny")["evaluation"] | {"backend": "endpoint"}
    with chat_server(names_one) as server:
        evaluate(recipe(world, "no/such-model", server.url, evaluation=tasks), tmp_path / "eval", "rec")
    with chat_server(names_one) as moved:
        evaluate(recipe(world, "no/such-model", moved.url, evaluation=tasks), tmp_path / "eval", "rec")
        assert moved.bodies == []
        named = {"served_name": "other"}
        with pytest.raises(ResumeError, match="served_name"):
            evaluate(recipe(world, "no/such-model", moved.url, named, evaluation=tasks), tmp_path / "eval", "rec")


def test_a_killed_run_asks_only_what_has_no_answer_yet(world: Path, tmp_path: Path) -> None:
    def stalls(body: Body, number: int) -> Reply:
        return names_one(body, number) if number < 3 else Reply(text=says("too late").text, after=120)

    out = tmp_path / "run"
    with chat_server(stalls) as server:
        asked = recipe(world, "no/such-model", server.url, {"concurrency": 2})
        file = write_recipe(tmp_path / "recipe.yaml", json.loads(asked.model_dump_json()))
        command = [str(Path(sys.executable).with_name("spr")), "run", str(file), "--out", str(out), "--until", "candidates"]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 120
        while len(server.bodies) < 5 and process.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        process.kill()
        process.wait()
        asked_first = [(prompt, body["seed"]) for prompt, body in zip(server.prompts, server.bodies, strict=True)]
        assert len(asked_first) == 5
        assert not list((out / "candidates").glob("part-*"))
        server.reply = names_one
        run(asked, out, until="candidates")
        then = [(prompt, body["seed"]) for prompt, body in zip(server.prompts, server.bodies, strict=True)][5:]
    # The three that were answered are not asked again, the two that were under way are.
    assert not set(asked_first[:3]) & set(then)
    assert set(asked_first[3:]) <= set(then)
    assert len(then) == len(set(then)) == 2 * QUERIES - 3
    assert len(candidates(out)) == 2 * QUERIES
