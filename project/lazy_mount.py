"""A tracked directory as a lazy, writable mount: it is there in a second, whatever its size; what is read is fetched.

The version is mounted where the directory would be, from the local bucket if that has it, else from a remote. What is
changed in it stays in the mount's overlay until it is added: then it is committed, in the bucket that it is mounted
from, and the pointer stands for what comes of it. A branch there keeps that until a push has recorded it.
"""

from __future__ import annotations

import os
from contextlib import closing

from penstock.api.handles import Handle
from penstock.api.mounts.mounts import MountInfo, mount, unmount
from penstock.api.mounts.workspace import ChangeLine, Workspace
from penstock.errors import ConflictError, NotFoundError, UsageError
from penstock.progress import SILENT, Progress
from penstock.project.edit_branches import end_branch, new_branch, note_branch
from penstock.project.exchange import chosen_remote
from penstock.project.local_bucket import local_address, open_local
from penstock.project.pointer import Pointer, pointer_path, read_pointer, write_pointer
from penstock.project.pointer_files import check_path, ignore_path
from penstock.project.project import Project
from penstock.project.project_trust import project_settings
from penstock.project.push_notes import note_pushed, pushed_tops
from penstock.project.tracking import clear_path
from penstock.project.work_index import open_index
from penstock.repo.bucket import object_keys
from penstock.repo.session.bucket_session import BucketSession, open_session
from penstock.repo.settings.settings import Settings
from penstock.repo.tracked.version_commit import version_commit

__all__ = ["add_mounted", "is_mounted", "mount_path", "mounted_changes", "remount_path"]


def is_mounted(project: Project, path: str) -> bool:
    """Whether something is mounted at a path of the project."""
    return os.path.ismount(os.path.join(project.root, path))


def mount_path(
    project: Project, path: str, pointer: Pointer, settings: Settings, *, remote: str | None = None
) -> MountInfo:
    """Mount the version of a pointer at its path, writable. What is checked out there goes, where it is as it was.

    ConflictError: files are there that are nowhere else. NotFoundError: the version is nowhere. UsageError: a file.
    """
    check_path(project, path)
    if pointer.is_file:
        raise UsageError(f"{path!r} is not mounted", why="it is a file, and directories are mounted")
    if is_mounted(project, path):
        raise ConflictError(f"{path!r} is mounted already", fix=f"penstock umount {path} ends that.")
    place = os.path.join(project.root, path)
    bucket, usable, commit = _find(project, pointer, settings, remote)
    with open_index(project) as index:
        is_known = index.state(path) is not None
    if is_known:
        clear_path(project, path, settings)
    os.makedirs(place, exist_ok=True)
    if os.listdir(place):
        raise ConflictError(
            f"{path!r} is not empty",
            why="what is in it is nowhere else: it was edited, or never added",
            fix=f"penstock add {path} takes it in; or move it away.",
        )
    if project.git is not None:
        ignore_path(project, path)
    handle = Handle(bucket, project.file.dataset, commit)
    return mount(handle, place, settings=usable, writable=True)


def _find(project: Project, pointer: Pointer, settings: Settings, remote: str | None) -> tuple[str, Settings, str]:
    """Return the bucket that has a version, the settings that know it, and the id of the version's own commit."""
    usable = project_settings(project, settings)
    # What was pushed may be here in part: `gc` leaves metadata. What was not is here whole.
    noted = pushed_tops(project).get(pointer.top, set())
    if remote is None and not noted:
        with closing(open_local(project, settings)) as session:
            commit = _own_commit(session, project.file.dataset, pointer)
        if commit is not None:
            return local_address(project).replace(":", "%3A").replace("file%3A", "file:", 1), usable, commit
    name = chosen_remote(project, usable, remote or next(iter(sorted(noted & usable.remotes.keys())), None))
    with closing(open_session(name, usable, cached=False)) as session:
        commit = _own_commit(session, project.file.dataset, pointer)
    if commit is None:
        raise NotFoundError(
            f"version {pointer.top.hex()[:12]} is neither here nor in {name!r}", fix="Have it pushed: penstock push"
        )
    return name, usable, commit


def _own_commit(session: BucketSession, dataset: str, pointer: Pointer) -> str | None:
    """Return the id of a version's own commit, which is written in the local bucket if need be; None: no version."""
    store = session.store
    if store.head(object_keys.manifest_key(dataset, pointer.top.hex())) is None:
        return None
    name, body = version_commit(session.repository(dataset).manifest(pointer.top))
    if store.head(object_keys.commit_key(dataset, name.hex())) is None:
        store.create(object_keys.commit_key(dataset, name.hex()), body)
    return name.hex()


def mounted_changes(project: Project, path: str, settings: Settings) -> list[ChangeLine]:
    """Return what was changed in a mounted path since it was added last."""
    workspace = Workspace(os.path.join(project.root, path), project_settings(project, settings))
    return list(workspace.changes(every=True))


def add_mounted(
    project: Project, path: str, settings: Settings, progress: Progress = SILENT
) -> tuple[Pointer, Pointer, int]:
    """Commit what was changed in a mounted path, and let its pointer stand for that; how many paths changed.

    Only what changed is sent, to the bucket that it is mounted from. The mount stays, at the new version.
    """
    file = os.path.join(project.root, pointer_path(path))
    before = read_pointer(file)
    place = os.path.join(project.root, path)
    workspace = Workspace(place, project_settings(project, settings))
    changed = len(list(workspace.changes(every=True)))
    if not changed:
        return before, before, 0
    branch = new_branch()
    result = workspace.commit(f"edits of {path}", branch=branch, progress=progress)
    top = bytes.fromhex(result.top_hash)
    usable = project_settings(project, settings)
    bucket = workspace.status().handle.rpartition("/")[0]
    with closing(open_session(bucket, usable, cached=False)) as session:
        root = session.repository(project.file.dataset).manifest(top).root
        if bucket in usable.remotes:
            note_branch(project, bucket, branch, top)
        after = Pointer("directory", top, root.entries, root.size).moved(before)
        if bucket in usable.remotes:
            note_pushed(project, bucket, [top])
        write_pointer(file, after)
        if bucket not in usable.remotes:  # the local bucket keeps what was not pushed with no branch
            end_branch(project, branch, session)
    return before, after, changed


def remount_path(project: Project, path: str, pointer: Pointer, settings: Settings) -> None:
    """Have a mounted path show another version. ConflictError: it has changes that were not added."""
    usable = project_settings(project, settings)
    workspace = Workspace(os.path.join(project.root, path), usable)
    if workspace.status().top_hash == pointer.top.hex():
        return
    changes = mounted_changes(project, path, settings)
    if changes:
        raise ConflictError(
            f"{path!r} stays at the version that is mounted",
            why=f"{len(changes)} of its paths were changed and not added",
            fix=f"penstock add {path}, or penstock discard {path}; then: penstock checkout --follow",
        )
    unmount(os.path.join(project.root, path), settings=project_settings(project, settings))
    mount_path(project, path, pointer, settings)
