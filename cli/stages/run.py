"""``penstock run`` and ``penstock repro``: stages are brought up to date."""

from __future__ import annotations

import posixpath
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType
from typing import Any

import click

from penstock.cli.command_classes import Command
from penstock.cli.exits import ExitCode
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.error_form import to_form
from penstock.project.project import Project, find_project
from penstock.project.stages.definition.stage import Stage, StageName
from penstock.project.stages.execution.repro import ReproOptions, StageResult
from penstock.project.stages.findings.staleness import Reason
from penstock.project.stages.stage_tasks import define_stage, reproduce

from .definition import definition, folder_here, stage_of

__all__ = ["repro", "run"]


@click.command(
    cls=Command,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    examples=(
        "penstock run -n clean -d src/clean.py -d 'data/inputs/*' -o data/clean python src/clean.py",
        "penstock run -n train -d data -p params.yaml:lr -o model.pt --metric scores.json python train.py",
        "penstock run -n thumbs --each data/inputs -o data/thumbs 'convert {input} -resize 64x64 {output}'",
    ),
)
@definition
@pass_invocation
def run(invocation: Invocation, /, command: tuple[str, ...], force: bool, **fields: Any) -> None:
    """Add a stage to this folder, and run it and the stages that it depends on.

    CMD runs in this folder, where penstock.stages.toml and penstock.lock are written; paths are relative to it. The
    shell runs CMD: several words are passed on as they are, a single word is a shell command line. With --each, CMD
    runs once per file, and only for files that it has not processed before; {input} and {output} stand for the paths.
    If CMD uses {path}, {name} or {stem}, its output also depends on the name of the input.
    """
    project = find_project()
    stage = stage_of(project, command=command, **fields)
    define_stage(project, stage, replace=force)
    _reproduce(invocation, project, (str(stage.where),), stage.where.folder, ReproOptions())
    if not invocation.output.json:
        ignored = dict.fromkeys(posixpath.join(posixpath.dirname(path), ".gitignore") for path in stage.made)
        invocation.output.notice(f"for git: git add {' '.join(['penstock.stages.toml', 'penstock.lock', *ignored])}")


@click.command(
    cls=Command,
    examples=(
        "penstock repro                          # this folder's stages, at the root all",
        "penstock repro train -j 4 --keep-going",
        "penstock repro --dry                    # what would run, and why",
        "penstock repro data/thumbs --dask tcp://scheduler:8786",
    ),
)
@click.argument("targets", nargs=-1, metavar="[TARGET]…")
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1, 1024),
    help="Number of stages, and of their items, that run at the same time.",
)
@click.option("--dry", is_flag=True, help="Show what would run and why, and run nothing.")
@click.option("--force", is_flag=True, help="Run the targets even if nothing has changed.")
@click.option("--pull", is_flag=True, help="Fetch missing tracked data that stages need.")
@click.option("--keep-going", is_flag=True, help="If a stage fails, still run stages that do not depend on it.")
@click.option("--dask", metavar="ADDRESS", help="Run the items of --each stages on this Dask cluster.")
@pass_invocation
def repro(
    invocation: Invocation,
    targets: tuple[str, ...],
    jobs: int | None,
    dry: bool,
    force: bool,
    pull: bool,
    keep_going: bool,
    dask: str | None,
) -> None:
    """Run the stages that a change affects. TARGET is a stage, FOLDER:STAGE, an output, or a folder.

    Without -j, one stage runs at a time, and as many items of an --each stage as there are processors. The exit code is
    1 if a stage failed or, with --dry, if anything would run.
    """
    project = find_project()
    options = ReproOptions(dry=dry, force=force, pull=pull, keep_going=keep_going)
    if jobs is not None:
        options = replace(options, jobs=jobs, item_jobs=jobs)
    results = _reproduce(invocation, project, targets, folder_here(project), options, dask)
    if dry and any(each.outcome != "up to date" for each in results):
        raise click.exceptions.Exit(ExitCode.DIFFERS)


def _reproduce(
    invocation: Invocation,
    project: Project,
    targets: tuple[str, ...],
    folder: str,
    options: ReproOptions,
    dask: str | None = None,
) -> list[StageResult]:
    told = _Told(invocation)
    more = {}
    if dask is not None:
        from penstock.project.stages.execution.dask_items import dask_runner

        more["runner"] = dask_runner(dask)
    with _ended_by_signals():
        results = reproduce(
            project, invocation.settings, told, invocation.output.notice, targets, folder, options, **more
        )
    if any(each.outcome == "failed" for each in results):
        raise click.exceptions.Exit(ExitCode.DIFFERS)
    if not invocation.output.json and all(each.outcome == "up to date" for each in results):
        stages = "1 stage is" if len(results) == 1 else f"all {len(results)} stages are"
        invocation.output.line(f"{stages} up to date")
    return results


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Have a hangup or SIGTERM end the work as Ctrl-C does: commands are stopped, and what was aside goes back."""

    def end(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Told:
    """Writes lines of commands on standard error, behind the stage's name; what became of it on standard output."""

    def __init__(self, invocation: Invocation) -> None:
        self._output = invocation.output
        self._verbose = invocation.verbose
        self._lock = threading.Lock()

    def begins(self, stage: Stage, why: tuple[Reason, ...], /) -> None:
        """Say why a stage runs."""
        with self._lock:
            self._output.notice(f"{stage.where}: {why[0]}" + (f", and {len(why) - 1} more" if len(why) > 1 else ""))
            self._output.notice(f"{stage.where}: $ {stage.command}")

    def line(self, name: StageName, text: str, /) -> None:
        """Pass a line on."""
        with self._lock:
            self._output.passed_on(str(name), text)

    def ended(self, result: StageResult, /) -> None:
        """Say what became of a stage."""
        with self._lock:
            if self._output.json:
                self._output.record(_record(result))
            elif result.outcome != "up to date" or self._verbose:
                self._output.line(_told(result))
            for note in result.notes:
                self._output.notice(f"{result.name}: {note}")
            if result.kept is not None:
                self._output.notice(f"{result.name}: what was there and was not made by it is kept in {result.kept}")
            if result.left is not None:
                self._output.notice(f"{result.name}: what the failed run made is in {result.left}")
            if result.error is not None and not self._output.json:
                self._output.failure(to_form(result.error))


def _record(result: StageResult) -> dict[str, Any]:
    return {
        "stage": str(result.name),
        "outcome": result.outcome,
        "reasons": [{"kind": each.kind, "subject": each.subject, "text": each.text} for each in result.reasons],
        "seconds": round(result.seconds, 3),
        "items": {"ran": result.ran, "taken": result.taken, "removed": result.removed},
        "kept": result.kept,
        "left": result.left,
        "error": str(result.error) if result.error is not None else None,
    }


def _told(result: StageResult) -> str:
    why = f": {result.reasons[0]}" if result.reasons else ""
    items = [
        f"{count} {what}"
        for count, what in (
            (result.ran, "files processed"),
            (result.taken, "taken from earlier runs"),
            (result.removed, "removed"),
        )
        if count
    ]
    counted = f" ({', '.join(items)})" if items else ""
    match result.outcome:
        case "ran":
            return f"{result.name}: ran in {result.seconds:.1f} s{counted}"
        case "taken":
            return f"{result.name}: taken from an earlier run{counted}"
        case "restored":
            return f"{result.name}: put back what it made{why}"
        case "skipped":
            return f"{result.name}: left out{why}"
        case _:
            return f"{result.name}: {result.outcome}{why}"
