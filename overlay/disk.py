"""What the disk of an overlay refused, as an error for people."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from penstock.errors import AccessError, NotFoundError, PenstockError

__all__ = ["FULL", "directory_gone", "disk_error", "disk_told"]

FULL = frozenset((errno.ENOSPC, errno.EDQUOT))


def directory_gone(directory: str) -> NotFoundError | None:
    """Return what to raise when the directory of an overlay that is in use is not there; None: it is."""
    if os.path.isdir(os.path.join(directory, "index")):
        return None
    return NotFoundError(
        f"the overlay directory {directory} is gone",
        why="it was removed, or its disk was unmounted, while it was in use",
        fix="What was changed and not committed went with it. Save what can still be read in the mount, then unmount.",
    )


def disk_error(error: OSError, directory: str) -> PenstockError:
    """Return what to raise for what the disk of the overlay in `directory` refused."""
    gone = directory_gone(directory)
    if gone is not None:
        return gone
    if error.errno in FULL:
        return PenstockError(
            f"the disk of the overlay {directory} is full",
            why=error.strerror or str(error),
            fix="Nothing was lost. Remove something: files in the mount, or others on that disk; then try again.",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return AccessError(
            f"the overlay in {directory} cannot be used", why=str(error), fix="Make it writable for its owner."
        )
    return PenstockError(
        f"the disk of the overlay {directory} fails", why=str(error), fix="Look at the kernel's log (dmesg)."
    )


@contextmanager
def disk_told(directory: str) -> Iterator[None]:
    """Raise what the disk refuses as an error for people: anything else of ours raises none of its own."""
    try:
        yield
    except OSError as error:
        raise disk_error(error, directory) from error
