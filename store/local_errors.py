"""What a failure of the operating system means to the user of a local store: errno to one of `penstock.errors`."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

from penstock.errors import AccessError, NotFoundError, PenstockError, StoreUnreachableError, UsageError

__all__ = ["explained"]

_REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_NO_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})


@contextlib.contextmanager
def explained(doing: str, path: str) -> Iterator[None]:
    """Turn an OSError of the block into a PenstockError; `doing` is a verb, `path` what it was done to."""
    try:
        yield
    except OSError as error:
        raise _explain(error, f"cannot {doing} {path}") from error


def _explain(error: OSError, what: str) -> PenstockError:
    reason = error.strerror or str(error)
    number = error.errno
    if number == errno.ENOENT:
        return NotFoundError(what, why=reason, fix="Check the name")
    if number in (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY):
        return UsageError(
            what,
            why="in a directory, one name cannot be an object and hold others below it",
            fix="Choose another name, or delete the object that is in the way",
        )
    if number == errno.ELOOP:
        return AccessError(
            what,
            why=f"{error.filename or 'it'}: {reason}",
            fix="Put there what the link leads to; only the store itself, as a whole, may be a link",
        )
    if number in _REFUSED:
        fix = "Mount the file system writable" if number == errno.EROFS else "Check owner and permissions"
        return AccessError(what, why=reason, fix=fix)
    if number in _FULL:
        return StoreUnreachableError(what, why=reason, fix="Free some space in that file system, then try again")
    if number == errno.ENAMETOOLONG:
        return UsageError(what, why=reason, fix="Choose a shorter name")
    if number == errno.EFBIG:
        return UsageError(what, why=reason, fix="Raise the limit (ulimit -f), or use another file system")
    if number == errno.EXDEV:
        return UsageError(
            what,
            why="a folder in the store lies in another file system, so nothing can be moved there in one step",
            fix="Keep the store in one file system",
        )
    if number in _NO_DESCRIPTORS:
        return StoreUnreachableError(what, why=reason, fix="Raise the limit of open files (ulimit -n)")
    return StoreUnreachableError(what, why=reason, fix="Look at the disk or the network file system")
