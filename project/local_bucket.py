"""The one local bucket of a repository: what was added and not yet pushed, shared by its work trees.

A bucket like any other, in ``.penstock/bucket`` of the main work tree (`Project.shared`). Nothing is evicted from it.
Versions in it are found by their top hashes; no ref leads to them, for git's pointers do. Who adds holds its lock,
shared; who clears it holds it alone.

`open_local` opens it alone, and asks no network of anybody. `open_layered` opens it on top of the project's remotes:
what was pushed, and cleared here, or never came here, is read from there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from urllib.parse import quote_from_bytes

from penstock.cache.locking import LockedFile
from penstock.errors import AccessError, ConflictError
from penstock.project.project import Project
from penstock.project.project_trust import project_settings
from penstock.repo.bucket.layered_store import LayeredStore
from penstock.repo.session.bucket_session import BucketSession
from penstock.repo.settings.bucket_setup import BucketSetup
from penstock.repo.settings.remote import Remote
from penstock.repo.settings.settings import Settings
from penstock.store.base import Store
from penstock.store.local import LocalStore
from penstock.store.opening import open_store
from penstock.store.options import StoreOptions

__all__ = ["bucket_directory", "bucket_lock", "local_address", "open_layered", "open_local", "remote_names"]

_PATIENCE = 10.0


def bucket_directory(project: Project) -> str:
    """Return the directory of the local bucket."""
    return os.path.join(project.shared, "bucket")


def local_address(project: Project) -> str:
    """Return the address of the local bucket, as handles take it: ``file:///…``."""
    return "file://" + quote_from_bytes(os.fsencode(bucket_directory(project)))


@contextmanager
def bucket_lock(project: Project, *, alone: bool = False) -> Iterator[None]:
    """Hold the local bucket: with others who add to it, or alone. ConflictError: others have it for too long."""
    path = os.path.join(project.shared, "bucket.lock")
    try:
        lock = LockedFile(path, exclusive=alone, wait_seconds=_PATIENCE)
    except BlockingIOError as error:
        raise ConflictError(
            "another command is at work in this repository", why=f"it holds {path}", fix="Try again when it is done."
        ) from error
    except OSError as error:
        raise AccessError(f"{path} cannot be used", why=error.strerror or str(error)) from error
    with closing(lock):
        yield


def open_local(project: Project, settings: Settings) -> BucketSession:
    """Open the local bucket alone. Its blocks do not go into the block cache: they are on this disk already."""
    address = local_address(project)
    return BucketSession(BucketSetup(address, address, StoreOptions(), settings), cached=False)


def remote_names(project: Project, settings: Settings, remote: str | None = None) -> list[str]:
    """Return which of `settings`' remotes may have what is not here: the one that is named, or the project's own."""
    names = [remote] if remote is not None else [project.file.remote, *project.file.remotes]
    return list(dict.fromkeys(name for name in names if name is not None and name in settings.remotes))


def open_layered(
    project: Project,
    settings: Settings,
    *,
    remote: str | None = None,
    cached: bool = False,
    more: Callable[[], Iterable[Remote]] = tuple,
) -> BucketSession:
    """Open the local bucket on top of the project's remotes, as far as they may be used. See `remote_names`.

    `more` gives remotes that are asked after these, when all of them are needed.
    """
    usable = project_settings(project, settings)

    def lower() -> Iterator[Store]:
        for name in remote_names(project, usable, remote):
            yield open_store(*usable.locate_bucket(name))
        for each in more():
            yield open_store(each.url, each.store_options())

    address = local_address(project)
    store = LayeredStore(LocalStore(bucket_directory(project)), lower)
    setup = BucketSetup(address, address, StoreOptions(), usable)
    return BucketSession(setup, cached=cached, store=store)
