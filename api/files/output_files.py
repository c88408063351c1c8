"""Files that are to be sent: checked, and held against that when they are opened, and when they were sent.

What a function says that it has made is reached by descriptors from its output directory, through no link: neither an
absolute path nor a link that it left leads to another file of this machine. No more of them are open than are being
sent.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass

from penstock.errors import AccessError, ConflictError, NotFoundError, PenstockError, UsageError
from penstock.store.beneath import READ, open_beneath, open_root

from .file_names import check_file_names

__all__ = ["OutputFile", "given_files", "returned_files"]


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A file, and what fstat(2) said of it when it was checked. `path` is absolute."""

    name: str
    path: str
    status: os.stat_result
    _open: Callable[[], int]

    @property
    def size(self) -> int:
        """Bytes."""
        return self.status.st_size

    @contextmanager
    def opened(self) -> Iterator[int]:
        """Open it for the block. ConflictError, also at the end of the block: it is not what was checked."""
        try:
            descriptor = self._open()
        except OSError as error:
            raise self._changed("it went away") from error
        try:
            self._check(descriptor)
            yield descriptor
            self._check(descriptor)
        finally:
            os.close(descriptor)

    def _check(self, descriptor: int) -> None:
        if _facts(self.status) != _facts(os.fstat(descriptor)):
            raise self._changed("it is still being written")

    def _changed(self, why: str) -> ConflictError:
        return ConflictError(f"{self.path!r} changed while it was sent", why=why, fix="Close it before that.")


def _facts(status: os.stat_result) -> tuple[int, ...]:
    # Not the time of the last change to the inode: a second name of it, under which it waits, is one.
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def given_files(outputs: Mapping[str, object]) -> list[OutputFile]:
    """Return files by their paths, as the caller names them; a link is followed. Errors name the file."""
    check_file_names(outputs)
    files = []
    for name, given in outputs.items():
        path = os.path.abspath(_path(name, given))
        files.append(_checked_file(name, os.path.realpath(path) if os.path.islink(path) else path, _open_plain))
    return files


@contextmanager
def returned_files(outputs: Mapping[str, object], directory: str) -> Iterator[list[OutputFile]]:
    """Return files that a function has returned; relative paths are from `directory`, its output directory.

    UsageError: one lies outside of it, is a link or no file. NotFoundError: one is not there.
    """
    check_file_names(outputs)
    with closing(_Root(directory)) as root:
        files = []
        for name, given in outputs.items():
            path = os.path.normpath(os.path.join(directory, _path(name, given)))
            if path != directory and not path.startswith(f"{directory}/"):
                raise UsageError(
                    f"{name}: {path!r} lies outside of the output directory",
                    why="a function returns what it has written there",
                    fix="Write it into output_dir, and return that path.",
                )
            files.append(_checked_file(name, path, root.open))
        yield files


class _Root:
    """The output directory, by a descriptor."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor = open_root(path)

    def open(self, path: str) -> int:
        return open_beneath(self._descriptor, path[len(self._path) + 1 :], READ)

    def close(self) -> None:
        os.close(self._descriptor)


def _open_plain(path: str) -> int:
    return os.open(path, READ | os.O_CLOEXEC)


def _checked_file(name: str, path: str, open_it: Callable[[str], int]) -> OutputFile:
    try:
        descriptor = open_it(path)
    except OSError as error:
        raise _refused(name, path, error) from error
    try:
        status = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if not stat.S_ISREG(status.st_mode):
        is_folder = stat.S_ISDIR(status.st_mode)
        fix = "Return the files in it one by one: names may have folders." if is_folder else "Write a regular file."
        raise UsageError(f"{name}: {path!r} is {'a directory' if is_folder else 'no file'}", fix=fix)
    return OutputFile(name, path, status, lambda: open_it(path))


def _path(name: str, given: object) -> str:
    if isinstance(given, str | os.PathLike):
        text = os.fsdecode(given)
        if text and "\0" not in text:
            return text
    raise UsageError(f"{name}: {given!r} is no path", fix="Name the file that is to be sent.")


def _refused(name: str, path: str, error: OSError) -> PenstockError:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return NotFoundError(f"{name}: there is no file {path!r}", fix="Write it before it is returned.")
    if error.errno == errno.ELOOP:
        return UsageError(
            f"{name}: {path!r} is a symbolic link, or leads through one",
            why="it could lead to any file of this machine",
            fix="Copy the file into the output directory.",
        )
    return AccessError(f"{name}: cannot read {path!r}", why=error.strerror or str(error), fix="Check its permissions.")
