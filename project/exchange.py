"""Push, fetch: what a project tracks goes to a remote and comes from one.

In a remote a project is one dataset. A push makes a version of its branch of git's name: the tree of all that the
project tracks, each path where it lies in the repository, so that the whole registry can be looked at and mounted. Its
commit says which repository and commit of git it belongs to. Beside it, each pointer's own version is there under its
top hash, as a commit that is one of the parents: so `gc` of the bucket keeps what any push led to.

A push with nothing new asks for the branch's newest record and no more, however many pointers there are. Everything is
named by its hash: what was cut off is gone on with by doing it again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from types import ModuleType
from typing import Generic, Protocol, TypeVar

from msgspec import structs

from penstock.errors import NotFoundError, UsageError
from penstock.manifest.build import DiscardSink, NodeSink
from penstock.manifest.entry import Kind, NodeRef, TreeEntry, split_path
from penstock.manifest.records import Manifest
from penstock.manifest.tree import LoadNode, Tree
from penstock.manifest.update import EMPTY_DIRECTORY, Edit, update
from penstock.progress import SILENT, Progress
from penstock.project.edit_branches import end_recorded
from penstock.project.git import git_answer
from penstock.project.local_bucket import bucket_lock, open_layered
from penstock.project.pointer import Pointer
from penstock.project.project import Project
from penstock.project.project_trust import asked_as_nobody, check_reachable, project_settings
from penstock.project.push_notes import note_pushed, pushed_tops
from penstock.project.stages.execution.runs import send_runs
from penstock.project.stored_version import open_version
from penstock.repo.bucket import object_keys
from penstock.repo.bucket.layered_store import LayeredStore
from penstock.repo.bucket.leases import LeaseKind
from penstock.repo.push.workspace_record import address_without_secrets
from penstock.repo.read.snapshot import Snapshot
from penstock.repo.refs.repository import DEFAULT_BRANCH
from penstock.repo.session.bucket_session import BucketSession, open_session
from penstock.repo.settings.remote import Remote
from penstock.repo.settings.settings import Settings
from penstock.repo.tracked.checkout import the_file_of
from penstock.repo.tracked.transfer import bring_data, bring_metadata, send_version
from penstock.repo.tracked.version_commit import version_commit
from penstock.repo.tracked.whole_objects import send_whole_objects
from penstock.repo.write.authorship import default_author
from penstock.repo.write.landing import until_it_stands
from penstock.repo.write.publish import Authorship, stands_at
from penstock.repo.write.version_content import VersionContent
from penstock.repo.write.version_writer import VersionWriter

__all__ = ["Pushed", "chosen_remote", "fetch_versions", "push_versions", "record_branch", "ref_name"]

_MOST_PARENTS = 4000


@dataclass(slots=True)
class Pushed:
    """What a push did. `sent` are the paths whose versions were not there; counts are of objects that went out."""

    remote: str
    branch: str
    changed: bool
    top_hash: bytes
    sent: list[str] = field(default_factory=list)
    objects: int = 0
    bytes: int = 0
    metadata_objects: int = 0
    metadata_bytes: int = 0
    risk: str = ""


def chosen_remote(project: Project, settings: Settings, remote: str | None = None) -> str:
    """Return the remote that is meant: the one that is named, or the project's default. `settings` are the project's.

    UsageError: there is none. AccessError: it is not trusted.
    """
    name = remote or project.file.remote
    if name is None:
        raise UsageError(
            "the project has no default remote",
            why="nobody has said where its data goes",
            fix="penstock remote add -d NAME URL; or name one: --remote NAME",
        )
    check_reachable(project, settings, name)
    if name not in settings.remotes:
        raise NotFoundError(
            f"there is no remote {name!r}",
            fix="penstock remote list shows what there is; penstock remote add adds one.",
        )
    return name


def record_branch(project: Project) -> str:
    """Return the branch of the dataset that this work tree's pushes are recorded in: as git's is called."""
    return ref_name(project.branch() or DEFAULT_BRANCH)


def ref_name(name: str) -> str:
    """Return what a branch or tag of git is called in a dataset."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-").replace("..", "-")[:128]
    return f"branch-{plain}" if re.fullmatch(r"[0-9a-fA-F]{7,64}", plain) else plain or DEFAULT_BRANCH


