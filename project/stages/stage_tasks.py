"""What a user does with stages: the operations behind the commands, as Python can call them."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.errors import AccessError, ConflictError, NotFoundError
from penstock.project.project import Project
from penstock.project.stages.definition.graph import overlaps
from penstock.project.stages.definition.path_patterns import may_touch
from penstock.project.stages.definition.pipeline import Pipeline, add_stage, load_pipeline
from penstock.project.stages.definition.stage import Stage, StageName
from penstock.project.stages.execution.at_work import Workplace, open_workplace, work_alone
from penstock.project.stages.execution.each_run import ItemRunner, LocalItems
from penstock.project.stages.execution.plain_run import refuse_tracked
from penstock.project.stages.execution.repro import Repro, ReproOptions, StageResult, Told, look_at
from penstock.project.stages.findings.inputs import refuse_links
from penstock.project.stages.findings.staleness import Reason, reasons

if TYPE_CHECKING:
    from penstock.repo.settings.settings import Settings

__all__ = ["StageStatus", "define_stage", "reproduce", "stage_status"]

Warn = Callable[[str], None]
SettingsSource = Callable[[], "Settings"]
"""Gives the user's settings when they are first needed: to see that nothing changed needs none."""


@dataclass(frozen=True, slots=True)
class StageStatus:
    """A stage, and why it is stale; no reasons: it is up to date."""

    name: StageName
    reasons: tuple[Reason, ...]


def define_stage(project: Project, stage: Stage, *, replace: bool = False) -> Pipeline:
    """Add a stage to its folder's file; git ignores what it makes. Errors as `add_stage` and `refuse_tracked`."""
    from penstock.project.pointer_files import ignore_path, pointer_paths
    from penstock.project.project import is_tracked_by_git

    for path in stage.made:
        refuse_links(project.root, stage.placed(path))
    if project.git is not None:
        refuse_tracked(stage, lambda path: is_tracked_by_git(project, path))
    tracked = pointer_paths(project)
    for path in stage.made:
        placed = stage.placed(path)
        if placed in tracked or ((pair := overlaps([*tracked, placed])) and placed in pair):
            raise ConflictError(
                f"{path!r}, which stage {str(stage.where)!r} makes, is tracked already, or overlaps what is",
                why="what was added there would be replaced by what the stage makes",
                fix="Have the stage make another path.",
            )
    pipeline = add_stage(project, stage, replace=replace)
    for path in stage.made:
        ignore_path(project, stage.placed(path))
    return pipeline


def reproduce(
    project: Project,
    settings: SettingsSource,
    told: Told,
    warn: Warn,
    targets: Sequence[str] = (),
    folder: str = "",
    options: ReproOptions | None = None,
    runner: Callable[[str, dict[str, str], int], ItemRunner] = LocalItems,
) -> list[StageResult]:
    """Bring stages up to date, by default those of a folder, with all that they need; return what became of each.

    With `options.force` the named ones, or the folder's, run again. AccessError: the project is not trusted.
    ConflictError: stages are being run in this work tree. Any error of reading stages; nothing has run then.
    """
    options = options or ReproOptions()
    pipeline = load_pipeline(project)
    chosen = pipeline.chosen(tuple(targets), folder)
    forced = _named(pipeline, targets, folder) if options.force else set()
    with (
        open_workplace(project, settings, warn, keeps=not options.dry) as place,
        _token(place, warn, dry=options.dry) as token,
    ):
        repro = Repro(
            pipeline,
            place.inputs,
            place.outputs,
            place.runs,
            place.shelf,
            told,
            options,
            state=place.state,
            token=token,
            absent=lambda read: _absent(project, read),
            pull=lambda path: _pull(project, settings, path),
            runner=runner,
        )
        return repro.run(chosen, forced)


def _named(pipeline: Pipeline, targets: Sequence[str], folder: str) -> set[StageName]:
    if targets:
        return {name for target in targets for name in pipeline.graph.find(target, folder)}
    return {name for name in pipeline.graph.stages if name.folder == folder or not folder}


@contextmanager
def _token(place: Workplace, warn: Warn, *, dry: bool) -> Iterator[str]:
    if dry:
        yield ""
        return
    with work_alone(place.project, place.shelf, warn) as token:
        yield token


def _absent(project: Project, read: Collection[str]) -> list[str]:
    """Return tracked paths that paths and patterns of a stage lead to, or into, and that are not in the work tree."""
    from penstock.project.pointer_files import pointer_paths

    return sorted(
        path
        for path in pointer_paths(project)
        if not os.path.lexists(os.path.join(project.root, path)) and any(may_touch(each, path) for each in read)
    )


def _pull(project: Project, settings: SettingsSource, path: str) -> None:
    from penstock.project.pointer import pointer_path, read_pointer
    from penstock.project.tracking import check_out_path

    pointer = read_pointer(os.path.join(project.root, pointer_path(path)))
    done = check_out_path(project, path, pointer, settings())
    if done.lost:
        raise AccessError(f"{path!r} could not be brought", why="; ".join(done.reasons[:5]))


def stage_status(
    project: Project, settings: SettingsSource, warn: Warn, targets: Sequence[str] = (), folder: str = ""
) -> list[StageStatus]:
    """Return of stages why each is stale, in the order in which they would run. Nothing is run."""
    pipeline = load_pipeline(project)
    try:
        chosen = pipeline.chosen(tuple(targets), folder)
    except NotFoundError:
        if targets:
            raise
        return []
    stale: dict[StageName, tuple[Reason, ...]] = {}
    with open_workplace(project, settings, warn, keeps=False) as place:
        for name in pipeline.graph.order(chosen):
            stage = pipeline.graph.stages[name]
            locked = pipeline.locked(name)
            state = look_at(stage, project.root, place.inputs, place.outputs, locked)
            found = reasons(stage, state, locked)
            above = sorted(each for each in pipeline.graph.above[name] if stale.get(each))
            if not found and above:
                found = [Reason("upstream", str(above[0]), f"{above[0]} is stale, and may make something else")]
            stale[name] = tuple(found)
    return [StageStatus(name, why) for name, why in stale.items()]
