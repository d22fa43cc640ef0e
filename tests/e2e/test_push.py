"""Results out: the card of a finished run, the merged model, and both on a hub of this machine's own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import ModelCard, constants

from fake_hub import TOKEN, FakeHub, fake_hub
from spr import cli
from spr.errors import DataError, RecipeError, SprError
from spr.export.hub import HubError, check_ready, upload
from spr.pipeline import merge, push, report, train

SPR = Path(sys.executable).with_name("spr")
REPOSITORY = "me/llava-spr"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """A hub that this process takes for the only one, with a token of it."""
    with fake_hub() as served:
        monkeypatch.setattr(constants, "ENDPOINT", served.url)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
        monkeypatch.setattr(constants, "HF_STORED_TOKENS_PATH", str(tmp_path / "no tokens"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield served


@pytest.fixture(scope="module")
def merged(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished run's policy, merged."""
    merge(finished, tmp_path_factory.mktemp("merged") / "model")
    return tmp_path_factory.getbasetemp() / "merged0" / "model"


def local(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_command_uploads_the_adapter_in_one_commit(finished: Path, tmp_path: Path) -> None:
    with fake_hub() as hub:
        settings = {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path)}
        command = [SPR, "push", finished, REPOSITORY]
        done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, f"{hub.url}/{REPOSITORY}\n"), done.stderr
        assert "push: 8 files, " in done.stderr
        arrived = hub.files(REPOSITORY)
        assert not hub.repositories[REPOSITORY].private
    kept = local(finished / "policy" / "adapter")
    # The card names the repository, and the config no folder of this machine; all else is as it lies here.
    renewed = {"README.md", "adapter_config.json"}
    assert {name: file for name, file in arrived.items() if name not in renewed} == {
        name: file for name, file in kept.items() if name not in renewed
    }
    assert arrived.keys() == kept.keys()
    config, here = json.loads(arrived["adapter_config.json"]), json.loads(kept["adapter_config.json"])
    assert config == {**here, "base_model_name_or_path": "model"}
    card = ModelCard(arrived["README.md"].decode())
    assert f'PeftModel.from_pretrained(base, "{REPOSITORY}")' in card.content
    assert card.data.library_name == "peft"


def test_nothing_that_is_published_names_a_folder_of_this_machine(finished: Path, merged: Path, hub: FakeHub) -> None:
    push(finished, REPOSITORY)
    push(finished, "me/merged", merged)
    folders = [str(finished.parent).encode(), str(Path.home()).encode(), str(Path(__file__).parents[2]).encode()]
    for name in (REPOSITORY, "me/merged"):
        found = [(path, folder) for path, file in hub.files(name).items() for folder in folders if folder in file]
        assert found == []


def test_a_merged_model_arrives_byte_by_byte_with_its_own_card(finished: Path, merged: Path, hub: FakeHub) -> None:
    assert push(finished, "me/merged", merged, private=True) == f"{hub.url}/me/merged"
    arrived, kept = hub.files("me/merged"), local(merged)
    assert hub.repositories["me/merged"].private
    card = ModelCard(arrived.pop("README.md").decode())
    kept.pop("README.md")
    assert arrived == kept
    assert "model.safetensors" in kept
    assert card.data.library_name == "transformers"
    assert 'AutoModelForImageTextToText.from_pretrained("me/merged"' in card.content
    assert "before merging" in card.content


def test_a_second_push_is_a_second_commit(finished: Path, hub: FakeHub) -> None:
    push(finished, REPOSITORY)
    push(finished, REPOSITORY)
    first, second = hub.repositories[REPOSITORY].commits
    assert first == second


REFUSED = {
    "create 401": ({"create": 401}, "the hub answers 401 for me/llava-spr, so nothing was published: the token is not"),
    "create 403": ({"create": 403}, "the hub answers 403 for me/llava-spr, so nothing was published: the token may not"),
    "preupload 404": ({"preupload": 404}, "the hub answers 404 for me/llava-spr, so nothing was published: there is no"),
    "create 500": ({"create": 500}, "the hub answers 500 for me/llava-spr, so nothing was published: it has trouble"),
    "yaml 400": ({"yaml": 400}, "it says: Invalid metadata in README.md."),
    "store 403": ({"store": 403}, "the hub answers 403"),
    "commit 409": ({"commit": 409}, "the hub answers 409 for me/llava-spr, so nothing was published: somebody else"),
    "commit 422": ({"commit": 422}, "the hub answers 422 for me/llava-spr, so nothing was published: it says: "),
    "commit 500": ({"commit": 500}, "the hub answers 500"),
}


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.replace(" ", "_"))
def test_a_refusal_is_one_sentence_and_nothing_is_published(case: str, hub: FakeHub, tmp_path: Path) -> None:
    hub.refuse, sentence = REFUSED[case]
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"weights")
    with pytest.raises(HubError, match=re.escape(sentence)) as caught:
        upload(tmp_path / "model", REPOSITORY, {"README.md": b"---\ntags: [a]\n---\n"})
    assert "\n" not in str(caught.value)
    assert all(not repository.commits for repository in hub.repositories.values())


