"""`spr doctor`: the sheet, the references, and one model's frame from answers that are asked for once."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spr.doctor import machine, picture, visit
from spr.doctor.asking import Answer, answers, ask
from spr.doctor.calibration import compare
from spr.doctor.references import references
from spr.doctor.sheet import draw_sheet, round_trip
from spr.errors import DataError, ModelError, RecipeError
from spr.evaluation.asking import AskStage
from spr.items import RecItem
from spr.models.base import Generation
from spr.models.dialects.readings import every_reading, readings
from spr.recipe import Evaluation
from spr.recipe_model import Model

TINY = Path(visit.__file__).parents[1] / "tiny" / "models" / "mllm"
WIDE = (400, 200)


def test_the_balloons_box_is_tight():
    """Every edge of the known box touches the balloon, whose colours are not the sky's."""
    pixels = np.asarray(picture.draw()).astype(int)
    balloon = (pixels[..., 0] > pixels[..., 2] + 25) & (np.arange(picture.SIZE[0]) > 300)
    ys, xs = np.nonzero(balloon[:230])
    assert (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) == pytest.approx(picture.BALLOON, abs=1)


def test_the_picture_tells_frames_apart():
    width, height = picture.SIZE
    original, padded = readings("llava-onevision")
    text = padded.dialect.format(picture.BALLOON, picture.SIZE)
    assert width > 1.5 * height
    assert original.dialect.parse(text, picture.SIZE)[0].box[1] > picture.BALLOON[1] + 30


def test_every_dialect_reads_the_balloon_back_on_the_sheet():
    trips = [round_trip(reading) for reading in every_reading()]
    assert all(trip.iou > 0.9 for trip in trips)
    assert {trip.label: trip.text for trip in trips}["tiny"] == "a balloon <59> <10> <76> <61>"
    sheet = draw_sheet(trips)
    assert sheet.mode == "RGB"
    assert np.asarray(draw_sheet(trips[:4])).shape[0] < sheet.height


def test_the_sheet_shows_what_is_read_back():
    """Another box read back changes the card that shows it, and no other."""
    first, second = (round_trip(reading) for reading in every_reading()[:2])
    moved = type(second)(second.label, second.text, (100.0, 100.0, 200.0, 200.0), second.iou)
    before, after = (np.asarray(draw_sheet(trips)) for trips in ((first, second), (first, moved)))
    columns = np.nonzero((before != after).any(axis=(0, 2)))[0]
    assert columns.min() > 504  # the second card begins at 24 + 480 + 24


def test_the_machine_is_told_by_what_is_installed():
    facts = dict(machine.versions())
    assert facts["python"] == sys.version.split()[0]
    assert facts["transformers"] == version("transformers")
    assert "threads" in dict(machine.devices())["cpu"]
    assert set(dict(machine.extras())) == {"openai", "spacy", "bitsandbytes", "torchvision"}


def test_what_is_not_installed_is_said(monkeypatch):
    monkeypatch.setattr(machine, "_EXTRAS", {"no-such-package": "nothing"})
    assert machine.extras() == [("no-such-package", "not installed: nothing")]


def test_references_are_spread_over_the_file(world):
    everything = references(world / "rec.json", world, 1000)
    assert [item.item_id for item in references(world / "rec.json", world, 3)] == [
        everything[place].item_id for place in (0, round((len(everything) - 1) / 2), len(everything) - 1)
    ]


def test_a_name_that_stands_alone_refers(tmp_path):
    Image.new("RGB", (100, 80)).save(tmp_path / "a.png")
    boxes = [(1, [10, 20, 30, 40]), (2, [0, 0, 20, 20]), (2, [50, 50, 20, 20]), (3, [60, 0, 20, 30])]
    coco = {
        "images": [{"id": 7, "file_name": "a.png", "width": 100, "height": 80}],
        "annotations": [
            {"id": i, "image_id": 7, "category_id": name, "bbox": box, "iscrowd": 0} for i, (name, box) in enumerate(boxes)
        ],
        "categories": [{"id": i, "name": name} for i, name in enumerate(("", "dog", "cup", "kite")) if i],
    }
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    found = references(tmp_path / "coco.json", tmp_path, 50)
    assert [(item.item_id, item.expression, item.box) for item in found] == [
        ("7-0", "dog", (10, 20, 40, 60)),
        ("7-3", "kite", (60, 0, 80, 30)),
    ]
    assert {item.path for item in found} == {"a.png"}
    coco["annotations"] = coco["annotations"][1:3]
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    with pytest.raises(DataError, match=r"coco\.json holds no usable reference: no name stands alone; name a file"):
        references(tmp_path / "coco.json", tmp_path, 50)


