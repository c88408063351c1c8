"""Data of another repository's project: tracked here by reference, brought up to date, listed, copied.

An import is a pointer that says where it came from; its bytes stay in the other project's remote, and nothing of them
is copied before they are checked out. The version's metadata comes into the local bucket, so that what it holds is
known with no network. A directory within one that is tracked there is a version of its own.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from penstock.api.handles import Handle
from penstock.api.packages.package import Package
from penstock.errors import ConflictError, NotFoundError, UsageError
from penstock.manifest.entry import NodeRef, split_path
from penstock.manifest.records import Manifest
from penstock.manifest.tree import Tree
from penstock.progress import SILENT, Progress
from penstock.project.local_bucket import bucket_lock, open_local
from penstock.project.pointer import ImportedFrom, Pointer, pointer_path, read_pointer, write_pointer
from penstock.project.pointer_files import check_path, ignore_path, refuse_overlap, tracked_paths
from penstock.project.project import Project
from penstock.repo.session.bucket_session import BucketSession, open_session
from penstock.repo.settings.remote import Remote
from penstock.repo.settings.settings import Settings
from penstock.repo.tracked.transfer import bring_metadata

from .git_source import GitSource, open_source, source_remotes

__all__ = ["Listed", "Updated", "bring_import", "import_path", "list_source", "open_source_path", "update_path"]


@dataclass(frozen=True, slots=True)
class Listed:
    """What a repository offers: a path, and what it is."""

    path: str
    kind: str
    top: bytes
    entries: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Updated:
    """What became of an import: its pointer, and what that was before, None: it is new."""

    path: str
    pointer: Pointer
    before: Pointer | None
    files: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether it is another version now."""
        return self.before is None or self.before.top != self.pointer.top


def list_source(url: str, rev: str | None = None) -> list[Listed]:
    """Return what a repository's project tracks, at a revision. Errors as `open_source`."""
    with open_source(url, rev) as source:
        found = []
        for path in source.paths():
            _, pointer, _ = source.pointer(path)
            found.append(Listed(path, pointer.kind, pointer.top, pointer.entries, pointer.bytes))
        return found


def import_path(
    project: Project,
    url: str,
    path: str,
    out: str,
    settings: Settings,
    progress: Progress = SILENT,
    *,
    rev: str | None = None,
) -> Updated:
    """Track what another repository's project tracks at `path`, as `out` here. No data is copied.

    NotFoundError: there is no such thing. ConflictError: something is tracked, or lies, at `out` already. AccessError:
    its remotes are not trusted.
    """
    check_path(project, out)
    refuse_overlap(project, out, tracked_paths(project))
    file = os.path.join(project.root, pointer_path(out))
    if os.path.lexists(file) or os.path.lexists(os.path.join(project.root, out)):
        raise ConflictError(
            f"{out!r} is there already", fix=f"penstock update {out} refreshes an import; or choose another place."
        )
    with open_source(url, rev) as source:
        pointer = _bring(project, source, path, settings, progress, url=url)
    os.makedirs(os.path.dirname(file), exist_ok=True)
    write_pointer(file, pointer)
    ignored = ignore_path(project, out)
    files = tuple(os.path.relpath(each, project.root) for each in (file, ignored) if each is not None)
    return Updated(out, pointer, None, files)


def update_path(
    project: Project, path: str, settings: Settings, progress: Progress = SILENT, *, rev: str | None = None
) -> Updated:
    """Let an import stand for what its branch, or `rev` from now on, has now. UsageError: it is no import."""
    file = os.path.join(project.root, pointer_path(path))
    before = read_pointer(file)
    imported = before.imported
    if imported is None:
        raise UsageError(
            f"{path!r} is no import", why="it was added here", fix="penstock add takes in what changed in it."
        )
    with open_source(imported.url, rev or imported.rev, base=project.root) as source:
        pointer = _bring(project, source, imported.path, settings, progress, url=imported.url)
    write_pointer(file, pointer)
    return Updated(path, pointer, before, (pointer_path(path),))


