"""The database of one dataset that goes along with each version: attached to its commit as ``DATABASE``.

So it is in every mount of the version. Its bytes depend on how it came about, so nothing is hashed by them. It is made
of that of the version before, by what differs.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from contextlib import suppress

from penstock.errors import AccessError, NotFoundError
from penstock.project.records.fetched_file import bring_file
from penstock.project.records.file_store import FileStore, StoredFile
from penstock.project.records.published_version import Attach
from penstock.project.records.versions import Version

from .sqlite_database import DATABASE, is_alike, update_database

__all__ = ["attached_database", "database_maker"]

_NAME = DATABASE.encode()


def database_maker(files: FileStore) -> Attach:
    """Return what attaches a database to each version that is made."""

    def attach(before: Version | None, now: Version) -> Iterable[tuple[bytes, StoredFile]]:
        place = os.path.join(files.folder, f"database-{os.getpid()}")
        try:
            old = attached_database(before, files) if before is not None and is_alike(before, now) else None
            if old is not None:
                shutil.copyfile(old, place)
            versions = {now.dataset: before} if before is not None and old is not None else {}
            update_database(place, versions, {now.dataset: now}, anew=old is None)
            return [(_NAME, files.take(place, "sqlite", move=True))]
        except OSError as error:
            raise AccessError(
                f"{files.folder} cannot be written", why=error.strerror or str(error), fix="Make room."
            ) from error
        finally:
            for each in (place, f"{place}-journal"):
                with suppress(FileNotFoundError):
                    os.unlink(each)

    return attach


def attached_database(version: Version, files: FileStore, *, fetched: bool = True) -> str | None:
    """Return where the database of a version lies on this machine; None: it has none, or it was not to be `fetched`."""
    entry = version.attached(_NAME)
    if entry is None or not entry.extents:
        return None
    found = entry.extents[0].object
    if isinstance(found, bytes):
        path = files.path_of(found)
        with suppress(OSError):
            if os.stat(path).st_size == entry.size:
                return path
    if not fetched:
        return None
    try:
        return files.path_of(bring_file(version.session, files, entry).object)
    except NotFoundError:
        return None
