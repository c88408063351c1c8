"""How tracked paths are beside their pointers: what was changed, what is missing, what was not pushed. No network.

Each name is looked at once; a file is read only when it is not as the index knows it. What was touched and has the same
content is taken note of, so that it is not read again.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Literal

from penstock.errors import ConflictError, PenstockError
from penstock.manifest.entry import Kind, display_path
from penstock.project.made_paths import made_pointers
from penstock.project.pointer import Pointer
from penstock.project.pointer_files import pointer_of, tracked_paths
from penstock.project.project import Project
from penstock.project.push_notes import pushed_tops
from penstock.project.work_index import open_index, surveyed
from penstock.repo.push.directory_walk import LocalFile
from penstock.repo.push.file_reader import FileRead, read_ahead
from penstock.repo.tracked.survey import Suspect
from penstock.repo.tracked.tracked_index import FileFacts, TrackedIndex, TrackedState, facts_of, key_of

__all__ = ["PathStatus", "TrackedChange", "changes_of", "project_status"]

_THREADS = 4


@dataclass(frozen=True, slots=True)
class TrackedChange:
    """A path below a tracked one: A (added), M (modified), D (deleted)."""

    change: Literal["A", "M", "D"]
    path: str


@dataclass(frozen=True, slots=True)
class PathStatus:
    """A tracked path.

    `state`: ``clean``; ``changed`` (`changes`); ``missing`` (nothing is there); ``other version`` (what is there is of
    another version than the pointer's: a checkout brings it, or it was never checked out); ``broken`` (`why`).
    `pushed`: the remotes that its version is known to have gone to.
    """

    path: str
    state: Literal["clean", "changed", "missing", "other version", "broken"]
    pointer: Pointer | None
    changes: tuple[TrackedChange, ...] = ()
    pushed: frozenset[str] = frozenset()
    why: str = ""
    counts: dict[str, int] = field(default_factory=dict)


def project_status(project: Project, below: Sequence[str] = (), *, most: int = 1000) -> Iterator[PathStatus]:
    """Yield how each tracked path is, or those at and below some paths; of each at most so many changes are held."""
    known = pushed_tops(project)
    made = made_pointers(project)
    with open_index(project) as index:
        for path in tracked_paths(project, below):
            yield _status(project, index, path, made, known, most)


def _status(
    project: Project,
    index: TrackedIndex,
    path: str,
    made: Mapping[str, Pointer],
    pushed: dict[bytes, set[str]],
    most: int,
) -> PathStatus:
    try:
        pointer = pointer_of(project, path, made)
    except PenstockError as error:
        return PathStatus(path, "broken", None, why=error.reason)
    where = frozenset(pushed.get(pointer.top, ()))
    place = os.path.join(project.root, path)
    if os.path.ismount(place):
        return _mounted_status(project, path, pointer, where, most)
    state = index.state(path)
    try:
        mode = os.lstat(place).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return PathStatus(path, "missing", pointer, pushed=where)
    if state is None or not state.top:
        return PathStatus(path, "other version", pointer, pushed=where, why="it was never checked out")
    if stat.S_ISDIR(mode) == pointer.is_file:
        return PathStatus(path, "broken", pointer, pushed=where, why=f"its pointer is of a {pointer.kind}")
    counts = {"A": 0, "M": 0, "D": 0}
    kept: list[TrackedChange] = []
    for change in changes_of(index, path, place, state, is_file=pointer.is_file):
        counts[change.change] += 1
        if len(kept) < most:
            kept.append(change)
    if state.top != pointer.top:
        return PathStatus(
            path, "other version", pointer, tuple(kept), where, f"what is here is of {state.top.hex()[:12]}", counts
        )
    return PathStatus(path, "changed" if kept else "clean", pointer, tuple(kept), where, "", counts)


def _mounted_status(project: Project, path: str, pointer: Pointer, where: frozenset[str], most: int) -> PathStatus:
    from penstock.api.settings import load_settings
    from penstock.project.lazy_mount import mounted_changes  # few paths are mounted, and it loads what mounts need

    counts = {"A": 0, "M": 0, "D": 0}
    kept: list[TrackedChange] = []
    for line in mounted_changes(project, path, load_settings()):
        letters: tuple[Literal["A", "M", "D"], ...]
        letters = ("D", "A") if line.kind == "R" else (line.kind,)  # type: ignore[assignment]  # A, M, D
        for letter in letters:
            counts[letter] += 1
            if len(kept) < most:
                old = line.old if line.kind == "R" and letter == "D" else None
                kept.append(TrackedChange(letter, old or line.path))
    return PathStatus(path, "changed" if kept else "clean", pointer, tuple(kept), where, "it is mounted", counts)


def changes_of(
    index: TrackedIndex, path: str, place: str, state: TrackedState, *, is_file: bool
) -> Iterator[TrackedChange]:
    """Yield what differs at a path from the version that it was brought to."""
    began_ns = time.time_ns()
    same: list[tuple[bytes, FileFacts]] = []
    pool: ThreadPoolExecutor | None = None
    suspects: dict[tuple[bytes, ...], Suspect] = {}

    def steps() -> Iterator[LocalFile | TrackedChange]:
        for suspect in surveyed(index, path, place, is_file=is_file):
            known, status = suspect.known, suspect.status
            shown = display_path(suspect.names)
            if status is None:
                if known is not None and known.kind != Kind.DIRECTORY:
                    yield TrackedChange("D", shown)
            elif known is None:
                if suspect.kind is not Kind.DIRECTORY:
                    yield TrackedChange("A", shown)
            elif suspect.kind is Kind.DIRECTORY or (known.kind, known.size) != (suspect.kind, status.st_size):
                yield TrackedChange("M", shown)
            else:
                assert suspect.kind is not None
                suspects[suspect.names] = suspect
                yield LocalFile(suspect.names, suspect.path, suspect.kind, status.st_size, status.st_mtime_ns)

    pool = ThreadPoolExecutor(_THREADS, "penstock-read")
    try:
        with closing(read_ahead(steps(), pool)) as found:
            for step in found:
                if isinstance(step, TrackedChange):
                    yield step
                elif isinstance(step, FileRead):
                    suspect = suspects.pop(step.file.names)
                    assert suspect.known is not None
                    assert suspect.status is not None
                    if step.hash != suspect.known.hash:
                        yield TrackedChange("M", display_path(suspect.names))
                    elif suspect.status.st_mtime_ns == step.file.mtime_ns:
                        facts = facts_of(suspect.known.kind, suspect.status, step.hash, began_ns)
                        if facts.ctime_ns:
                            same.append((key_of(suspect.names), facts))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    if same:
        with suppress(ConflictError), index.writing(path) as writer:  # somebody is at work: he will
            if writer.state == state:
                for key, facts in same:
                    writer.put(key, facts)
