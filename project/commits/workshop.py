"""Where the versions of a repository are made and kept: its local bucket, opened, and what lies beside it.

    .penstock/bucket/        the local bucket: versions, and each file of them as an object (`file_store`)
    .penstock/declared/      what is remembered of work that was done, and files that are being written

Below the local bucket lie the remotes that declarations name: what was pushed and never came here is read from there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress

from penstock.cache.locking import LockedFile
from penstock.errors import PenstockError
from penstock.project.local_bucket import bucket_directory, bucket_lock, local_address
from penstock.project.project import Project
from penstock.project.records.file_store import FileStore
from penstock.project.records.kept_work import KeptWork
from penstock.repo.bucket.layered_store import open_layers
from penstock.repo.session.bucket_session import BucketSession
from penstock.repo.settings.bucket_setup import BucketSetup
from penstock.repo.settings.settings import Settings
from penstock.store.local import LocalStore
from penstock.store.options import StoreOptions

__all__ = ["open_bucket", "open_kept_work", "work_folder"]

_KEPT = "kept.sqlite"


def work_folder(project: Project) -> str:
    """Return the folder of what is remembered, made if it is not there."""
    folder = os.path.join(project.shared, "declared")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    return folder


@contextmanager
def open_bucket(project: Project, settings: Settings, remotes: Iterable[str]) -> Iterator[BucketSession]:
    """Open the local bucket on top of remotes, which are asked only for what is not here."""

    def beneath() -> Iterator[tuple[str, StoreOptions]]:
        for name in dict.fromkeys(remotes):  # looked at when something is missing: by then more are known
            with suppress(PenstockError):
                yield settings.locate_bucket(name)

    directory = bucket_directory(project)
    os.makedirs(directory, exist_ok=True)
    _clear_leftovers(project)
    address = local_address(project)
    store = open_layers(LocalStore(directory), beneath)
    setup = BucketSetup(address, address, StoreOptions(), settings)
    with bucket_lock(project), BucketSession(setup, cached=False, store=store) as session:
        yield session


def _clear_leftovers(project: Project) -> None:
    """Remove what processes that were killed have left beside what is remembered, when nobody is at work here."""
    with os.scandir(work_folder(project)) as found:
        left = [each.path for each in found if not each.name.startswith(_KEPT)]
    if not left:
        return
    try:
        lock = LockedFile(os.path.join(project.shared, "bucket.lock"), exclusive=True, wait_seconds=0)
    except OSError:  # others are at work, and some of it is theirs
        return
    with closing(lock):
        for path in left:
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path, ignore_errors=True)
            else:
                with suppress(FileNotFoundError):
                    os.unlink(path)


@contextmanager
def open_kept_work(project: Project) -> Iterator[tuple[FileStore, KeptWork]]:
    """Open the files of the local bucket, and what is remembered of work."""
    folder = work_folder(project)
    files = FileStore(bucket_directory(project), folder)
    with closing(KeptWork(os.path.join(folder, _KEPT), files)) as kept:
        yield files, kept