def test_a_wrong_token_is_said(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(HubError, match=r"the hub answers 401 .* `hf auth login`"):
        upload(tmp_path, REPOSITORY, {"README.md": b""})


def test_a_hub_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_hub() as gone:
        monkeypatch.setattr(constants, "ENDPOINT", gone.url)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(HubError, match=r"the hub at http://127\.0\.0\.1:\d+ cannot be reached .* check the connection"):
        upload(tmp_path, REPOSITORY, {"README.md": b""})


def test_private_is_not_quietly_public(hub: FakeHub, tmp_path: Path) -> None:
    upload(tmp_path, REPOSITORY, {"README.md": b"---\ntags: [a]\n---\n"})
    with pytest.raises(HubError, match="me/llava-spr exists and is public, so nothing was published"):
        upload(tmp_path, REPOSITORY, {"README.md": b"---\ntags: [b]\n---\n"}, private=True)
    assert hub.files(REPOSITORY) == {"README.md": b"---\ntags: [a]\n---\n"}


def test_hidden_files_stay_here(hub: FakeHub, tmp_path: Path) -> None:
    for name in (".env", ".cache/x", "config.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    upload(tmp_path, REPOSITORY, {"README.md": b"---\ntags: [a]\n---\n"})
    assert hub.files(REPOSITORY).keys() == {"config.json", "README.md"}


@pytest.mark.parametrize("name", ["llava-spr", "me/llava/spr", "me/llava spr", "/me/llava", "me/", "me/--llava", "me/..", ""])
def test_a_name_that_is_not_owner_and_name_is_refused(name: str, finished: Path, hub: FakeHub) -> None:
    with pytest.raises(RecipeError, match="is no name on the hub; write owner/name"):
        push(finished, name)
    assert hub.asked == []


def test_without_a_token_or_offline_nothing_is_asked(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(HubError, match="no token for the hub, so nothing was published; log in with `hf auth login`"):
        check_ready(REPOSITORY)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="switched off here by HF_HUB_OFFLINE"):
        check_ready(REPOSITORY)
    assert hub.asked == []


def _unfinished(run: Path, merged: Path) -> Path | None:
    (run / "policy" / "manifest.json").unlink()
    return None


def _other(run: Path, merged: Path) -> Path | None:
    config = run / "policy" / "adapter" / "adapter_config.json"
    config.write_text(config.read_text() + "\n")
    return merged


def _no_card(run: Path, merged: Path) -> Path | None:
    return run / "policy" / "adapter"


LOCAL: dict[str, tuple[Callable[[Path, Path], Path | None], type[SprError], str]] = {
    "unfinished": (_unfinished, RecipeError, "holds no policy of a finished training; finish it with `spr run`"),
    "of another policy": (_other, RecipeError, "was merged from another policy than that of"),
    "not merged": (_no_card, DataError, "holds no merged model with its card; make one with `spr merge RUN --out DIR`"),
}


@pytest.mark.parametrize("case", LOCAL, ids=lambda case: case.replace(" ", "_"))
def test_what_cannot_be_published_is_refused_before_the_hub_is_asked(case: str, copy: Path, merged: Path, hub: FakeHub) -> None:
    change, kind, sentence = LOCAL[case]
    named = change(copy, merged)
    with pytest.raises(kind, match=re.escape(sentence)):
        push(copy, REPOSITORY, named)
    assert hub.asked == []


def test_the_command_merges_and_says_what_survived(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "model")
    for dtype, code, said in (("float32", 0, "survived rounding to float32"), ("int4", 2, "there is no such precision here")):
        monkeypatch.setattr(sys, "argv", ["spr", "merge", str(finished), "--out", out, "--dtype", dtype])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert end.value.code == code
        written = capsys.readouterr()
        assert said in written.err
        assert written.out == (f"{out}\n" if code == 0 else "")
    assert ModelCard.load(Path(out, "README.md")).data["spr"]["merged"]["dtype"] == "float32"


def test_the_card_lies_in_the_adapter_of_a_finished_run(finished: Path) -> None:
    card = ModelCard.load(finished / "policy" / "adapter" / "README.md")
    tuned = json.loads((finished / "metrics.json").read_text())["tasks"]["rec"]["tuned"]
    found = {(one.dataset_config, one.metric_name): one.metric_value for one in card.data.eval_results}
    assert found["referring-expressions", "Acc@0.5"] == round(tuned["acc"]["0.5"], 4)
    assert "More Information Needed" not in card.content
    assert "The base model is a folder of whoever trained this (`model@sha256:" in card.content
    assert "described regions of annotated images" in card.content
    assert "other models described" in card.content  # their texts were imported


def test_a_report_does_not_change_what_the_adapter_is(copy: Path) -> None:
    before = (copy / "policy" / "adapter" / "README.md").read_bytes()
    results = (copy / "metrics.json").read_bytes()
    report(copy)
    assert (copy / "policy" / "adapter" / "README.md").read_bytes() == before
    assert (copy / "metrics.json").read_bytes() == results


def test_training_alone_writes_the_card_too(copy: Path) -> None:
    card = copy / "policy" / "adapter" / "README.md"
    before = card.read_bytes()
    card.unlink()
    train(copy)
    assert card.read_bytes() == before


def test_a_run_whose_adapter_was_thrown_away_keeps_its_report(copy: Path) -> None:
    shutil.rmtree(copy / "policy" / "adapter")
    assert report(copy).is_file()
