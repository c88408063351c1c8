"""The database of one dataset that goes along with each version: attached to its commit as ``DATABASE``.

So it is in every mount of the version. Its bytes depend on how it came about, so nothing is hashed by them. It is made
of that of the version before, by what differs.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from penstock.errors import AccessError, IntegrityError, NotFoundError
from penstock.project.records.fetched_file import fetch_file
from penstock.project.records.file_store import FileStore, StoredFile
from penstock.project.records.versions import Version

from .changed_pages import assemble, is_here, take_changes
from .sqlite_database import DATABASE, is_alike, update_database

if TYPE_CHECKING:
    from penstock.project.records.published_version import Attach  # what writes versions: a checkout needs none of it

__all__ = ["attached_database", "database_maker"]

_NAME = DATABASE.encode()


def database_maker(files: FileStore) -> Attach:
    """Return what attaches a database to each version that is made."""

    def attach(before: Version | None, now: Version) -> Iterable[tuple[bytes, StoredFile]]:
        place = os.path.join(files.folder, f"database-{os.getpid()}")
        try:
            with ExitStack() as stack:
                old = None
                if before is not None and is_alike(before, now):
                    old = stack.enter_context(attached_database(before, files))
                if old is not None:
                    shutil.copyfile(old, place)
                versions = {now.dataset: before} if before is not None and old is not None else {}
                update_database(place, versions, {now.dataset: now}, anew=old is None)
                return [(_NAME, _taken(files, before, old, place))]
        except OSError as error:
            raise AccessError(
                f"{files.folder} cannot be written", why=error.strerror or str(error), fix="Make room."
            ) from error
        finally:
            for each in (place, f"{place}-journal"):
                with suppress(FileNotFoundError):
                    os.unlink(each)

    return attach


def _taken(files: FileStore, before: Version | None, old: str | None, place: str) -> StoredFile:
    """Take a database into the bucket: what changed of the one before, or all of it."""
    entry = before.attached(_NAME) if before is not None and old is not None else None
    if entry is not None and old is not None and is_here(files, entry.extents):
        changed = take_changes(files, old, entry.extents, place)
        if changed is not None:
            return changed
    return files.take(place, "sqlite", move=True)


@contextmanager
def attached_database(version: Version, files: FileStore, *, fetched: bool = True) -> Iterator[str | None]:
    """Have the database of a version on this machine, while the block lasts: its path.

    None: it has none, or it is not here and was not to be `fetched`.
    """
    place = os.path.join(files.folder, f"attached-{os.getpid()}")
    try:
        yield _place_of(version, files, place, fetched=fetched)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(place)


def _place_of(version: Version, files: FileStore, place: str, *, fetched: bool) -> str | None:
    """Return where it lies, or was put together: `place`."""
    entry = version.attached(_NAME)
    if entry is None or not entry.extents:
        return None
    if is_here(files, entry.extents):
        only = entry.extents[0]
        if len(entry.extents) == 1 and isinstance(only.object, bytes) and only.offset == 0:
            path = files.path_of(only.object)
            if os.stat(path).st_size == entry.size:
                return path
        assemble(files, entry.extents, place)
        return place
    if not fetched:
        return None
    try:
        fetch_file(version.session, entry, place)
    except (NotFoundError, IntegrityError):  # it is made of records, and can be made anew
        return None
    return place
