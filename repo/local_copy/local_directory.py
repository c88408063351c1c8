"""A directory of the user's that is a copy of a version, or becomes one: looked into, written, cleared by descriptors.

Only the path of the directory itself may lead through symbolic links, which are the user's own choice. Below it none is
followed (`store.beneath`): whoever can put a link there would else have other files read, written or deleted.

A file is made in a folder beside what is there, ``.penstock-download-…``, which is locked and no other user's, and is
renamed to its place when it is whole and on disk. A folder without its lock belongs to a run that was killed: the next
one goes on with what it has of large files.

**Invariant:** a name in the directory shows a whole file, also after a power cut.
**Invariant:** nothing is removed on another file system than that of the directory.

Blocking, thread-safe.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from penstock.errors import AccessError, ConflictError, IntegrityError, NotFoundError, PenstockError, UsageError
from penstock.manifest.entry import MAX_TARGET
from penstock.store.beneath import READ, closing_folder, open_beneath, open_root
from penstock.store.durable import write_all

__all__ = ["LocalDirectory", "LocalName", "Names", "Staging", "local_error"]

Names = tuple[bytes, ...]

_FOLDER = os.O_RDONLY | os.O_DIRECTORY
_STAGING = re.compile(rb"\.penstock-download-[0-9a-f]{16}")
_PARTIAL = "part-"
_FEW = 8
"""Files that are synced one by one."""
_REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_IN_THE_WAY = frozenset({errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ELOOP})
_LIMITS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


class LocalName(NamedTuple):
    """A name in a directory, and what lstat(2) says of it."""

    name: bytes
    status: os.stat_result


def local_error(error: OSError, what: str) -> PenstockError:
    """Return what the system's refusal means: `what` says what could not be done."""
    reason = error.strerror or str(error)
    if error.errno in _REFUSED:
        fix = "Mount it writable." if error.errno == errno.EROFS else "Check owner and permissions."
        return AccessError(what, why=reason, fix=fix)
    if error.errno in _FULL:
        return AccessError(
            what, why=reason, fix="Make room and run it again: what is there by now is not fetched again."
        )
    if error.errno in _IN_THE_WAY:
        return ConflictError(
            what,
            why=f"something else is in the way ({reason})",
            fix="Move it away, or have `penstock sync --delete` remove it.",
        )
    if error.errno == errno.ENOENT:
        return ConflictError(what, why="it went away meanwhile", fix="Run it again when nothing changes the directory.")
    if error.errno == errno.ENAMETOOLONG:
        return UsageError(what, why=reason, fix="Choose a directory with a shorter path, or another file system.")
    if error.errno == errno.EXDEV:
        return ConflictError(
            what, why="another file system is mounted there", fix="Unmount it, or name a directory on one file system."
        )
    if error.errno in _LIMITS:
        return AccessError(what, why=reason, fix="Raise the limit; see `ulimit`.")
    return IntegrityError(what, why=reason, fix="Check the disk.")


