"""Two branches say different things of a pointer: the versions are merged as git merges files, path by path.

What only one side changed is taken from it, so that two batches that were added to one directory join. A path that both
changed, each in its own way, is a conflict, settled by `ours` and `theirs`, or left: then git's conflict stays. All
three versions have to be here or in a remote; the merged one is made in the local bucket, of their nodes and new ones,
and no data is read.

git runs it as a merge driver (`install_driver`), and people by `penstock merge-pointer PATH`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from penstock.errors import ConflictError, MergeConflictError, UsageError
from penstock.manifest.merge import Merged, merge
from penstock.manifest.records import Manifest
from penstock.progress import SILENT, Progress
from penstock.project.git import ask_git, git_succeeds
from penstock.project.local_bucket import bucket_lock, open_layered, open_local
from penstock.project.pointer import Pointer, parse_pointer, pointer_path
from penstock.project.project import Project
from penstock.project.project_file import read_bounded
from penstock.project.stages.definition.lock_file import format_lock, parse_lock
from penstock.project.stages.definition.lock_merge import merge_locks
from penstock.project.state_folder import replace_file
from penstock.project.stored_version import open_version
from penstock.repo.bucket import object_keys
from penstock.repo.bucket.layered_store import LayeredStore
from penstock.repo.history.side_choice import choice
from penstock.repo.settings.settings import Settings
from penstock.repo.tracked.transfer import bring_metadata
from penstock.repo.write.version_content import open_content
from penstock.repo.write.version_merge import describe_conflict

__all__ = [
    "MergedPointer",
    "conflicting_locks",
    "conflicting_pointers",
    "install_driver",
    "merge_pointers",
    "merged_lock",
    "remove_driver",
]

_ATTRIBUTES = (b"*.penstock merge=penstock\n", b"penstock.lock merge=penstock\n")
_MOST = 1 << 20
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class MergedPointer:
    """What came of a merge: the pointer, and how many paths were taken from each side."""

    pointer: Pointer
    ours: int
    theirs: int


def merge_pointers(
    project: Project,
    path: str,
    base: Pointer | None,
    ours: Pointer,
    theirs: Pointer,
    settings: Settings,
    progress: Progress = SILENT,
    *,
    take_ours: Sequence[str] = (),
    take_theirs: Sequence[str] = (),
) -> MergedPointer:
    """Merge the versions of two pointers, which were `base` once. MergeConflictError names paths that both changed.

    ConflictError: they are imports of different things, or one is a file and was changed by both.
    """
    if base is not None and ours == base:
        return MergedPointer(theirs, 0, 0)
    if ours == theirs or (base is not None and theirs == base):
        return MergedPointer(ours, 0, 0)
    if ours.imported is not None or theirs.imported is not None or ours.is_file or theirs.is_file:
        if not take_ours and not take_theirs:
            raise ConflictError(
                f"{path!r} was changed by both sides",
                why="it is one file"
                if ours.is_file or theirs.is_file
                else "it is imported, and each has another version",
                fix=f"Take one of the two: penstock merge-pointer {path} --ours, or --theirs",
            )
        return MergedPointer(ours if take_ours else theirs, 0, 0)
    dataset = project.file.dataset
    with (
        closing(open_layered(project, settings)) as layered,
        closing(open_local(project, settings)) as local,
        bucket_lock(project),
    ):
        store = layered.store
        assert isinstance(store, LayeredStore)
        stage = progress.stage("fetching")
        sides: list[Manifest | None] = []
        for pointer in (base, ours, theirs):
            manifest = open_version(layered, dataset, pointer.top).manifest if pointer is not None else None
            if manifest is not None:
                bring_metadata(layered, dataset, manifest, store.upper, stage)
            sides.append(manifest)
        before, mine, other = sides
        assert mine is not None
        assert other is not None
        with open_content(local, mine, progress.stage("storing"), enter=False) as content:
            choose = choice(take_ours, take_theirs)
            merged = merge(
                before.root if before is not None else None,
                mine.root,
                other.root,
                local.load,
                content,
                local.nodes.metadata,
                choose,
            )
            if merged.root is None:
                raise _conflict(path, merged)
            made = content.finish(merged.root, mine.metadata)
        local.store.create(object_keys.manifest_key(dataset, made.top_hash.hex()), made.encode())
    pointer = Pointer("directory", made.top_hash, made.root.entries, made.root.size, meta=ours.meta or theirs.meta)
    return MergedPointer(pointer, merged.ours, merged.theirs)


def _conflict(path: str, merged: Merged) -> MergeConflictError:
    count = merged.conflict_count
    shown = [describe_conflict(each, ("in ours", "in theirs")) for each in merged.conflicts[:_SHOWN]]
    return MergeConflictError(
        f"{count} {'path' if count == 1 else 'paths'} of {path!r} changed on both sides",
        why="each has another content there; nothing was changed",
        fix=f"Settle it with --ours or --theirs, for all or by path: penstock merge-pointer {path} --ours",
        candidates=[*shown, *([f"and {count - len(shown)} more"] if count > len(shown) else [])],
    )


def conflicting_pointers(project: Project, path: str) -> tuple[Pointer | None, Pointer, Pointer]:
    """Return what git's index has of a pointer that is in conflict: the common base, ours, theirs.

    UsageError: it is in no conflict, or one side has removed it.
    """
    sides = _sides(project, pointer_path(path))
    found = {stage: parse_pointer(pointer_path(path), body) for stage, body in sides.items()}
    if 2 not in found or 3 not in found:
        raise UsageError(
            f"{path!r} is in no conflict that can be merged",
            why="git has no two versions of its pointer" if not found else "one side has removed it",
            fix="git status shows what is; git rm or git add settles a removal.",
        )
    return found.get(1), found[2], found[3]


def _sides(project: Project, path: str) -> dict[int, bytes]:
    """Return what git's index has of a file in conflict: 1 the common base, 2 ours, 3 theirs."""
    listed = ask_git(project.root, "ls-files", "-u", "-z", "--", f":(literal){path}")
    found: dict[int, bytes] = {}
    for line in listed.split(b"\0"):
        if line:
            _, blob, stage = line.partition(b"\t")[0].split(b" ")
            found[int(stage)] = ask_git(project.root, "cat-file", "blob", blob.decode())
    return found


