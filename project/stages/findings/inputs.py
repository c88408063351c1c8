"""What stages read, as one hash a dependency: files are looked at with lstat(2), and read only where that says so.

An index of its own, beside that of tracked paths and of the same form, has one row a file below each path that a
dependency leads to, and the hash of all rows. A file that a tracked path has a row for, with the same facts, is not
read a second time. Pointer files, git's ignore files and what Python compiles are no part of a dependency: they change
with the registry's history where the data does not.

One thread: the one that decides what runs.
"""

from __future__ import annotations

import os
import stat
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from blake3 import blake3

from penstock.errors import AccessError, UsageError
from penstock.manifest.entry import Kind
from penstock.project.stages.definition.lock_file import Fingerprint
from penstock.project.stages.definition.path_patterns import expand, is_pattern
from penstock.repo.tracked.survey import Suspect, survey, survey_file
from penstock.repo.tracked.tracked_index import (
    FOLDER_FACTS,
    FileFacts,
    IndexWriter,
    Row,
    TrackedIndex,
    facts_of,
    key_of,
    names_of,
)

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from penstock.repo.push.directory_walk import LocalFile

__all__ = ["InputFile", "Inputs"]

_SUM = struct.Struct("<32sQQ")
_LEFT_OUT = (b".gitignore",)
_POINTER = b".penstock"
_COMPILED = b"__pycache__"
_CONTEXT = "penstock 1 dependency of a stage"


class InputFile(NamedTuple):
    """A file that a dependency leads to: its path from the root, and the hash of its content."""

    path: str
    hash: bytes
    is_executable: bool


class Inputs:
    """Fingerprints of what lies in a project. `tracked` is the index of tracked paths, where there is one.

    What several stages read is looked at once, until `forget`.
    """

    def __init__(self, root: str, index: TrackedIndex, tracked: TrackedIndex | None) -> None:
        self._root = root
        self._index = index
        self._tracked = tracked
        self._pool: ThreadPoolExecutor | None = None
        self._stack = ExitStack()
        self._sums: dict[str, tuple[bytes, int, int]] = {}

    def forget(self) -> None:
        """Look at everything anew: something ran, or was put into place."""
        self._sums.clear()

    def close(self) -> None:
        """End its threads."""
        self._stack.close()

    def fingerprint(self, path: str) -> Fingerprint | None:
        """Return the fingerprint of a path or pattern, from the root; None: nothing is there.

        UsageError: it leads over a symbolic link. AccessError, ConflictError: it may not be read, or is being changed.
        """
        found = self._expanded(path)
        if not found:
            return None
        for each in found:
            if each not in self._sums:
                self._sums[each] = self._sum_of(each)
        sums = [self._sums[each] for each in found]
        files, size = sum(each[1] for each in sums), sum(each[2] for each in sums)
        if not is_pattern(path):
            return Fingerprint(sums[0][0].hex(), files, size)
        hasher = blake3(derive_key_context=_CONTEXT)
        for each, (digest, count, _) in zip(found, sums, strict=True):
            if count:
                hasher.update(os.fsencode(each) + b"\0" + digest)
        return Fingerprint(hasher.hexdigest(), files, size)

    def files(self, path: str) -> Iterator[InputFile]:
        """Yield the files that a path or pattern leads to, as they were when `fingerprint` looked, in order."""
        for each in self._expanded(path):
            state = self._index.state(each)
            if state is None:
                continue
            is_folder = os.path.isdir(os.path.join(self._root, each))
            for row in self._rows(state.number):
                if row[1] in (Kind.FILE, Kind.EXECUTABLE):
                    name = f"{each}/{os.fsdecode(row[0].replace(b'%c' % 0, b'/'))}" if is_folder else each
                    yield InputFile(name, row[6], row[1] == Kind.EXECUTABLE)

    def _expanded(self, path: str) -> list[str]:
        found = sorted(set(expand(self._root, path)))
        for each in found:
            refuse_links(self._root, each)
        return found

    def _rows(self, number: int) -> Iterator[Row]:
        for row in self._index.rows(number):
            *above, name = names_of(row[0])
            is_meant = not (name in _LEFT_OUT or name.endswith(_POINTER) or _COMPILED in above)
            if row[1] != Kind.DIRECTORY and is_meant:
                yield row

    def _sum_of(self, path: str) -> tuple[bytes, int, int]:
        place = os.fsencode(os.path.join(self._root, path))
        state = self._index.state(path)
        rows = self._index.rows(state.number) if state is not None else iter(())
        is_folder = stat.S_ISDIR(os.lstat(place).st_mode)
        findings = survey(place, rows) if is_folder else survey_file(place, rows)
        first = next(findings, None)
        if first is None and state is not None and len(state.top) == _SUM.size:
            return _SUM.unpack(state.top)
        began_ns = time.time_ns()
        with self._index.writing(path) as writer:
            if first is not None:
                self._read(path, chain((first,), findings), writer, began_ns)
            writer.flush()
            made = self._summed(path, is_folder)
            writer.stand_at(_SUM.pack(*made))
        return made

    def _summed(self, path: str, is_folder: bool) -> tuple[bytes, int, int]:
        state = self._index.state(path)
        assert state is not None
        hasher = blake3(derive_key_context=_CONTEXT)
        files = size = 0
        for row in self._rows(state.number):
            name = row[0] if is_folder else b""
            hasher.update(struct.pack("<IB", len(name), row[1]) + name + row[6])
            files += 1
            size += row[2]
        return hasher.digest(), files, size

    def _read(self, path: str, findings: Iterator[Suspect], writer: IndexWriter, began_ns: int) -> None:
        from concurrent.futures import ThreadPoolExecutor

        from penstock.repo.push.file_reader import FileRead, read_ahead
        from penstock.repo.push.local_tree import threads

        if self._pool is None:
            self._pool = self._stack.enter_context(ThreadPoolExecutor(threads(), "penstock-read"))
        waiting: dict[bytes, Suspect] = {}
        steps = self._steps(path, findings, writer, waiting)
        with closing(read_ahead(steps, self._pool)) as reading:
            for step in reading:
                if not isinstance(step, FileRead):  # a piece of a large file, whose hash comes behind the last one
                    continue
                finding = waiting.pop(step.file.path)
                assert finding.kind is not None
                assert finding.status is not None
                facts = facts_of(finding.kind, finding.status, step.hash, began_ns)
                if (finding.status.st_size, finding.status.st_mtime_ns) != (step.size, step.file.mtime_ns):
                    facts = facts._replace(size=step.size, ctime_ns=0)
                writer.put(key_of(finding.names), facts)

    def _steps(
        self, path: str, findings: Iterator[Suspect], writer: IndexWriter, waiting: dict[bytes, Suspect]
    ) -> Iterator[LocalFile]:
        """Yield the files that have to be read; take note of the others."""
        from penstock.repo.push.directory_walk import LocalFile

        known = _KnownHashes(path, self._tracked)
        for finding in findings:
            key = key_of(finding.names)
            if finding.status is None or finding.kind is None:
                writer.remove(key)
            elif finding.kind is Kind.DIRECTORY:
                writer.put(key, FOLDER_FACTS)
            elif (facts := known.facts(finding)) is not None:
                writer.put(key, facts)
            else:
                waiting[finding.path] = finding
                status = finding.status
                yield LocalFile(finding.names, finding.path, finding.kind, status.st_size, status.st_mtime_ns)


