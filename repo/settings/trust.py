"""Whom a data set is believed when it says where its bytes lie: the rule, and the record of folders that were allowed.

An entry of a hostile data set may name any file of this machine, and any bucket that its reader can read. So

- a file is read only if the bucket is a local directory itself and the file lies below a folder that the user allowed:
  by ``trust.local`` in the settings, or by registering files there (``push --in-place DIR`` notes DIR on this machine);
- an object of another bucket is read only if ``trust.buckets``, where it is set, names that bucket.

`Trust` is a value, from the settings. The record is a file in the user's state folder, one folder a line; it is looked
at, once a second at most, when a file is not below one of the settings' folders, so that a mount learns of folders that
were allowed after it was made. See docs/SEMANTICS.md, Whom one trusts.
"""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass

from penstock.errors import AccessError

from .user_folders import make_user_folder, user_folder

__all__ = ["Trust", "allow_command", "allow_folder", "allowed_commands", "allowed_folders", "record_path"]

_MOST_RECORD = 1 << 20


@dataclass(frozen=True, slots=True)
class Trust:
    """What the settings allow. `local`: absolute folders; `buckets`: names of S3 buckets, None for any."""

    local: tuple[str, ...] = ()
    buckets: tuple[str, ...] | None = None

    def folder_of(self, path: str) -> str | None:
        """Return the allowed folder that a path (absolute, normal) lies below; None when there is none."""
        return _above(path, self.local) or _above(path, _glance())

    def allows_bucket(self, name: str) -> bool:
        """Whether objects of an S3 bucket may be read that is not the data set's own."""
        return self.buckets is None or name in self.buckets


def _above(path: str, folders: tuple[str, ...]) -> str | None:
    return next((folder for folder in folders if path.startswith(folder.rstrip("/") + "/")), None)


_FRESH = 1.0
_glanced: dict[str, tuple[float, tuple[str, ...]]] = {}


def _glance() -> tuple[str, ...]:
    """Return the folders in the record as they were within the last second: each read of a file asks."""
    path, now = record_path(), time.monotonic()
    since, folders = _glanced.get(path, (-_FRESH, ()))
    if now - since >= _FRESH:
        folders = allowed_folders()
        _glanced[path] = (now, folders)
    return folders


def record_path() -> str:
    """Return the path of the record of allowed folders, whether it is there or not."""
    return os.path.join(user_folder("state"), "local-folders")


def allowed_folders() -> tuple[str, ...]:
    """Return the folders in the record. AccessError: it is not safely the user's own, or cannot be read."""
    return tuple(line for line in _lines(record_path()) if line.startswith("/"))


def allowed_commands() -> tuple[str, ...]:
    """Return which commands of protected branches may be run on this machine, by hashes of their texts.

    AccessError: the record is not safely the user's own, or cannot be read.
    """
    return tuple(_lines(_commands_path()))


def _commands_path() -> str:
    return os.path.join(user_folder("state"), "check-commands")


def _lines(path: str) -> list[str]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from error
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & 0o022:
            raise _unusable(path, "it is not a file that only its user can change")
        if facts.st_size > _MOST_RECORD:
            raise _unusable(path, f"it has {facts.st_size} bytes")
        with open(descriptor, "rb", closefd=False) as stream:  # a file: it refuses a directory, and says so in its way
            body = stream.read(_MOST_RECORD)
    finally:
        os.close(descriptor)
    # A line that a crash has cut off has no end.
    return os.fsdecode(body).split("\n")[:-1]


def allow_folder(folder: str) -> bool:
    """Have entries of data sets in local buckets read from below `folder` (absolute, without line breaks) from now on.

    False: they were already. AccessError: the record cannot be written.
    """
    return _add_line(record_path(), folder)


def allow_command(mark: str) -> bool:
    """Let a command of protected branches be run on this machine, by the hash of its text. False: it was already."""
    return _add_line(_commands_path(), mark)


def _add_line(path: str, line: str) -> bool:
    if line in _lines(path):
        return False
    try:
        make_user_folder("state")
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            cut = size and os.pread(descriptor, 1, size - 1) != b"\n"
            # One write, which O_APPEND keeps apart from those of others.
            os.write(descriptor, (b"\n" if cut else b"") + os.fsencode(line) + b"\n")
            os.fsync(descriptor)
            _glanced.clear()
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from error
    return True


def _unusable(path: str, why: str) -> AccessError:
    return AccessError(
        f"the list of what is allowed here, {path}, cannot be used",
        why=why,
        fix="Check its owner and mode, or remove it.",
    )
