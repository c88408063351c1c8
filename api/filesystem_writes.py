"""What is written through fsspec, until it is a version: files on this disk, and a builder for each branch.

Inside of a transaction all of it becomes one version of each branch at the end, or nothing; outside of one each call
does (see `PenstockFileSystem`). **Invariants:** what is written lies in a folder of this user's until then, and is gone
afterwards, whatever came of it. A branch is looked up with the first write to it: whoever moves it from then on is
merged with.

Thread-safe.
"""

from __future__ import annotations

# ruff: noqa: SLF001  # builders are of the face, as this is
import errno
import io
import os
import tempfile
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from penstock.api.builder.builder import PackageBuilder
from penstock.api.builder.draft_package import DraftPackage
from penstock.api.packages.entry import Entry
from penstock.api.packages.package import Package
from penstock.errors import NotFoundError, UsageError

from .handles import DEFAULT_BRANCH, Handle, as_handle
from .settings import Settings

__all__ = ["FileWrites", "WrittenFile", "active_writes", "begin_writes", "end_writes"]

_MESSAGE = "written through fsspec"
_COPIED = 1 << 20


_transactions: dict[tuple[int, object], FileWrites] = {}
_beginning = threading.Lock()


def active_writes(owner: object) -> FileWrites | None:
    """Return where the transaction under way in this process gathers writes, None: there is none.

    `owner` is what file systems of the same settings share: libraries make some of their own, with other options.
    """
    return _transactions.get((os.getpid(), owner))


def begin_writes(owner: object, settings: Settings) -> None:
    """Begin a transaction. UsageError: one is under way."""
    with _beginning:
        if active_writes(owner) is not None:
            raise UsageError(
                "a transaction is under way in this process",
                why="what is written through fsspec could belong to either",
                fix="End it first; without a transaction each call makes a version of its own.",
            )
        _transactions[os.getpid(), owner] = FileWrites(settings)


def end_writes(owner: object) -> FileWrites | None:
    """Return what the transaction has gathered, which is over."""
    return _transactions.pop((os.getpid(), owner), None)


class FileWrites:
    """Gathers writes; `commit` makes versions of them, `discard` drops them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.RLock()
        self._builders: dict[Handle, PackageBuilder] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="penstock-")
        self._files = 0

    def package(self, handle: Handle) -> DraftPackage | None:
        """Return what a branch will hold, None: nothing was written to it."""
        with self._lock:
            builder = self._builders.get(_branch(handle))
            if builder is None:
                return None
            builder._draft.settle()
            return DraftPackage(str(handle), builder._draft)

    def new_path(self) -> str:
        """Return where the next file can be written."""
        with self._lock:
            self._files += 1
            return os.path.join(self._folder.name, str(self._files))

    def put(self, handle: Handle, key: str, path: str) -> None:
        """Put a file that was written at a key of a branch. Errors as `PackageBuilder.set`."""
        with self._lock:
            self._builder(handle).set(key, path)

    def copy(self, handle: Handle, key: str, entry: Entry) -> None:
        """Put a file of a version, or one that was written, at another key. No byte of a version's file moves."""
        with self._lock:
            builder = self._builder(handle)
            if isinstance(entry._source, Package):
                builder.set(key, entry)
                return
            path = self.new_path()
            with open(path, "xb") as file, entry.open() as source:
                while data := source.read(_COPIED):
                    file.write(data)
            builder.set(key, path, entry.metadata or None)

    def remove(self, handle: Handle, key: str) -> None:
        """Take out a file, or a directory with all below it. NotFoundError: nothing is there."""
        with self._lock:
            self._builder(handle).delete(key)

    def check(self, handle: Handle) -> None:
        """Raise what a write to a branch would raise: it is none, or may not be read."""
        with self._lock:
            self._builder(handle)

    def _builder(self, handle: Handle) -> PackageBuilder:
        branch = _branch(handle)
        builder = self._builders.get(branch)
        if builder is None:
            builder = self._builders[branch] = self._begin(branch)
        return builder

    def _begin(self, branch: Handle) -> PackageBuilder:
        try:
            builder = Package(branch, self._settings).to_builder()
        except NotFoundError:
            builder = PackageBuilder(branch, self._settings)
            draft = builder._draft
            if draft.session.repository(branch.dataset or "").exists():
                raise
            draft.look()  # now, so that who makes the data set meanwhile is merged with
            return builder
        if builder.name != str(branch):
            raise OSError(errno.EROFS, "tags and hashes never change: write to a branch", str(branch))
        return builder

    def commit(self) -> list[Package]:
        """Make a version of each branch. Errors as `PackageBuilder.push`: branches before that one have moved."""
        with self._lock:
            try:
                return [
                    builder.push(message=_MESSAGE, allow_missing_readme=True, allow_empty=True)
                    for builder in self._builders.values()
                ]
            finally:
                self.discard()

    def discard(self) -> None:
        """Drop what was written."""
        with self._lock:
            for builder in self._builders.values():
                builder.close()
            self._builders.clear()
            self._folder.cleanup()


def _branch(handle: Handle) -> Handle:
    return handle if handle.ref is not None else as_handle(f"{handle}:{DEFAULT_BRANCH}")


class WrittenFile(io.BufferedIOBase):
    """A file that is being written to this disk; `done` takes it when it is closed.

    Left by an error, it is dropped, and `dropped` is told.

    `commit` and `discard` are what a transaction of fsspec calls.
    """

    def __init__(self, path: str, done: Callable[[str], None], dropped: Callable[[], None]) -> None:
        super().__init__()
        self._path = path
        self._done = done
        self._dropped = dropped
        self._file: Any = open(path, "x+b")  # noqa: SIM115  # closed by `close`

    def _open(self) -> Any:
        if self._file is None:
            raise ValueError("I/O operation on closed file")
        return self._file

    def readable(self) -> bool:
        """Return True: what was written can be read."""
        return True

    def writable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """Return bytes from where it stands on."""
        return bytes(self._open().read(size))

    def write(self, data: Any, /) -> int:
        """Write bytes where it stands."""
        return int(self._open().write(data))

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to a place."""
        return int(self._open().seek(offset, whence))

    def tell(self) -> int:
        """Return where it stands."""
        return int(self._open().tell())

    def truncate(self, size: int | None = None, /) -> int:
        """Cut it off."""
        return int(self._open().truncate(size))

    def flush(self) -> None:
        """Write what is in memory to the disk."""
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        """Write it to the branch. Errors as `PackageBuilder.set` and, outside of a transaction, `push`."""
        if self._end():
            self._done(self._path)

    def _end(self) -> bool:
        file, self._file = self._file, None
        if file is None:
            return False
        super().close()
        file.close()
        return True

    def commit(self) -> None:
        """Close it, if that was forgotten."""
        self.close()

    def discard(self) -> None:
        """Drop it."""
        if self._end():
            self._dropped()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.discard()
        self.close()
