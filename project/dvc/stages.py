"""Stages of DVC as stages here, and ``dvc.lock`` as our locks: what is up to date to DVC is up to date here.

A dependency is looked at as DVC looks at it. Where it has the hash that ``dvc.lock`` has, our lock gets what we find
there; where it has another, the stage is stale to both, and our lock says nothing of it.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterator, Mapping

from penstock.errors import PenstockError
from penstock.manifest.hashing import content_hash
from penstock.project.pointer import Pointer
from penstock.project.pointer_files import ignore_path
from penstock.project.project import Project
from penstock.project.stages.definition.lock_file import LOCK_FILE, Fingerprint, Kind, LockedStage, MadeOutput
from penstock.project.stages.definition.pipeline import add_stage, load_pipeline
from penstock.project.stages.definition.stage import Stage
from penstock.project.stages.definition.stage_file import STAGES_FILE
from penstock.project.stages.execution.at_work import open_workplace
from penstock.project.stages.findings.documents import canonical
from penstock.project.stages.findings.inputs import Inputs, refuse_links
from penstock.project.stages.findings.run_key import command_hash, run_key
from penstock.repo.push.ignore_rules import IgnoreRules
from penstock.repo.settings.settings import Settings

from .dvc_files import DvcHash, LockedRun
from .dvc_state import DvcState
from .hashes import dvc_md5, fits, listing_hash
from .user_notes import comment_of

__all__ = ["take_stages"]


def take_stages(
    project: Project,
    state: DvcState,
    versions: Mapping[str, Pointer],
    settings: Settings,
    taken: list[str],
    remarks: list[str],
    files: list[str],
) -> None:
    """Write stages and locks. `versions` are of what stages made. What was done, and what is for git, is added."""
    with open_workplace(project, lambda: settings, remarks.append) as place:
        for each in state.stages:
            stage = each.stage
            try:
                for path in stage.made:
                    refuse_links(project.root, stage.placed(path))
                os.makedirs(os.path.join(project.root, stage.where.folder), exist_ok=True)
                add_stage(project, stage, comment=comment_of(each.notes))
                for path in stage.made:
                    ignored = ignore_path(project, stage.placed(path))
                    files += [os.path.relpath(ignored, project.root)] if ignored is not None else []
                taken.append(str(stage.where))
                files.append(posixpath.join(stage.where.folder, STAGES_FILE))
                run = state.runs.get(stage.where)
                if run is not None:
                    _lock(project, stage, run, versions, place.inputs, remarks)
                    files.append(posixpath.join(stage.where.folder, LOCK_FILE))
            except PenstockError as error:
                remarks.append(f"stage {stage.where} is not taken: {error}")


def _lock(
    project: Project,
    stage: Stage,
    run: LockedRun,
    versions: Mapping[str, Pointer],
    inputs: Inputs,
    remarks: list[str],
) -> None:
    outputs = {}
    for path in stage.made:
        pointer = versions.get(stage.placed(path))
        if pointer is None:
            remarks.append(f"stage {stage.where}: what it made at {path} could not be taken, so it runs again")
            continue
        kind: Kind = "file" if pointer.is_file else "directory"
        outputs[path] = MadeOutput(kind, pointer.top.hex(), pointer.entries, pointer.bytes)
    dependencies: dict[str, Fingerprint] = {}
    for path in stage.read:
        wanted = run.dependencies.get(path)
        if wanted is None or not _is_as_locked(project, stage.placed(path), wanted):
            continue
        found = inputs.fingerprint(stage.placed(path))
        if found is not None:
            dependencies[path] = found
    parameters = {}
    for name in stage.parameters:
        file, _, key = name.rpartition(":")
        if (file, key) in run.parameters:
            parameters[name] = canonical(run.parameters[file, key])
    ran = Stage(stage.where, run.command or stage.command, stage.dependencies, stage.outputs, stage.parameters)
    is_whole = len(dependencies) == len(stage.read) and len(parameters) == len(stage.parameters)
    key = run_key(stage, dependencies, parameters) if is_whole else content_hash(repr(run).encode()).hex()
    pipeline = load_pipeline(project)
    pipeline.lock(stage.where, LockedStage(key, command_hash(ran), dependencies, parameters, outputs))


def _is_as_locked(project: Project, path: str, wanted: DvcHash) -> bool:
    """Whether what lies at a path has the hash that DVC's lock has."""
    place = os.path.join(project.root, path)
    try:
        mode = os.stat(place).st_mode
        if stat.S_ISDIR(mode):
            rows = {name: _md5(os.path.join(place, name), wanted) for name in _files(project, path)}
            return wanted.is_directory and listing_hash(rows) == wanted.md5
        with open(place, "rb") as stream:
            return stat.S_ISREG(mode) and fits(stream, wanted)
    except OSError:
        return False


def _md5(path: str, wanted: DvcHash) -> str:
    with open(path, "rb") as stream:
        return dvc_md5(stream, is_old=wanted.is_old)


def _files(project: Project, path: str) -> Iterator[str]:
    """Yield the files that DVC counts in a directory: those that are not ignored, links followed to files."""
    top = os.path.join(project.root, path)
    stack: list[tuple[str, IgnoreRules]] = [("", IgnoreRules.in_project(os.fsencode(top)))]
    while stack:
        below, rules = stack.pop()
        for item in os.scandir(os.path.join(top, below)):
            name = posixpath.join(below, item.name)
            is_folder = item.is_dir(follow_symlinks=False)
            if rules.ignores(os.fsencode(item.name), directory=is_folder):
                continue
            if is_folder:
                stack.append((name, rules.inside(os.fsencode(item.path), os.fsencode(item.name))))
            elif item.is_file():
                yield name
