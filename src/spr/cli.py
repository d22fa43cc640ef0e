"""The command line: verbs only. What a verb does is in the package; here arguments become calls and faults exit codes.

Exit codes: 0 done, 1 failed, 2 bad usage or recipe, 130 interrupted. Whatever is heavy is imported inside the verbs.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from spr import conversions
from spr.errors import RecipeError, SprError
from spr.running.ranks import leads, rank

INTERRUPTED = 130
app = typer.Typer(
    help="Make a vision-language model ground more precisely with preferences it generates itself.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(conversions.app, name="models")

RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe in YAML.")]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="The directory of a run.")]
Out = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Run directory; default runs/<name of the recipe>.")]
NewDir = Annotated[Path, typer.Option("--out", metavar="DIR", help="A new directory.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Overrides a key, e.g. score.weight=0.5.")]
Force = Annotated[bool, typer.Option("--force", help="Make again what was made from another recipe.")]


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Run directory.")] = Path("runs/demo"),
    quick: Annotated[bool, typer.Option("--quick", help="A small one, under a minute.")] = False,
) -> None:
    """The bundled world and models, end to end: no recipe, no network."""
    from spr import demo as bundled

    bundled.run(out, quick)


@app.command()
def init(directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where recipe.yaml is written.")]) -> None:
    """Write a commented recipe to start from."""
    from spr.templates import write_recipe

    print(f"wrote {write_recipe(directory)}; set source.annotations and source.image_root, then spr plan it")


@app.command()
def plan(recipe: RecipeFile, out: Out = None, overrides: Set = None) -> None:
    """What would run, before anything is loaded: rows, shards done, stale or to do, memory, disk and time."""
    from spr.recipe import load_recipe

    checked = load_recipe(recipe, overrides or ())
    from spr.pipeline import plan as plan_run
    from spr.views import plan_table, show

    target = out or _default_out(recipe)
    show(plan_table(plan_run(checked, target), target))


@app.command()
def run(
    recipe: RecipeFile,
    out: Out = None,
    until: Annotated[
        str | None,
        typer.Option(
            "--until", metavar="STAGE", help="The last to run: queries, candidates, scores, pairs, train, eval or report."
        ),
    ] = None,
    overrides: Set = None,
    force: Force = False,
) -> None:
    """Run a recipe; the same command again goes on where the last one stopped."""
    from spr.recipe import load_recipe

    checked = load_recipe(recipe, overrides or ())
    from spr.pipeline import run as run_recipe
    from spr.views import show_results

    show_results(run_recipe(checked, out or _default_out(recipe), until, force).path)


@app.command()
def status(directory: Run) -> None:
    """How far a run is, finished or not, and where its rows went."""
    from spr.views import show, status_tables

    for view in status_tables(directory):
        show(view)


@app.command()
def train(directory: Run, force: Annotated[bool, typer.Option("--force", help="Start over.")] = False) -> None:
    """Train on the pairs of a run."""
    from spr.pipeline import train as train_run

    trained = train_run(directory, force)
    if leads():
        before = "" if trained.fresh else ", finished before"
        print(f"{trained.updates:,} updates on {trained.pairs:,} pairs{before}: {trained.adapter}")


@app.command("eval")
def evaluate(
    source: Annotated[Path, typer.Argument(metavar="RUN|RECIPE", help="A run directory, or a recipe in YAML.")],
    task: Annotated[str | None, typer.Option("--task", metavar="T", help="rec, pope, ...; default: all of the recipe.")] = None,
    adapter: Annotated[Path | None, typer.Option("--adapter", metavar="DIR", help="Another adapter as the tuned one.")] = None,
    base: Annotated[Path | None, typer.Option("--base", metavar="FILE", help="Answers to score; no model is asked.")] = None,
    tuned: Annotated[Path | None, typer.Option("--tuned", metavar="FILE", help="Answers to compare with --base.")] = None,
    questions: Annotated[Path | None, typer.Option("--questions", metavar="FILE", help="Write the questions instead.")] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Where the results go; default RUN.")] = None,
    overrides: Set = None,
) -> None:
    """Evaluate base and tuned on one task, or on all of them; or answers that lie in files."""
    if (tuned and not base) or (adapter and base) or (questions and (base or adapter or out)):
        raise RecipeError("--tuned goes with --base, --adapter never with it, and --questions with none of them nor --out")
    from spr.pipeline import evaluate as evaluate_run
    from spr.pipeline import evaluate_files, existing, write_questions
    from spr.recipe import load_recipe, override_recipe
    from spr.views import show_task

    is_run = source.is_dir()
    recipe = override_recipe(existing(source).recipe(), overrides or ()) if is_run else load_recipe(source, overrides or ())
    if questions:
        print(f"{write_questions(recipe, task, questions)} questions in {questions}")
        return
    target = out or (source if is_run else _default_out(source))
    found = evaluate_files(recipe, target, task, base, tuned) if base else evaluate_run(recipe, target, task, adapter)
    for name, metrics in found.items():
        show_task(name, metrics)


@app.command("show")
def show_pair(
    directory: Run, pair_id: Annotated[str, typer.Argument(metavar="PAIR_ID", help="A pair's id, or its query's.")]
) -> None:
    """One pair: every candidate with its scores, and the chosen before and after refinement."""
    from spr.views import pair_view, show

    for view in pair_view(directory, pair_id):
        show(view)


@app.command()
def view(
    directory: Run, port: Annotated[int, typer.Option("--port", metavar="N", min=0, max=65535, help="0: any free one.")] = 8321
) -> None:
    """Show the report, and a page for every pair, in a browser on this machine."""
    from spr.views import serve_report

    serve_report(directory, port)


@app.command()
def report(directory: Run) -> None:
    """Write the report page of a run again."""
    from spr.pipeline import report as write

    print(write(directory))


@app.command()
def merge(
    directory: Run,
    out: NewDir,
    dtype: Annotated[
        str,
        typer.Option("--dtype", metavar="P", help="bfloat16 (what models are published in), float32, or stored: the base's."),
    ] = "bfloat16",
) -> None:
    """Add the adapter to the base: a model directory that others load."""
    from spr.pipeline import merge as merge_policy

    print(merge_policy(directory, out, dtype).told(), file=sys.stderr)
    print(out)


@app.command()
def push(
    directory: Run,
    repository: Annotated[str, typer.Argument(metavar="REPO_ID", help="Its name on the hub: owner/name.")],
    merged: Annotated[
        Path | None, typer.Option("--merged", metavar="DIR", help="What `spr merge` made; default: the adapter.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a repository that only its owner sees.")] = False,
) -> None:
    """Upload the adapter, or the merged model, with its card to the Hugging Face hub."""
    from spr.pipeline import push as push_policy

    print(push_policy(directory, repository, merged, private))


@app.command()
def export(
    directory: Run, to: Annotated[str, typer.Option("--to", metavar="trl", help="The trainer's format.")], out: NewDir
) -> None:
    """Write the pairs of a run in another trainer's format."""
    from spr.pipeline import existing, export_pairs

    if to != "trl":
        raise RecipeError(f"--to {to}: there is no such format; name trl")
    written, dropped = export_pairs(existing(directory), out)
    print(f"{written} pairs in {out}" + (f"; {dropped} dropped with their images" if dropped else ""))