class LocalDirectory:
    """The directory at `path`; with `make`, made if it is not there.

    NotFoundError: it is not there. UsageError: it is something else.
    """

    def __init__(self, path: str, *, make: bool = False) -> None:
        self.path = os.path.abspath(path)
        try:
            if make:
                os.makedirs(self.path, exist_ok=True)
            self._root = open_root(self.path)
        except FileNotFoundError as error:
            raise NotFoundError(f"no directory {path!r}", fix="Name a directory that is there.") from error
        except (NotADirectoryError, FileExistsError) as error:
            raise UsageError(f"{path!r} is not a directory", fix="Name a directory.") from error
        except OSError as error:
            raise local_error(error, f"cannot open {path!r}") from error
        self._device = os.fstat(self._root).st_dev

    def close(self) -> None:
        """Close it."""
        os.close(self._root)

    def told(self, names: Names) -> str:
        """Return the path of what has these names, as text."""
        return os.path.join(self.path, _text(names))

    @contextlib.contextmanager
    def explained(self, doing: str, names: Names) -> Iterator[None]:
        """Turn an OSError of the block into a PenstockError: `doing` is a verb."""
        try:
            yield
        except OSError as error:
            raise local_error(error, f"cannot {doing} {self.told(names)!r}") from error

    def listing(self, names: Names) -> list[LocalName]:
        """Return what is in a directory, in byte order of the names; but no folders of unfinished files."""
        with (
            self.explained("list", names),
            closing_folder(open_beneath(self._root, _text(names), _FOLDER)) as folder,
            os.scandir(folder) as entries,
        ):
            listed = [LocalName(os.fsencode(each.name), each.stat(follow_symlinks=False)) for each in entries]
        if not names:
            listed = [each for each in listed if not _STAGING.fullmatch(each.name)]
        return sorted(listed, key=lambda each: each.name)

    def status(self, names: Names) -> os.stat_result | None:
        """Return what lstat(2) says of a name; None: it is not there, or what leads there is no directory."""
        with self.explained("look at", names):
            try:
                with self._parent(names) as folder:
                    return os.stat(os.fsdecode(names[-1]), dir_fd=folder, follow_symlinks=False)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    return None
                raise

    def remove_file(self, names: Names) -> None:
        """Remove a file or symlink, if it is there. ConflictError: a directory is."""
        with self.explained("remove", names), contextlib.suppress(FileNotFoundError), self._parent(names) as folder:
            os.unlink(os.fsdecode(names[-1]), dir_fd=folder)

    def remove_empty(self, names: Names) -> bool:
        """Remove a directory if it is there and nothing is in it; whether it is gone then."""
        try:
            with self._parent(names) as folder:
                os.rmdir(os.fsdecode(names[-1]), dir_fd=folder)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True

    def move_out(self, names: Names, target: str) -> None:
        """Move what has these names to another path, on this file system or another; a file is whole at one of them."""
        with self.explained("move", names), self._parent(names) as folder:
            name = os.fsdecode(names[-1])
            try:
                os.rename(name, target, src_dir_fd=folder)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                shutil.move(f"/proc/self/fd/{folder}/{name}", target)

    def open_file(self, names: Names) -> int | None:
        """Open a regular file for reading; None: it is something else, or no more."""
        with self.explained("read", names):
            try:
                descriptor = open_beneath(self._root, _text(names), READ)
            except OSError as error:
                if error.errno in _IN_THE_WAY or error.errno in (errno.ENOENT, errno.ENXIO):
                    return None
                raise
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
        return None

    def read_link(self, names: Names) -> bytes | None:
        """Return the target of a symbolic link; None: it is none, or a longer one than any version has."""
        with self.explained("read", names), self._parent(names) as folder:
            try:
                target = os.fsencode(os.readlink(os.fsdecode(names[-1]), dir_fd=folder))
            except OSError as error:
                if error.errno in (errno.EINVAL, errno.ENOENT):
                    return None
                raise
        return target if len(target) <= MAX_TARGET else None

    def make_folder(self, names: Names) -> None:
        """Make a directory, and those above it, where it is not there. ConflictError: something else is."""
        with self.explained("make", names):
            self._make_folder(names)

    def _make_folder(self, names: Names) -> None:
        for depth in range(1, len(names) + 1):
            with self._parent(names[:depth]) as folder:
                name = os.fsdecode(names[depth - 1])
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, dir_fd=folder)
                os.close(open_beneath(folder, name, os.O_PATH | os.O_DIRECTORY))

    def make_link(self, names: Names, target: bytes, staging: Staging) -> None:
        """Put a symbolic link there, in place of what is no directory."""
        with self.explained("write", names):
            name = staging.unused_name()
            os.symlink(os.fsdecode(target), name, dir_fd=staging.folder)
            self._put(staging, name, names)

    def put(self, names: Names, staging: Staging, name: str) -> None:
        """Give a file that is whole its place, in place of what is there. ConflictError: that is a directory."""
        with self.explained("write", names):
            self._put(staging, name, names)

    def _put(self, staging: Staging, name: str, names: Names) -> None:
        try:
            self._rename(staging, name, names)
        except FileNotFoundError:
            self._make_folder(names[:-1])
            self._rename(staging, name, names)

    def _rename(self, staging: Staging, name: str, names: Names) -> None:
        # Not by `_parent`: of a download of many small files its two context managers were a tenth.
        folder = open_beneath(self._root, _text(names[:-1]), os.O_PATH | os.O_DIRECTORY)
        try:
            os.rename(name, os.fsdecode(names[-1]), src_dir_fd=staging.folder, dst_dir_fd=folder)
        finally:
            os.close(folder)

    def set_executable(self, names: Names, *, executable: bool) -> None:
        """Let a regular file be executable by all who may read it, or by nobody."""
        descriptor = self.open_file(names)
        if descriptor is None:
            return
        with self.explained("change", names), closing_folder(descriptor):
            mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
            os.fchmod(descriptor, mode | (mode & 0o444) >> 2 if executable else mode & ~0o111)

    def remove(self, names: Names) -> None:
        """Remove what has these names, a directory with all in it. ConflictError: a file system is mounted there."""
        with self.explained("remove", names):
            stack = [(names, False)]
            while stack:
                at, is_empty = stack.pop()
                with self._parent(at) as folder:
                    name = os.fsdecode(at[-1])
                    try:
                        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    if status.st_dev != self._device:
                        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
                    if not stat.S_ISDIR(status.st_mode):
                        os.unlink(name, dir_fd=folder)
                    elif is_empty:
                        os.rmdir(name, dir_fd=folder)
                    else:
                        stack.append((at, True))
                        with closing_folder(open_beneath(folder, name, _FOLDER)) as inner:
                            stack += [((*at, os.fsencode(each)), False) for each in os.listdir(inner)]

    @contextlib.contextmanager
    def _parent(self, names: Names) -> Iterator[int]:
        folder = _text(names[:-1])
        with closing_folder(open_beneath(self._root, folder, os.O_PATH | os.O_DIRECTORY)) as descriptor:
            yield descriptor

    def staging(self) -> Staging:
        """Return the folder in which files are made, one that a killed run has left if there is one."""
        with self.explained("write into", ()):
            with closing_folder(open_beneath(self._root, "", _FOLDER)) as top:
                names = os.listdir(top)
            for name in names:
                if _STAGING.fullmatch(os.fsencode(name)) and (found := self._locked(name)) is not None:
                    return Staging(self._root, name, found)
            while True:
                name = f".penstock-download-{secrets.token_hex(8)}"
                os.mkdir(name, 0o700, dir_fd=self._root)
                if (made := self._locked(name)) is not None:
                    return Staging(self._root, name, made)

    def _locked(self, name: str) -> int | None:
        """Open a folder of unfinished files, if it is this user's and no other run has it."""
        try:
            descriptor = open_beneath(self._root, name, _FOLDER)
        except OSError:
            return None
        try:
            if os.fstat(descriptor).st_uid == os.geteuid():
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return descriptor
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):  # no locks here: then nobody goes on with it
                return descriptor
        os.close(descriptor)
        return None


