"""What a DVC project says at one time: of its work tree, or of a commit. Read from files alone; nothing is run."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from penstock.errors import PenstockError
from penstock.project.git import ask_git
from penstock.project.project import Project
from penstock.project.project_file import read_bounded
from penstock.project.stages.definition.stage import Stage, StageName, check_stage
from penstock.project.stages.findings.documents import MOST_BYTES, Value, parse_document
from penstock.project.state_folder import STATE_FOLDER

from .dvc_files import DvcFile, DvcOrigin, DvcOutput, LockedRun, parse_dvc_file, parse_dvc_lock
from .pipeline_file import DvcStage, parse_pipeline

__all__ = ["CommitTree", "DvcState", "DvcWorkTree", "FileTree", "Tracked", "read_state"]

_MOST = 16 << 20
_POINTER = ".dvc"
_PIPELINE, _LOCK = "dvc.yaml", "dvc.lock"


class FileTree(Protocol):
    """Files of a project, by their paths from its root."""

    def paths(self) -> list[str]:
        """Return those that are DVC's."""
        ...

    def read(self, path: str) -> bytes | None:
        """Return a plain file's bytes; None: there is none, or it is too large to be what it should be."""
        ...


def _is_dvc(path: str) -> bool:
    name = posixpath.basename(path)
    return (name.endswith(_POINTER) and name != _POINTER) or name in (_PIPELINE, _LOCK)


@dataclass(frozen=True, slots=True)
class DvcWorkTree:
    """The files that lie in a work tree, those that git ignores left out."""

    project: Project

    def paths(self) -> list[str]:
        """Return those that are DVC's."""
        if self.project.git is not None:
            arguments = ("ls-files", "-co", "-z", "--exclude-standard", "--deduplicate", "--")
            patterns = (f"*{_POINTER}", f":(glob)**/{_PIPELINE}", f":(glob)**/{_LOCK}")
            listed = ask_git(self.project.root, *arguments, *patterns)
            names = {os.fsdecode(name) for name in listed.split(b"\0") if name}
        else:
            names = set(_walked(self.project.root))
        return sorted(path for path in names if _is_dvc(path) and os.path.isfile(os.path.join(self.project.root, path)))

    def read(self, path: str) -> bytes | None:
        """Return a plain file's bytes."""
        return read_bounded(os.path.join(self.project.root, path), _MOST)


def _walked(root: str) -> Iterator[str]:
    for folder, folders, names in os.walk(root):
        data = {name.removesuffix(_POINTER) for name in names if name.endswith(_POINTER)}
        folders[:] = [name for name in folders if name not in data and name not in {".git", ".dvc", STATE_FOLDER}]
        yield from (os.path.relpath(os.path.join(folder, name), root) for name in names)


@dataclass(frozen=True, slots=True)
class CommitTree:
    """The files of one commit of a repository."""

    directory: str
    commit: str
    modes: dict[str, tuple[str, str]] = field(default_factory=dict)

    def paths(self) -> list[str]:
        """Return those that are DVC's."""
        if not self.modes:
            listed = ask_git(self.directory, "ls-tree", "-r", "-z", "--full-tree", self.commit)
            for row in listed.split(b"\0"):
                facts, _, name = row.partition(b"\t")
                if facts.startswith(b"100"):
                    _, _, blob = facts.decode().split(" ")
                    self.modes[os.fsdecode(name)] = facts.decode()[:6], blob
        return sorted(path for path in self.modes if _is_dvc(path))

    def blob(self, path: str) -> str | None:
        """Return the id of a file; None: there is none."""
        self.paths()
        return self.modes[path][1] if path in self.modes else None

    def read(self, path: str) -> bytes | None:
        """Return a plain file's bytes."""
        blob = self.blob(path)
        return ask_git(self.directory, "cat-file", "blob", blob) if blob is not None else None


@dataclass(frozen=True, slots=True)
class Tracked:
    """An output, and what it belongs to: a ``.dvc`` file, with the origin of what it says, or a stage."""

    output: DvcOutput
    file: str = ""
    origin: DvcOrigin | None = None
    notes: Mapping[str, Value] = field(default_factory=dict)
    stage: StageName | None = None


@dataclass(slots=True)
class DvcState:
    """All of it. `runs`: what locks say of stages. `remarks`: what cannot be read or taken, and why."""

    tracked: list[Tracked] = field(default_factory=list)
    stages: list[DvcStage] = field(default_factory=list)
    runs: dict[StageName, LockedRun] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def read_state(tree: FileTree) -> DvcState:
    """Return what a project says. Files that cannot be read are remarked upon, and the others are taken."""
    state = DvcState()
    locks: dict[str, dict[str, LockedRun]] = {}
    paths = tree.paths()
    for path in paths:
        name = posixpath.basename(path)
        body = tree.read(path)
        if body is None:
            continue
        try:
            if name == _LOCK:
                locks[posixpath.dirname(path)] = parse_dvc_lock(body, path)
            elif name == _PIPELINE:
                stages, remarks = parse_pipeline(body, path, _reader(tree))
                state.stages += stages
                state.remarks += remarks
            else:
                _take_file(state, path, parse_dvc_file(body, path))
        except PenstockError as error:
            state.remarks.append(f"{path} is not taken: {error}")
    for each in state.stages:
        run = locks.get(each.folder, {}).get(each.key)
        if run is not None:
            state.runs[each.stage.where] = run
    for where, run in state.runs.items():
        _take_run(state, where, run)
    return state


def _reader(tree: FileTree) -> Callable[[str], Value | None]:
    known: dict[str, Value | None] = {}

    def read(path: str) -> Value | None:
        if path not in known:
            body = tree.read(path)
            known[path] = parse_document(body, path) if body is not None and len(body) <= MOST_BYTES else None
        return known[path]

    return read


def _take_file(state: DvcState, path: str, file: DvcFile) -> None:
    if file.command:
        folder = posixpath.dirname(path)
        name = StageName(folder, posixpath.basename(path).removesuffix(_POINTER))

        def inside(each: str) -> str:
            return posixpath.relpath(each, folder or ".")

        dependencies = tuple(inside(each) for each, _ in file.dependencies)
        stage = Stage(name, file.command, dependencies, tuple(inside(each.path) for each in file.outputs))
        check_stage(stage)
        kept = frozenset(each.path for each in file.outputs if each.in_git)
        state.stages.append(DvcStage(name.name, folder, stage, kept, file.notes))
        hashes = {inside(each): found for each, found in file.dependencies}
        outputs = tuple(
            DvcOutput(inside(each.path), each.hash, each.is_executable, each.in_git, each.notes)
            for each in file.outputs
        )
        state.runs[name] = LockedRun(file.command, hashes, {}, outputs)
        return
    for output in file.outputs:
        if output.hash is None:
            state.remarks.append(f"{path}: {output.path} has no MD5, so nothing says what it is")
            continue
        state.tracked.append(Tracked(output, path, file.origin, {**file.notes, **output.notes}))


def _take_run(state: DvcState, where: StageName, run: LockedRun) -> None:
    stage = next(each for each in state.stages if each.stage.where == where)
    for output in run.outputs:
        if output.path not in stage.stage.made:
            continue  # of an earlier form of the stage
        path = stage.stage.placed(output.path)
        if output.hash is None:
            state.remarks.append(f"stage {where}: {path} has no MD5, so nothing says what it is")
            continue
        in_git = output.in_git or path in stage.in_git
        placed = DvcOutput(path, output.hash, output.is_executable, in_git, output.notes)
        state.tracked.append(Tracked(placed, stage=where))
