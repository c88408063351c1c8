"""Exceptions to errnos: the one place. What the kernel cannot be told, the log is.

| exception | errno | when |
|---|---|---|
| Refusal | its own | the file system's own answers: ENOENT, ENOTDIR, ENODATA, EROFS, ... Not logged |
| AccessError | EACCES | the store refuses |
| StoreUnreachableError | EIO | no answer within the deadline, after retries |
| IntegrityError | EIO | the bytes are not what the version promises |
| NotFoundError, ConflictError | EIO | an object that the version refers to is gone or was changed |
| MemoryError | ENOMEM | |
| Refused | its own | the overlay's answers. Not logged |
| OSError | its own, when a program can act on it; else EIO | the disk of the overlay |
| anything else | EIO | a fault in Penstock, logged with its traceback |

A NotFoundError is not ENOENT: names that are not there are a Refusal, and what reaches this table is a file that
`ls` shows and whose bytes are missing.
"""

from __future__ import annotations

import errno
import logging
import os

from penstock.errors import AccessError, PenstockError
from penstock.overlay.tree.refusal import Refused

__all__ = ["Refusal", "errno_of"]

_log = logging.getLogger(__name__)

_OF_THE_DISK = {
    number: number
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.ENOMEM, errno.ENFILE, errno.ETIMEDOUT)
} | {errno.EMFILE: errno.ENFILE}
"""What a program can act on of what the overlay's disk says; the limit of open files is not the program's."""


class Refusal(Exception):  # noqa: N818  # an answer to a system call, not a failure
    """The file system's answer to a request that cannot be met, as an errno."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.errno = number

    def __str__(self) -> str:
        return os.strerror(self.errno)


def errno_of(error: Exception, operation: str) -> int:
    """Return the errno for what went wrong during `operation`, and log what is worth knowing."""
    if isinstance(error, Refusal):
        return error.errno
    if isinstance(error, Refused):
        return error.errno or errno.EIO
    if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
        if error.errno != errno.EFBIG:  # which is the program's mistake, and says nothing of the disk
            _log.error("%s failed: %s", operation, error)
        return _OF_THE_DISK[error.errno]
    if isinstance(error, PenstockError):
        _log.error("%s failed: %s", operation, error)
        return errno.EACCES if isinstance(error, AccessError) else errno.EIO
    if isinstance(error, OSError):
        _log.error("%s failed: %s", operation, error)
        return errno.EIO
    _log.error("%s failed through a fault in Penstock", operation, exc_info=error)
    return errno.ENOMEM if isinstance(error, MemoryError) else errno.EIO
