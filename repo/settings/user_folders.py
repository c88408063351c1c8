"""Where this user's own folders are: configuration, state, logs and cache, as the XDG base directories name them.

A user without a home (a container's user that nobody has named, HOME unset or ``/``) has them in a folder of his own
below the directory for temporary files. **Invariant:** a folder that another user made is never used, and none is made
within another user's: what root leaves there (``sudo -E``) would keep the user out. Thread-safe.
"""

from __future__ import annotations

import os
import pwd
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

import platformdirs

from penstock.errors import AccessError
from penstock.store.durable import make_private

__all__ = ["FolderKind", "check_owner", "has_home", "make_user_folder", "own_cache_folder", "user_folder"]

FolderKind = Literal["config", "state", "log", "cache"]
_VARIABLES: dict[FolderKind, str] = {
    "config": "XDG_CONFIG_HOME",
    "state": "XDG_STATE_HOME",
    "log": "XDG_STATE_HOME",
    "cache": "XDG_CACHE_HOME",
}
_PLACES: dict[FolderKind, Callable[[str], str]] = {
    "config": platformdirs.user_config_dir,
    "state": platformdirs.user_state_dir,
    "log": platformdirs.user_log_dir,
    "cache": platformdirs.user_cache_dir,
}


def user_folder(kind: FolderKind) -> str:
    """Return the absolute path of a folder of this user's, which need not be there. AccessError: there can be none."""
    try:
        path = _PLACES[kind]("penstock")
    except RuntimeError:  # no home
        path = ""
    if os.path.isabs(path) and (not path.startswith("/.") or os.access("/", os.W_OK)):
        return path
    return os.path.join(_without_home(kind), kind)


def own_cache_folder() -> str:
    """Return where this user's cache is: for root with another user's HOME, as ``sudo -E`` leaves it, in root's own."""
    path = user_folder("cache")
    if os.geteuid() == 0:
        try:
            check_owner(path)
        except AccessError:
            return os.path.join(pwd.getpwuid(0).pw_dir, ".cache", "penstock")
    return path


def has_home() -> bool:
    """Whether the folders outlive the machine's next start: they lie in a home, or where XDG_STATE_HOME says."""
    return not user_folder("state").startswith(_temporary())


def make_user_folder(kind: FolderKind, *names: str) -> str:
    """Make a folder of this user's own, with what is missing above it; return its path.

    AccessError: it cannot be made, or lies in another user's.
    """
    path = os.path.join(user_folder(kind), *names)
    check_owner(path)
    try:
        make_private(path)
    except OSError as error:
        raise AccessError(
            f"{path} cannot be made",
            why=error.strerror or str(error),
            fix=f"Set {_VARIABLES[kind]} to a directory of yours.",
        ) from error
    return path


def check_owner(path: str) -> None:
    """Look whose a folder is, or the one that it would be made in. AccessError: it is another user's."""
    while True:
        try:
            facts = os.stat(path)
            break
        except FileNotFoundError:
            path = os.path.dirname(path)
        except OSError as error:
            raise AccessError(
                f"{path} cannot be looked into", why=error.strerror or str(error), fix=f"ls -ld {path}"
            ) from error
    us = os.geteuid()
    if facts.st_uid == us or (us and not facts.st_uid and os.access(path, os.W_OK)):
        return
    if us and not facts.st_uid:
        raise AccessError(
            f"{path} is root's",
            why="a command that was run with sudo may have made it",
            fix=f"sudo chown -R {us}:{os.getegid()} {path}",
        )
    raise AccessError(
        f"{path} belongs to {_name_of(facts.st_uid)}",
        why=f"what {_name_of(us)} made there would keep its owner out",
        fix="Run it as that user; or as root with root's own home: sudo -H penstock ...",
    )


def _name_of(user: int) -> str:
    with suppress(KeyError):
        return pwd.getpwuid(user).pw_name
    return f"user {user}"


def _temporary() -> str:
    return os.path.join(tempfile.gettempdir(), f"penstock-{os.geteuid()}")


def _without_home(kind: FolderKind) -> str:
    """Return the folder of a user who has no home, made if need be."""
    path = _temporary()
    with suppress(FileExistsError):
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            raise
        except OSError as error:
            raise _homeless(kind, path, error.strerror or str(error)) from error
    facts = os.lstat(path)
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & 0o022:
        raise _homeless(kind, path, "it is not a directory of yours alone")
    return path


def _homeless(kind: FolderKind, path: str, why: str) -> AccessError:
    return AccessError(
        f"this user has no home directory, and {path} cannot be used instead",
        why=why,
        fix=f"Set HOME or {_VARIABLES[kind]} to a directory of yours.",
    )
