"""Local paths of any length, and what the system's refusals mean.

The kernel takes paths of up to 4,095 bytes, and a tree may be deeper than that. A longer path is followed in legs,
each from the directory that the leg before it led to.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Protocol

from penstock.errors import AccessError, ConflictError, IntegrityError, PenstockError
from penstock.manifest.entry import MAX_NAME

__all__ = ["FoundName", "file_error", "list_directory", "open_path", "read_link"]

_LONGEST = 4095
_LIMITS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
# What a name answers that was a file, a symlink or a directory when it was listed, and is something else by now.
_REPLACED = frozenset({errno.ELOOP, errno.EINVAL, errno.ENXIO, errno.EISDIR, errno.ESTALE})


class FoundName(Protocol):
    """A name in a directory, as `os.DirEntry` has it."""

    @property
    def name(self) -> bytes:
        """The name alone."""
        ...

    @property
    def path(self) -> bytes:
        """The path of the directory that was listed, and the name."""
        ...

    def stat(self, *, follow_symlinks: bool) -> os.stat_result:
        """Return what lstat says of it."""
        ...

    def is_dir(self, *, follow_symlinks: bool) -> bool:
        """Whether it is a directory: what the listing says, where it says that."""
        ...


class _DeepName(NamedTuple):
    name: bytes
    path: bytes
    facts: os.stat_result

    def stat(self, *, follow_symlinks: bool) -> os.stat_result:
        assert not follow_symlinks
        return self.facts

    def is_dir(self, *, follow_symlinks: bool) -> bool:
        assert not follow_symlinks
        return stat.S_ISDIR(self.facts.st_mode)


def list_directory(directory: bytes) -> Sequence[FoundName]:
    """Return what is in a directory, in byte order of the names. Raises OSError."""
    if len(directory) + 1 + MAX_NAME <= _LONGEST:
        with os.scandir(directory) as listing:
            return sorted(listing, key=lambda item: item.name)
    descriptor = open_path(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        names = sorted(map(os.fsencode, os.listdir(descriptor)))
        return [_DeepName(name, os.path.join(directory, name), os.lstat(name, dir_fd=descriptor)) for name in names]
    finally:
        os.close(descriptor)


def open_path(path: bytes, flags: int) -> int:
    """Open a file or directory; a symlink at the end of a path too long for the kernel is not followed."""
    if len(path) <= _LONGEST:
        return os.open(path, flags | os.O_CLOEXEC)
    with _last_leg(path) as (name, directory):
        return os.open(name, flags | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=directory)


def read_link(path: bytes) -> bytes:
    """Return the target of a symlink."""
    if len(path) <= _LONGEST:
        return os.readlink(path)
    with _last_leg(path) as (name, directory):
        return os.readlink(name, dir_fd=directory)


@contextmanager
def _last_leg(path: bytes) -> Iterator[tuple[bytes, int | None]]:
    """Follow a path until what is left of it is short enough; give that, and the directory that it starts from."""
    directory: int | None = None
    try:
        while len(path) > _LONGEST:
            cut = path.rindex(b"/", 0, _LONGEST)
            leg, path = path[:cut], path[cut:].lstrip(b"/")
            deeper = os.open(leg, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
            if directory is not None:
                os.close(directory)
            directory = deeper
        yield path, directory
    finally:
        if directory is not None:
            os.close(directory)


def file_error(path: bytes, error: OSError) -> PenstockError:
    """Turn what the system said of a local file into an error that says what to do."""
    shown = os.fsdecode(path)
    if isinstance(error, PermissionError):
        return AccessError(f"cannot read {shown!r}", why="permission denied", fix="Give yourself access, or ignore it.")
    if isinstance(error, FileNotFoundError | NotADirectoryError) or error.errno in _REPLACED:
        return ConflictError(
            f"{shown!r} went away while it was being read",
            why="nothing was published",
            fix="Run the command again when nothing changes the directory.",
        )
    if error.errno in _LIMITS:
        return AccessError(f"cannot read {shown!r}", why=os.strerror(error.errno), fix="Raise the limit; see `ulimit`.")
    return IntegrityError(f"cannot read {shown!r}", why=error.strerror or str(error), fix="Check the disk.")