def test_references_whose_images_are_not_there_are_counted(world, tmp_path, capsys):
    rows = json.loads((world / "rec.json").read_text())
    gone = rows[0]["file_name"]
    others = [row["file_name"] for row in rows if row["file_name"] != gone]
    for name in {gone, *others} - {gone}:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((world / name).read_bytes())
    (tmp_path / "rec.json").write_text(json.dumps(rows))
    assert [item.path for item in references(tmp_path / "rec.json", tmp_path, 1000)] == others
    assert (
        f"1 images are missing, {len(rows) - len(others)} expressions are dropped with them: {gone}" in capsys.readouterr().err
    )


def test_images_that_are_not_there_leave_no_reference(world, tmp_path):
    with pytest.raises(DataError, match=r"annotations\.json: none of its 12 images is under .* set image_root"):
        references(world / "annotations.json", tmp_path, 50)


@dataclass
class Scripted:
    """Writes every object in one frame, as its expression says it; counts how often it is asked."""

    dialect: object
    texts: dict[str, str]
    identity: str = "scripted"
    asked: list[str] = field(default_factory=list)

    def generate(self, requests, sampling, progress=None):
        assert sampling.temperature == 0
        self.asked += [request.prompt for request in requests]
        return [[Generation(self.texts[request.prompt], "stop", 1, 1)] for request in requests]

    def take_notes(self):
        return {}


def items(folder, count=10, size=WIDE):
    """One object an image, 200 x 40 pixels, four pixels further down in each."""
    for number in range(count):
        Image.new("RGB", size).save(folder / f"{number}.png")
    return [RecItem(str(n), f"{n}.png", *size, f"thing {n}", (100.0, 60.0 + 4 * n, 300.0, 100.0 + 4 * n)) for n in range(count)]


def scripted_stage(folder, rows, writes):
    """A stage whose model answers with what the reading `writes` would have."""
    own = readings("llava-onevision")[0].dialect
    stage = AskStage("rec", Model(name="scripted", dialect="llava-onevision"), Evaluation(), folder)
    texts = {own.rec_prompt(row.expression): writes.dialect.format(row.box, row.size) for row in rows}
    stage._policy = Scripted(own, texts)
    return stage


@pytest.mark.parametrize("truth", [0, 1])
def test_answers_are_asked_for_once_and_read_in_every_frame(tmp_path, truth):
    rows, ways = items(tmp_path), readings("llava-onevision")
    stage = scripted_stage(tmp_path, rows, ways[truth])
    found = compare(answers(stage, rows), ways)
    assert len(stage.policy.asked) == len(set(stage.policy.asked)) == len(rows)
    best, other = found.scores
    assert best.reading == ways[truth]
    assert best.mean_iou == pytest.approx(1)
    assert best.accuracy == 100
    # The other frame doubles the height around the object, or halves it within.
    assert other.mean_iou == pytest.approx(0.5)
    assert other.behind == (pytest.approx(0.5), (pytest.approx(0.5), pytest.approx(0.5)))
    assert found.decided
    frame = ("original", "padded")[truth]
    assert found.verdict.endswith(f"model: {{dialect: llava-onevision, dialect_options: {{frame: {frame}}}}}")


def test_the_verdict_of_square_images_is_too_close_to_tell(tmp_path):
    rows, ways = items(tmp_path, size=(400, 400)), readings("llava-onevision")
    found = compare(answers(scripted_stage(tmp_path, rows, ways[1]), rows), ways)
    assert [score.mean_iou for score in found.scores] == [found.scores[0].mean_iou] * 2
    assert not found.decided
    assert found.verdict.startswith("too close to tell")


def test_a_few_images_decide_nothing(tmp_path):
    rows, ways = items(tmp_path, count=7), readings("llava-onevision")
    found = compare(answers(scripted_stage(tmp_path, rows, ways[1]), rows), ways)
    assert found.scores[1].behind[0] == pytest.approx(0.5)
    assert found.verdict.startswith("too close to tell: over 7 references about 7 images")