@app.command()
def doctor(
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="For the sheet; default runs/doctor.")] = None,
    model: Annotated[str | None, typer.Option("--model", metavar="M", help="A recipe, a folder or a hub name.")] = None,
    source: Annotated[Path | None, typer.Option("--source", metavar="S", help="Json with annotated references.")] = None,
    dialect: Annotated[str | None, typer.Option("--dialect", metavar="D", help="How the model writes boxes.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", min=2, help="References; default 50.")] = None,
    image_root: Annotated[Path | None, typer.Option("--image-root", metavar="R", help="Default: the source's folder.")] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="E.g. model.revision=...")] = None,
) -> None:
    """Versions, devices and every dialect's round trip; with --model, which reading of its boxes holds."""
    from spr.doctor.visit import REFERENCES, calibrate, look

    if model is None:
        if any(given is not None for given in (source, dialect, limit, image_root, overrides)):
            raise RecipeError("--source, --dialect, --limit, --image-root and --set are for a model; name it with --model")
        print(look(out or Path("runs/doctor")))
        return
    if out is not None:
        raise RecipeError(f"--out {out} is for the sheet, which is not drawn for a model; leave out one of --out and --model")
    calibrate(model, source, dialect, limit or REFERENCES, image_root, overrides or ())


def main() -> None:
    """Entry point: runs a verb and turns its faults into one sentence and an exit code.

    Of several processes that are one training every one says its fault, which may be its own alone, and which process it is.
    """
    try:
        app()
    except SprError as error:
        print(f"{'' if leads() else f'process {rank()}: '}error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except SystemExit as end:
        if end.code == INTERRUPTED and leads():
            same = "the same command without --force" if "--force" in sys.argv else "the same command again"
            print(f"interrupted; {same} goes on from here", file=sys.stderr)
        raise


def _default_out(recipe: Path) -> Path:
    return Path("runs") / recipe.stem


if __name__ == "__main__":
    main()
