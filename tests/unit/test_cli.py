from __future__ import annotations

import json
import re
import resource
import signal
import socket
import subprocess
import sys
import urllib.request
from functools import partial
from pathlib import Path

import pytest
import yaml

from spr import cli
from spr.pipeline.run import STAGES
from spr.recipe import load_recipe
from spr.running.run_dir import RunDir

SPR = Path(sys.executable).with_name("spr")
RECIPES = Path(__file__).parents[2] / "recipes"


def spr(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    """Run a command line in this process; returns its exit code."""
    monkeypatch.setattr(sys, "argv", ["spr", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert isinstance(end.value.code, int)
    return end.value.code


def test_help_takes_under_half_a_second_of_work() -> None:
    subprocess.run([SPR, "--help"], capture_output=True, check=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([SPR, "--help"], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5
    work = ("demo", "init", "plan", "run", "train", "eval", "merge", "push", "export")
    for verb in (*work, "status", "show", "view", "report", "doctor"):
        assert f"  {verb} " in done.stdout


def test_help_names_every_stage_to_stop_after() -> None:
    done = subprocess.run([SPR, "run", "--help"], capture_output=True, text=True, check=True)
    assert set(re.split(r"[^a-z]+", done.stdout)) >= set(STAGES)


def test_importing_spr_and_its_light_names_loads_no_torch() -> None:
    code = (
        "import sys, spr, spr.cli\n"
        "for name in spr.__all__: getattr(spr, name)\n"
        "assert not {'torch', 'transformers'} & set(sys.modules), 'torch is loaded'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    import spr

    with pytest.raises(AttributeError, match="module 'spr' has no attribute 'nonsense'"):
        _ = spr.nonsense
    assert set(spr.__all__) <= set(dir(spr))


def test_init_writes_a_recipe_that_lacks_only_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert spr(monkeypatch, "init", tmp_path / "new") == 0
    path = tmp_path / "new" / "recipe.yaml"
    assert str(path) in capsys.readouterr().out
    load_recipe(path, ["source.annotations=a.json", "source.image_root=images"])
    assert spr(monkeypatch, "init", tmp_path / "new") == 2
    assert "recipe.yaml exists; name another directory" in capsys.readouterr().err


def test_a_recipe_as_it_comes_names_the_keys_that_must_be_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spr(monkeypatch, "init", tmp_path)
    assert spr(monkeypatch, "run", tmp_path / "recipe.yaml", "--out", tmp_path / "run") == 2
    errors = capsys.readouterr().err
    assert "source.annotations is missing" in errors
    assert "source.image_root is missing" in errors
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_recipe_is_complete_but_for_the_source(path: Path) -> None:
    from spr.models import dialects

    values = yaml.safe_load(path.read_text())
    assert values["source"] == {"annotations": None, "image_root": None}
    recipe = load_recipe(path, ["source.annotations=a.json", "source.image_root=images"])
    dialects.of(recipe.model)


def recipe_file(folder: Path, **changes: object) -> Path:
    values: dict[str, object] = {
        "source": {"annotations": str(folder / "no.json"), "image_root": str(folder)},
        "model": {"name": str(folder / "no model"), "dialect": "tiny"},
        "score": {"weight": 0, "localization": {"preset": "annotations_only"}},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(values | changes))
    return path


def begun(folder: Path) -> Path:
    """A run directory in which nothing has happened but its recipe."""
    run = RunDir(folder / "begun")
    run.prepare()
    run.write_recipe(load_recipe(recipe_file(folder)))
    return run.path


def other_version(folder: Path) -> Path:
    (folder / "old").mkdir()
    (folder / "old" / "run.json").write_text(json.dumps({"layout": 0, "spr": "0.0.1"}))
    return folder / "old"


ERRORS = {
    "no such recipe": (lambda f: ["run", f / "none.yaml"], 2, "No such file or directory; name an existing recipe"),
    "weight": (lambda f: ["run", recipe_file(f, score={"weight": 1.3})], 2, "score.weight is 1.3; it should be less than"),
    "unknown key": (lambda f: ["plan", recipe_file(f, speed=3)], 2, "unknown key speed"),
    "k = 1": (lambda f: ["plan", recipe_file(f), "--set", "candidates.k=1"], 2, "candidates.k is 1; it should be greater"),
    "bad --set": (lambda f: ["plan", recipe_file(f), "--set", "seed"], 2, "--set seed: write it as key.subkey=value"),
    "stage": (
        lambda f: ["run", recipe_file(f), "--until", "lunch"],
        2,
        "--until lunch: there is no such stage; name one of queries",
    ),
    "device": (
        lambda f: ["run", recipe_file(f, resources={"devices": ["tpu9"]}), "--out", f / "r"],
        2,
        "resources.devices holds 'tpu9'",
    ),
    "gpu": (
        lambda f: ["run", recipe_file(f, resources={"devices": [99]}), "--out", f / "r"],
        2,
        "resources.devices holds cuda:99",
    ),
    "no annotations": (lambda f: ["plan", recipe_file(f), "--set", "model.name=some/model"], 1, "no.json"),
    "no model": (lambda f: ["plan", recipe_file(f)], 1, "no model does not exist"),
    "dialect": (
        lambda f: ["plan", recipe_file(f), "--set", "model.dialect=parrot"],
        2,
        "dialect is 'parrot'; it must be one of",
    ),
    "no images": (
        lambda f: [
            "run",
            recipe_file(f, source={"annotations": "a", "image_root": "b"}),
            "--until",
            "queries",
            "--out",
            f / "r",
        ],
        1,
        "image_root b",
    ),
    "no run": (lambda f: ["status", f / "nowhere"], 1, "nowhere is no run directory"),
    "train nothing": (lambda f: ["train", begun(f)], 1, "holds no pairs to train on"),
    "old run": (lambda f: ["report", other_version(f)], 1, "made by spr 0.0.1 with layout version 0"),
    "old run again": (lambda f: ["run", recipe_file(f), "--out", other_version(f)], 1, "layout version 0"),
    "not a run": (lambda f: ["run", recipe_file(f), "--out", f], 1, "exists and is no run directory"),
    "task": (lambda f: ["eval", begun(f), "--task", "juggling"], 2, "the recipe has no section evaluation.juggling"),
    "format": (lambda f: ["export", begun(f), "--to", "floppy", "--out", f / "x"], 2, "--to floppy: there is no such format"),
    "export nothing": (lambda f: ["export", begun(f), "--to", "trl", "--out", f / "x"], 1, "none of 0 preference pairs"),
    "show nothing": (lambda f: ["show", begun(f), "a-pair"], 1, "holds no pairs; `spr status"),
    "show nowhere": (lambda f: ["show", f / "nowhere", "a-pair"], 1, "nowhere is no run directory"),
    "view nowhere": (lambda f: ["view", f / "nowhere"], 1, "nowhere is no run directory"),
    "merge nothing": (lambda f: ["merge", begun(f), "--out", f / "x"], 2, "holds no policy of a finished training"),
    "push nothing": (lambda f: ["push", begun(f), "me/model"], 2, "holds no policy of a finished training"),
    "push nowhere": (lambda f: ["push", f / "nowhere", "me/model"], 1, "nowhere is no run directory"),
}


@pytest.mark.parametrize("case", ERRORS, ids=lambda case: case.replace(" ", "_"))
def test_a_user_fault_is_one_sentence_and_an_exit_code(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, code, sentence = ERRORS[case]
    assert spr(monkeypatch, *arguments(tmp_path)) == code
    errors = capsys.readouterr().err
    assert sentence in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    "arguments", [["fly"], ["run"], ["run", "a.yaml", "--sideways"], ["export", "a"], ["view", "a", "--port", "65536"]]
)
def test_bad_usage_is_exit_code_2(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert spr(monkeypatch, *arguments) == 2


def test_an_interruption_is_exit_code_130(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("spr.templates.write_recipe", interrupted)
    assert spr(monkeypatch, "init", tmp_path) == 130
    assert capsys.readouterr().err == "interrupted; the same command again goes on from here\n"


def test_a_bug_keeps_its_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: Path) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("spr.templates.write_recipe", broken)
    monkeypatch.setattr(sys, "argv", ["spr", "init", str(tmp_path)])
    with pytest.raises(ZeroDivisionError):
        cli.main()


def test_view_says_where_it_listens_and_ctrl_c_ends_it_quietly(tmp_path: Path) -> None:
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    run = begun(tmp_path)
    command = [SPR, "view", run, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        address = said.split()[0]
        with urllib.request.urlopen(address, timeout=30) as page:
            assert "No stage has a finished shard yet" in page.read().decode()
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=30)
    assert (process.returncode, out, errors) == (0, "", f"reading {run}\n")
    assert address.startswith("http://127.0.0.1:")


def test_view_of_a_taken_port_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert spr(monkeypatch, "view", begun(tmp_path), "--port", str(port)) == 1
    assert capsys.readouterr().err.splitlines()[1].startswith(f"error: port {port} of 127.0.0.1 cannot be had: ")


@pytest.mark.parametrize(("rank", "begins"), [("0", "error: "), ("3", "process 3: error: ")])
def test_a_fault_in_one_of_several_processes_says_which_it_is_of(
    rank: str, begins: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", rank)
    assert spr(monkeypatch, "train", tmp_path / "nowhere") == 1
    assert capsys.readouterr().err.startswith(f"{begins}{tmp_path / 'nowhere'} is no run directory")


def test_a_run_in_use_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run = begun(tmp_path)
    with RunDir(run).lock():
        assert spr(monkeypatch, "train", run) == 1
        assert "is in use by process" in capsys.readouterr().err
        assert spr(monkeypatch, "status", run) == 0
    assert "in use by process" in capsys.readouterr().out
