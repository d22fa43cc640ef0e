"""What the command line shows: tables for people, on stdout. Numbers come from elsewhere; nothing is decided here."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.table import Table

from spr.evaluation.tables import task_tables
from spr.pipeline.estimates.units import bytes_text, time_text
from spr.pipeline.funnel import of_manifests, of_source, of_task_sources, of_training, shards_in_all
from spr.pipeline.metrics import step_manifests
from spr.pipeline.planning import Plan
from spr.pipeline.rounds import directories, ended_by, outer
from spr.report.case import Cases
from spr.report.data import read_run
from spr.report.rounds import rounds_note
from spr.report.server import open_server
from spr.report.terminal import case_text, rounds_text, writing_text
from spr.running.files import read_json
from spr.running.progress import say
from spr.running.run_dir import RunDir
from spr.running.steps import DONE, STALE, TO_DO
from spr.training.lengths import bars

if TYPE_CHECKING:
    from spr.pipeline.estimates.steps import Estimate


def show(view: RenderableType) -> None:
    """Print one view on stdout; as wide as it needs where that is no terminal."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    console.print(view)


def plan_table(plan: Plan, out: Path) -> RenderableType:
    """Each step: output rows (known, or at most so many), shards done, stale and to do, why they are stale, and what it
    takes; then the sums, what does not fit, and what the numbers rest on."""
    table = Table(title=f"Plan for {out}", caption="Training is one piece of work, counted as one shard. Time is still to go.")
    table.add_column("stage")
    for column in ("rows", DONE, STALE, TO_DO, "memory", "disk", "time"):
        table.add_column(column, justify="right")
    table.add_column("why stale")
    for row in plan:
        state = row.state
        number = f"{'≤ ' if row.at_most else ''}{row.rows:,}"
        counts = (str(state.count(kind)) for kind in (DONE, STALE, TO_DO))
        table.add_row(state.name, number, *counts, *_takes(row.estimate), "; ".join(state.why))
    takes = plan.takes
    table.add_row("report", "", "", "", "", "", bytes_text(takes.report), "")
    table.add_section()
    beyond = "≥ " if takes.open else ""
    table.add_row("in all", "", "", "", "", *(f"{beyond}{figure}" for figure in _takes(takes.total)))
    return Group(table, *(f"WARNING: {text}" for text in takes.warnings), *takes.notes)


def _takes(estimate: Estimate) -> tuple[str, str, str]:
    """Memory, disk and time; unknown where nothing can tell."""
    memory, disk = (bytes_text(value) if value is not None else "unknown" for value in (estimate.memory, estimate.disk))
    return memory, disk, time_text(estimate.seconds) if estimate.seconds is not None else "unknown"


def status_tables(path: Path) -> Iterator[RenderableType]:
    """How far a run is: a line on who works in it, its funnel step by step, and its last training update, round by round.

    Takes no lock. Raises ResumeError for what is no run directory of this layout.
    """
    run = RunDir(path)
    run.check()
    user = (outer(run) or run).user()
    yield f"{path}: in use by {user}" if user else f"{path}: nobody works in it"
    table = Table(title="Funnel")
    table.add_column("step")
    for column in ("shards", "in", "out", "dropped"):
        table.add_column(column, justify="right")
    table.add_column("dropped why")
    for name, counts in (of_source(run) | of_task_sources(run)).items():
        table.add_row(name, "", *_counts(counts))
    rounds = directories(run)
    for prefix, one in rounds.items():
        shards = shards_in_all(one)
        for name, manifests in step_manifests(one).items():
            of = f" / {shards}" if shards and not name.startswith("eval/") else ""
            table.add_row(f"{prefix}{name}", f"{len(manifests)}{of}", *_counts(of_manifests(manifests)))
        if trained := _trained(one):
            table.add_row(f"{prefix}train", "", *_counts(of_training(trained)))
    yield table
    for prefix, one in rounds.items():
        yield f"{prefix}{_training_line(one)}"
    if len(rounds) > 1 and (note := rounds_note({"rounds_ended_by": ended_by(run)})):
        yield note


def show_results(path: Path) -> None:
    """The tables at the end of a run, and where its report lies."""
    metrics: Any = read_json(RunDir(path).metrics_file) or {}
    if (writing := metrics.get("writing")) and writing["texts"]:
        for view in writing_text(writing):
            show(view)
    for view in rounds_text(metrics):
        show(view)
    for task, values in metrics.get("tasks", {}).items():
        show_task(task, values)
    page = path / "report" / "index.html"
    print(f"report: {page}" if page.is_file() else f"run directory: {path}")


def show_task(name: str, metrics: Mapping[str, Any]) -> None:
    """The tables of one data set's result."""
    for table in task_tables(name, metrics):
        show(table)


def pair_view(path: Path, name: str) -> Iterator[RenderableType]:
    """One pair of a run, by its id or its query's. Raises DataError for a name that the run does not hold, and what
    `spr.report.data.read_run` raises."""
    yield from case_text(Cases(read_run(path)).find(name))


def serve_report(path: Path, port: int) -> None:
    """Serve a run's report on 127.0.0.1 until Ctrl-C. Raises SprError when the port cannot be had."""
    say(f"reading {path}")
    with open_server(path, port) as server:
        print(f"http://127.0.0.1:{server.server_port}/ shows {path}; Ctrl-C ends it", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()


def _counts(counts: Mapping[str, Any]) -> list[str]:
    dropped: Mapping[str, int] = counts["dropped"]
    why = ", ".join(f"{reason} {number:,}" for reason, number in sorted(dropped.items(), key=lambda item: -item[1]))
    return [f"{counts['in']:,}", f"{counts['out']:,}", f"{sum(dropped.values()):,}", why]


def _trained(run: RunDir) -> dict[str, Any]:
    """The report of a finished training; empty without one."""
    manifest: Any = read_json(run.policy / "manifest.json")
    return dict(manifest["report"]) if isinstance(manifest, dict) else {}


def _training_line(run: RunDir) -> str:
    if report := _trained(run):
        lines = [f"train: done, {report['updates']:,} updates on {report['pairs']:,} pairs in {report['seconds']:,.0f} s"]
        if histogram := report.get("histogram"):
            lines += ["tokens of a prompt with its longer answer, and pairs:", *(f"  {line}" for line in bars(histogram))]
        return "\n".join(lines)
    log = run.policy / "log.jsonl"
    updates = len(log.read_text(encoding="utf-8").splitlines()) if log.is_file() else 0
    return f"train: {updates:,} updates so far" if updates else "train: not begun"
