"""The local bucket cleared of what a remote has: nothing else ever goes from it.

A version counts as pushed when a remote that it was noted to have gone to says, now, that it has it; what no remote has
stays, whether a pointer leads to it or not. Of a pushed version that a work tree stands at, the metadata stays, as the
remote has it, so that adding needs no network; its data goes, but for files that are links into the bucket.

**Invariant:** the bucket is held alone meanwhile, so that nobody builds on what goes. Deletion begins with manifests:
killed at any step, every manifest that is there has all that it had.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass

from penstock.errors import NotFoundError, PenstockError
from penstock.manifest.records import Manifest
from penstock.progress import SILENT, Progress
from penstock.project.commits.shown_objects import shown_objects, shown_remotes, shown_tops
from penstock.project.git import ask_git
from penstock.project.local_bucket import bucket_directory, bucket_lock, local_address, open_local, remote_names
from penstock.project.project import Project, find_project, work_tree_of
from penstock.project.project_trust import project_settings
from penstock.project.push_notes import pushed_tops
from penstock.project.state_folder import STATE_FOLDER
from penstock.repo.bucket import object_keys
from penstock.repo.bucket.disk_sets import Marks
from penstock.repo.bucket.layered_store import open_layers
from penstock.repo.gc.mark import DATA_MARK, NODE_MARK, mark_trees
from penstock.repo.session.bucket_session import BucketSession, open_session
from penstock.repo.settings.bucket_setup import BucketSetup
from penstock.repo.settings.settings import Settings
from penstock.repo.tracked.tracked_index import TrackedIndex
from penstock.repo.tracked.transfer import bring_metadata
from penstock.store.base import ObjectInfo
from penstock.store.local import LocalStore
from penstock.store.options import StoreOptions

__all__ = ["LocalGarbage", "collect_local", "find_cleared"]

_BATCH = 500


@dataclass(frozen=True, slots=True)
class LocalGarbage:
    """What goes, or would: versions that remotes have, and the objects that nothing else needs. `kept`: versions."""

    versions: int
    kept: int
    objects: int
    bytes: int


def find_cleared(directory: str = ".") -> Project:
    """Find the project that holds a directory, or the repository whose datasets are code. NotFoundError: neither."""
    try:
        return find_project(directory)
    except NotFoundError:
        found = work_tree_of(directory)
        if found is None or not os.path.isdir(os.path.join(found[1], "penstock")):
            raise
        return Project(*found)


def collect_local(
    project: Project, settings: Settings, progress: Progress = SILENT, *, delete: bool = False
) -> LocalGarbage:
    """Find, and with `delete` remove, what the local bucket holds of versions that a remote has."""
    usable = project_settings(project, settings) if project.has_file else settings
    with ExitStack() as stack:
        stack.enter_context(bucket_lock(project, alone=True))
        roots = _work_trees(project)
        session = stack.enter_context(closing(_open(project, usable, roots)))
        marks = stack.enter_context(Marks())
        remotes = _Remotes(usable, stack)
        stage = progress.stage("marking", unit="items")
        found = dict(_manifests(session))
        shown = shown_tops(roots)
        pushed = {key: name for key, name in _pushed(project, found, remotes).items() if key[1] not in shown}
        tops = _standing(roots)
        standing = {key for key in pushed if key[1] in tops}
        mark_trees(
            map(_reader(session), (info for key, info in found.items() if key not in pushed)),
            session.load,
            marks,
            stage,
        )
        mark_trees(_attached(session, {key[1] for key in pushed}), session.load, marks, stage)
        marks.hold(DATA_MARK, ((digest, 0) for digest in shown_objects(roots)))
        for key in standing:
            with Marks() as shallow:
                remote = remotes.require(pushed[key])
                manifest = remote.repository(key[0]).manifest(key[1])
                if delete:
                    bring_metadata(remote, key[0], manifest, session.store, progress.stage("fetching"))
                mark_trees([manifest], remote.load, shallow, stage)
                marks.hold(NODE_MARK, shallow.held(NODE_MARK))
                if delete:
                    session.store.put(found[key].key, manifest.encode())
        gone = [found[key].key for key in pushed.keys() - standing]
        garbage = [*_unheld(project, session, marks, DATA_MARK), *_unheld(project, session, marks, NODE_MARK)]
        if delete:
            session.store.delete(gone)
            for at in range(0, len(garbage), _BATCH):
                session.store.delete(info.key for info in garbage[at : at + _BATCH])
        return LocalGarbage(len(gone), len(found) - len(gone), len(garbage), sum(info.size for info in garbage))


def _open(project: Project, settings: Settings, roots: set[str]) -> BucketSession:
    """Open the local bucket: on top of remotes where datasets as code are shown, whose trees may lie there in part."""
    names = sorted(shown_remotes(roots))
    if project.has_file:
        if not names:
            return open_local(project, settings)
        names += remote_names(project, settings)
    address = local_address(project)
    store = open_layers(
        LocalStore(bucket_directory(project)), lambda: [settings.locate_bucket(name) for name in dict.fromkeys(names)]
    )
    return BucketSession(BucketSetup(address, address, StoreOptions(), settings), cached=False, store=store)


def _attached(session: BucketSession, pushed: set[bytes]) -> Iterator[Manifest]:
    """Yield the trees of what is attached to commits that are here, but for those of versions that were pushed."""
    for info in session.store.list(object_keys.DATASETS):
        dataset, _, rest = info.key[len(object_keys.DATASETS) :].partition("/")
        folder, _, name = rest.partition("/")
        if folder == "commits" and len(name) == 64:
            commit = session.repository(dataset).commit(bytes.fromhex(name))
            if commit.attachments is not None and commit.top_hash not in pushed:
                yield Manifest(commit.attachments)


class _Remotes:
    """Opens remotes, each once, until the block ends. One that does not answer is none."""

    def __init__(self, settings: Settings, stack: ExitStack) -> None:
        self._settings = settings
        self._stack = stack
        self._sessions: dict[str, BucketSession | None] = {}

    def has(self, name: str, key: str) -> bool:
        """Whether a remote says that it has an object."""
        if name not in self._settings.remotes:
            return False
        try:
            if name not in self._sessions:
                opened = open_session(name, self._settings, cached=False)
                self._sessions[name] = self._stack.enter_context(closing(opened))
            session = self._sessions[name]
            return session is not None and session.store.head(key) is not None
        except PenstockError:
            self._sessions[name] = None  # it says nothing, and nothing goes on its word
            return False

    def require(self, name: str) -> BucketSession:
        """Return a remote that has answered."""
        session = self._sessions[name]
        assert session is not None
        return session


def _manifests(session: BucketSession) -> Iterator[tuple[tuple[str, bytes], ObjectInfo]]:
    for info in session.store.list(object_keys.DATASETS):
        dataset, _, rest = info.key[len(object_keys.DATASETS) :].partition("/")
        folder, _, name = rest.partition("/")
        if folder == "manifests" and len(name) == 64:
            yield (dataset, bytes.fromhex(name)), info


def _reader(session: BucketSession) -> Callable[[ObjectInfo], Manifest]:
    def read(info: ObjectInfo) -> Manifest:
        dataset, _, rest = info.key[len(object_keys.DATASETS) :].partition("/")
        return session.repository(dataset).manifest(bytes.fromhex(rest.partition("/")[2]))

    return read


def _pushed(project: Project, found: Iterable[tuple[str, bytes]], remotes: _Remotes) -> dict[tuple[str, bytes], str]:
    """Return the versions of which a remote says, now, that it has them, with that remote."""
    notes = pushed_tops(project)
    there: dict[tuple[str, bytes], str] = {}
    for dataset, top in found:
        key = object_keys.manifest_key(dataset, top.hex())
        name = next((name for name in sorted(notes.get(top, ())) if remotes.has(name, key)), None)
        if name is not None:
            there[dataset, top] = name
    return there


def _work_trees(project: Project) -> set[str]:
    roots = {project.root}
    if project.git is not None:
        listed = ask_git(project.root, "worktree", "list", "--porcelain", "-z")
        roots |= {os.fsdecode(line[9:]) for line in listed.split(b"\0") if line.startswith(b"worktree ")}
    return roots


def _standing(roots: set[str]) -> set[bytes]:
    """Return the versions that the paths of all work trees were brought to."""
    tops: set[bytes] = set()
    for root in roots:
        path = os.path.join(root, STATE_FOLDER, "index.sqlite")
        if os.path.isfile(path):
            with closing(TrackedIndex(path)) as index:
                tops |= set(index.paths().values())
    return tops


def _unheld(project: Project, session: BucketSession, marks: Marks, kind: str) -> Iterator[ObjectInfo]:
    prefix = object_keys.DATA if kind == DATA_MARK else object_keys.NODES
    directory = bucket_directory(project)
    for info in session.store.list(prefix):
        digest = object_keys.digest_of(prefix, info.key)
        if digest is None or marks.is_held(kind, digest):
            continue
        if kind == DATA_MARK and os.lstat(os.path.join(directory, info.key)).st_nlink > 1:
            continue  # a file of a work tree is a link to it: it takes no room of its own
        yield info
