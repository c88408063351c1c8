"""What a path in a mount is: its version, its hash, how much of it is in the cache, and what was written about it.

A mount answers with extended attributes that it does not list (`vfs.files.xattrs`), so that no copy of a file takes
them along; here they are asked for one by one. Needs no daemon's socket and no bucket.
"""

from __future__ import annotations

import errno
import json
import os
import stat as stat_bits
from dataclasses import dataclass
from typing import Any, Literal

from penstock.api.packages.entry import PhysicalKey
from penstock.errors import AccessError, NotFoundError
from penstock.mountpoint.kernel_mounts import kernel_mounts

__all__ = ["MountedPath", "stat"]

PathKind = Literal["file", "directory", "symlink", "named pipe", "socket"]

_OWN = "user.penstock."
_META = "user.meta."
_KINDS: dict[int, PathKind] = {
    stat_bits.S_IFREG: "file",
    stat_bits.S_IFDIR: "directory",
    stat_bits.S_IFLNK: "symlink",
    stat_bits.S_IFIFO: "named pipe",
    stat_bits.S_IFSOCK: "socket",
}


@dataclass(frozen=True, slots=True)
class MountedPath:
    """One path of a mount. Hashes are hex digits; `mode` holds permission bits, `modified` seconds since 1970.

    `top_hash` and `commit` are those that the mount is at; `commit` is None where it was mounted by its top hash.
    `hash` is None of what was changed and not committed, and of what is neither file nor directory. Of a file that was
    not changed, so many of its `blocks` are `cached`, and `physical` says where its bytes lie; None: in more places
    than the mount can say. `metadata` is by key, text or JSON; `attributes` are what programs have set, by whole names.

    >>> import penstock
    >>> penstock.stat("/")
    Traceback (most recent call last):
    penstock.errors.NotFoundError: '/' is in no mount of Penstock's...
    """

    path: str
    kind: PathKind
    size: int
    mode: int
    links: int
    modified: float
    top_hash: str | None
    commit: str | None
    hash: str | None
    cached: int | None
    blocks: int | None
    physical: tuple[PhysicalKey, ...] | None
    metadata: dict[str, str]
    attributes: dict[str, bytes]


def stat(path: str | os.PathLike[str]) -> MountedPath:
    """Say what a path in a mount is.

    NotFoundError: there is no such path, or no mount of Penstock's holds it; AccessError: it cannot be looked at.
    """
    name = os.fspath(path)
    try:
        facts = os.lstat(name)
        device = os.major(facts.st_dev), os.minor(facts.st_dev)
        if not any(found.is_ours and found.device == device for found in kernel_mounts()):
            raise NotFoundError(
                f"{name!r} is in no mount of Penstock's", fix="penstock mounts lists what is mounted, and where."
            )
        return _of(name, facts)
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no {name!r}") from error
    except OSError as error:
        raise AccessError(f"{name!r} cannot be looked at", why=error.strerror or str(error)) from error


def _of(name: str, facts: os.stat_result) -> MountedPath:
    kind = _KINDS[stat_bits.S_IFMT(facts.st_mode)]
    describes = kind in ("file", "directory")
    cached, _, blocks = (_text(name, "cached") or "" if kind == "file" else "").partition("/")
    listed = os.listxattr(name, follow_symlinks=False) if describes else []
    return MountedPath(
        os.path.abspath(name),
        kind,
        facts.st_size,
        stat_bits.S_IMODE(facts.st_mode),
        facts.st_nlink,
        facts.st_mtime,
        _text(name, "top_hash") if describes else None,
        _text(name, "commit") if describes else None,
        _text(name, "hash") if describes else None,
        int(cached) if cached else None,
        int(blocks) if blocks else None,
        _physical(name) if kind == "file" else (),
        {
            each.removeprefix(_META): os.getxattr(name, each).decode("utf-8", "surrogateescape")
            for each in listed
            if each.startswith(_META)
        },
        {each: os.getxattr(name, each) for each in listed if not each.startswith(_META)},
    )


def _text(name: str, attribute: str) -> str | None:
    """Return what a mount says of a path; None: nothing."""
    try:
        return os.getxattr(name, _OWN + attribute, follow_symlinks=False).decode("utf-8", "surrogateescape")
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP):
            return None
        raise


def _physical(name: str) -> tuple[PhysicalKey, ...] | None:
    try:
        text = _text(name, "physical")
    except OSError as error:
        if error.errno in (errno.E2BIG, errno.ERANGE):
            return None
        raise
    places: list[dict[str, Any]] = json.loads(text) if text is not None else []
    return tuple(PhysicalKey(place["uri"], place["offset"], place["length"]) for place in places)
