"""All stages of a project: found, read, and put in order; and the locks beside them.

Files of stages are found by git, which does not look into what it ignores, as outputs and tracked data are. Outside of
a git repository the project is walked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from penstock.errors import ConflictError, NotFoundError
from penstock.project.git import ask_git
from penstock.project.project import Project
from penstock.project.project_file import read_bounded
from penstock.project.state_folder import STATE_FOLDER, replace_file

from .graph import Graph, make_graph
from .lock_file import LOCK_FILE, LockedStage, format_lock, parse_lock
from .stage import Stage, StageName
from .stage_file import MOST_BYTES, STAGES_FILE, parse_stages, with_stage

__all__ = ["Pipeline", "add_stage", "load_pipeline", "read_lock", "stage_folders"]

_MOST_LOCK = 64 << 20
_MOST_FILES = 10_000


@dataclass(slots=True)
class Pipeline:
    """The stages of a project, and what their locks say. Locks change as stages run; one thread."""

    project: Project
    graph: Graph
    locks: dict[str, dict[str, LockedStage]] = field(default_factory=dict)

    def locked(self, name: StageName) -> LockedStage | None:
        """Return what the lock says of a stage."""
        if name.folder not in self.locks:
            self.locks[name.folder] = read_lock(self.project.root, name.folder)
        return self.locks[name.folder].get(name.name)

    def lock(self, name: StageName, locked: LockedStage) -> None:
        """Write what a stage was run with into its folder's lock; of stages that are gone, what is there goes."""
        if self.locked(name) == locked:
            return
        stages = self.locks[name.folder]
        stages[name.name] = locked
        known = {each.name for each in self.graph.stages if each.folder == name.folder}
        kept = {key: each for key, each in stages.items() if key in known}
        replace_file(os.path.join(self.project.root, name.folder, LOCK_FILE), format_lock(kept))
        self.locks[name.folder] = kept

    def chosen(self, targets: tuple[str, ...], folder: str) -> set[StageName]:
        """Return the stages that targets mean, said in a folder, by default that folder's; with all that they need."""
        if targets:
            named = [name for target in targets for name in self.graph.find(target, folder)]
        else:
            named = [name for name in self.graph.stages if name.folder == folder or not folder]
            named = named or [name for name in self.graph.stages if name.folder.startswith(f"{folder}/")]
        if not named:
            raise NotFoundError(
                "there are no stages" + (f" in {folder!r}" if folder else ""),
                why=f"there is no {STAGES_FILE}",
                fix="`penstock run` or `penstock stage add` makes the first one.",
            )
        return self.graph.with_all_above(named)


def stage_folders(project: Project) -> list[str]:
    """Return the folders that have a file of stages, from the root."""
    if project.git is not None:
        arguments = ("--cached", "--others", "--exclude-standard", "-z", "--", f":(glob)**/{STAGES_FILE}")
        listed = ask_git(project.root, "ls-files", *arguments)
        paths: Iterator[str] = (os.fsdecode(path) for path in listed.split(b"\0") if path)
    else:
        paths = _walked(project.root)
    found = sorted({os.path.dirname(path) for path in paths if os.path.lexists(os.path.join(project.root, path))})
    if len(found) > _MOST_FILES:
        raise ConflictError(f"there are more than {_MOST_FILES} files called {STAGES_FILE}")
    return found


def _walked(root: str) -> Iterator[str]:
    for folder, names, files in os.walk(root):
        names[:] = sorted(name for name in names if name not in {STATE_FOLDER, ".git"})
        if STAGES_FILE in files:
            yield os.path.relpath(os.path.join(folder, STAGES_FILE), root)


def load_pipeline(project: Project) -> Pipeline:
    """Read all stages of a project. Errors as `parse_stages` and `make_graph`."""
    stages: list[Stage] = []
    for folder in stage_folders(project):
        stages += _read_stages(project.root, folder).values()
    return Pipeline(project, make_graph(stages))


def _read_stages(root: str, folder: str) -> Mapping[str, Stage]:
    body = read_bounded(os.path.join(root, folder, STAGES_FILE), MOST_BYTES)
    return parse_stages(body, folder, os.path.join(folder, STAGES_FILE)) if body is not None else {}


def read_lock(root: str, folder: str) -> dict[str, LockedStage]:
    """Return what a folder's lock says. IntegrityError: it is damaged, or has a conflict of git in it."""
    body = read_bounded(os.path.join(root, folder, LOCK_FILE), _MOST_LOCK)
    return parse_lock(body, os.path.join(folder, LOCK_FILE), folder) if body is not None else {}


def add_stage(project: Project, stage: Stage, *, replace: bool = False, comment: str = "") -> Pipeline:
    """Write a stage into its folder's file, if it can be one beside all others; return the pipeline with it.

    `comment` goes with one that is new.

    ConflictError: there is another of that name, or an output overlaps. UsageError: a cycle, a path that cannot be.
    Nothing is written then.
    """
    folder = stage.where.folder
    path = os.path.join(project.root, folder, STAGES_FILE)
    name = os.path.join(folder, STAGES_FILE)
    body = read_bounded(path, MOST_BYTES)
    made = with_stage(body, stage, name, replace=replace, comment=comment)
    stages = [each for each in load_pipeline(project).graph.stages.values() if each.where != stage.where]
    pipeline = Pipeline(project, make_graph([*stages, stage]))
    if made != body:
        replace_file(path, made)
    return pipeline
