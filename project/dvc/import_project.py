"""Take over what a DVC project tracks: as pointers, stages and a lock of Penstock, beside all that is DVC's.

**Order:** contents become versions in the local bucket; then ignore rules, remotes, pointers; data comes into place
where it is missing; then stages, and what they were run with. Nothing of DVC's is written to, and no command is run.
What is cut off is done again, and goes on where it was. What cannot be taken is told, and holds up nothing else.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import Any

from penstock.errors import PenstockError, UsageError
from penstock.progress import SILENT, Progress
from penstock.project.pointer import DvcRecord, Pointer, pointer_path, read_pointer, write_pointer
from penstock.project.pointer_files import check_path, ignore_path, pointer_paths, refuse_overlap
from penstock.project.project import Project, is_tracked_by_git
from penstock.project.project_file import read_bounded
from penstock.project.project_remotes import add_project_remote
from penstock.project.state_folder import replace_file
from penstock.project.tracking import check_out_path
from penstock.repo.push.globs import GlobError, parse_glob
from penstock.repo.settings.settings import Settings
from penstock.repo.tracked.checkout import Checkout

from .dvc_files import DvcOutput
from .dvc_objects import DvcObjects, NamedStore
from .dvc_project import DvcProject, open_objects, source_stores
from .dvc_state import DvcState, DvcWorkTree, Tracked, read_state
from .dvc_versions import DvcVersions
from .stages import take_stages
from .user_notes import meta_of

__all__ = ["Imported", "TakenPath", "import_project", "taken_version", "told_of"]

_IGNORE, _OUR_IGNORE = ".dvcignore", ".penstockignore"
_MOST_IGNORED = 1 << 20


@dataclass(frozen=True, slots=True)
class TakenPath:
    """A path that was taken over, and what became of it where it lies; None: nothing was brought there."""

    path: str
    pointer: Pointer
    done: Checkout | None = None


@dataclass(slots=True)
class Imported:
    """What came of it. `failed`: what could not be taken, and why. `remarks`: what is not as it was with DVC.

    `files` are for git; `untrack` those that git is to let go of, since a stage makes them.
    """

    taken: list[TakenPath] = field(default_factory=list)
    stages: list[str] = field(default_factory=list)
    remotes: list[str] = field(default_factory=list)
    failed: dict[str, PenstockError] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    untrack: list[str] = field(default_factory=list)


def import_project(
    project: Project, found: DvcProject, settings: Settings, progress: Progress = SILENT, *, checkout: bool = True
) -> Imported:
    """Take over what the work tree's files of DVC say. With `checkout`, data that is missing comes into place."""
    report = Imported(remarks=list(found.remarks))
    state = read_state(DvcWorkTree(project))
    report.remarks += state.remarks
    versions: dict[str, Pointer] = {}
    with (
        open_objects(found, project) as objects,
        closing(DvcVersions(project, settings, objects, progress)) as maker,
    ):
        for tracked in state.tracked:
            path = tracked.output.path
            try:
                check_path(project, path)
                if tracked.stage is None:
                    refuse_overlap(project, path, (each for each in _others(state, project) if each != path))
                in_git = _work_tree_files(project, tracked.output) if tracked.output.in_git else None
                versions[path] = taken_version(maker, tracked, found, in_git=in_git, work_tree=True)
            except PenstockError as error:
                report.failed[path] = error
        report.remarks += told_of(objects)
    _take_ignored(project, report)
    _take_remotes(project, found, settings, report)
    for tracked in state.tracked:
        pointer = versions.get(tracked.output.path)
        if pointer is None:
            continue
        try:
            if tracked.stage is None:
                _point(project, tracked, pointer, report)
            done = None
            if checkout:
                done = check_out_path(project, tracked.output.path, pointer, settings, progress)
            report.taken.append(TakenPath(tracked.output.path, pointer, done))
        except PenstockError as error:
            report.failed[tracked.output.path] = error
    take_stages(project, state, versions, settings, report.stages, report.remarks, report.files)
    report.untrack = [
        tracked.output.path
        for tracked in state.tracked
        if tracked.stage is not None and tracked.output.in_git and is_tracked_by_git(project, tracked.output.path)
    ]
    report.files = sorted(set(report.files))
    return report


def told_of(objects: DvcObjects) -> list[str]:
    """Return what is to be told of places that contents were looked for in."""
    damaged = [f"{path} is damaged: it is not what its name says" for path in dict.fromkeys(objects.damaged)]
    return [*damaged, *(f"{name} cannot be read: {why}" for name, why in objects.silent.items())]


def _others(state: DvcState, project: Project) -> set[str]:
    return {each.output.path for each in state.tracked} | pointer_paths(project)


def _work_tree_files(project: Project, output: DvcOutput) -> Callable[[str], bytes | None]:
    def read(below: str) -> bytes | None:
        return read_bounded(os.path.join(project.root, output.path, below).rstrip("/"), 1 << 30)

    return read