def push_versions(
    project: Project,
    pointers: Mapping[str, Pointer],
    settings: Settings,
    progress: Progress = SILENT,
    *,
    remote: str | None = None,
    only: bool = False,
) -> Pushed:
    """Send the versions of pointers to a remote. With `only`, what else the branch's newest push had stays recorded.

    Errors as `chosen_remote` and `open_version`; any of `penstock.errors` may come up: what was sent is found again.
    """
    usable = project_settings(project, settings)
    name = chosen_remote(project, usable, remote)
    dataset, branch = project.file.dataset, record_branch(project)
    who = Authorship(default_author(), f"push of {branch}", "push", made_with=_made_with(project))
    with (
        closing(open_layered(project, settings, remote=name)) as source,
        closing(open_session(name, usable, cached=False)) as target,
        target.locations(),  # once, and not for each version
        VersionWriter(
            target, target.repository(dataset), LeaseKind.PUSH, who, branch=branch, progress=progress
        ) as writer,
    ):
        parts = {
            path: _Part(pointer.is_file, open_version(source, dataset, pointer.top))
            for path, pointer in sorted(pointers.items())
        }
        head = writer.repository.refs.head(branch)
        if head is not None and not only:
            before = stands_at(head).top_hash
            if Manifest(_composed(EMPTY_DIRECTORY, parts, source.load, DiscardSink())).top_hash == before:
                _note(project, name, pointers, source, target)
                return Pushed(name, branch, False, before)
        pushing = _Pushing(writer, parts, progress, only=only)
        with bucket_lock(project):
            pushed = until_it_stands(lambda: pushing.attempt(name))
        _note(project, name, pointers, source, target)
    return pushed


def _note(
    project: Project, remote: str, pointers: Mapping[str, Pointer], source: BucketSession, target: BucketSession
) -> None:
    """Note what the remote has now, and let it know the runs of stages that made any of it."""
    tops = [pointer.top for pointer in pointers.values()]
    note_pushed(project, remote, tops)
    end_recorded(project, remote, tops, target)
    known = {top for top, remotes in pushed_tops(project).items() if remote in remotes}
    store = source.store
    assert isinstance(store, LayeredStore)
    note_pushed(project, remote, send_runs(store.upper, target.store, known, known))


class _Version(Protocol):
    """A version as it lies in some bucket."""

    @property
    def root(self) -> NodeRef: ...

    @property
    def tree(self) -> Tree: ...


@dataclass(frozen=True, slots=True)
class _There:
    """A version as it lies in the remote."""

    manifest: Manifest
    load: LoadNode

    @property
    def root(self) -> NodeRef:
        return self.manifest.root

    @property
    def tree(self) -> Tree:
        return Tree(self.manifest.root, self.load)


V = TypeVar("V", bound=_Version)


@dataclass(frozen=True, slots=True)
class _Part(Generic[V]):
    """One of the paths of a project; of a file, the version holds that alone."""

    is_file: bool
    version: V


class _Pushing:
    """One push: what is sent stays sent when the branch moves meanwhile and the record is made anew."""

    def __init__(
        self, writer: VersionWriter, parts: Mapping[str, _Part[Snapshot]], progress: Progress, *, only: bool
    ) -> None:
        self._writer = writer
        self._parts = parts
        self._only = only
        self._reading = progress.stage("reading")
        self._there: dict[str, _Part[_There]] = {}
        self._report = Pushed("", writer.branch, True, b"")

    def attempt(self, remote: str) -> Pushed:
        writer, repository, load = self._writer, self._writer.repository, self._writer.session.load
        head = writer.head = repository.refs.head(writer.branch)
        before = repository.manifest(stands_at(head).top_hash) if head is not None else None
        writer.hold()
        tree = Tree(before.root, load) if before is not None else None
        parents = [head.record.commit] if head is not None and head.record.commit is not None else []
        for path, part in self._parts.items():
            old = _entry_at(tree, path)
            if path not in self._there:
                self._there[path] = _Part(part.is_file, _There(self._send(path, part, old), load))
            if len(parents) < _MOST_PARENTS and (old is None or not _is_same(old, part)):
                parents.append(self._record(self._there[path].version.manifest))
        with writer.content(before, enter=False) as content:
            base = before.root if before is not None and self._only else EMPTY_DIRECTORY
            manifest = content.finish(_composed(base, self._there, load, content))
            self._count(content)
        landed = writer.publish(manifest, parents)
        report = self._report
        report.remote, report.top_hash, report.risk = remote, landed.published.top_hash, writer.risk
        return report

    def _send(self, path: str, part: _Part[Snapshot], old: TreeEntry | None) -> Manifest:
        writer, version = self._writer, part.version
        store = writer.session.store
        key = object_keys.manifest_key(writer.repository.dataset, version.top_hash.hex())
        if store.head(key) is not None:
            return writer.repository.manifest(version.top_hash)
        base = Manifest(old.directory) if old is not None and old.directory is not None and not part.is_file else None
        old_file = old if part.is_file and old is not None and old.is_file else None
        local = version.session.store
        assert isinstance(local, LayeredStore)
        with writer.content(base, enter=False, like=(local.url,)) as content:
            manifest = None
            if base is None and old_file is None:
                manifest = send_whole_objects(version, local.upper, content, self._reading)
            if manifest is None:
                manifest = send_version(version, base, writer.session, content, self._reading, old_file=old_file)
            self._count(content)
        writer.access.create(store, key, manifest.encode(), contested=False)
        self._report.sent.append(path)
        return manifest

    def _record(self, manifest: Manifest) -> bytes:
        """Make the version's own commit, which is the same whoever pushes it; return its id."""
        writer = self._writer
        name, body = version_commit(manifest)
        key = object_keys.commit_key(writer.repository.dataset, name.hex())
        writer.access.create(writer.session.store, key, body, contested=False)
        return name

    def _count(self, content: VersionContent) -> None:
        data, metadata = content.sent[True], content.sent[False]
        self._report.objects += data.objects
        self._report.bytes += data.bytes
        self._report.metadata_objects += metadata.objects
        self._report.metadata_bytes += metadata.bytes


