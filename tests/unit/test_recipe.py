"""The recipe: what is impossible is refused before anything runs, in one sentence that says which key and what it must be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from spr.errors import RecipeError
from spr.recipe import Recipe, check_recipe, load_recipe

MINIMAL: dict[str, Any] = {
    "source": {"annotations": "a.json", "image_root": "images"},
    "model": {"name": "m", "dialect": "tiny"},
    "score": {"weight": 0, "localization": {"preset": "annotations_only"}},
}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(MINIMAL))
    return tmp_path / "r.yaml"


def fault(path: Path, *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, overrides)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_defaults_are_the_papers(recipe: Path) -> None:
    loaded = load_recipe(recipe, ["score.weight=0.8", "score.semantic.model=clip"])
    assert (loaded.candidates.k, loaded.queries.min_objects, loaded.queries.coverage) == (5, 4, 0.5)
    assert (loaded.score.weight, loaded.train.beta, loaded.pairs.min_iou) == (0.8, 0.1, 0.5)


def test_a_resolved_recipe_reads_back_the_same(recipe: Path) -> None:
    loaded = load_recipe(recipe)
    assert Recipe.model_validate_json(loaded.model_dump_json()) == loaded


def test_overrides_are_yaml_values_in_their_place(recipe: Path) -> None:
    loaded = load_recipe(
        recipe, ["candidates.k=3", "train.loss_type=[sigmoid, sft]", "queries.max_objects=9", "source.limit=null"]
    )
    assert loaded.candidates.k == 3
    assert loaded.train.loss_type == ("sigmoid", "sft")
    assert loaded.queries.max_objects == 9
    assert loaded.source.limit is None


def test_the_only_member_of_a_list_needs_no_brackets(recipe: Path) -> None:
    overrides = ["train.loss_type=ipo", "train.report_to=wandb", "candidates.prompts=plain", "resources.devices=1"]
    loaded = load_recipe(recipe, overrides)
    assert loaded == load_recipe(recipe, [override.replace("=", "=[") + "]" for override in overrides])


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("score.weight=1.3", "score.weight is 1.3; it should be less than or equal to 1"),
        ("score.weight=-0.1", "score.weight is -0.1; it should be greater than or equal to 0"),
        ("score.weight=.nan", "score.weight is nan; it should be a finite number"),
        ("candidates.k=1", "candidates.k is 1; it should be greater than or equal to 2"),
        ("candidates.k=many", "candidates.k is 'many'; it should be a valid integer"),
        ("candidates.promts=plain", "unknown key candidates.promts; did you mean prompts?"),
        ("sauce.limit=3", "unknown key sauce; did you mean source?"),
        ("train.lr=0.1", "unknown key train.lr; there are objective, loss_type, "),
        ("train.lora.rank=3", "unknown key train.lora.rank; there are r, alpha, dropout, target_modules"),
        (
            "evaluation.pope=[{annotations: a, image_root: b, limt: 3}]",
            "unknown key evaluation.pope.limt; did you mean limit?",
        ),
        ("train.loss_weights=1", "train.loss_weights is 1; it should be a list, in [ ]"),
        (
            "train.loss_type=[kto]",
            "train.loss_type.0 is 'kto'; it should be 'sigmoid', 'hinge', 'ipo', 'exo_pair', 'nca_pair', ",
        ),
        ("train.loss_type=[sft]", "train: loss_type [sft] alone is no preference loss"),
        ("train.loss_weights=[1, 2]", "train: 2 loss_weights for 1 loss types"),
        ("score.weight=0.5", "score: weight is above 0 but score.semantic names no model"),
        ("score.localization.preset=paper", "score: localization.preset is paper but score.detector names no model"),
        ("score.localization.rewards={}", "score.localization.rewards is {}"),
        ("score.localization.rewards={f1_hungarian: 0}", "score.localization.rewards.f1_hungarian is 0"),
        ("score.localization.rewards={iou: 1}", "score.localization.rewards.iou"),
        ("score.detector={model: d, dtype: bfloat16}", "score.detector.dtype is 'bfloat16'"),
        ("queries.max_objects=3", "queries: max_objects 3 is below min_objects 4"),
        ("candidates.source=file", "candidates: `path` goes with `source: file`"),
        ("candidates.prompts=[]", "candidates: prompts is empty"),
        ("model.trust_remote_code=true", "model: trust_remote_code needs a pinned `revision`: the commit (40 digits)"),
        ("source.image_root=null", "source.image_root is missing; set it in the recipe or with --set source.image_root="),
        ("model=null", "model is missing"),
        ("resources.devices=[]", "resources.devices is []"),
    ],
)
def test_the_impossible_is_refused_with_key_and_value(recipe: Path, override: str, sentence: str) -> None:
    said = fault(recipe, override)
    assert sentence in said
    assert said.startswith(str(recipe))
    assert "\n" not in said


@pytest.mark.parametrize("revision", ["main", "v1.0", "0123abc"])
def test_what_a_name_on_the_hub_points_to_can_move_so_code_needs_a_commit(recipe: Path, revision: str) -> None:
    said = fault(recipe, "model.name=a/b", f"model.revision='{revision}'", "model.trust_remote_code=true")
    assert "trust_remote_code needs a pinned `revision`" in said


def test_several_faults_are_said_together(recipe: Path) -> None:
    said = fault(recipe, "candidates.k=1", "score.weight=2").splitlines()
    assert len(said) == 2


def test_missing_sections_are_named() -> None:
    with pytest.raises(RecipeError, match=r"demo: model is missing; set it in the recipe or with --set model="):
        check_recipe({key: MINIMAL[key] for key in ("source", "score")}, "demo")


@pytest.mark.parametrize("override", ["candidates.k", "=3", "candidates..k=3", ".k=3"])
def test_an_override_without_key_or_value_is_refused(recipe: Path, override: str) -> None:
    assert fault(recipe, override) == f"--set {override}: write it as key.subkey=value"


def test_an_override_under_a_value_is_refused(recipe: Path) -> None:
    assert "seed is a value, not a section" in fault(recipe, "seed=3", "seed.x=4")


def test_an_override_that_is_no_yaml_is_refused(recipe: Path) -> None:
    assert "not valid YAML" in fault(recipe, "candidates.k=[1")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"a: [1", "not valid YAML"),
        (b"\xff\xfe\x00", "not valid YAML"),
        (b"seed: 2020-13-45", "not valid YAML"),
        (b"[" * 5000, "not valid YAML"),
        (b"- 1", "a recipe is a mapping"),
        (b"", "a recipe is a mapping"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "r.yaml").write_bytes(content)
    said = fault(tmp_path / "r.yaml")
    assert sentence in said
    assert "\n" not in said


def test_a_key_written_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("seed: 1\nseed: 2\n")
    assert "the key 'seed' is there twice" in fault(tmp_path / "r.yaml")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert fault(tmp_path / "none.yaml").endswith(
        "No such file or directory; name an existing recipe, or make one with `spr init`"
    )


def test_a_recipe_cannot_be_changed(recipe: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_recipe(recipe).seed = 3  # type: ignore[misc]


def test_the_order_of_box_rewards_says_nothing(recipe: Path) -> None:
    one = load_recipe(recipe, ["score.localization.rewards={f1_hungarian: 2, recall_iou: 1}"])
    other = load_recipe(recipe, ["score.localization.rewards={recall_iou: 1, f1_hungarian: 2}"])
    assert one.model_dump_json() == other.model_dump_json()
