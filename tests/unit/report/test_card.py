"""The model card: a header that the hub reads, the run's own numbers, and nothing of the machine it was made on."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from synthetic_metrics import make_metrics
from synthetic_run import write_run

from spr.errors import DataError, ModelError
from spr.models.identity import directory_digest
from spr.recipe import check_recipe
from spr.records import Dropped
from spr.report.card import Subject, policy_card
from spr.report.card_header import merged_of
from spr.report.public import SERVER, public
from spr.running.files import write_json
from spr.running.run_dir import RunDir
from spr.training.manifest import TrainReport, write_manifest
from spr.training.merged import Merged

FUNNEL = {
    "images": {"in": 44, "parents": 40, "out": 40, "dropped": {"image_missing": 3, "too_small": 1}},
    "queries": {"in": 40, "parents": 36, "out": 36, "dropped": {"too_few_objects": 4}},
    "candidates": {"in": 36, "parents": 36, "out": 180, "dropped": {}},
    "scores": {"in": 36, "parents": 36, "out": 180, "dropped": {}},
    "pairs": {"in": 36, "parents": 24, "out": 24, "dropped": {"no_same_mentions": 11, "small_margin": 1}},
    "train": {"in": 24, "parents": 23, "out": 23, "dropped": {"too_long": 1}},
}


def finished(root: Path, displaced: bool = False, changes: dict[str, Any] | None = None, adapter: str | None = None) -> Path:
    """A made-up run with a policy, evaluated with it (or with the `adapter` of that digest); `changes` go into the recipe."""
    run = write_run(root, photos=2, parts=())
    folder = run / "policy" / "adapter"
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text("{}")
    (folder / "processor_config.json").write_text('{"processor_class": "LlavaProcessor"}')
    report = TrainReport(
        adapter=folder,
        updates=60,
        pairs=23,
        dropped=(Dropped("pair-1", "train", "too_long"),),
        lengths={},
        final={"loss": 0.4137, "rewards/accuracies": 0.875, "rewards/margins": 1.25},
        chosen_first=0.5,
        chosen_last=-3.25 if displaced else 2.0,
        displaced=displaced,
        seconds=92.1,
        resumed_from=0,
        fresh=True,
        prefix_sharing="pair",
    )
    write_manifest(
        run / "policy", {"model": "shapes-mllm@sha256:0123456789abcdef"}, report, {"spr": "0.1.0", "torch": "2.13.0"}
    )
    metrics = make_metrics() | {"funnel": FUNNEL}
    for task in metrics["tasks"].values():
        task["adapter"] = adapter or directory_digest(folder)
    write_json(run / "metrics.json", metrics)
    directory = RunDir(run)
    values: dict[str, Any] = {**(directory.recipe_values() or {}), **(changes or {})}
    directory.write_recipe(check_recipe(values, "test"))
    return run


def card_of(run: Path, **subject: Any) -> ModelCard:
    """The card, read as the hub reads it."""
    return ModelCard(
        policy_card(run, Subject(run / "policy" / "adapter", "shapes-spr", **subject)), ignore_metadata_errors=False
    )


def hub_base(name: str = "llava-hf/llava-onevision-qwen2-7b-ov-hf", **model: Any) -> dict[str, Any]:
    return {"model": {"name": name, "dialect": "llava-onevision", **model}}


def test_the_header_is_what_the_hub_reads(tmp_path: Path) -> None:
    card = card_of(finished(tmp_path, changes=hub_base()))
    values = yaml.safe_load(card.content.split("---\n")[1])
    assert values["base_model"] == "llava-hf/llava-onevision-qwen2-7b-ov-hf"
    assert values["base_model_relation"] == "adapter"
    assert (values["library_name"], values["pipeline_tag"]) == ("peft", "image-text-to-text")
    assert "dpo" in values["tags"]
    (index,) = values["model-index"]
    assert index["name"] == "shapes-spr"
    found = {(one.task_name, one.metric_name): one.metric_value for one in card.data.eval_results}
    assert found["Referring expressions", "Acc@0.9"] == 51.744
    assert found["Region descriptions", "localization score"] == 0.7723
    assert not any("readable" in name for _, name in found)  # how answers were read is no result
    assert all(math.isfinite(value) for value in found.values())


def test_a_merged_model_is_one_of_transformers(tmp_path: Path) -> None:
    merged = Merged("bfloat16", 0.9911, 0.283)
    card = card_of(finished(tmp_path, changes=hub_base()), repository="me/shapes-spr", merged=merged)
    assert (card.data.library_name, card.data.get("base_model_relation")) == ("transformers", "finetune")
    assert 'AutoModelForImageTextToText.from_pretrained("me/shapes-spr", dtype="auto")' in card.content
    assert "Rounding to bfloat16 kept 99.1 % of the adapter's change" in card.content
    assert "PeftModel" not in card.content
    (tmp_path / "README.md").write_text(card.content)
    assert merged_of(tmp_path) == (card.data["spr"]["adapter"], merged)


@pytest.mark.parametrize(
    "text", [None, "no header", "---\ntags: [a]\n---\n", "---\nspr: {adapter: x}\n---\n", "---\ntitle: a: b\n---\n"]
)
def test_a_folder_without_such_a_card_was_not_merged(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "README.md").write_text(text)
    with pytest.raises(DataError, match="holds no merged model with its card; make one with `spr merge RUN --out DIR`"):
        merged_of(tmp_path)


def test_before_and_after_stand_beside_each_other_with_their_intervals(tmp_path: Path) -> None:
    content = card_of(finished(tmp_path)).content
    assert "| Acc@0.9 | 44.90 | 51.74 | **+6.84** | +5.50 to +8.18 |" in content
    assert "| right count, % | 71.3 | 71.0 | −0.3 | −2.7 to +2.0 |" in content
    assert "3,120 expressions, 4 left out: image missing" in content


def test_what_was_not_measured_is_said(tmp_path: Path) -> None:
    section = {"annotations": "pope.json", "image_root": "images"}
    run = finished(tmp_path, changes={"evaluation": {"pope": section}})
    assert "Not evaluated, though the recipe names it: pope." in card_of(run).content
    (run / "metrics.json").write_text("{}")
    card = card_of(run)
    assert "Nothing was evaluated with this adapter." in card.content
    assert card.data.eval_results is None
    assert "The run keeps no count of the data" in card.content


def test_a_base_that_was_evaluated_alone_has_its_own_table(tmp_path: Path) -> None:
    run = finished(tmp_path)
    metrics = json.loads((run / "metrics.json").read_text())
    for task in metrics["tasks"].values():
        del task["tuned"], task["delta"], task["adapter"]
    write_json(run / "metrics.json", metrics)
    card = card_of(run)
    assert "The tuned model was not evaluated on it." in card.content
    assert "| Acc@0.9 | 44.90 | 43.50 to 46.30 |" in card.content
    assert card.data.eval_results is None


def test_the_results_of_another_adapter_are_left_out(tmp_path: Path) -> None:
    card = card_of(finished(tmp_path, adapter="0" * 64))
    assert "Left out, since another adapter or another program answered: rec, regions." in card.content
    assert "Acc@0.9" not in card.content
    assert card.data.eval_results is None


def test_the_funnel_names_every_reason(tmp_path: Path) -> None:
    content = card_of(finished(tmp_path)).content
    assert "From `instances.json` to the pairs that were trained on:" in content
    assert "| Read images | 44 images | 40 usable images | 3 image missing, 1 too small |" in content
    assert "| Pair and refine | 36 regions | 24 pairs | 11 no same mentions, 1 small margin |" in content
    assert "| Check before training | 24 pairs | 23 pairs trained on | 1 too long |" in content


def test_training_is_told_with_its_displacement(tmp_path: Path) -> None:
    content = card_of(finished(tmp_path / "a")).content
    assert "| pairs, updates | 23, 60 |" in content
    assert "| loss | 0.414 |" in content
    assert "displacement" not in content
    warned = card_of(finished(tmp_path / "b", displaced=True)).content
    assert "**Likelihood displacement:** the chosen answers became less likely" in warned
    assert "(+0.50 to −3.25 nats an answer)" in warned


def test_the_recipe_can_be_read_back_and_names_no_place(tmp_path: Path) -> None:
    content = card_of(finished(tmp_path, changes=hub_base(revision="a" * 40))).content
    recipe = yaml.safe_load(content.split("``````yaml\n")[1].split("\n``````")[0])
    assert recipe["source"] == {"annotations": "instances.json", "image_root": "photos", "limit": None}
    assert recipe["model"]["name"] == "llava-hf/llava-onevision-qwen2-7b-ov-hf"
    assert recipe["train"]["lora"]["r"] == 128


def test_no_place_of_this_machine_is_told(tmp_path: Path) -> None:
    section = {"annotations": str(tmp_path / "private" / "pope.json"), "image_root": str(tmp_path / "private")}
    server = {"url": "http://gpu7.cellar.example:8000/v1", "tuned_name": "tuned", "api_key_env": "CELLAR_KEY"}
    run = finished(
        tmp_path,
        changes={
            **hub_base(str(tmp_path / "models" / "my-llava"), endpoint=server),
            "evaluation": {"pope": section},
        },
    )
    content = card_of(run).content
    for secret in (str(tmp_path), str(Path.home()), "cellar.example", "private/"):
        assert secret not in content
    assert "`my-llava`" in content
    assert "base_model" not in content.split("---\n")[1]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Path("/data/coco/instances.json"), "instances.json"),
        (Path("coco/instances.json"), "instances.json"),
        ("/data/models/llava", "llava"),
        ("~/models/llava/", "llava"),
        ("./models/llava", "llava"),
        ("llava-hf/llava-onevision", "llava-hf/llava-onevision"),
        ("https://10.0.0.7/v1", SERVER),
        (("a", Path("/b/c"), 3), ["a", "c", 3]),
        ({"x": {"y": Path("/b/c")}}, {"x": {"y": "c"}}),
        (None, None),
    ],
)
def test_only_names_are_public(value: object, shown: object) -> None:
    assert public(value) == shown


def test_a_folder_that_looks_like_a_name_on_the_hub_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models" / "mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert public("models/mine") == "mine"


def test_names_cannot_break_the_page(tmp_path: Path) -> None:
    run = finished(tmp_path)
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["tasks"]["rec"]["data"] = {"name": "a|b <script>", "sha256": "0"}
    write_json(run / "metrics.json", metrics)
    card = card_of(run)
    assert "### Referring expressions, a\\|b &lt;script&gt;" in card.content
    assert "<script>" not in card.content.split("---\n", 2)[2]


def test_code_states_what_the_recipe_pins(tmp_path: Path) -> None:
    base = hub_base(revision="b" * 40, trust_remote_code=True, processor={"min_pixels": 784})
    content = card_of(finished(tmp_path, changes=base), repository="me/it").content
    pinned = f'"llava-hf/llava-onevision-qwen2-7b-ov-hf", dtype="bfloat16", revision="{"b" * 40}", trust_remote_code=True)'
    assert f"base = AutoModelForImageTextToText.from_pretrained({pinned}" in content
    assert "trust_remote_code=True, min_pixels=784)" in content
    assert 'model = PeftModel.from_pretrained(base, "me/it")' in content


def test_a_dialect_is_named_with_its_frame(tmp_path: Path) -> None:
    content = card_of(finished(tmp_path, changes=hub_base(dialect_options={"frame": "original"}))).content
    assert "spr.dialect(\"llava-onevision\", frame='original').parse(text, size=(width, height))" in content


def test_descriptions_by_others_are_not_called_the_models_own(tmp_path: Path) -> None:
    assert "the model itself described regions" in card_of(finished(tmp_path / "a")).content
    imported = {"candidates": {"source": "file", "path": "texts.jsonl"}}
    assert "other models described regions" in card_of(finished(tmp_path / "b", changes=imported)).content


def test_supervised_training_is_not_called_dpo(tmp_path: Path) -> None:
    content = card_of(finished(tmp_path, changes={"train": {"objective": "sft"}})).content
    assert "the model was fine-tuned on the better ones" in content
    assert "DPO" not in content
    assert "log-probability of the chosen" not in content


def test_a_model_that_was_trained_itself_is_called_a_model_and_has_no_lora(tmp_path: Path) -> None:
    run = finished(tmp_path, changes=hub_base() | {"train": {"method": "full"}})
    folder = run / "policy" / "adapter"
    (folder / "adapter_config.json").unlink()  # a whole model has none
    content = card_of(run).content
    values = yaml.safe_load(content.split("---\n")[1])
    assert values["spr"] == {"model": directory_digest(folder)}
    assert (values["base_model_relation"], values["library_name"]) == ("finetune", "transformers")
    recipe = yaml.safe_load(content.split("``````yaml\n")[1].split("\n``````")[0])
    assert recipe["train"]["method"] == "full"
    assert "lora" not in recipe["train"]
    assert "LoRA" not in content


def test_the_same_run_gives_the_same_card(tmp_path: Path) -> None:
    run = finished(tmp_path)
    assert card_of(run).content == card_of(run).content


def test_an_adapter_without_its_processor_is_refused(tmp_path: Path) -> None:
    run = finished(tmp_path)
    (run / "policy" / "adapter" / "processor_config.json").write_text("{}")
    with pytest.raises(ModelError, match="holds no processor"):
        card_of(run)
