"""From a path of a work tree to a pointer, and back: what add and checkout do, stages and datasets as code among them.

`add_path` makes what is there a version in the local bucket; `check_out_path` brings a path to the version of a
pointer, from the local bucket or else from a remote. Both believe the index for what is as it was known.

**Order** of an addition: local bucket, index, pointer, ignore line. Whoever is killed in between adds again: the index
knows the version before, too, and a pointer that stands at either is no surprise to it.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass

from penstock.errors import ConflictError, NotFoundError, UsageError
from penstock.progress import SILENT, Progress
from penstock.project.local_bucket import bucket_directory, bucket_lock, open_layered, open_local
from penstock.project.made_paths import made_pointers
from penstock.project.pointer import Pointer, pointer_path, read_pointer, write_pointer
from penstock.project.pointer_files import check_path, ignore_path, refuse_overlap
from penstock.project.project import Project
from penstock.project.stored_version import known_manifest, open_version
from penstock.project.work_index import look_anew, open_index, surveyed
from penstock.repo.local_copy.choice import choose
from penstock.repo.local_copy.local_directory import LocalDirectory, Names
from penstock.repo.push.directory_walk import Skipped
from penstock.repo.settings.remote import Remote
from penstock.repo.settings.settings import Settings
from penstock.repo.tracked.addition import Addition, add_version
from penstock.repo.tracked.checkout import Checkout, check_out, check_out_file, clear_out
from penstock.repo.tracked.linked_objects import LinkedObjects, shares_blocks

__all__ = ["Added", "add_path", "check_out_path", "clear_path"]


@dataclass(frozen=True, slots=True)
class Added:
    """What `add_path` did: the pointer now, the one before, what changed, and the files that git is to be given."""

    path: str
    pointer: Pointer
    before: Pointer | None
    addition: Addition
    files: tuple[str, ...]


def add_path(
    project: Project,
    path: str,
    settings: Settings,
    progress: Progress = SILENT,
    *,
    imported: bool = False,
    force: bool = False,
    others: Sequence[str] = (),
    ignore: bool = True,
    link: bool | None = None,
) -> Added:
    """Make what is at a path of the project a version in the local bucket, and let its pointer stand for it.

    `others` are paths that are tracked, which it must not overlap. What is imported keeps its [import] with `imported`;
    else UsageError. With `force`, what is there is taken though the pointer has moved on since it was checked out.
    `ignore`: git is told to leave the path alone. `link`: its files become links into the local bucket, or no more;
    None: as it was said of the path before.

    NotFoundError: nothing is there. UsageError: it cannot be tracked. ConflictError: the pointer stands at another
    version than what is there was checked out at, or a file changes while it is read. Nothing has changed then.
    """
    check_path(project, path)
    refuse_overlap(project, path, others)
    if path in made_pointers(project):
        raise UsageError(
            f"{path!r} is made by a stage", why="its lock says what it is", fix="penstock repro takes in what it makes."
        )
    place = os.path.join(project.root, path)
    file = os.path.join(project.root, pointer_path(path))
    try:
        mode = os.lstat(place).st_mode
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no {path!r} to add", fix="Name a file or directory of the project.") from error
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        raise UsageError(f"{path!r} cannot be tracked", why="it is neither a file nor a directory")
    before = read_pointer(file) if os.path.lexists(file) else None
    if before is not None and before.imported is not None and not imported:
        raise UsageError(
            f"{path!r} was imported from {before.imported.url}",
            why="what is changed in it here would be lost with the next update",
            fix="Change it there, and then: penstock update. Or copy it to a path of its own.",
        )
    with bucket_lock(project), open_index(project) as index, closing(open_local(project, settings)) as session:
        state = index.state(path)
        if before is not None and not force and (state is None or before.top not in (state.top, state.previous)):
            raise ConflictError(
                f"{path!r} is not at the version of its pointer",
                why=f"{pointer_path(path)} says {before.top.hex()[:12]}, and what is here was "
                + (f"last at {state.top.hex()[:12]}" if state is not None else "never checked out"),
                fix=f"penstock checkout {path} first; or add it as it is: --force",
            )
        is_linked = link if link is not None else state is not None and state.linked
        base = known_manifest(session, project.file.dataset, state.top) if state is not None else None
        if is_linked and (state is None or not state.linked):
            base = None  # all of it is looked at: what is in packs here is to be files
        skipped: list[Skipped] = []
        with index.writing(path) as writer:
            if base is None:
                writer.clear()
            findings = surveyed(index, path, place, is_file=stat.S_ISREG(mode), skipped=skipped)
            addition = add_version(
                session,
                project.file.dataset,
                base,
                findings,
                writer,
                progress.stage("reading"),
                progress.stage("storing"),
                skipped,
                linked_objects(project, link=is_linked),
            )
            writer.have_linked(is_linked)
    look_anew(project)
    root = addition.manifest.root
    pointer = Pointer(
        "file" if stat.S_ISREG(mode) else "directory",
        addition.manifest.top_hash,
        root.entries,
        root.size,
    ).moved(before)
    files = [file] if write_pointer(file, pointer) else []
    if ignore and (changed := ignore_path(project, path)) is not None:
        files.append(changed)
    return Added(path, pointer, before, addition, tuple(os.path.relpath(each, project.root) for each in files))


def linked_objects(project: Project, *, link: bool) -> LinkedObjects | None:
    """Return what keeps files as one copy on disk: as links if that was asked for, else where they can share blocks."""
    directory = bucket_directory(project)
    if link:
        return LinkedObjects(directory, "link")
    try:
        return LinkedObjects(directory, "clone") if shares_blocks(directory) else None
    except OSError:
        return None


def check_out_path(
    project: Project,
    path: str,
    pointer: Pointer,
    settings: Settings,
    progress: Progress = SILENT,
    *,
    restore: bool = True,
    force: bool = False,
    paths: Sequence[str] = (),
    remote: str | None = None,
    cached: bool = False,
    dataset: str | None = None,
    link: bool | None = None,
) -> Checkout:
    """Bring a path of the project to the version of a pointer; see `repo.tracked.checkout`.

    Without `restore`, only what differs between the version that is here and that one is looked at. With `force`, what
    was edited gives way, and is kept in ``.penstock/kept``. `paths`: those below the path that are wanted. `link` as
    for `add_path`.

    NotFoundError: the version is nowhere. UsageError: data may not lie there. IntegrityError, AccessError: files could
    not be had; all others are there.
    """
    check_path(project, path)
    look_anew(project)
    place = os.path.join(project.root, path)
    keep = _Aside(project, path) if force else None
    name = dataset or project.file.dataset

    def sources() -> Iterable[Remote]:
        from penstock.project.sources.imports import imported_remotes  # what reads other repositories, few have to load

        return imported_remotes(project, [pointer], settings)

    if pointer.imported is not None:
        from penstock.project.sources.imports import bring_import  # as above

        bring_import(project, pointer, settings, progress)
    session = open_layered(project, settings, remote=remote, cached=cached, more=sources)
    with closing(session), open_index(project) as index:
        snapshot = open_version(session, name, pointer.top)
        state = index.state(path)
        before = None
        if state is not None and state.top:
            try:
                before = snapshot.manifest if state.top == pointer.top else session.repository(name).manifest(state.top)
            except NotFoundError:
                before = None
        stage = progress.stage("checking out", total=snapshot.root.size)
        is_linked = link if link is not None else state is not None and state.linked
        links = linked_objects(project, link=is_linked)
        with bucket_lock(project), index.writing(path) as writer:
            writer.have_linked(is_linked)
            if pointer.is_file:
                with closing(LocalDirectory(os.path.dirname(place), make=True)) as directory:
                    target = os.fsencode(os.path.basename(place))
                    done = check_out_file(snapshot, before, directory, target, writer, stage, keep=keep, links=links)
            else:
                _refuse_file(place, path)
                with closing(LocalDirectory(place, make=True)) as directory:
                    done = check_out(
                        snapshot,
                        before,
                        directory,
                        writer,
                        stage,
                        restore=restore or bool(paths),
                        keep=keep,
                        choice=choose(paths, ()),
                        links=links,
                    )
    if project.git is not None:
        ignore_path(project, path)
    return done


def clear_path(project: Project, path: str, settings: Settings) -> Checkout:
    """Remove what was checked out at a path that is tracked no more, where it is as it was; what was edited stays.

    NotFoundError: what is there could not be had again, so nothing was removed.
    """
    check_path(project, path)
    place = os.path.join(project.root, path)
    with closing(open_layered(project, settings)) as session, open_index(project) as index:
        state = index.state(path)
        assert state is not None
        snapshot = open_version(session, project.file.dataset, state.top)
        is_file = os.path.lexists(place) and not os.path.isdir(place)
        top = os.path.dirname(place) if is_file else place
        done = Checkout()
        if os.path.isdir(top):
            with index.writing(path) as writer, closing(LocalDirectory(top)) as directory:
                done = clear_out(snapshot, directory, writer)
            if not is_file:
                with suppress(OSError):  # something is left in it
                    os.rmdir(place)
        if not done.edited:
            index.forget(path)
    return done


def _refuse_file(place: str, path: str) -> None:
    if os.path.lexists(place) and not os.path.isdir(place):
        raise ConflictError(
            f"{path!r} is in the way", why="it is no directory, and its pointer is of one", fix="Move it away."
        )


class _Aside:
    """Moves files that were edited into ``.penstock/kept/TIME/PATH``."""

    def __init__(self, project: Project, path: str) -> None:
        stamp = time.strftime("%Y-%m-%dT%H%M%S")
        self._folder = os.path.join(project.state, "kept", f"{stamp}-{os.getpid()}", path)

    def __call__(self, directory: LocalDirectory, names: Names) -> str:
        target = os.path.join(self._folder, *map(os.fsdecode, names))
        os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
        directory.move_out(names, target)
        return target
