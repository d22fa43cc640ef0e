"""The reward as ms-swift, verl and OpenRLHF call it; their own code is not installed. A box of height h has IoU h / 10."""

from __future__ import annotations

import asyncio
import inspect
import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import pandas
import pytest
import torch

import spr
from spr.errors import DataError, RecipeError
from spr.models.base import Dialect
from spr.rewards import shims

BOXES: dict[str, Any] = {"weight": 0, "localization": {"preset": "annotations_only"}}
DOG = {"boxes": [[0, 0, 10, 10]], "categories": ["dog"]}
ROW = {"width": 64, "height": 48, "region": [0, 0, 32, 24], "objects": DOG}
TEXTS = ["A dog [0, 0, 10, 8].", "A dog [0, 0, 10, 6].", "A dog."]


@pytest.fixture
def reward(bracket: Dialect) -> spr.SpatialReward:
    return spr.SpatialReward(BOXES, bracket)


def test_ms_swift_makes_the_class_of_its_arguments_and_calls_it_with_columns(bracket: Dialect) -> None:
    orms = {"spr": shims.swift(spr.SpatialReward(BOXES, bracket, columns={"objects": "truth"}))}
    # As GRPOTrainer._prepare_rewards does: arguments are passed by the names that the constructor has.
    names = list(inspect.signature(orms["spr"].__init__).parameters)
    one = orms["spr"](**({"args": object()} if "args" in names else {}))
    orms["spr"]()
    rows = [{**ROW, "truth": DOG, "objects": {"bbox": []}, "images": [{"bytes": None, "path": "a.png"}]} for _ in TEXTS]
    rows[2]["truth"] = None
    batched = {name: [row[name] for row in rows] for name in rows[0]}
    found = one(TEXTS, **batched, trainer_state=object(), response_token_ids=[[1]] * 3, solution=[""] * 3)
    assert found[:2] == pytest.approx([0.8, 0.6])
    assert math.isnan(found[2])
    assert type(one).__name__ == "SpatialORM"


def test_verl_asks_row_by_row_with_what_its_parquet_file_holds(reward: spr.SpatialReward, tmp_path: Path) -> None:
    columns = [{"data_source": "spr", "reward_model": {"ground_truth": {"objects": DOG}}, "extra_info": ROW} for _ in TEXTS]
    pandas.DataFrame(columns).to_parquet(tmp_path / "train.parquet")
    data = pandas.read_parquet(tmp_path / "train.parquet").to_dict("records")
    compute_score = shims.verl(reward)
    assert not inspect.iscoroutinefunction(compute_score)

    async def ask(row: dict[str, Any], text: str) -> dict[str, float]:
        ask_one = partial(compute_score, solution_str=text, ground_truth=row["reward_model"]["ground_truth"])
        ask_row = partial(ask_one, data_source=row["data_source"], extra_info={**row["extra_info"], "num_turns": None})
        return await asyncio.get_running_loop().run_in_executor(None, ask_row)

    found = [asyncio.run(ask(row, text)) for row, text in zip(data, TEXTS, strict=True)]
    assert [one["score"] for one in found] == pytest.approx([0.8, 0.6, 0.0])
    assert found[2] == {"score": 0.0, "spr/localization": 0.0, "spr/boxes": 0.0}


def test_verl_takes_the_ground_truth_as_json(reward: spr.SpatialReward) -> None:
    assert shims.verl(reward)("spr", TEXTS[0], json.dumps(ROW))["score"] == pytest.approx(0.8)


def test_openrlhf_gives_prompt_and_answer_in_one_string(reward: spr.SpatialReward) -> None:
    reward_func = shims.openrlhf(reward, "<|im_start|>assistant\n", "<|im_end|>")
    prompt = "<|im_start|>user\n<image>what is in [0, 0, 32, 24]?<|im_end|>\n<|im_start|>assistant\n"
    queries = [f"{prompt}{text}<|im_end|><|endoftext|>" for text in TEXTS]
    found = reward_func(queries, [prompt] * 3, [json.dumps(ROW)] * 3, save_path=None)
    assert set(found) == {"rewards", "scores", "extra_logs"}
    assert torch.allclose(found["rewards"], torch.tensor([0.8, 0.6, 0.0]))
    assert torch.equal(found["scores"], found["rewards"])
    assert found["extra_logs"]["spr/boxes"].tolist() == [1, 1, 0]


def test_a_query_without_an_answer_is_said(reward: spr.SpatialReward) -> None:
    with pytest.raises(DataError, match="query 0 holds no 'ASSISTANT:', which should open its answer"):
        shims.openrlhf(reward, "ASSISTANT:", "</s>")(["USER: what?"], ["USER: what?"], [json.dumps(ROW)])
    with pytest.raises(RecipeError, match="one of them is empty"):
        shims.openrlhf(reward, "ASSISTANT:", "")


def test_rows_that_cannot_be_scored_are_said(reward: spr.SpatialReward) -> None:
    compute_score = shims.verl(reward)
    with pytest.raises(DataError, match="ground_truth of data_source spr is not valid json"):
        compute_score("spr", "a dog", "dog")
    with pytest.raises(DataError, match="ground_truth of data_source spr is a list; it must hold the columns"):
        compute_score("spr", "a dog", [DOG])
    with pytest.raises(DataError, match="a row of data_source spr has no ground truth"):
        compute_score("spr", "a dog", {**ROW, "objects": None})
    with pytest.raises(DataError, match="there are 1 queries and 2 labels"):
        shims.openrlhf(reward, "A:", "</s>")(["A: a dog</s>"], [""], [ROW, ROW])
    with pytest.raises(DataError, match="label 0 has no ground truth"):
        shims.openrlhf(reward, "A:", "</s>")(["A: a dog</s>"], [""], [{**ROW, "objects": {"boxes": []}}])


@pytest.mark.parametrize(
    ("score", "fault"),
    [
        ({"weight": 0, "detector": {"model": "d"}}, "preset is paper, where what a detector finds for all texts"),
        ({**BOXES, "normalize": "rank"}, "normalize is rank, which compares the texts of a region"),
    ],
)
def test_scores_that_compare_texts_are_refused_where_texts_come_alone(bracket: Dialect, score: Any, fault: str) -> None:
    alone = spr.SpatialReward(score, bracket)
    with pytest.raises(RecipeError, match=fault):
        shims.verl(alone)
    with pytest.raises(RecipeError, match=fault):
        shims.openrlhf(alone, "A:", "</s>")


def test_verl_leaves_out_what_some_families_write_boxes_with() -> None:
    with pytest.raises(RecipeError, match="dialect internvl are made of special tokens, which verl leaves out"):
        shims.verl(spr.SpatialReward(BOXES, "internvl"))
