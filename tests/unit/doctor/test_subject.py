"""Whom `spr doctor --model` asks: a recipe's model with all its settings, or weights whose type tells their dialect."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

import tiny_random
from chat_server import chat_server, fails, says
from spr.doctor import visit
from spr.doctor.subject import subject
from spr.errors import ModelError, RecipeError
from spr.models import dialects
from spr.models.dialects.by_type import BY_TYPE
from spr.models.dialects.readings import readings

ROOT = Path(__file__).parents[3]
TINY = ROOT / "src" / "spr" / "tiny" / "models" / "mllm"
CELL = 28 * 28
SERVER = "model:\n  name: some/model\n  dialect: {dialect}\n  endpoint: {{url: {url}, retries: 0}}\n"


def write_references(folder: Path, count: int, size: tuple[int, int] = (400, 200)) -> Path:
    """So many photos with one expression each, `thing N`, about the box (100, 60) to (300, 100)."""
    rows = []
    for number in range(count):
        Image.new("RGB", size, (number, 90, 90)).save(folder / f"{number}.png")
        about = {"img_id": str(number), "file_name": f"{number}.png", "width": size[0], "height": size[1]}
        rows.append({**about, "bbox": [100, 60, 200, 40], "sents": f"thing {number}"})
    (folder / "rec.json").write_text(json.dumps(rows))
    return folder / "rec.json"


def test_a_recipes_model_is_taken_whole_and_its_other_parts_are_not_needed():
    """The recipe as it is shipped: its source is still empty."""
    part = subject(str(ROOT / "recipes" / "qwen2.5-vl-7b.yaml"))
    assert (part.name, part.dialect, part.dtype) == ("Qwen/Qwen2.5-VL-7B-Instruct", "qwen2.5-vl", "bfloat16")
    assert part.processor == {"size": {"shortest_edge": 256 * CELL, "longest_edge": 1280 * CELL}}
    assert part.dialect_options == {"min_pixels": 256 * CELL, "max_pixels": 1280 * CELL}


def test_keys_are_laid_over_a_recipe_and_over_weights_alike(tmp_path):
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps({"model": {"name": "a/b", "dialect": "shikra", "attention": "eager"}}))
    part = subject(str(recipe), overrides=["model.revision=abc", "model.quantization=4bit"])
    assert (part.dialect, part.attention, part.revision, part.quantization) == ("shikra", "eager", "abc", "4bit")
    part = subject("a/b", "llava-onevision", ["model.dialect_options.frame=padded", "model.dtype=float16"])
    assert (part.dialect, part.dialect_options, part.dtype) == ("llava-onevision", {"frame": "padded"}, "float16")


def test_the_other_readings_keep_the_recipes_options():
    limits = {"min_pixels": 4 * CELL, "max_pixels": 16 * CELL}
    own, other = readings("qwen2.5-vl", **limits)
    assert (own.label, other.label) == ("qwen2.5-vl (min_pixels: 3136, max_pixels: 12544)", "qwen3-vl")
    # 400 x 200 in at most 12,544 pixels: 140 x 56 are 5 and 2 cells.
    assert own.dialect.format((200.0, 100.0, 400.0, 200.0), (400, 200)) == "[70, 28, 140, 56]"


def test_a_model_with_pixel_limits_of_its_own_is_calibrated_by_its_recipe(tmp_path, capsys):
    """The recipe's processor shows up to 64 cells, neither the checkpoint's 16 nor the dialect's 16,384."""
    tiny_random.build_qwen2_5_vl(tmp_path / "model")
    source, recipe = write_references(tmp_path, 2), tmp_path / "recipe.yaml"
    size = {"shortest_edge": 4 * CELL, "longest_edge": 64 * CELL}
    limits = {"min_pixels": 4 * CELL, "max_pixels": 64 * CELL}
    part = {"name": str(tmp_path / "model"), "dialect": "qwen2.5-vl", "processor": {"size": size}, "dtype": "float32"}
    recipe.write_text(json.dumps({"model": {**part, "dialect_options": limits}}))
    found = visit.calibrate(str(recipe), source)
    assert {score.reading.name: score.reading.options for score in found.scores} == {"qwen2.5-vl": limits, "qwen3-vl": {}}
    assert found.references == 2
    # Without the recipe the checkpoint's limits hold: the fault names keys that can be given, and given they mend it.
    with pytest.raises(ModelError, match=r"give model\.dialect_options the processor's pixel limits"):
        visit.calibrate(str(tmp_path / "model"), source)
    assert "dialect qwen2.5-vl, as its model type qwen2_5_vl says\n" in capsys.readouterr().out
    given = [f"model.dialect_options.{key}={value * CELL}" for key, value in (("min_pixels", 4), ("max_pixels", 16))]
    assert visit.calibrate(str(tmp_path / "model"), source, overrides=given).references == 2


def test_the_type_of_the_weights_tells_their_dialect(tmp_path, capsys):
    tiny_random.build_qwen3_vl(tmp_path / "qwen3")
    tiny_random.build_kosmos2(tmp_path / "kosmos")
    assert subject(str(tmp_path / "qwen3")).dialect == "qwen3-vl"
    assert subject(str(tmp_path / "kosmos")).dialect == "kosmos-2"
    said = capsys.readouterr().out.splitlines()
    assert said == [
        "dialect qwen3-vl, as its model type qwen3_vl says",
        "dialect kosmos-2, as its model type kosmos-2 says",
    ]
    assert subject(str(tmp_path / "qwen3"), "qwen2.5-vl").dialect == "qwen2.5-vl"
    assert capsys.readouterr().out == ""


