"""Files that are to be sent: opened so that what is sent is what was checked, and held against what they are then.

What a function says that it has made is reached by descriptors from its output directory, through no link: neither an
absolute path nor a link that it left leads to another file of this machine.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from penstock.errors import AccessError, ConflictError, NotFoundError, PenstockError, UsageError
from penstock.store.beneath import READ, closing_folder, open_beneath, open_root

from .file_names import check_file_names

__all__ = ["OutputFile", "check_unchanged", "open_given", "open_returned"]


class OutputFile(NamedTuple):
    """An open file, and what fstat(2) said of it. `path` is absolute."""

    name: str
    path: str
    descriptor: int
    status: os.stat_result


def check_unchanged(file: OutputFile) -> None:
    """Raise ConflictError when a file is not what it was when it was opened: it is still being written."""
    before, now = file.status, os.fstat(file.descriptor)
    if (before.st_size, before.st_mtime_ns, before.st_ctime_ns) != (now.st_size, now.st_mtime_ns, now.st_ctime_ns):
        raise ConflictError(
            f"{file.path!r} changed while it was sent", why="it is still being written", fix="Close it before that."
        )


@contextmanager
def open_given(outputs: Mapping[str, object]) -> Iterator[list[OutputFile]]:
    """Open files by their paths, as the caller names them; a link is followed. Errors name the file."""
    check_file_names(outputs)
    with ExitStack() as stack:
        files = []
        for name, given in outputs.items():
            path = os.path.abspath(_path(name, given))
            try:
                descriptor = os.open(path, READ | os.O_CLOEXEC)
            except OSError as error:
                raise _refused(name, path, error) from error
            stack.callback(os.close, descriptor)
            files.append(_checked(name, path, descriptor))
        yield files


@contextmanager
def open_returned(outputs: Mapping[str, object], directory: str) -> Iterator[list[OutputFile]]:
    """Open files that a function has returned; relative paths are from `directory`, its output directory.

    UsageError: one lies outside of it, is a link or no file. NotFoundError: one is not there.
    """
    check_file_names(outputs)
    with ExitStack() as stack:
        root = stack.enter_context(closing_folder(open_root(directory)))
        files = []
        for name, given in outputs.items():
            path = os.path.normpath(os.path.join(directory, _path(name, given)))
            below = os.path.relpath(path, directory)
            if below == ".." or below.startswith("../"):
                raise UsageError(
                    f"{name}: {path!r} lies outside of the output directory",
                    why="a function returns what it has written there",
                    fix="Write it into output_dir, and return that path.",
                )
            try:
                descriptor = open_beneath(root, "" if below == "." else below, READ)
            except OSError as error:
                raise _refused(name, path, error) from error
            stack.callback(os.close, descriptor)
            files.append(_checked(name, path, descriptor))
        yield files


def _path(name: str, given: object) -> str:
    if isinstance(given, str | os.PathLike):
        text = os.fsdecode(given)
        if text and "\0" not in text:
            return text
    raise UsageError(f"{name}: {given!r} is no path", fix="Name the file that is to be sent.")


def _checked(name: str, path: str, descriptor: int) -> OutputFile:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        is_folder = stat.S_ISDIR(status.st_mode)
        fix = "Return the files in it one by one: names may have folders." if is_folder else "Write a regular file."
        raise UsageError(f"{name}: {path!r} is {'a directory' if is_folder else 'no file'}", fix=fix)
    return OutputFile(name, path, descriptor, status)


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
