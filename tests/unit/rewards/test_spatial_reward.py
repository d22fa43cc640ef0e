"""The reward as TRL calls it. The object is 10 x 10 pixels: a box of height h has IoU h / 10."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

import spr
from spr.errors import DataError, RecipeError
from spr.models.base import Dialect
from spr.recipe import check_recipe
from spr.rewards.scorer import Scorer
from tiny_detectors import build_grounding_dino

BOXES: dict[str, Any] = {"weight": 0, "localization": {"preset": "annotations_only"}}
DOG = {"boxes": [[0, 0, 10, 10]], "categories": ["dog"]}
CAT = {"boxes": [[20, 0, 30, 10]], "categories": ["cat"]}
TEXTS = ["A dog [0, 0, 10, 8].", "A dog [0, 0, 10, 6].", "A dog.", "A dog [9, 0, 3, 4]."]
"""Worth 0.8, 0.6, 0 and, as its box cannot be read, 0."""


_STREAM = io.BytesIO()
Image.effect_noise((64, 48), 90).save(_STREAM, "PNG")
PNG = _STREAM.getvalue()


def columns(count: int, **changes: Any) -> dict[str, list[Any]]:
    """The columns of `count` rows about one dog."""
    values = {"width": 64, "height": 48, "region": [0, 0, 32, 24], "objects": DOG, **changes}
    return {name: [value] * count for name, value in values.items()}


def messages(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


@pytest.fixture
def root(tmp_path: Path, photo: Image.Image) -> Path:
    photo.save(tmp_path / "photo.png")
    return tmp_path


def with_clip(clip_dir: Path, **values: Any) -> dict[str, Any]:
    return {"weight": 0.8, "semantic": {"model": str(clip_dir)}, "localization": {"preset": "annotations_only"}, **values}


def test_plain_texts_and_conversations_get_their_composite_score(bracket: Dialect) -> None:
    reward = spr.SpatialReward(BOXES, bracket)
    expected = pytest.approx([0.8, 0.6, 0.0, 0.0])
    assert reward(["what?"] * 4, TEXTS, **columns(4)) == expected
    asked = [[{"role": "user", "content": "what?"}]] * 4
    assert reward(prompts=asked, completions=[messages(text) for text in TEXTS], **columns(4)) == expected
    parts = [[{"role": "assistant", "content": [{"type": "text", "text": TEXTS[0]}]}], [{"role": "assistant", "content": None}]]
    assert reward(None, parts, **columns(2)) == pytest.approx([0.8, 0.0])


def test_everything_that_trl_passes_is_taken(bracket: Dialect) -> None:
    metrics: dict[str, float] = {}
    extra: dict[str, list[Any]] = {}
    rewards = spr.SpatialReward(BOXES, bracket)(
        prompts=["what?"] * 4,
        completions=[messages(text) for text in TEXTS],
        completion_ids=[[1, 2]] * 4,
        trainer_state=object(),
        log_extra=lambda name, values: extra.update({name: values}),
        log_metric=lambda name, value: metrics.update({name: value}),
        images=[[Image.new("RGB", (64, 48))]] * 4,
        environments=["nobody's"] * 4,
        **columns(4),
    )
    assert metrics == pytest.approx({"spr/localization": 0.35, "spr/boxes": 0.5, "spr/unreadable": 0.25})
    assert extra == {"spr": rewards}


def test_each_row_is_judged_by_its_own_objects_and_rows_of_other_tasks_get_none(bracket: Dialect) -> None:
    data = columns(4)
    data["objects"] = [DOG, CAT, None, {"boxes": [], "categories": []}]
    assert spr.SpatialReward(BOXES, bracket)(None, [TEXTS[0]] * 4, **data) == [pytest.approx(0.8), 0.0, None, None]
    assert spr.SpatialReward(BOXES, bracket)(None, ["a"], objects=[None], log_metric=pytest.fail) == [None]


def test_objects_may_be_a_list_of_structs_and_columns_may_have_other_names(bracket: Dialect) -> None:
    reward = spr.SpatialReward(BOXES, bracket, columns={"objects": "truth", "width": "w"})
    data = {"truth": [[{"box": [0, 0, 10, 10], "category": "dog"}]], "w": [64], "height": [48]}
    assert reward(None, [TEXTS[1]], **data) == pytest.approx([0.6])


def test_score_tells_the_parts_and_is_the_score_of_the_pipeline(bracket: Dialect) -> None:
    row = {"text": TEXTS[0], "width": 64, "height": 48, "objects": DOG}
    first, second = spr.SpatialReward(BOXES, bracket).score([row, {**row, "text": TEXTS[3]}])
    assert first is not None
    assert second is not None
    assert (first.composite, first.localization) == (0.8, 0.8)
    assert [mention.box for mention in first.mentions] == [(0.0, 0.0, 10.0, 8.0)]
    assert second.detail["n_unreadable"] == 1


def test_a_recipes_reward_scores_as_its_run_does(tmp_path: Path) -> None:
    values = {
        "source": {"annotations": "a.json", "image_root": str(tmp_path)},
        "model": {"name": "m", "dialect": "llava-onevision", "dialect_options": {"frame": "padded"}},
        "score": BOXES,
    }
    reward = spr.SpatialReward.of(check_recipe(values, "test"))
    text = spr.dialect("llava-onevision", frame="padded").ground("a dog", (0, 0, 32, 32), (64, 48))
    data = columns(1, objects={"boxes": [[0, 0, 32, 32]]})
    assert reward(None, [text], **data)[0] == pytest.approx(1.0, abs=0.1)


def test_a_photo_is_read_from_disk_or_taken_from_memory(
    bracket: Dialect, clip_dir: Path, root: Path, photo: Image.Image
) -> None:
    stream = io.BytesIO()
    photo.save(stream, "PNG")
    reward = spr.SpatialReward(with_clip(clip_dir), bracket, image_root=root)
    memory = spr.SpatialReward(with_clip(clip_dir), bracket)
    by_path = reward(None, TEXTS[:2], **columns(2, image="photo.png"))
    assert None not in by_path
    assert memory(None, TEXTS[:2], **columns(2, image=photo)) == by_path
    assert memory(None, TEXTS[:2], images=[[photo.copy(), Image.new("RGB", (9, 9))] for _ in range(2)], **columns(2)) == by_path
    assert memory(None, TEXTS[:2], **columns(2, image={"bytes": stream.getvalue(), "path": None})) == by_path
    assert reward(None, TEXTS[:2], **columns(2, image={"bytes": None, "path": "photo.png"})) == by_path
    sizeless = {name: values for name, values in columns(2, image=photo).items() if name not in ("width", "height")}
    assert memory(None, TEXTS[:2], **sizeless) == by_path


def test_texts_about_one_region_are_one_query_and_others_are_not(
    bracket: Dialect, clip_dir: Path, photo: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[int]] = []
    score = Scorer.score

    def spy(self: Scorer, queries: Any, photos: Any) -> Any:
        asked.append([len(texts) for _, texts in queries])
        return score(self, queries, photos)

    monkeypatch.setattr(Scorer, "score", spy)
    data = columns(5)
    data["image"] = [photo, photo.copy(), photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT), photo, photo]
    data["region"] = [[0, 0, 32, 24]] * 3 + [[0, 0, 30, 24]] + [[0, 0, 32, 24]]
    rewards = spr.SpatialReward(with_clip(clip_dir, normalize="rank"), bracket)(None, [*TEXTS, TEXTS[0]], **data)
    assert asked == [[3, 1, 1]]
    # The first and the last row are the same text about the same region, and stand above the second by boxes alone.
    assert rewards[0] == rewards[4]


def test_what_a_detector_adds_to_the_ground_truth_comes_from_all_texts_of_a_region(
    bracket: Dialect, tmp_path: Path, root: Path
) -> None:
    dino = build_grounding_dino(tmp_path / "dino")
    paper = {"weight": 0, "detector": {"model": str(dino), "threshold": 0.0}, "localization": {"preset": "paper"}}
    reward = spr.SpatialReward(paper, bracket, image_root=root)
    rows = [{"text": text, **{name: values[0] for name, values in columns(1, image="photo.png").items()}} for text in TEXTS[:3]]
    together = [one.detail["n_gt"] for one in reward.score(rows) if one is not None]
    assert len(set(together)) == 1
    assert together[0] > 1


def test_boxes_of_special_tokens_are_read_from_the_ids() -> None:
    marks = ["<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>", "<|box_end|>"]
    words = {name: place for place, name in enumerate(["</s>", "<pad>", *marks, "a dog", "(0,0),(156,167)"])}
    tokens = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    tokens.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tokens, eos_token="</s>", pad_token="<pad>", additional_special_tokens=marks
    )
    ids = [2, 6, 3, 4, 7, 5, 0, 1]
    said = tokenizer.decode(ids, skip_special_tokens=True)
    assert said == "a dog(0,0),(156,167)"
    reward = spr.SpatialReward(BOXES, "qwen2-vl", tokenizer=tokenizer)
    # 0.156 * 64 by 0.167 * 48 pixels: a box of height 8 and, on a grid of 1000, nearly of width 10.
    assert reward(None, [said], [ids], **columns(1))[0] == pytest.approx(0.8, abs=0.01)
    for lone, given in ((spr.SpatialReward(BOXES, "qwen2-vl"), [ids]), (reward, None)):
        with pytest.raises(
            RecipeError, match=r"dialect qwen2-vl are made of special tokens.*give the reward the model's tokenizer"
        ):
            lone(None, [said], given, **columns(1))


def test_a_reward_that_has_not_scored_can_be_pickled(clip_dir: Path, root: Path) -> None:
    reward = spr.SpatialReward(with_clip(clip_dir), "ferret", image_root=root)
    copy = pickle.loads(pickle.dumps(reward))
    assert copy(None, ["a dog"], **columns(1, image="photo.png")) == reward(None, ["a dog"], **columns(1, image="photo.png"))


@pytest.mark.parametrize(
    ("left_out", "fault"),
    [
        (["objects"], "row 0 of the batch has no objects, which the reward needs"),
        (["width", "height"], "row 0 of the batch has no width, no height, .* its columns are objects, region"),
    ],
)
def test_missing_columns_are_named(bracket: Dialect, left_out: list[str], fault: str) -> None:
    data = {name: values for name, values in columns(1).items() if name not in left_out}
    with pytest.raises(DataError, match=fault):
        spr.SpatialReward(BOXES, bracket)(None, ["a dog"], **data)


def test_a_model_that_looks_needs_region_and_image(bracket: Dialect, clip_dir: Path) -> None:
    with pytest.raises(DataError, match=r"has no image, no region, which .* name yours with columns=\{'image'"):
        spr.SpatialReward(with_clip(clip_dir), bracket)(None, ["a dog"], width=[64], height=[48], objects=[DOG])


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"image": "gone.png"}, r"row 0 of the batch: its image gone\.png below \S+ cannot be used \(image_missing\)"),
        ({"image": "../photo.png"}, "image_outside_root"),
        ({"image": Image.new("RGB", (48, 64))}, r"its image is of another size than .* \(size_mismatch\)"),
        ({"image": 7}, "its image is a int; it must be a PIL image or a path"),
        ({"image": {"bytes": b"no picture"}}, "its image cannot be read"),
        ({"image": {"bytes": PNG[: len(PNG) // 2]}}, "its image cannot be read"),
        ({"image": "photo.png", "region": [1, 2, 3]}, r"region is \[1, 2, 3\]; it must be x0, y0, x1, y1 in pixels"),
        (
            {"image": "photo.png", "region": [70, 0, 80, 9]},
            r"region is \(70.0, 0.0, 80.0, 9.0\), which is no x0, .* of 64 x 48",
        ),
        ({"image": "photo.png", "objects": {"boxes": [[9, 2, 3, 4]]}}, r"a box of its objects is \(9.0, 2.0, 3.0, 4.0\)"),
        ({"image": "photo.png", "objects": {"boxes": [[1, 2, float("nan"), 5]]}}, "a box of its objects is .*nan"),
        ({"image": "photo.png", "width": 0}, "width is 0; it must be the image's, in pixels"),
        ({"image": "photo.png", "height": "tall"}, "height is 'tall'; it must be the image's, in pixels"),
        ({"image": "photo.png", "objects": {"boxes": [[0, 0, 10]]}}, r"its objects must be boxes \(n, 4\)"),
        ({"image": "photo.png", "objects": {"bbox": [[0, 0, 10, 10]]}}, r"its objects must be boxes \(n, 4\)"),
        ({"image": "photo.png", "objects": {**DOG, "categories": []}}, r"its objects must be boxes \(n, 4\)"),
    ],
)
def test_what_the_data_lack_is_said_in_one_sentence(
    bracket: Dialect, clip_dir: Path, root: Path, changes: dict[str, Any], fault: str
) -> None:
    reward = spr.SpatialReward(with_clip(clip_dir), bracket, image_root=root)
    with pytest.raises(DataError, match=fault):
        reward(None, ["a dog"], **columns(1, **changes))


def test_a_path_without_an_image_root_is_said(bracket: Dialect, clip_dir: Path) -> None:
    with pytest.raises(DataError, match=r"row 0 of the batch gives its image as the path gone\.png, .* no image_root"):
        spr.SpatialReward(with_clip(clip_dir), bracket)(None, ["a dog"], **columns(1, image="gone.png"))


@pytest.mark.parametrize(
    ("arguments", "options", "fault"),
    [
        ((BOXES, "klingon"), {}, "dialect is 'klingon'; it must be one of"),
        (({"weight": 1.3}, "tiny"), {}, "SpatialReward: score.weight is 1.3"),
        (({"weight": 0.5}, "tiny"), {}, "weight is above 0 but score.semantic names no model"),
        ((BOXES, "tiny"), {"columns": {"boxes": "b"}}, "unknown column 'boxes'; it must be one of image, width"),
    ],
)
def test_what_cannot_be_a_reward_is_refused(arguments: tuple[Any, Any], options: dict[str, Any], fault: str) -> None:
    with pytest.raises(RecipeError, match=fault):
        spr.SpatialReward(*arguments, **options)


def test_a_row_without_a_text_is_said(bracket: Dialect) -> None:
    reward = spr.SpatialReward(BOXES, bracket)
    with pytest.raises(DataError, match="row 1 of the batch has no text"):
        reward.score([{"text": "a dog", "width": 64, "height": 48, "objects": DOG}, {"width": 64}])
