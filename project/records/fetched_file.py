"""Files of versions that lie in a remote, brought here one by one when they are needed.

Each becomes an object of the local bucket by itself, as those that were made here are. Its bytes are checked.
"""

from __future__ import annotations

import os
from contextlib import suppress

from penstock.errors import AccessError, IntegrityError
from penstock.manifest.entry import TreeEntry, block_count
from penstock.repo.session.bucket_session import BucketSession

from .file_store import FileStore, StoredFile

__all__ = ["bring_file", "fetch_file"]

_AT_ONCE = 8


def bring_file(session: BucketSession, files: FileStore, entry: TreeEntry) -> StoredFile:
    """Return a file of a version as one of the local bucket; `session` reads the bucket on top of its remotes.

    NotFoundError, StoreUnreachableError: it cannot be had. IntegrityError: its bytes are others than the version says.
    """
    place = os.path.join(files.folder, f"brought-{os.getpid()}-{entry.hash.hex()[:16]}")
    try:
        fetch_file(session, entry, place)
        taken = files.take(place, "", move=True)
    except OSError as error:
        raise AccessError(
            f"{files.folder} cannot be written", why=error.strerror or str(error), fix="Make room."
        ) from error
    finally:
        with suppress(FileNotFoundError):
            os.unlink(place)
    if taken.value.hash != entry.hash.hex():
        raise IntegrityError(f"{entry.name!r} is not what its version says", fix="penstock verify tells more.")
    return taken


def fetch_file(session: BucketSession, entry: TreeEntry, place: str) -> None:
    """Write a file of a version to `place`, its blocks checked. Errors as of `bring_file`; OSError: no room."""
    with open(place, "wb") as stream:
        for first in range(0, block_count(entry.size), _AT_ONCE):
            count = min(_AT_ONCE, block_count(entry.size) - first)
            stream.writelines(session.blocks.fetch(entry, first, count))