def test_a_lead_that_turns_from_image_to_image_is_noise():
    """The answers alternate between the frames: one reading is ahead by one image in 21, which is half an IoU."""
    ways = readings("llava-onevision")
    rows = [RecItem(str(n), f"{n}.png", *WIDE, "it", (100.0, 60.0, 300.0, 100.0)) for n in range(21)]
    written = [Answer(row, ways[place % 2].dialect.format(row.box, row.size)) for place, row in enumerate(rows)]
    found = compare(written, ways)
    assert found.scores[0].reading == ways[0]
    assert found.scores[1].behind[0] == pytest.approx(0.5 / 21)
    assert found.scores[1].behind[1][0] < 0
    assert not found.decided


def test_the_first_box_of_an_answer_counts():
    """The right box, then one elsewhere: 200 x 40 pixels against none of them."""
    (own,) = readings("tiny")
    rows = [RecItem(str(n), f"{n}.png", *WIDE, "it", (100.0, 50.0, 300.0, 100.0)) for n in range(9)]
    right, wrong = (own.dialect.ground("it", box, WIDE) for box in (rows[0].box, (0.0, 150.0, 50.0, 200.0)))
    for text, overlap in ((f"{right} , {wrong}", 1), (f"{wrong} , {right}", 0)):
        (score,) = compare([Answer(row, text) for row in rows], [own]).scores
        assert score.mean_iou == pytest.approx(overlap)


def test_answers_without_boxes_name_no_reading():
    rows = [RecItem(str(n), f"{n}.png", *WIDE, "it", (100.0, 20.0, 300.0, 120.0)) for n in range(9)]
    found = compare([Answer(row, "I see nothing.") for row in rows], readings("llava-onevision"))
    assert found.scores[0].readable == 0
    assert found.verdict == "no answer holds a box that llava-onevision can read: is it this model's dialect?"


def test_boxes_that_meet_nothing_name_no_reading():
    # They share a corner of 60 x 10 pixels: an overlap, and far from one half.
    rows = [RecItem(str(n), f"{n}.png", *WIDE, "it", (100.0, 20.0, 300.0, 120.0)) for n in range(9)]
    (own,) = readings("tiny")
    found = compare([Answer(row, own.dialect.ground("it", (240.0, 110.0, 400.0, 200.0), WIDE)) for row in rows], [own])
    assert 0 < found.scores[0].mean_iou < 0.5
    assert found.verdict == "no box meets its object (IoU 0.5) in any reading: is tiny this model's dialect?"


def test_the_bundled_model_is_calibrated_from_either_kind_of_source(world, capsys):
    for source in ("rec.json", "annotations.json"):
        found = visit.calibrate(str(TINY), world / source, "tiny", 8)
        (score,) = found.scores
        assert (found.references, score.readable) == (8, 100)
        assert score.mean_iou > 0.5
    assert "tiny has one reading; there is nothing to choose" in capsys.readouterr().out


def test_references_whose_images_cannot_be_used_are_left_out_and_said(world, tmp_path, capsys):
    (tmp_path / "0.png").write_bytes(b"no picture")
    rows = items(tmp_path, count=2)
    stage = scripted_stage(tmp_path, rows, readings("llava-onevision")[0])
    (tmp_path / "0.png").write_bytes(b"no picture")
    assert [answer.item.item_id for answer in answers(stage, rows)] == ["1"]
    assert "reference 0 is left out: image_unreadable, 0.png" in capsys.readouterr().err
    with pytest.raises(DataError, match="none of the 1 references could be asked"):
        answers(stage, rows[:1])


@pytest.mark.parametrize(
    ("model", "source", "dialect", "fault", "said"),
    [
        (TINY, None, "tiny", RecipeError, "--model needs --source"),
        (TINY, "rec.json", None, RecipeError, "name it with --dialect: cogvlm,"),
        (TINY, "rec.json", "parrot", RecipeError, "'parrot'; it must be one of"),
        ("/no/such/model", "rec.json", "tiny", ModelError, "--model /no/such/model does not exist"),
        (TINY, "none.json", "tiny", DataError, r"none\.json: No such file"),
    ],
)
def test_what_is_wrong_with_a_calibration_is_said(world, model, source, dialect, fault, said):
    with pytest.raises(fault, match=said):
        visit.calibrate(str(model), source and world / source, dialect, 8)


def test_a_model_that_cannot_be_loaded_is_named(world):
    rows = references(world / "rec.json", world, 2)
    with pytest.raises(ModelError, match="nowhere is no directory"):
        ask(Model(name="nowhere", dialect="tiny"), rows, world)