class _KnownHashes:
    """What the index of tracked paths knows of files at and below a path."""

    def __init__(self, path: str, tracked: TrackedIndex | None) -> None:
        self._index = tracked
        self._names = tuple(os.fsencode(path).split(b"/"))
        self._tracked: dict[tuple[bytes, ...], int] = {}
        for each in tracked.paths() if tracked is not None else ():
            names = tuple(os.fsencode(each).split(b"/"))
            if (names[: len(self._names)] == self._names or self._names[: len(names)] == names) and tracked is not None:
                state = tracked.state(each)
                if state is not None:
                    self._tracked[names] = state.number

    def facts(self, finding: Suspect) -> FileFacts | None:
        if not self._tracked or self._index is None or finding.status is None:
            return None
        # Of a single file, its one name is that of the path's end.
        whole = self._names if finding.names == self._names[-1:] else (*self._names, *finding.names)
        for length in range(len(whole), 0, -1):
            number = self._tracked.get(whole[:length])
            if number is None:
                continue
            row = self._index.row(number, key_of(whole[length:] or whole[-1:]))
            status = finding.status
            now = (finding.kind, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
            return row if row is not None and row[:5] == now else None
        return None


def refuse_links(root: str, path: str) -> None:
    """Raise UsageError when a path, from the root, is a symbolic link or leads over one."""
    at = root
    for name in path.split("/"):
        at = os.path.join(at, name)
        try:
            facts = os.lstat(at)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise AccessError(f"{path!r} cannot be looked at", why=error.strerror or str(error)) from error
        if stat.S_ISLNK(facts.st_mode):
            shown = os.path.relpath(at, root)
            raise UsageError(
                f"{shown!r} is a symbolic link",
                why="what it leads to may lie anywhere, and others who have the project do not have it",
                fix="Name what is meant itself, or mount it there.",
            )
