"""Who is asked and by which key: names of models, keys that stay secret, and what belongs to a run's key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from one_question import DRAWN, ONE, answers, lists, recipe

from chat_server import Reply, chat_server, fails
from spr.candidates import CandidateStage
from spr.errors import ModelError, RecipeError
from spr.evaluation.asking import AskStage
from spr.models.endpoint import EndpointModel
from spr.models.opening import identity_of
from spr.recipe import Candidates, Evaluation, Model, check_recipe


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    return tmp_path / "adapter"


def test_a_name_that_is_not_served_is_told_with_those_that_are() -> None:
    with (
        chat_server(answers, lists("base", "tuned")) as server,
        pytest.raises(
            ModelError, match=r"knows no model some/model: it serves base, tuned; set model\.endpoint\.served_name to"
        ),
    ):
        EndpointModel(recipe(server.url))
    assert server.bodies == []


@pytest.mark.parametrize("models", [lists(), lists("some/model"), Reply(404, "no such page"), Reply(500, "broken")])
def test_a_server_that_does_not_tell_what_it_serves_is_asked(models: Reply) -> None:
    with chat_server(answers, models) as server:
        EndpointModel(recipe(server.url, retries=3)).generate(ONE, DRAWN)
    assert (server.listed, len(server.bodies)) == (1, 1)


@pytest.mark.parametrize("name", ["/a/model", "./model", "~/model", f"some/model@{'a' * 40}"])
def test_a_path_or_a_commit_is_asked_for_where_hub_models_alone_are_listed(name: str) -> None:
    with chat_server(answers, lists("some/other")) as server:
        EndpointModel(recipe(server.url, served_name=name)).generate(ONE, DRAWN)
    assert server.bodies[0]["model"] == name


def test_a_model_that_is_not_found_when_asked_stops_the_run(tmp_path: Path) -> None:
    with (
        chat_server(lambda body, number: fails(404, "not here"), lists("base")) as server,
        pytest.raises(
            ModelError, match=r"knows no model /.* \(404: not here\): it serves base; set model\.endpoint\.served_name"
        ),
    ):
        EndpointModel(recipe(server.url, served_name=str(tmp_path))).generate(ONE, DRAWN)
    with (
        chat_server(lambda body, number: fails(404, "not here")) as server,
        pytest.raises(ModelError, match=r"it lists no models; .* model\.endpoint\.url ends in /v1"),
    ):
        EndpointModel(recipe(server.url)).generate(ONE, DRAWN)


def test_the_tuned_policy_is_asked_by_its_own_name(adapter: Path) -> None:
    with chat_server(answers, lists("some/model", "tuned")) as server:
        asked = EndpointModel(recipe(server.url, tuned_name="tuned"), adapter)
        asked.generate(ONE, DRAWN)
    assert server.bodies[0]["model"] == "tuned"
    assert asked.identity.startswith("endpoint:tuned@main adapter@sha256:")
    (adapter / "adapter_config.json").write_text('{"r": 8}')
    assert identity_of(recipe(server.url, tuned_name="tuned"), adapter) != asked.identity


def test_a_tuned_policy_without_a_name_is_refused(adapter: Path) -> None:
    with pytest.raises(RecipeError, match=r"model\.endpoint\.tuned_name is null"):
        identity_of(recipe("http://127.0.0.1:1/v1"), adapter)


def part(**changes: Any) -> str:
    options = {"url": "http://127.0.0.1:1/v1", **changes}
    model = Model(name="some/model", dialect="tiny", endpoint=options)
    return json.dumps(CandidateStage(Candidates(), model, Path("photos"), 0).recipe_part, sort_keys=True)


def test_what_a_server_changes_is_in_the_key_and_how_it_is_reached_is_not() -> None:
    base = part()
    assert '"identity": "endpoint:some/model@main"' in base
    for reached in ({"url": "http://b/v1"}, {"concurrency": 2}, {"timeout": 3}, {"retries": 0}, {"api_key_env": "A_KEY"}):
        assert part(**reached) == base
    assert part(served_name="some/model", tuned_name="tuned") == base
    assert part(served_name="other") != base
    assert part(samples="n") != base
    assert "127.0.0.1" not in base


def test_a_server_makes_its_own_batches_and_has_its_own_dtype() -> None:
    model = recipe("http://a/v1")
    stage = CandidateStage(Candidates(batch_size=3), model.model_copy(update={"dtype": "float32"}), Path("photos"), 0)
    assert stage.recipe_part == CandidateStage(Candidates(), model, Path("photos"), 0).recipe_part


def test_how_a_servers_answers_are_read_is_in_the_key(tmp_path: Path) -> None:
    model = recipe("http://a/v1").model_copy(update={"dialect": "qwen2.5-vl"})
    other = model.model_copy(update={"dialect_options": {"min_pixels": 3136, "max_pixels": 1_003_520}})
    parts = [CandidateStage(Candidates(prompts=("plain",)), one, tmp_path, 0).recipe_part for one in (model, other)]
    assert parts[0] != parts[1]
    there = [AskStage("rec", one, Evaluation(backend="endpoint"), tmp_path).recipe_part for one in (model, other)]
    assert there[0] != there[1]


def test_how_long_a_servers_answers_may_be_is_in_an_evaluations_key(tmp_path: Path) -> None:
    parts = [
        AskStage("rec", recipe("http://a/v1"), Evaluation(backend="endpoint", max_new_tokens=most), tmp_path).recipe_part
        for most in (64, 65)
    ]
    assert parts[0] != parts[1]


def test_evaluation_asks_the_server_only_where_the_recipe_says_so(tmp_path: Path, adapter: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    served = recipe("http://a/v1", tuned_name="tuned").model_copy(update={"name": str(tmp_path / "model")})
    local = served.model_copy(update={"endpoint": None})
    here, there = Evaluation(), Evaluation(backend="endpoint")
    assert AskStage("rec", served, here, tmp_path).recipe_part == AskStage("rec", local, here, tmp_path).recipe_part
    assert "endpoint" not in AskStage("rec", served, here, tmp_path).recipe_part["model"]
    base, tuned = (AskStage("rec", served, there, tmp_path, its).recipe_part for its in (None, adapter))
    assert base["identity"] == f"endpoint:{tmp_path / 'model'}@main"
    assert tuned["identity"].startswith("endpoint:tuned@main adapter@")


def values(**changes: Any) -> dict[str, Any]:
    plain = {
        "source": {"annotations": "a.json", "image_root": "photos"},
        "model": {"name": "some/model", "dialect": "tiny"},
        "score": {"weight": 0, "localization": {"preset": "annotations_only"}},
    }
    return plain | changes


def test_evaluation_by_a_server_needs_one() -> None:
    with pytest.raises(RecipeError, match=r"evaluation\.backend is endpoint, but .*; set model\.endpoint\.url"):
        check_recipe(values(evaluation={"backend": "endpoint"}), "test")


def test_base_and_tuned_have_two_names() -> None:
    endpoint = {"url": "http://a/v1", "tuned_name": "some/model"}
    with pytest.raises(RecipeError, match=r"endpoint\.tuned_name is some/model, which names the base model"):
        check_recipe(values(model={"name": "some/model", "dialect": "tiny", "endpoint": endpoint}), "test")


@pytest.mark.parametrize(
    ("endpoint", "said"),
    [
        ({"url": "http://127.0.0.1:1/v1#sk-frag-0123"}, "url: it must hold no key or password"),
        ({"url": "http://127.0.0.1:1/v1?key=sk-frag-0123"}, "url: it must hold no key or password"),
        ({"url": "http://sk-frag-0123@127.0.0.1:1/v1"}, "url: it must hold no key or password"),
        ({"url": "http://127.0.0.1:sk-frag-0123/v1"}, "url: its port must be a number from 0 to 65535"),
        ({"url": "http://127.0.0.1:99999/v1"}, "url: its port must be a number from 0 to 65535"),
        ({"url": "http://exa mple/v1"}, "url: it must be an http or https address"),
        ({"api_key_env": "sk-frag-0123"}, "api_key_env: it must be the name of an environment variable"),
        ({"timeout": 1e300}, r"timeout is 1e\+300; it should be less than or equal to 86400"),
    ],
)
def test_an_address_or_a_key_that_cannot_be_is_refused_without_being_repeated(endpoint: dict[str, Any], said: str) -> None:
    asked = values(model={"name": "some/model", "dialect": "tiny", "endpoint": {"url": "http://a/v1", **endpoint}})
    with pytest.raises(RecipeError, match=rf"test: model\.endpoint\.{said}") as refused:
        check_recipe(asked, "test")
    assert "sk-frag-0123" not in str(refused.value)
