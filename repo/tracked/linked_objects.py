"""Files of a tracked directory as objects of the local bucket: one copy on disk, with two names.

An object that is one file is called after the file's own hash: of files of up to one block that is the hash of its
bytes, as of any data object; of larger ones it is the hash over the hashes of their blocks.

By *clone* (where the file system has reflinks) both are files of their own that share their blocks: whoever writes to
one changes nothing of the other. By *link* both names are hard links to one read-only file. Who writes to that all the
same, in place, damages the object: it is seen when it is read, for every block is held against its hash; who replaces
the file does no harm.

**Invariant:** a file comes into place whole, by rename(2); killed at any step, each name shows what it did before, or
the same content as a link.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import secrets
import stat
from contextlib import suppress
from typing import Literal, NamedTuple

from penstock.manifest.entry import Extent, Kind, TreeEntry
from penstock.repo.bucket import object_keys
from penstock.repo.local_copy.local_directory import LocalDirectory, Names, Staging

from .tracked_index import LINKED, FileFacts

__all__ = ["LinkedObjects", "Taken", "linked_extent", "linked_facts", "shares_blocks"]

How = Literal["link", "clone"]
_READ_ONLY = 0o444
_RUNNABLE = 0o555
_FICLONE = 0x40049409
_NO_CLONES = frozenset({errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.EXDEV, errno.ENOSYS})


class Taken(NamedTuple):
    """What became of a file: whether the object is there, and, if the file is a link to it, what lstat says of it."""

    is_stored: bool
    status: os.stat_result | None = None


def linked_extent(digest: bytes, size: int) -> tuple[Extent, ...]:
    """Return where the bytes of such a file lie."""
    return (Extent(digest, 0, size),) if size else ()


def linked_facts(kind: int, status: os.stat_result, digest: bytes) -> FileFacts:
    """Return what is noted of a linked file: its inode's time changes with every other link to it, and says nothing."""
    return FileFacts(kind, status.st_size, status.st_mtime_ns, LINKED, status.st_ino, digest)


def shares_blocks(directory: str) -> bool:
    """Whether the file system that a directory is on has reflinks: it is tried. Raises OSError."""
    os.makedirs(directory, exist_ok=True)
    names = [os.path.join(directory, f".penstock-clone-{os.getpid()}-{number}") for number in range(2)]
    try:
        with open(names[0], "xb") as source, open(names[1], "xb") as target:
            source.write(b"1")
            source.flush()
            try:
                fcntl.ioctl(target.fileno(), _FICLONE, source.fileno())
            except OSError as error:
                if error.errno in _NO_CLONES:
                    return False
                raise
            return True
    finally:
        for name in names:
            with suppress(FileNotFoundError):
                os.unlink(name)


class LinkedObjects:
    """The data objects of the local bucket in `directory`, as files. Belongs to one thread."""

    def __init__(self, directory: str, how: How) -> None:
        self.how = how
        self._directory = directory
        self._folders: set[str] = set()

    def path(self, digest: bytes) -> str:
        """Return the path of an object."""
        return os.path.join(self._directory, object_keys.data_key(digest))

    def take(self, path: bytes, before: os.stat_result, digest: bytes, kind: int) -> Taken:
        """Have a file of the directory, whose content `digest` is as of `before`, be an object, too. Raises OSError."""
        target = self.path(digest)
        folder = os.path.dirname(target)
        if folder not in self._folders:
            os.makedirs(folder, exist_ok=True)
            self._folders.add(folder)
        if self.how == "clone":
            return Taken(is_stored=self._clone_in(path, before, target))
        mode = _RUNNABLE if kind == Kind.EXECUTABLE else _READ_ONLY
        try:
            os.link(path, target, follow_symlinks=False)
        except FileExistsError:
            return self._replace(path, before, target, mode)
        if not _is_as(os.lstat(path), before, ctime=False):
            os.unlink(target)
            return Taken(is_stored=False)
        os.chmod(target, mode)
        return Taken(True, os.lstat(path))

    def _replace(self, path: bytes, before: os.stat_result, target: str, mode: int) -> Taken:
        """Put a link to an object that is there in the place of a file with the same content."""
        there = os.lstat(target)
        if there.st_size != before.st_size or not stat.S_ISREG(there.st_mode):
            return Taken(is_stored=False)
        if (there.st_dev, there.st_ino) == (before.st_dev, before.st_ino):
            return Taken(True, os.lstat(path))
        if stat.S_IMODE(there.st_mode) != mode:  # the same bytes run in one place, and do not in the other
            return Taken(is_stored=True)
        temporary = os.path.join(os.path.dirname(path), b".penstock-link-" + secrets.token_hex(8).encode())
        os.link(target, temporary)
        try:
            if not _is_as(os.lstat(path), before, ctime=True):
                return Taken(is_stored=True)
            os.replace(temporary, path)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
        return Taken(True, os.lstat(path))

    def _clone_in(self, path: bytes, before: os.stat_result, target: str) -> bool:
        if os.path.lexists(target):
            return os.lstat(target).st_size == before.st_size
        temporary = f"{target}.{secrets.token_hex(8)}"
        source = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            copy = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _READ_ONLY)
            try:
                fcntl.ioctl(copy, _FICLONE, source)
            finally:
                os.close(copy)
            if not _is_as(os.fstat(source), before, ctime=True):
                return False
            os.rename(temporary, target)
            return True
        finally:
            os.close(source)
            with suppress(FileNotFoundError):
                os.unlink(temporary)

    def give(self, directory: LocalDirectory, staging: Staging, names: Names, entry: TreeEntry) -> bool:
        """Put an object into a directory, in place of what is no directory; False: there is no such object."""
        target = self.path(entry.hash)
        is_runnable = entry.kind is Kind.EXECUTABLE
        try:
            there = os.lstat(target)
        except FileNotFoundError:
            return False
        if not entry.size or not stat.S_ISREG(there.st_mode) or there.st_size != entry.size:
            return False
        if self.how == "link" and stat.S_IMODE(there.st_mode) != (_RUNNABLE if is_runnable else _READ_ONLY):
            return False
        name = staging.unused_name()
        if self.how == "link":
            os.link(target, name, dst_dir_fd=staging.folder)
        else:
            self._clone_out(target, staging, name, entry, 0o777 if is_runnable else 0o666)
        directory.put(names, staging, name)
        return True

    def _clone_out(self, target: str, staging: Staging, name: str, entry: TreeEntry, mode: int) -> None:
        source = os.open(target, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            copy = os.open(name, flags, mode, dir_fd=staging.folder)
            try:
                fcntl.ioctl(copy, _FICLONE, source)
            finally:
                os.close(copy)
            staging.finish(name, entry.mtime_ns)
        finally:
            os.close(source)

    def sync(self) -> None:
        """Have all that was linked be on disk. Raises OSError."""
        if not self._folders:
            return
        folder = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            if ctypes.CDLL(None, use_errno=True).syncfs(folder):
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))
        finally:
            os.close(folder)


def _is_as(now: os.stat_result, before: os.stat_result, *, ctime: bool) -> bool:
    """Whether a file is what it was; a link to it changes its ctime."""
    same = (now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns)
    if same != (before.st_dev, before.st_ino, before.st_size, before.st_mtime_ns):
        return False
    return not ctime or now.st_ctime_ns == before.st_ctime_ns