def _composed(before: NodeRef, parts: Mapping[str, _Part[V]], load: LoadNode, sink: NodeSink) -> NodeRef:
    """Return the tree `before` with each part at its path."""
    edits = sorted((_edit(path, part) for path, part in parts.items()), key=lambda edit: edit.path)
    return update(before, edits, load, sink)


def _edit(path: str, part: _Part[V]) -> Edit:
    names = split_path(path)
    if part.is_file:
        return Edit(names, structs.replace(the_file_of(part.version.tree), name=names[-1]))
    root = part.version.root
    return Edit(names, TreeEntry(names[-1], Kind.DIRECTORY, root.size, root.hash, directory=root))


def _entry_at(tree: Tree | None, path: str) -> TreeEntry | None:
    if tree is None:
        return None
    try:
        return tree.resolve(split_path(path))[1]
    except NotFoundError:
        return None


def _is_same(old: TreeEntry, part: _Part[Snapshot]) -> bool:
    if part.is_file:
        new = the_file_of(part.version.tree)
        return (old.kind, old.hash) == (new.kind, new.hash)
    return old.directory is not None and old.directory.hash == part.version.root.hash


def _made_with(project: Project) -> dict[str, str]:
    found: dict[str, str] = {}
    if project.git is not None:
        found = {"git_commit": project.commit() or "", "git_branch": project.branch() or ""}
        address = git_answer(project.root, "config", "--get", "remote.origin.url")
        if address:
            found["git_remote"] = address_without_secrets(address)
    return {name: value for name, value in found.items() if value}


def _sources() -> ModuleType:
    """Load what reads other repositories: half of what a push would load, and most projects have no imports."""
    from penstock.project.sources import imports

    return imports


def fetch_versions(
    project: Project,
    pointers: Mapping[str, Pointer],
    settings: Settings,
    progress: Progress = SILENT,
    *,
    remote: str | None = None,
    data: bool = True,
) -> int:
    """Bring the versions of pointers into the local bucket; without `data`, their metadata only. Return the objects.

    Errors as `open_version`; what was brought by then stays, and is not brought again.
    """
    count = 0
    imports = [pointer for pointer in pointers.values() if pointer.imported is not None]
    own = [pointer for pointer in pointers.values() if pointer.imported is None]
    if own:
        remote = chosen_remote(project, project_settings(project, settings), remote)
    came: list[bytes] = []

    def sources() -> Iterable[Remote]:
        return _sources().imported_remotes(project, imports, settings) if imports else ()

    with closing(open_layered(project, settings, remote=remote, more=sources)) as session, bucket_lock(project):
        store = session.store
        assert isinstance(store, LayeredStore)
        stage = progress.stage("fetching")
        for pointer in (*own, *imports):  # so that of what is its own, and imported as well, it is known where it was
            if pointer.imported is not None:
                _sources().bring_import(project, pointer, settings, progress)
            with asked_as_nobody(project, settings):
                version = open_version(session, project.file.dataset, pointer.top)
            key = object_keys.manifest_key(version.dataset, version.top_hash.hex())
            if pointer.imported is None and store.upper.head(key) is None:
                came.append(pointer.top)
            objects = bring_metadata(session, version.dataset, version.manifest, store.upper, stage)
            if data:
                count += bring_data(session, objects, store.upper, stage)
    if came:
        assert remote is not None
        note_pushed(project, remote, came)
    return count
