"""What DVC tracks at a path becomes a version in the local bucket, once, however many commits name it.

The version of a directory is made from one of the same path that is known: only what differs between the two listings
is read. Which version came of which hash is noted, so that work that was cut off goes on where it was.

What DVC does not keep comes from the work tree where that has the same content: executable bits, and symbolic links
that lead from one file of a directory to another one.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import NamedTuple

from penstock.errors import AccessError
from penstock.manifest.entry import Kind
from penstock.manifest.records import Manifest
from penstock.progress import Progress
from penstock.project.local_bucket import bucket_lock, open_local
from penstock.project.pointer import Pointer
from penstock.project.project import Project
from penstock.repo.bucket.object_keys import manifest_key
from penstock.repo.session.bucket_session import BucketSession
from penstock.repo.settings.settings import Settings
from penstock.repo.tracked.addition import add_version
from penstock.repo.tracked.survey import Suspect
from penstock.repo.tracked.tracked_index import FileFacts

from .dvc_files import DvcHash, DvcOutput
from .dvc_objects import DvcObjects, NamedStore

__all__ = ["DvcVersions"]

Names = tuple[bytes, ...]
Listing = Mapping[Names, DvcHash]


class _Made(NamedTuple):
    listing: Listing
    manifest: Manifest


class _NoIndex:
    """Where facts of files would be noted: those of a cache are nobody's."""

    def put(self, key: bytes, facts: FileFacts) -> None:
        """Leave it."""

    def remove(self, key: bytes) -> None:
        """Leave it."""

    def stand_at(self, top: bytes) -> None:
        """Leave it."""


class DvcVersions:
    """Makes versions. Holds the local bucket until it is closed. One thread."""

    def __init__(self, project: Project, settings: Settings, objects: DvcObjects, progress: Progress) -> None:
        self._project = project
        self._settings = settings
        self._objects = objects
        self._progress = progress
        self._session: BucketSession = open_local(project, settings)
        self._newest: dict[str, _Made] = {}
        try:
            self._notes = sqlite3.connect(os.path.join(project.state, "dvc.sqlite"), isolation_level=None)
            self._notes.execute(
                "CREATE TABLE IF NOT EXISTS made (path TEXT, md5 TEXT, top BLOB, PRIMARY KEY (path, md5))"
            )
        except sqlite3.Error as error:
            raise AccessError("what was imported cannot be noted", why=str(error)) from error

    def close(self) -> None:
        """Close what was opened."""
        self._notes.close()
        self._session.close()

    def version(
        self,
        output: DvcOutput,
        more: Sequence[NamedStore] = (),
        in_git: Callable[[str], bytes | None] = lambda _: None,
        *,
        work_tree: bool = False,
    ) -> Pointer:
        """Return the pointer of what an output says. Errors as `DvcObjects.file`: nothing has changed then.

        `in_git` gives what git has at a path below it. `work_tree`: what lies there now is asked for bits and links.
        """
        wanted = output.hash
        assert wanted is not None
        told = f"{output.path!r} of DVC"
        if wanted.is_directory:
            listing: Listing = self._objects.listing(wanted, told, more)
        else:
            listing = {(os.fsencode(os.path.basename(output.path)),): wanted}
        made = self._known(output)
        if made is None:
            made = self._make(output, listing, more, in_git, work_tree=work_tree)
            self._note(output, made.top_hash)
        if wanted.is_directory:
            self._newest[output.path] = _Made(listing, made)
        kind = "directory" if wanted.is_directory else "file"
        return Pointer(kind, made.top_hash, made.root.entries, made.root.size)

    def _key(self, output: DvcOutput) -> str:
        assert output.hash is not None
        return output.hash.md5 + ("x" if output.is_executable else "")

    def _known(self, output: DvcOutput) -> Manifest | None:
        row = self._notes.execute(
            "SELECT top FROM made WHERE path = ? AND md5 = ?", (output.path, self._key(output))
        ).fetchone()
        dataset = self._project.file.dataset
        if row is None or self._session.store.head(manifest_key(dataset, row[0].hex())) is None:
            return None
        return self._session.repository(dataset).manifest(row[0])

    def _note(self, output: DvcOutput, top: bytes) -> None:
        self._notes.execute("INSERT OR REPLACE INTO made VALUES (?, ?, ?)", (output.path, self._key(output), top))

    def _make(
        self,
        output: DvcOutput,
        listing: Listing,
        more: Sequence[NamedStore],
        in_git: Callable[[str], bytes | None],
        *,
        work_tree: bool,
    ) -> Manifest:
        assert output.hash is not None
        is_directory = output.hash.is_directory
        before = self._newest.get(output.path) if is_directory else None
        old: Listing = before.listing if before is not None else {}
        base = before.manifest if before is not None else None
        place = os.path.join(self._project.root, output.path)
        top = os.fsencode(place if is_directory else os.path.dirname(place))

        def findings() -> Iterator[Suspect]:
            for names, wanted in _differences(old, listing):
                if wanted is None:
                    yield Suspect(names, b"", None, None, None)
                    continue
                path = b"/".join(names)
                below = os.fsdecode(path) if is_directory else ""
                inside = f"{output.path}/{below}" if below else output.path
                found = self._objects.file(wanted, repr(inside), more, lambda below=below: in_git(below))  # type: ignore[misc]
                yield _finding(names, found, output, os.path.join(top, path) if work_tree else None, top)

        dataset = self._project.file.dataset
        stages = self._progress.stage("reading"), self._progress.stage("storing")
        with bucket_lock(self._project):
            made = add_version(self._session, dataset, base, findings(), _NoIndex(), *stages, [])
        self._objects.forget_files()
        return made.manifest


def _differences(old: Listing, new: Listing) -> Iterator[tuple[Names, DvcHash | None]]:
    """Yield what of two listings differs, in tree order; None: it is there no more, a folder with nothing in it too."""
    before, now = ({names[:depth] for names in each for depth in range(1, len(names))} for each in (old, new))
    for names in sorted({*old, *new, *before}):
        wanted = new.get(names)
        if wanted is not None:
            if old.get(names) != wanted:
                yield names, wanted
        elif (names in old or names not in now) and not any(names[:depth] in new for depth in range(1, len(names))):
            yield names, None


def _finding(names: Names, found: bytes, output: DvcOutput, here: bytes | None, top: bytes) -> Suspect:
    status = os.stat(found)
    kind = Kind.EXECUTABLE if output.is_executable else Kind.FILE
    facts = None
    if here is not None:
        try:
            facts = os.lstat(here)
        except OSError:
            facts = None
    if facts is not None and stat.S_ISREG(facts.st_mode) and facts.st_mode & stat.S_IXUSR:
        kind = Kind.EXECUTABLE
    elif here is not None and facts is not None and stat.S_ISLNK(facts.st_mode) and _stays_inside(here, top, found):
        return Suspect(names, here, Kind.SYMLINK, facts, None)
    return Suspect(names, found, kind, status, None)


def _stays_inside(link: bytes, top: bytes, content: bytes) -> bool:
    """Whether a link leads to a file below `top` by a relative way, and that file holds the content."""
    target = os.readlink(link)
    inside = os.path.realpath(top) + b"/"
    reached = os.path.realpath(link)
    if target.startswith(b"/") or not reached.startswith(inside) or not os.path.isfile(reached):
        return False
    if os.stat(reached).st_size != os.stat(content).st_size:
        return False
    with open(reached, "rb") as one, open(content, "rb") as other, closing(one), closing(other):
        while piece := one.read(1 << 20):
            if piece != other.read(1 << 20):
                return False
    return True
