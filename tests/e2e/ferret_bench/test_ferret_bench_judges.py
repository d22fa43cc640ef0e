"""Judges that break down, refuse, rave or need a key: what a run makes of each."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench import asked_of, digests, fair, notes, recipe

from chat_server import Body, ChatServer, Reply, chat_server, fails, says
from spr.errors import ModelError
from spr.pipeline import evaluate

KEY = "sk-nobody-may-see-this"


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
