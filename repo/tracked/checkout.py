"""A tracked directory is brought to a version: what is there of it stays, what was edited is never overwritten unasked.

Where the version is known that the directory was brought to last, only what differs between the two is looked at: a
switch between branches costs their difference. With `restore`, all of the directory is held against the index as well,
and what is missing comes back. Where nothing is known, all that is there is read and hashed.

What becomes of a path that the version has otherwise: it is as it was known, then it is replaced; it holds what the
version has already, then it is taken note of; else somebody edited it: it stays and is named, or, with `keep`, it is
moved there first. Files that no version had are left alone.

**Order**: files come into place one by one, each whole and synced; then the rows of the index, together with the
version. Killed before that, the next run finds what is there by its content.

One thread decides; others fetch and write.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import NamedTuple

from penstock.errors import IntegrityError
from penstock.manifest.diff import Change, diff
from penstock.manifest.entry import Kind, TreeEntry, display_path
from penstock.manifest.records import Manifest
from penstock.manifest.tree import Tree
from penstock.progress import Stage
from penstock.repo.local_copy.choice import EVERYTHING, Choice
from penstock.repo.local_copy.copy_task import CopyReport, CopyTask
from penstock.repo.local_copy.local_directory import LocalDirectory, Names, Staging
from penstock.repo.local_copy.pairs import Pair, State, check_content, first_look, pairs
from penstock.repo.push.older_state import OlderState
from penstock.repo.read.snapshot import Snapshot

from .linked_objects import LinkedObjects, linked_facts
from .tracked_index import FOLDER_FACTS, LINKED, FileFacts, IndexWriter, facts_of, key_of

__all__ = ["Checkout", "Keep", "check_out", "check_out_file", "clear_out", "the_file_of"]

_FOLDER = int(Kind.DIRECTORY)

Keep = Callable[[LocalDirectory, Names], str]
"""Moves an edited file away, and says where it is then."""


@dataclass(slots=True)
class Checkout:
    """What came of it. `edited` are paths that were left as somebody edited them, `kept` those that were moved away.

    `lost`: files that could not be had; `reasons` says why, of the first hundred.
    """

    fetched: int = 0
    replaced: int = 0
    modes: int = 0
    removed: int = 0
    bytes_fetched: int = 0
    gets: int = 0
    lost: int = 0
    damaged: int = 0
    reasons: list[str] = field(default_factory=list)
    edited: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.fetched or self.replaced or self.modes or self.removed)

    def take(self, report: CopyReport) -> None:
        """Take note of what was copied."""
        self.fetched, self.replaced, self.modes = report.fetched, report.replaced, report.modes
        self.bytes_fetched, self.gets = report.bytes_fetched, report.gets
        self.lost, self.damaged, self.reasons = report.lost, report.damaged, report.reasons


class _Here(NamedTuple):
    """A name of the directory, and what is known of it; `is_clean`: it is as it was known."""

    status: os.stat_result | None
    known: FileFacts | None
    is_clean: bool


def check_out(
    snapshot: Snapshot,
    before: Manifest | None,
    directory: LocalDirectory,
    writer: IndexWriter,
    stage: Stage,
    *,
    restore: bool = True,
    keep: Keep | None = None,
    choice: Choice = EVERYTHING,
    requests: int = 16,
    links: LinkedObjects | None = None,
) -> Checkout:
    """Bring a directory from `before`, as the rows of `writer` have it, to the version of `snapshot`.

    Any of `penstock.errors` may come up: what is in place by then stays, and the rows are as they were, if the
    writer's block ends with it.
    """
    task = _Checkout(snapshot, before, directory, writer, keep, choice, links=links)
    task.clear()
    wanted = task.wanted() if restore or before is None else task.wanted_changes()
    copying = CopyTask(snapshot, directory, choice, stage, requests=requests, found=wanted, placed=task.placed)
    with task.linking():
        task.checkout.take(copying.run())
    if not task.checkout.lost:
        writer.stand_at(snapshot.top_hash)
    return task.checkout


def check_out_file(
    snapshot: Snapshot,
    before: Manifest | None,
    directory: LocalDirectory,
    name: bytes,
    writer: IndexWriter,
    stage: Stage,
    *,
    keep: Keep | None = None,
    links: LinkedObjects | None = None,
) -> Checkout:
    """Bring one file of a directory to the one file of a version, which may have another name there."""
    entry = the_file_of(snapshot.tree)
    if before is not None:
        before = before if the_file_of(Tree(before.root, snapshot.load)).name == name else None
    task = _Checkout(snapshot, before, directory, writer, keep, EVERYTHING, links=links)
    wanted = task.decided_file(name, entry)
    copying = CopyTask(snapshot, directory, EVERYTHING, stage, found=wanted, placed=task.placed)
    with task.linking():
        task.checkout.take(copying.run())
    if not task.checkout.lost:
        writer.stand_at(snapshot.top_hash)
    return task.checkout


def the_file_of(tree: Tree) -> TreeEntry:
    """Return the one file of a version that holds one. IntegrityError: it does not."""
    found = [entry for _, entry in islice(tree.children(tree.root), 2)]
    if len(found) != 1 or found[0].directory is not None:
        raise IntegrityError("the version holds more or less than one file", why="its pointer says it is one")
    return found[0]


def clear_out(
    snapshot: Snapshot, directory: LocalDirectory, writer: IndexWriter, *, keep: Keep | None = None
) -> Checkout:
    """Remove what a directory has of a version that it was brought to, where it is as it was; `edited` has the rest."""
    task = _Checkout(snapshot, snapshot.manifest, directory, writer, keep, EVERYTHING, to_nothing=True)
    task.clear()
    return task.checkout


class _Checkout:
    def __init__(
        self,
        snapshot: Snapshot,
        before: Manifest | None,
        directory: LocalDirectory,
        writer: IndexWriter,
        keep: Keep | None,
        choice: Choice,
        *,
        to_nothing: bool = False,
        links: LinkedObjects | None = None,
    ) -> None:
        self._links = links
        self._staging: Staging | None = None
        self._to_nothing = to_nothing
        self.checkout = Checkout()
        self._snapshot = snapshot
        self._before = before
        self._directory = directory
        self._writer = writer
        self._keep = keep
        self._choice = choice
        self._blocked: set[Names] = set()
        self._of_other_kind: set[Names] = set()
        self._is_new = before is None
        self._is_linking = links is not None and links.how == "link"
        self._linked = 0
        self._began_ns = time.time_ns()

    def clear(self) -> None:
        """Remove what the version before has and this one has not, or has as something else."""
        if self._before is None:
            return
        folders: list[Names] = []
        for change in self._changes():
            old, new = change.old, change.new
            if old is None or (new is not None and (old.directory is None) == (new.directory is None)):
                continue
            if new is not None:
                self._of_other_kind.add(change.path)
            if old.directory is not None:
                folders.append(change.path)
                continue
            here = self._here(change.path)
            if here.status is None:
                pass
            elif self._is_as(change.path, old, here):
                self._directory.remove_file(change.path)
                self.checkout.removed += 1
            elif not self._put_aside(change.path):
                self.checkout.edited.append(display_path(change.path))
                if new is not None:
                    self._blocked.add(change.path)
            self._writer.remove(key_of(change.path))
        for path in reversed(folders):
            if self._directory.remove_empty(path):
                self.checkout.removed += 1
            self._writer.remove(key_of(path))

    def wanted_changes(self) -> Iterator[tuple[Pair, State]]:
        """Yield what is to be made, of what differs between the two versions."""
        for change in self._changes():
            if change.new is None:
                continue
            if change.old is not None:
                is_known = change.path in self._of_other_kind or self._writer.row(key_of(change.path)) is not None
                if not is_known and change.old.directory is None:
                    continue  # it was not wanted here
            elif len(change.path) > 1 and self._writer.row(key_of(change.path[:-1])) is None:
                continue
            yield from self._decided(change.path, change.new, self._here(change.path))

    def wanted(self) -> Iterator[tuple[Pair, State]]:
        """Yield what is to be made, of all that the version has and that is chosen."""
        for pair in pairs(self._snapshot.tree, self._snapshot.root, self._directory, self._choice):
            if pair.entry is not None:
                yield from self._decided(pair.names, pair.entry, self._known(pair.names, pair.status))

    def decided_file(self, name: bytes, entry: TreeEntry) -> Iterator[tuple[Pair, State]]:
        """Yield what is to be done that one name holds a file."""
        yield from self._decided((name,), entry, self._here((name,)))

    def placed(self, names: Names, entry: TreeEntry) -> None:
        """Take note of a file that has come into its place.

        Whoever writes to it after that gives it another time than the version has.
        """
        status = self._directory.status(names)
        if status is None:
            return
        if self._take(names, entry, status):
            return
        facts = facts_of(entry.kind, status, entry.hash, status.st_ctime_ns)
        if entry.mtime_ns is not None and status.st_mtime_ns == entry.mtime_ns and status.st_size == entry.size:
            facts = facts._replace(ctime_ns=status.st_ctime_ns)
        self._writer.put(key_of(names), facts)

    @contextmanager
    def linking(self) -> Iterator[None]:
        """Have links be made in the block; they are counted with what was written."""
        try:
            yield
            self.checkout.fetched += self._linked
        finally:
            if self._staging is not None:
                self._staging.clear(keep_partial=False)
                self._staging.leave()
                self._staging.close()

    def _take(self, names: Names, entry: TreeEntry, status: os.stat_result) -> bool:
        """Have a file that has the content of an entry be a link; whether it is noted as one."""
        if self._links is None or not entry.is_file or not entry.size:
            return False
        path = os.path.join(os.fsencode(self._directory.path), *names)
        with self._directory.explained("link", names):
            taken = self._links.take(path, status, entry.hash, entry.kind)
        if taken.status is None:
            return False
        self._writer.put(key_of(names), linked_facts(entry.kind, taken.status, entry.hash))
        return True

    def _give(self, names: Names, entry: TreeEntry) -> bool:
        """Put a link to a file of the local bucket there, if it has it."""
        if self._links is None or not entry.is_file:
            return False
        with self._directory.explained("link", names):
            if self._staging is None:
                self._staging = self._directory.staging()
            if not self._links.give(self._directory, self._staging, names, entry):
                return False
        status = self._directory.status(names)
        if status is not None and self._links.how == "link":
            self._writer.put(key_of(names), linked_facts(entry.kind, status, entry.hash))
        else:
            self.placed(names, entry)
        self._linked += 1
        return True

    def _changes(self) -> Iterator[Change]:
        assert self._before is not None
        load = self._snapshot.load
        return diff(self._before.root, None if self._to_nothing else self._snapshot.root, load, load)

    def _here(self, names: Names) -> _Here:
        return self._known(names, self._directory.status(names))

    def _known(self, names: Names, status: os.stat_result | None) -> _Here:
        known = None if self._is_new else self._writer.row(key_of(names))
        is_clean = (
            known is not None
            and status is not None
            and (known.size, known.mtime_ns, known.inode) == (status.st_size, status.st_mtime_ns, status.st_ino)
            and known.ctime_ns in (status.st_ctime_ns, LINKED)
        )
        return _Here(status, known, is_clean)

    def _decided(self, names: Names, entry: TreeEntry, here: _Here) -> Iterator[tuple[Pair, State]]:
        if self._blocked and any(names[:depth] in self._blocked for depth in range(1, len(names) + 1)):
            return
        status = here.status
        look = first_look(Pair(names, entry, status))
        if entry.directory is not None:
            if look is State.OTHER_KIND and not self._put_aside(names):
                self.checkout.edited.append(display_path(names))
                self._blocked.add(names)
                return
            self._writer.put(key_of(names), FOLDER_FACTS)
            if look is not State.SAME:
                yield Pair(names, entry, None), State.MISSING
            return
        if status is None:
            if not self._give(names, entry):
                yield Pair(names, entry, None), State.MISSING
            return
        if here.is_clean:
            assert here.known is not None
            is_link = here.known.ctime_ns == LINKED
            if here.known.hash == entry.hash and here.known.kind == entry.kind and is_link <= self._is_linking:
                if is_link or not self._take(names, entry, status):
                    self._writer.put(key_of(names), here.known)
            elif not self._give(names, entry):
                yield Pair(names, entry, status), State.MODIFIED
            return
        state = self._content(names, entry, status, look)
        if state is State.SAME:
            self._note(names, entry, status)
        elif state is State.OTHER_MODE:
            yield Pair(names, entry, status), state
        elif look is not State.OTHER_KIND and here.known is not None and self._holds(names, status, here.known):
            if not self._give(names, entry):
                yield Pair(names, entry, status), State.MODIFIED
        elif self._put_aside(names):
            if not self._give(names, entry):
                yield Pair(names, entry, None), State.MISSING
        else:
            self.checkout.edited.append(display_path(names))

    def _content(self, names: Names, entry: TreeEntry, status: os.stat_result, look: State) -> State:
        if look is not State.UNREAD:
            return look
        return check_content(self._directory, Pair(names, entry, status), self._snapshot.block_hash)

    def _is_as(self, names: Names, old: TreeEntry, here: _Here) -> bool:
        """Whether a name holds what the version before has there."""
        if here.is_clean:
            return True
        assert here.status is not None
        state = first_look(Pair(names, old, here.status))
        return self._content(names, old, here.status, state) in (State.SAME, State.OTHER_MODE)

    def _holds(self, names: Names, status: os.stat_result, known: FileFacts) -> bool:
        """Whether a file that was touched still has the content that is known of it."""
        if self._before is None or known.size != status.st_size:
            return False
        old = self._older.find_path(names)
        return old is not None and old.hash == known.hash and self._is_as(names, old, _Here(status, None, False))

    @cached_property
    def _older(self) -> OlderState:
        assert self._before is not None
        return OlderState(Tree(self._before.root, self._snapshot.load))

    def _note(self, names: Names, entry: TreeEntry, status: os.stat_result) -> None:
        if not self._take(names, entry, status):
            self._writer.put(key_of(names), facts_of(entry.kind, status, entry.hash, self._began_ns))

    def _put_aside(self, names: Names) -> bool:
        if self._keep is None:
            return False
        self.checkout.kept.append(self._keep(self._directory, names))
        return True
