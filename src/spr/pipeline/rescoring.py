"""Evaluation without a model: answers that lie in files, scored and counted like those of a model that is asked; and the
questions of a data set, for whoever answers them elsewhere.

No model and no network is touched, and of photos only what reading the data set looks at: a size that its file does not
state, and, for `regions`, what drawing regions needs. So no answer is dropped because its photo is another than annotated.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spr.errors import DataError, RecipeError
from spr.evaluation.given_boxes import frame_doubt, score_boxes, unreadable_note
from spr.evaluation.rec import Rec
from spr.evaluation.registry import make_task, protocol_of, read_items
from spr.evaluation.task import Task
from spr.items import CaptionItem, Question, RecItem, SentenceItem
from spr.models import dialects
from spr.pipeline.assembly import BASE, TUNED, data_of, evaluation_task, task_sets
from spr.pipeline.evaluating import count_set, forget, write_predictions, write_tables
from spr.pipeline.funnel import of_source, write_source
from spr.pipeline.metrics import results_on_disk
from spr.pipeline.owning import check_protocol, check_recipe_owned, own_recipe
from spr.pipeline.publishing import write_results
from spr.pipeline.rounds import adapter_of, held
from spr.recipe import Recipe
from spr.recipe_evaluation import TaskSet
from spr.records import Prediction, RegionQuery
from spr.running.files import write_atomic
from spr.running.local import LocalEngine
from spr.running.progress import meter, say
from spr.running.run_dir import RunDir
from spr.sources.predictions_file import PredictionsFile, read_predictions


@dataclass(frozen=True, slots=True)
class _Asked:
    """A data set: what scores it, its items, the full split's size where these are a part of it, and what it is called."""

    task: Task[Any]
    items: Sequence[Any]
    subset_of: int | None
    data: Mapping[str, str]


def evaluate_files(recipe: Recipe, out: Path, name: str | None, base: Path, tuned: Path | None = None) -> dict[str, Any]:
    """Score the answers in `base` and `tuned` to the items of the one data set that `name` means, by the recipe's dialect and
    protocol, and write what `evaluate` writes.

    Returns the metrics by data set; their `from` names the files. Raises RecipeError for a name of none or several data sets,
    and for an `out` with results of a model; DataError for files that do not fit the data set or each other; ResumeError when
    `out` belongs to another recipe or protocol.
    """
    one = _only(recipe, name)
    files = {side: _read(path, side, one, recipe) for side, path in ((BASE, base), (TUNED, tuned)) if path is not None}
    run = RunDir(out)
    run.prepare()
    with held(run):
        _check_free(run)
        check_protocol(recipe, run)
        check_recipe_owned(recipe, run, [one])
        asked = _asked(recipe, run, one)
        _check_items(asked, files, one)
        _check_pairs(asked, files)
        own_recipe(recipe, run, [one])
        metrics = _scored(recipe, run, one, asked, files)
        write_results(run)
        write_tables(run)
    return {one.id: metrics}


def write_questions(recipe: Recipe, name: str | None, out: Path) -> int:
    """Write the questions of one data set as json lines: item_id, image (below the task's image root), its width and height in
    pixels (0 where the file states none and the photo is missing), the question as the recipe's dialect and protocol ask it,
    and what it is about: the expression, the sentence and its phrases, or the region in xyxy pixels.

    Returns how many there are. Raises RecipeError as `evaluate_files`, and for a file that exists; DataError, ModelError for a
    dialect that cannot ask, DiskError.
    """
    one = _only(recipe, name)
    if out.exists():
        raise RecipeError(f"--questions: {out} exists; name another file")
    dialect = dialects.of(recipe.model)
    with tempfile.TemporaryDirectory() as scratch:
        asked = _asked(recipe, RunDir(Path(scratch)), one)
        lines = [_line(asked.task.ask(item, dialect), item) for item in asked.items]
    write_atomic(out, "".join(f"{line}\n" for line in lines).encode())
    return len(lines)