def conflicting_locks(project: Project, path: str) -> tuple[bytes, bytes, bytes]:
    """Return what git's index has of a lock that is in conflict: the common base, ours, theirs. UsageError: none."""
    found = _sides(project, path)
    if 2 not in found or 3 not in found:
        raise UsageError(f"{path!r} is in no conflict that can be merged", fix="git status shows what is.")
    return found.get(1, b""), found[2], found[3]


def merged_lock(path: str, base: bytes, ours: bytes, theirs: bytes) -> tuple[bytes, list[str]]:
    """Return a merged lock, and the stages that both sides have run. IntegrityError: one of them is no lock."""
    folder = os.path.dirname(path)
    known, mine, other = (parse_lock(body, path, folder) if body else {} for body in (base, ours, theirs))
    merged, both = merge_locks(known, mine, other)
    return format_lock(merged), both


def install_driver(project: Project, command: str) -> None:
    """Have git merge pointers by `command`, in this repository: by its own attributes and configuration."""
    if project.common is None:
        return
    ask_git(project.root, "config", "--local", "merge.penstock.name", "joins what both sides added")
    ask_git(project.root, "config", "--local", "merge.penstock.driver", f"{command} merge-pointer %P --driver %O %A %B")
    path = os.path.join(project.common, "info", "attributes")
    body = read_bounded(path, _MOST) or b""
    missing = [line for line in _ATTRIBUTES if line not in body.splitlines(keepends=True)]
    if missing:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        replace_file(path, b"".join([body, b"\n" if body and not body.endswith(b"\n") else b"", *missing]))


def remove_driver(project: Project) -> None:
    """Take the driver out again."""
    if project.common is None:
        return
    if git_succeeds(project.root, "config", "--local", "--get", "merge.penstock.driver"):
        ask_git(project.root, "config", "--local", "--remove-section", "merge.penstock")
    path = os.path.join(project.common, "info", "attributes")
    body = read_bounded(path, _MOST) or b""
    kept = b"".join(line for line in body.splitlines(keepends=True) if line not in _ATTRIBUTES)
    if kept:
        replace_file(path, kept)
    elif body:
        os.unlink(path)