def test_every_type_is_one_of_transformers_and_has_a_dialect_that_is_there():
    assert set(BY_TYPE) <= set(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES)
    assert set(BY_TYPE.values()) <= set(dialects.FAMILIES)


def test_the_bundled_recipe_is_calibrated(tmp_path, monkeypatch):
    from spr.tiny.splits import DEVELOPMENT, write_split
    from spr.tiny.tasks import write_tasks

    monkeypatch.chdir(ROOT)
    write_split(DEVELOPMENT, 8, tmp_path)
    write_tasks(DEVELOPMENT, 8, tmp_path, expressions_each=1)
    (score,) = visit.calibrate("recipes/tiny.yaml", tmp_path / "rec.json").scores
    assert score.reading.label == "tiny"
    assert score.readable == 100


def answers_in(name):
    """A server that answers every question with the box of `write_references`, as one reading has it, and then with another."""
    dialect = dialects.get(name)
    text = dialect.ground("thing", (100.0, 60.0, 300.0, 100.0), (400, 200))
    return lambda *_: says(f"{text} and {dialect.ground('thing', (0.0, 0.0, 50.0, 200.0), (400, 200))}")


def test_a_server_is_calibrated_like_weights_and_the_first_box_counts(tmp_path):
    source, recipe = write_references(tmp_path, 10), tmp_path / "recipe.yaml"
    with chat_server(answers_in("qwen3-vl")) as server:
        recipe.write_text(SERVER.format(dialect="qwen2.5-vl", url=server.url))
        found = visit.calibrate(str(recipe), source)
        assert sorted(server.prompts) == sorted(
            f"Locate thing {n} in this image and output the bbox coordinates in JSON format." for n in range(10)
        )
    assert [score.reading.name for score in found.scores] == ["qwen3-vl", "qwen2.5-vl"]
    assert found.scores[0].mean_iou == pytest.approx(1)
    assert found.verdict == "qwen3-vl reads this model better; in the recipe's model: {dialect: qwen3-vl}"


def test_one_question_that_a_server_refuses_is_left_out(tmp_path, capsys):
    """Nine questions: the last one alone in its batch would look like a server that refuses everything."""
    source, recipe = write_references(tmp_path, 9), tmp_path / "recipe.yaml"
    answer = answers_in("qwen3-vl")

    def reply(body, number):
        return fails(400, "no such photo") if "thing 8 " in str(body["messages"]) else answer()

    with chat_server(reply) as server:
        recipe.write_text(SERVER.format(dialect="qwen3-vl", url=server.url))
        assert visit.calibrate(str(recipe), source).references == 8
    assert "reference 8-0 is left out: refused, 8.png" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(dialects.FAMILIES))
def test_an_answer_has_room_for_the_longest_box(tmp_path, name):
    """No tokenizer makes more tokens of a text than it has bytes; expressions of eight words, as in RefCOCOg, have about 40."""
    source, recipe = write_references(tmp_path, 2), tmp_path / "recipe.yaml"
    with chat_server(lambda *_: says("nothing")) as server:
        recipe.write_text(SERVER.format(dialect=name, url=server.url))
        visit.calibrate(str(recipe), source)
        (room,) = {body["max_tokens"] for body in server.bodies}
    phrase = "the man in a red shirt near a bench"
    longest = "```json\n[\n\t" * (name in ("qwen2.5-vl", "qwen3-vl")) + dialects.get(name).ground(
        phrase, (3001.0, 3001.0, 3999.0, 3999.0), (4000, 4000)
    )
    assert len(longest.encode()) <= room


def test_a_type_without_a_dialect_of_its_own_asks_for_one():
    with pytest.raises(RecipeError, match=r"mllm is of type llava, .* --dialect: cogvlm, .*tiny"):
        subject(str(TINY))


@pytest.mark.parametrize(
    ("model", "dialect", "overrides", "fault", "said"),
    [
        ("none.yaml", None, (), RecipeError, "none.yaml: No such file or directory; name an existing recipe"),
        ("odd.yaml", None, (), RecipeError, "odd.yaml: model.dialect is missing; set it in the recipe or with --set"),
        (
            "odd.yaml",
            None,
            ("model.dialect=tiny", "model.dtype=int8"),
            RecipeError,
            "odd.yaml: model.dtype is 'int8'; it should",
        ),
        ("odd.yaml", "tiny", (), ModelError, "odd.yaml: model.name /no/such/model does not exist"),
        ("odd.yaml", "tiny", ("model.dialect=tiny",), RecipeError, "--set model.dialect=tiny and --dialect tiny say the same"),
        (str(TINY), "tiny", ("score.weight=1",), RecipeError, "--set score.weight=1: only the model is asked"),
        (str(TINY), "tiny", ("model.colour=red",), RecipeError, f"--model {TINY}: unknown key model.colour"),
        ("a/b", None, ("model.endpoint.url=http://localhost:1/v1",), RecipeError, "a/b is behind a server, which says no type"),
    ],
)
def test_what_is_wrong_with_whom_to_ask_is_said(tmp_path, monkeypatch, model, dialect, overrides, fault, said):
    monkeypatch.chdir(tmp_path)
    Path("odd.yaml").write_text("model:\n  name: /no/such/model\nscore: nothing\n")
    with pytest.raises(fault) as raised:
        subject(model, dialect, overrides)
    assert said in str(raised.value)