def _line(question: Question, item: Any) -> str:
    shown = {"item_id": question.item_id, "image": question.path, "width": question.width, "height": question.height}
    return json.dumps(shown | {"question": question.prompt} | _about(item), ensure_ascii=False)


def _about(item: Any) -> dict[str, Any]:
    """What a question is about, without any model's words around it; nothing where the question says it."""
    match item:
        case RecItem():
            return {"expression": item.expression}
        case SentenceItem():
            return {"sentence": item.sentence, "phrases": [phrase.phrase for phrase in item.phrases]}
        case CaptionItem() | RegionQuery():
            return {"region": list(item.region)}
    return {}


def _only(recipe: Recipe, name: str | None) -> TaskSet:
    if name is None:
        raise RecipeError("files hold the questions of one data set, and the answers to it; name it with --task")
    sets = task_sets(recipe, name)
    if len(sets) > 1:
        raise RecipeError(f"--task {name} has {len(sets)} data sets; name one of {', '.join(one.id for one in sets)}")
    if sets[0].kind == "ferret_bench":
        raise RecipeError(f"--task {name}: a judge says what its answers are worth, so it is asked and scored by a run alone")
    return sets[0]


def _read(path: Path, side: str, one: TaskSet, recipe: Recipe) -> PredictionsFile:
    file = read_predictions(path, one.kind)
    _check_file_protocol(file, side, one.kind, recipe.evaluation.protocol)
    boxed = next((row for row in file.rows.values() if row.box is not None), None)
    if boxed and one.kind != "rec":
        raise DataError(f"{boxed.where} gives a box, and answers of {one.id} are texts; write item_id and answer")
    if boxed and recipe.evaluation.protocol == "ferret":
        raise DataError(
            f"{boxed.where} gives a box, and protocol ferret reads texts as Ferret's own scripts do; give answers, or set "
            "evaluation.protocol=plain"
        )
    return file


def _check_file_protocol(file: PredictionsFile, side: str, kind: str, protocol: str) -> None:
    """Refuse what was scored by another protocol, and bare answers of a run to questions of another. Raises DataError."""
    if file.protocol not in (None, protocol_of(kind, protocol)):
        raise DataError(
            f"--{side} {file.path} was scored by protocol {file.protocol}, and evaluation.protocol is {protocol}; set "
            f"evaluation.protocol={file.protocol}, or give answers that were asked for by {protocol}"
        )
    if not file.of_run or file.protocol or protocol_of(kind, protocol) == protocol_of(kind, _other(protocol)):
        return
    if type(make_task(kind, "plain")).prompt is type(make_task(kind, "ferret")).prompt:
        return
    asked = _protocol_of_run(file.path)
    if asked is None:
        say(f"{file.path} lies in no run, so nothing says by which protocol its questions were asked; taken as {protocol}")
    elif asked != protocol:
        raise DataError(
            f"--{side} {file.path} holds answers to the questions of protocol {asked}, and evaluation.protocol is {protocol}, "
            f"which asks others; set evaluation.protocol={asked}, or ask again"
        )


def _other(protocol: str) -> str:
    return "plain" if protocol == "ferret" else "ferret"


def _protocol_of_run(path: Path) -> str | None:
    """The protocol of the run in which a file lies; None where there is none."""
    runs = (RunDir(folder) for folder in path.resolve().parents)
    values = next((run.recipe_values() for run in runs if run.exists), None)
    return str(values["evaluation"]["protocol"]) if values else None


def _check_free(run: RunDir) -> None:
    """Refuse a directory with results of a model, or with a run's own policy. Raises RecipeError."""
    asked = [name for name, metrics in results_on_disk(run).items() if "from" not in metrics]
    parts = [*run.path.glob("eval/*/base/parts"), *run.path.glob("eval/*/*/base/parts")]
    if asked or parts or of_source(run) or adapter_of(run):
        raise RecipeError(f"--base: {run.path} keeps the results of its own model; name another directory with --out")


