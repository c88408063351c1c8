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
from functools import partial

from penstock.errors import AccessError, ConflictError, NotFoundError, PenstockError, UsageError
from penstock.store.beneath import READ, open_beneath

from .file_names import check_file_names, check_named_files

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


def given_files(outputs: Mapping[str, object], *, is_look: bool = False) -> list[OutputFile]:
    """Return files by their paths, as the caller names them; a link is followed. Errors name the file.

    `is_look`: they are looked at, and not opened, for who opens each of them later in a way of their own.
    """
    check_named_files(outputs)
    files = []
    for name, given in outputs.items():
        path = os.path.abspath(_path(name, given))
        try:
            status = os.lstat(path)
            if stat.S_ISLNK(status.st_mode):
                path = os.path.realpath(path)
                status = os.lstat(path)
        except OSError as error:
            raise _refused(name, path, error) from error
        if is_look:
            _check_kind(name, path, status)
            files.append(OutputFile(name, path, status, partial(_open_given, path)))
        else:
            files.append(_checked_file(name, path, _open_given))
    return files


@contextmanager
def returned_files(outputs: Mapping[str, object], directory: str) -> Iterator[list[OutputFile]]:
    """Return files that a function has returned; relative paths are from `directory`, its output directory.

    UsageError: one lies outside of it, is a link or no file, or the directory is not the one that it was given.
    NotFoundError: one is not there.
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
        try:  # what the function left in its place may lead anywhere
            self._descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise UsageError(
                "the output directory is gone",
                why="the function has removed it, or put something else in its place",
                fix="Write into the directory that it is given.",
            ) from error

    def open(self, path: str) -> int:
        return open_beneath(self._descriptor, path[len(self._path) + 1 :], READ)

    def close(self) -> None:
        os.close(self._descriptor)


def _open_given(path: str) -> int:
    return os.open(path, READ | os.O_NOFOLLOW | os.O_CLOEXEC)


def _checked_file(name: str, path: str, open_it: Callable[[str], int]) -> OutputFile:
    try:
        status = _status(path, open_it)
    except OSError as error:
        raise _refused(name, path, error) from error
    _check_kind(name, path, status)
    return OutputFile(name, path, status, partial(open_it, path))


def _status(path: str, open_it: Callable[[str], int]) -> os.stat_result:
    descriptor = open_it(path)
    try:
        return os.fstat(descriptor)
    finally:
        os.close(descriptor)


def _check_kind(name: str, path: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        is_folder = stat.S_ISDIR(status.st_mode)
        fix = "Return the files in it one by one: names may have folders." if is_folder else "Write a regular file."
        raise UsageError(f"{name}: {path!r} is {'a directory' if is_folder else 'no file'}", fix=fix)


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