def taken_version(
    maker: DvcVersions,
    tracked: Tracked,
    found: DvcProject,
    *,
    in_git: Callable[[str], bytes | None] | None = None,
    work_tree: bool = False,
) -> Pointer:
    """Return the pointer of what is tracked, its content taken from wherever it is. Errors as `DvcVersions.version`.

    What was imported is looked for in the repository that it came from when it is nowhere here.
    """
    origin, output = tracked.origin, tracked.output
    with ExitStack() as stack:

        def more() -> tuple[list[NamedStore], Callable[[str], bytes | None]]:
            assert origin is not None
            stores, files = stack.enter_context(source_stores(origin, found))
            return stores, files.read

        try:
            pointer = maker.version(output, in_git=in_git or (lambda _: None), work_tree=work_tree)
        except PenstockError as first:
            if origin is None or not origin.url:
                raise
            try:
                stores, read = more()
                pointer = maker.version(output, stores, read, work_tree=work_tree)
            except PenstockError as error:
                raise type(first)(first.what, why=f"{first.why}; nor can its source be read: {error}") from error
    assert output.hash is not None
    record = DvcRecord(output.hash.md5)
    if origin is not None:
        record = DvcRecord(output.hash.md5, origin.url, origin.path, origin.rev or "", origin.commit)
    return Pointer(pointer.kind, pointer.top, pointer.entries, pointer.bytes, dvc=record, meta=meta_of(tracked.notes))


def _point(project: Project, tracked: Tracked, pointer: Pointer, report: Imported) -> None:
    path = tracked.output.path
    file = os.path.join(project.root, pointer_path(path))
    if os.path.lexists(file):
        before = read_pointer(file)
        if before.top != pointer.top and before.dvc is None:
            raise UsageError(
                f"{pointer_path(path)} has moved on since it was taken over",
                why="what was added here would be lost",
                fix=f"Remove {pointer_path(path)} if DVC's version is the one that is meant.",
            )
        pointer = Pointer(
            pointer.kind, pointer.top, pointer.entries, pointer.bytes, None, pointer.dvc, pointer.meta or before.meta
        )
    write_pointer(file, pointer)
    report.files.append(pointer_path(path))
    ignored = ignore_path(project, path)
    if ignored is not None:
        report.files.append(os.path.relpath(ignored, project.root))
    if tracked.origin is not None:
        where = f"{tracked.origin.url} " if tracked.origin.url else ""
        report.remarks.append(
            f"{path} was imported from {where}{tracked.origin.path}: it is tracked as what was added, and "
            "penstock update does not refresh it"
        )


def _take_ignored(project: Project, report: Imported) -> None:
    """Have what DVC ignores be ignored here: a file of ours beside each of its own."""
    for folder in _folders_with(project, _IGNORE):
        body = read_bounded(os.path.join(project.root, folder, _IGNORE), _MOST_IGNORED) or b""
        lines = []
        for line in body.split(b"\n"):
            try:
                parse_glob(line.removesuffix(b"\r"))
                lines.append(line)
            except GlobError as error:
                report.remarks.append(f"{posixpath.join(folder, _IGNORE)}: {os.fsdecode(line)[:80]!r}: {error}")
        path = posixpath.join(folder, _OUR_IGNORE)
        place = os.path.join(project.root, path)
        says = any(line.strip() and not line.startswith(b"#") for line in lines)
        if os.path.lexists(place) or not says:
            continue
        replace_file(place, b"\n".join(lines))
        report.files.append(path)


def _folders_with(project: Project, name: str) -> list[str]:
    if project.git is None:
        return [""] if os.path.isfile(os.path.join(project.root, name)) else []
    from penstock.project.git import ask_git

    listed = ask_git(
        project.root, "ls-files", "-co", "-z", "--exclude-standard", "--deduplicate", "--", f":(glob)**/{name}"
    )
    return sorted(os.path.dirname(os.fsdecode(path)) for path in listed.split(b"\0") if path)


def _take_remotes(project: Project, found: DvcProject, settings: Settings, report: Imported) -> None:
    """Add a remote of ours beside each of DVC's; of a project that nobody trusts they are named, and no more."""
    known: Mapping[str, object] = project.file.remotes
    for name, remote in found.config.own.items():
        if remote.name in known or not found.trusted:
            if remote.name not in known:
                told = f"penstock remote add {'-d ' if name == found.config.default else ''}{remote.name} {remote.url}"
                report.remarks.append(f"remote {name} is not taken over without --trust; or: {told}")
            continue
        options: dict[str, Any] = {key: value for key, value in remote.settings().items() if key != "url"}
        try:
            default = name == found.config.default and project.file.remote is None
            add_project_remote(project, remote.name, remote.url, settings, default=default, **options)
            _reread(project)
            report.remotes.append(f"{remote.name} {remote.url}")
            report.files.append("penstock.toml")
        except PenstockError as error:
            report.remarks.append(f"remote {name} is not taken over: {error}")


def _reread(project: Project) -> None:
    project.__dict__.pop("file", None)
