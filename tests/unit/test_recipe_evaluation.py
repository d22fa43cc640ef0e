"""The evaluation's part of the recipe: one data set of a task or several, each with a name of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from spr.errors import RecipeError
from spr.recipe import Recipe, check_recipe, load_recipe, override_recipe
from spr.recipe_evaluation import KINDS

VAL = {"annotations": "refs/refcoco_val.json", "image_root": "photos"}
TEST = {"annotations": "refs/refcoco_testA.json", "image_root": "photos"}


def values(dialect: str = "tiny", **evaluation: Any) -> dict[str, Any]:
    return {
        "source": {"annotations": "a.json", "image_root": "images"},
        "model": {"name": "m", "dialect": dialect},
        "score": {"weight": 0, "localization": {"preset": "annotations_only"}},
        "evaluation": evaluation,
    }


def recipe(dialect: str = "tiny", **evaluation: Any) -> Recipe:
    return check_recipe(values(dialect, **evaluation), "test")


def ids(given: Recipe) -> list[str]:
    return [one.id for one in given.evaluation.sets()]


def fault(dialect: str = "tiny", **evaluation: Any) -> str:
    with pytest.raises(RecipeError) as refused:
        recipe(dialect, **evaluation)
    return str(refused.value)


def test_one_data_set_is_called_by_its_task() -> None:
    assert ids(recipe(rec=VAL)) == ids(recipe(rec=[VAL])) == ["rec"]
    (one,) = recipe(rec=VAL).evaluation.sets()
    assert (one.kind, one.data.annotations, one.data.image_root) == ("rec", Path("refs/refcoco_val.json"), Path("photos"))


def test_several_are_called_by_their_files_or_by_their_names() -> None:
    assert ids(recipe(rec=[VAL, TEST])) == ["rec/refcoco_val", "rec/refcoco_testA"]
    assert ids(recipe(rec=[{**VAL, "name": "easy"}, TEST])) == ["rec/easy", "rec/refcoco_testA"]


def test_a_name_counts_where_there_is_one_data_set_alone() -> None:
    assert ids(recipe(rec={**VAL, "name": "val"})) == ["rec/val"]


def test_no_section_is_no_data_set() -> None:
    assert ids(recipe()) == ids(recipe(rec=None, pope=[])) == []


def test_data_sets_stand_in_the_order_of_the_tasks_whatever_that_of_the_file() -> None:
    given = dict.fromkeys(reversed(KINDS), VAL)
    assert ids(recipe(**given)) == list(KINDS)


def test_two_of_one_name_are_refused() -> None:
    said = fault(rec=[VAL, {**VAL, "limit": 3}])
    assert said == "test: evaluation: two data sets are called rec/refcoco_val; give them different names with `name`"
    assert "two data sets are called rec/a" in fault(rec=[{**VAL, "name": "a"}, {**TEST, "name": "a"}])


def test_tasks_do_not_share_their_names() -> None:
    assert ids(recipe(rec=[VAL, TEST], pope=[VAL, TEST])) == [
        "rec/refcoco_val",
        "rec/refcoco_testA",
        "pope/refcoco_val",
        "pope/refcoco_testA",
    ]


@pytest.mark.parametrize("name", ["..", ".hidden", "a b", "a/b", "", "ü", "base", "tuned", "items"])
def test_a_name_that_names_no_folder_is_refused(name: str) -> None:
    said = fault(rec={**VAL, "name": name})
    assert said == (
        f"test: evaluation: a data set of rec is called {name!r}, which names no folder; give it a `name` of letters and digits"
    )


def test_a_files_name_that_names_no_folder_asks_for_a_name_where_it_is_needed() -> None:
    pickled = {"annotations": "refs(unc).p", "image_root": "photos", "split": "val"}
    assert ids(recipe(rec=pickled)) == ["rec"]
    assert "a data set of rec is called 'refs(unc)', which names no folder" in fault(rec=[pickled, VAL])
    assert ids(recipe(rec=[{**pickled, "name": "unc_val"}, VAL])) == ["rec/unc_val", "rec/refcoco_val"]


def test_a_split_is_refused_where_files_hold_one_alone() -> None:
    assert recipe(rec={**VAL, "split": "testA"}).evaluation.rec[0].split == "testA"
    assert "unknown key evaluation.pope." in fault(pope={**VAL, "split": "testA"})


def test_a_dumped_recipe_is_written_as_a_person_would_write_it() -> None:
    dumped = recipe(rec=[VAL], pope=[VAL, TEST]).model_dump(mode="json")["evaluation"]
    assert dumped["rec"] == {
        "annotations": "refs/refcoco_val.json",
        "image_root": "photos",
        "limit": None,
        "name": None,
        "split": None,
    }
    assert [one["annotations"] for one in dumped["pope"]] == ["refs/refcoco_val.json", "refs/refcoco_testA.json"]
    assert dumped["gqa"] is None


@pytest.mark.parametrize("sets", [None, VAL, [VAL, {**TEST, "limit": 5}]])
def test_a_dumped_recipe_reads_back_the_same(sets: Any) -> None:
    given = recipe(rec=sets)
    assert check_recipe(json.loads(json.dumps(given.model_dump(mode="json"))), "test") == given
    assert Recipe.model_validate_json(given.model_dump_json()) == given


def test_one_data_set_of_a_dumped_recipe_is_overridden_by_its_keys() -> None:
    given = recipe(rec=VAL)
    assert override_recipe(given, ["evaluation.rec.limit=3"]) == recipe(rec={**VAL, "limit": 3})
    assert override_recipe(given, ["evaluation.rec=null"]) == recipe()
    assert override_recipe(given, ()) is given


def test_a_task_is_added_key_by_key(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(values()))
    added = ["evaluation.pope.annotations=pope.json", "evaluation.pope.image_root=photos"]
    assert ids(load_recipe(tmp_path / "r.yaml", added)) == ids(override_recipe(recipe(), added)) == ["pope"]


def test_an_override_that_makes_it_impossible_is_refused_as_what_it_is() -> None:
    with pytest.raises(RecipeError, match=r"^--set: evaluation\.rec\..*limit is 0; it should be greater than or equal to 1"):
        override_recipe(recipe(rec=VAL), ["evaluation.rec.limit=0"])


@pytest.mark.parametrize("kind", ["rec", "phrase_grounding", "ferret_bench"])
def test_ferrets_protocol_reads_no_other_dialects_boxes(kind: str) -> None:
    assert ids(recipe("ferret", protocol="ferret", **{kind: VAL})) == [kind]
    said = fault("cogvlm", protocol="ferret", **{kind: VAL})
    assert f"evaluation.protocol: ferret reads {kind} as Ferret's own scripts do, in Ferret's brackets" in said
    assert said.endswith("but model.dialect is cogvlm; set evaluation.protocol: plain")


def test_ferrets_protocol_reads_words_of_any_dialect() -> None:
    assert ids(recipe("cogvlm", protocol="ferret", pope=VAL)) == ["pope"]


def test_a_protocol_that_nobody_knows_is_refused() -> None:
    assert "evaluation.protocol is 'shikra'; it should be 'plain' or 'ferret'" in fault(protocol="shikra")


def test_a_judge_is_named_by_its_server_and_has_no_tuned_side() -> None:
    endpoint = {"url": "http://localhost:1/v1"}
    said = fault(ferret_bench={**VAL, "judge": {"endpoint": endpoint}})
    assert "endpoint.served_name is missing; name the model that judges, as its server calls it" in said
    said = fault(ferret_bench={**VAL, "judge": {"endpoint": {**endpoint, "served_name": "j", "tuned_name": "t"}}})
    assert "endpoint.tuned_name is t; a judge has no tuned side, leave it out" in said


@pytest.mark.parametrize("name", ["base-judged", "tuned-judged"])
def test_a_data_set_is_not_called_like_a_folder_of_its_task(name: str) -> None:
    assert f"a data set of ferret_bench is called {name!r}, which names no folder" in fault(ferret_bench={**VAL, "name": name})