class Staging:
    """The folder in which files are made before they have their names. Made by `LocalDirectory.staging`."""

    def __init__(self, root: int, name: str, folder: int) -> None:
        self.folder = folder
        self._root = os.dup(root)
        self._name = name
        self._numbers = iter(range(1 << 62))
        self.clear(keep_partial=True)

    def unused_name(self) -> str:
        """Return a name that no file in it has."""
        return f"file-{next(self._numbers)}"

    def partial_name(self, identity: bytes) -> str:
        """Return the name of a large file, by which a later run finds what there is of it."""
        return _PARTIAL + identity.hex()

    def write(self, name: str, data: memoryview, mode: int, mtime_ns: int | None) -> None:
        """Write a whole file."""
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode, dir_fd=self.folder)
        try:
            write_all(descriptor, data)
            _set_time(descriptor, mtime_ns)
        finally:
            os.close(descriptor)

    def open_unfinished(self, name: str) -> int | None:
        """Open what there is of a file, to read; None: it has its place by now."""
        try:
            return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.folder)
        except FileNotFoundError:
            return None

    def open_partial(self, name: str, mode: int) -> int:
        """Open a large file of which there may be something, to read and write."""
        return os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=self.folder)

    def finish(self, name: str, mtime_ns: int | None) -> None:
        """Give a large file that is whole its time."""
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.folder)
        try:
            _set_time(descriptor, mtime_ns)
        finally:
            os.close(descriptor)

    def sync(self, names: Sequence[str]) -> None:
        """Have files that were written be on disk.

        At once for a thousand of them, where fsync(2) would wait for each; a few need not wait for all that others
        have written to the file system.
        """
        if len(names) <= _FEW:
            for name in names:
                with closing_folder(
                    os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.folder)
                ) as file:
                    os.fsync(file)
            return
        library = ctypes.CDLL(None, use_errno=True)
        if library.syncfs(self.folder):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    def clear(self, *, keep_partial: bool) -> None:
        """Remove what was not given a place; with `keep_partial`, all but what there is of large files."""
        for name in os.listdir(self.folder):
            if not (keep_partial and name.startswith(_PARTIAL)):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=self.folder)

    def leave(self) -> None:
        """Remove the folder, if it is empty."""
        with contextlib.suppress(OSError):
            os.rmdir(self._name, dir_fd=self._root)

    def close(self) -> None:
        """Close it, and give up the lock."""
        os.close(self.folder)
        os.close(self._root)


def _text(names: Names) -> str:
    return os.fsdecode(b"/".join(names))


def _set_time(descriptor: int, mtime_ns: int | None) -> None:
    if mtime_ns is not None:
        with contextlib.suppress(OverflowError, OSError):  # a time that this file system cannot keep
            os.utime(descriptor, ns=(mtime_ns, mtime_ns))