def _asked(recipe: Recipe, run: RunDir, one: TaskSet) -> _Asked:
    if one.kind == "regions":
        made = evaluation_task(recipe, run, one, None, say)
        if made.reading:
            write_source(run, made.reading, Path("eval", one.id))
        LocalEngine(recipe.resources.devices, recipe.resources.threads).run(made.steps[0])
        items = made.items()
        if not items:
            raise DataError(
                f"{one.data.annotations}: no region could be drawn from it, so there is nothing to answer; see queries"
            )
        return _Asked(made.task, items, made.subset_of, made.data)
    found = read_items(one)
    for note in found.notes:
        say(note)
    total = found.total if len(found.items) < found.total else None
    return _Asked(make_task(one.kind, recipe.evaluation.protocol), found.items, total, data_of(one, found.digest))


def _check_items(asked: _Asked, files: Mapping[str, PredictionsFile], one: TaskSet) -> None:
    """Raises DataError for answers to items that are not there."""
    known = {item.item_id for item in asked.items}
    for side, file in files.items():
        strange = [name for name in file.rows if name not in known]
        if strange:
            limit = f", or evaluation.{one.kind}.limit, which is {one.data.limit}" if one.data.limit else ""
            raise DataError(
                f"--{side} {file.path}: {len(strange)} of its {len(file.rows)} answers are to items that {one.id} does not "
                f"have, e.g. {strange[0]}; its {len(known)} items are like {asked.items[0].item_id}: check --task{limit}"
            )


def _check_pairs(asked: _Asked, files: Mapping[str, PredictionsFile]) -> None:
    """Raises DataError for sides that answer different items."""
    sides = {side: file.rows for side, file in files.items()}
    for item in asked.items if TUNED in sides else ():
        has = [side for side, rows in sides.items() if item.item_id in rows]
        if len(has) == 1:
            lacks = TUNED if has == [BASE] else BASE
            counts = " and ".join(f"{len(rows)} of {side}" for side, rows in sides.items())
            raise DataError(
                f"--{has[0]} answers {item.item_id}, and --{lacks} does not ({counts}); a comparison is paired: give answers "
                "to the same items"
            )


def _scored(recipe: Recipe, run: RunDir, one: TaskSet, asked: _Asked, files: Mapping[str, PredictionsFile]) -> dict[str, Any]:
    found: dict[str, list[Prediction]] = {}
    said: dict[str, Any] = {"data": asked.data, "from": {}}
    forget(run, one)
    for side, file in files.items():
        judged = _judged(recipe, f"{one.id}/{side}", asked, file)
        found[side] = [row for predictions in judged.values() for row in predictions]
        notes = _notes(file, found[side])
        for note in notes:
            say(f"{file.path.name}: {note}")
        said["from"][side] = {"file": file.path.name, "sha256": file.digest} | ({"notes": notes} if notes else {})
        write_predictions(recipe, run, one, side, judged)
    fewer = len(files[BASE].rows) < len(asked.items)
    subset_of = asked.subset_of or (len(asked.items) if fewer else None)
    if subset_of and asked.task.items_are and (asked.subset_of or one.kind != "regions"):
        said["subset_unit"] = asked.task.items_are
    return count_set(recipe, run, one, asked.task, found, subset_of, said)


def _judged(recipe: Recipe, name: str, asked: _Asked, file: PredictionsFile) -> dict[str, list[Prediction]]:
    """What the answers of a file are worth, by item and in the order of the items."""
    rows = file.rows.values()
    texts = {row.item_id: row.answer for row in rows if row.box is None}
    boxes = {row.item_id: row.box for row in rows if row.box is not None}
    with meter(f"reading {name}", len(rows), "answers") as tick:
        found = asked.task.score_all(asked.items, texts, dialects.of(recipe.model), tick) if texts else {}
        if boxes and isinstance(asked.task, Rec):
            found |= score_boxes(asked.task, asked.items, boxes, tick)
    return {item.item_id: found[item.item_id] for item in asked.items if item.item_id in found}


def _notes(file: PredictionsFile, predictions: Sequence[Prediction]) -> list[str]:
    boxes = {row.item_id: row.box for row in file.rows.values() if row.box is not None}
    return [note for note in (unreadable_note(boxes), frame_doubt(predictions)) if note]
