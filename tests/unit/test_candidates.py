"""Stage 2: the prompt family, candidates from a model, candidates from a file."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image

import tiny_random
from spr.candidates import PARAPHRASES, CandidateStage, ImportStage, build_prompt, check_prompts, variant_images
from spr.errors import RecipeError
from spr.models import dialects
from spr.recipe import Candidates, Model
from spr.records import Candidate, Dropped, RegionQuery, SceneObject
from spr.seeds import derive_seed

VARIANTS = ("plain", "crop", "names", "crop_names", "paraphrase")


def make_query(query_id="q1", path="photo.png"):
    objects = tuple(SceneObject(str(i), name, (10.0, 10.0, 20.0, 20.0)) for i, name in enumerate(["dog", "cat", "cow"]))
    return RegionQuery(query_id, "i", path, 100, 50, (10.0, 10.0, 50.0, 40.0), objects)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tiny_random.build_llava(tmp_path_factory.mktemp("llava") / "model")
    return Model(name=str(folder), dialect="llava-onevision", dtype="float32")


@pytest.fixture
def image_root(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (50, 100, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path


def test_the_plain_prompt_is_the_dialects_own_question():
    tiny = dialects.get("tiny")
    assert build_prompt("plain", make_query(), tiny, 0) == "what is in <10> <19> <48> <77> ?"
    assert (
        build_prompt("crop", make_query(), tiny, 0) == "what is in <10> <19> <48> <77> ? the second image shows this region ."
    )


def test_paraphrases_are_picked_by_k_and_name_the_region():
    tiny, query = dialects.get("tiny"), make_query()
    prompts = [build_prompt("paraphrase", query, tiny, k) for k in range(len(PARAPHRASES))]
    assert len(set(prompts)) == len(PARAPHRASES)
    assert all("<10> <19> <48> <77>" in prompt for prompt in prompts)
    assert build_prompt("paraphrase", query, tiny, len(PARAPHRASES)) == prompts[0]


def test_names_come_in_an_order_that_says_nothing():
    ferret = dialects.get("ferret")
    firsts = Counter()
    for k in range(300):
        names = build_prompt("names", make_query(), ferret, k).partition(" objects : ")[2].removesuffix(" .").split(" , ")
        assert sorted(names) == ["cat", "cow", "dog"]
        firsts[names[0]] += 1
    assert min(firsts.values()) > 70
    assert build_prompt("names", make_query(), ferret, 3) == build_prompt("names", make_query(), ferret, 3)


def test_both_hints_together():
    prompt = build_prompt("crop_names", make_query(), dialects.get("tiny"), 0)
    assert "the second image shows this region . objects : " in prompt


@pytest.mark.parametrize("variant", VARIANTS)
def test_only_the_crop_variants_show_a_second_image(variant):
    image = Image.new("RGB", (100, 50))
    shown = variant_images(variant, image, make_query())
    assert shown[0] is image
    assert [part.size for part in shown[1:]] == ([(40, 30)] if "crop" in variant else [])


def run(stage, rows):
    stage.setup("cpu")
    return list(stage.process(rows))


@pytest.mark.parametrize("dialect", ["kosmos-2", "paligemma", "florence-2", "minigpt-v2"])
def test_families_of_fixed_task_prompts_are_asked_plainly_alone(dialect):
    check_prompts(["plain"], dialects.get(dialect))
    with pytest.raises(RecipeError, match=rf"\[plain, names\], but {dialect} models know their own task prompts only"):
        check_prompts(["plain", "names"], dialects.get(dialect))


@pytest.mark.parametrize("dialect", ["cogvlm", "shikra"])
def test_families_of_one_image_are_shown_no_crop(dialect):
    check_prompts(["plain", "names", "paraphrase"], dialects.get(dialect))
    with pytest.raises(
        RecipeError, match=rf"holds crop and crop_names, which show a second image, but {dialect} models take one"
    ):
        check_prompts(["plain", "crop", "names", "crop_names"], dialects.get(dialect))


def test_families_of_several_images_are_asked_in_every_way():
    check_prompts(VARIANTS, dialects.get("qwen2.5-vl"))


def test_k_candidates_a_query_by_the_prompts_in_turn(model, image_root):
    recipe = Candidates(k=7, prompts=VARIANTS, max_new_tokens=4, batch_size=16)
    stage = CandidateStage(recipe, model, image_root, seed=3)
    rows = run(stage, [make_query("q1"), make_query("q2")])
    assert [(row.query_id, row.k) for row in rows] == [(q, k) for q in ("q1", "q2") for k in range(7)]
    assert [row.variant for row in rows[:7]] == [*VARIANTS, "plain", "crop"]
    assert [row.seed for row in rows[:7]] == [derive_seed(3, "q1", k) for k in range(7)]
    assert all(isinstance(row, Candidate) and row.model == stage.recipe_part["model"]["identity"] for row in rows)
    assert len({row.text for row in rows}) > 7
    notes = stage.notes()
    assert notes["completion_tokens"] == sum(row.completion_tokens for row in rows)
    assert notes["cut_off"] == sum(row.finish_reason == "length" for row in rows)
    assert stage.notes() == {}
    assert run(stage, [make_query("q1"), make_query("q2")]) == rows


def test_a_query_whose_image_is_faulty_is_dropped_under_its_reason(model, image_root):
    (image_root / "broken.png").write_bytes(b"not a picture")
    queries = [
        make_query("q1", "missing.png"),
        make_query("q2"),
        make_query("q3", "../photo.png"),
        make_query("q4", "broken.png"),
    ]
    stage = CandidateStage(Candidates(k=2, max_new_tokens=2), model, image_root, seed=0)
    rows = run(stage, queries)
    assert [row for row in rows if isinstance(row, Dropped)] == [
        Dropped("q1", "candidates", "image_missing"),
        Dropped("q3", "candidates", "image_outside_root"),
        Dropped("q4", "candidates", "image_unreadable"),
    ]
    assert [stage.parent_id(row) for row in rows if isinstance(row, Candidate)] == ["q2", "q2"]


def test_queries_come_out_batch_by_batch(model, image_root):
    stage = CandidateStage(Candidates(k=2, prompts=("plain",), max_new_tokens=2, batch_size=1), model, image_root, seed=0)
    stage.setup("cpu")
    rows = stage.process([make_query("q1"), make_query("q2")])
    assert next(rows).query_id == "q1"
    (image_root / "photo.png").unlink()
    assert list(rows)[1:] == [Dropped("q2", "candidates", "image_missing")]


def test_recipe_part_holds_what_changes_the_texts(model, image_root):
    def part(recipe, its_model=model, seed=0):
        return json.dumps(CandidateStage(recipe, its_model, image_root, seed).recipe_part, sort_keys=True)

    base = part(Candidates())
    assert part(Candidates()) == base
    assert part(Candidates(batch_size=4)) != base
    assert part(Candidates(temperature=0.5)) != base
    assert part(Candidates(), seed=1) != base
    for change in ({"dtype": "bfloat16"}, {"attention": "eager"}, {"dialect": "tiny"}):
        assert part(Candidates(), model.model_copy(update=change)) != base


def test_an_adapter_that_describes_is_in_the_key_by_its_content(model, image_root, tmp_path):
    def part(adapter):
        return CandidateStage(Candidates(), model, image_root, 0, adapter=adapter).recipe_part

    folders = [tmp_path / name for name in ("one", "same", "other")]
    for folder, content in zip(folders, (b"weights", b"weights", b"others"), strict=True):
        folder.mkdir()
        (folder / "adapter_model.safetensors").write_bytes(content)
    one, same, other = map(part, folders)
    assert one == same != other
    without = part(None)
    assert "adapter" not in without["model"]
    assert {**one, "model": {**one["model"], "adapter": None}} == {**without, "model": {**without["model"], "adapter": None}}


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_imported_texts_keep_the_order_of_the_file(tmp_path):
    rows = [{"query_id": q, "text": f"text {i}", "model": "m"} for i, q in enumerate(["q2", "q1", "q2", "q3", "q9"])]
    rows[2]["finish_reason"] = "length"
    stage = ImportStage(Candidates(source="file", path=write_jsonl(tmp_path / "texts.jsonl", rows)))
    assert run(stage, [make_query("q1"), make_query("q2"), make_query("q4")]) == [
        Dropped("q1", "candidates", "one_candidate"),
        Candidate("q2", 0, "imported", -1, "text 0", "imported", 0, 0, "m"),
        Candidate("q2", 1, "imported", -1, "text 2", "length", 0, 0, "m"),
        Dropped("q4", "candidates", "no_candidates"),
    ]
    assert stage.file.unknown({"q1", "q2", "q3"}) == [Dropped("q9", "candidates", "unknown_query")]


def test_another_file_is_another_recipe_part(tmp_path):
    row = {"query_id": "q1", "text": "a", "model": "m"}
    one = ImportStage(Candidates(source="file", path=write_jsonl(tmp_path / "a.jsonl", [row])))
    same = ImportStage(Candidates(source="file", path=write_jsonl(tmp_path / "b.jsonl", [row])))
    other = ImportStage(Candidates(source="file", path=write_jsonl(tmp_path / "c.jsonl", [row, row])))
    assert one.recipe_part == same.recipe_part != other.recipe_part