def bring_import(project: Project, pointer: Pointer, settings: Settings, progress: Progress = SILENT) -> None:
    """Have the metadata of an import be in the local bucket, as its pointer says it was; nothing if it is there."""
    imported = pointer.imported
    assert imported is not None
    with closing(open_local(project, settings)) as local:
        if _manifest(local, project.file.dataset, pointer.top) is not None:
            return
    with open_source(imported.url, imported.commit, base=project.root) as source:
        found = _bring(project, source, imported.path, settings, progress, url=imported.url)
    if found.top != pointer.top:
        raise ConflictError(
            f"{imported.path!r} of {imported.url} is not what it was",
            why=f"at commit {imported.commit[:12]} it is another version",
            fix="penstock update takes what is there now.",
        )


def _bring(
    project: Project, source: GitSource, path: str, settings: Settings, progress: Progress, *, url: str
) -> Pointer:
    tracked, pointer, inner = source.pointer(path)
    remotes = source_remotes(source, settings, project)
    kept = replace(settings, remotes={**settings.remotes, **remotes})
    imported = ImportedFrom(source.url if "://" not in url else url, path.strip("/"), source.rev, source.commit)
    with bucket_lock(project), closing(open_local(project, settings)) as local:
        for name in remotes:
            with closing(open_session(name, kept, cached=False)) as session:
                manifest = _manifest(session, source.file.dataset, pointer.top)
                if manifest is None:
                    continue
                root = _narrowed(session, manifest, inner, f"{source.url}: {tracked}")
                whole = manifest if not inner else Manifest(root)
                bring_metadata(session, project.file.dataset, whole, local.store, progress.stage("fetching"))
                kind = pointer.kind if not inner else "directory"
                return Pointer(kind, whole.top_hash, root.entries, root.size, imported)
    raise NotFoundError(
        f"version {pointer.top.hex()[:12]} of {tracked!r} is in no remote of {source.url}",
        why="whoever added it has not pushed it",
        fix="Have it pushed there: penstock push",
    )


def _manifest(session: BucketSession, dataset: str, top: bytes) -> Manifest | None:
    from penstock.repo.bucket.object_keys import manifest_key

    if session.store.head(manifest_key(dataset, top.hex())) is None:
        return None
    return session.repository(dataset).manifest(top)


def _narrowed(session: BucketSession, manifest: Manifest, inner: str, told: str) -> NodeRef:
    if not inner:
        return manifest.root
    entry = Tree(manifest.root, session.load).resolve(split_path(inner))[1]
    if entry.directory is None:
        raise UsageError(f"{inner!r} in {told} is a file", why="a part of an import is a directory", fix="penstock get")
    return entry.directory


def open_source_path(
    url: str, path: str, settings: Settings, *, rev: str | None = None, project: Project | None = None
) -> Package:
    """Open the version that a repository's project tracks at a path, or a directory in it: a `Package`.

    It is a handle as any other; its settings have the remote that it is read from.
    """
    with open_source(url, rev) as source:
        _, pointer, inner = source.pointer(path)
        remotes = source_remotes(source, settings, project)
        kept = replace(settings, remotes={**settings.remotes, **remotes})
        for name in remotes:
            with closing(open_session(name, kept, cached=False)) as session:
                if _manifest(session, source.file.dataset, pointer.top) is not None:
                    return Package(Handle(name, source.file.dataset, pointer.top.hex(), inner), kept)
    raise NotFoundError(
        f"version {pointer.top.hex()[:12]} is in no remote of {url}", fix="Have it pushed there: penstock push"
    )


def imported_remotes(project: Project, pointers: Sequence[Pointer], settings: Settings) -> list[Remote]:
    """Return the remotes in which the bytes of imports are."""
    found: list[Remote] = []
    for url, commit in sorted({(each.imported.url, each.imported.commit) for each in pointers if each.imported}):
        with open_source(url, commit, base=project.root) as source:
            found += source_remotes(source, settings, project).values()
    return found
