"""Several files fetched into one directory, at the same time, each whole or not there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from contextlib import closing, contextmanager

from penstock.errors import PenstockError
from penstock.progress import Stage
from penstock.repo.local_copy.local_directory import LocalDirectory, local_error

from .file_address import FileAddress
from .file_sources import FetchedFile, FileSources
from .file_transfer import FileTransfer, log_transfer

__all__ = ["fetch_into", "fetch_private", "prefixed"]


def fetch_private(
    sources: FileSources,
    files: Mapping[str, FileAddress],
    directory: str,
    stage: Stage,
    pool: Executor | None = None,
    parts: Executor | None = None,
    row: int | None = None,
) -> dict[str, FetchedFile]:
    """Fetch files into a new directory that nobody else can write to. Errors name the file.

    `pool` is for files that are fetched at the same time, `parts` for parts of a large one.
    """

    def fetch(name: str) -> FetchedFile:
        path = os.path.join(directory, name)
        with prefixed(name), _on_disk(path):
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                found = sources.fetch(files[name], descriptor, parts, stage.advance)
            finally:
                os.close(descriptor)
        log_transfer(FileTransfer("download", name, str(files[name]), path, found.size, row))
        return found

    many = pool if pool is not None and len(files) > 1 else None
    return dict(zip(files, many.map(fetch, files) if many is not None else map(fetch, files), strict=True))


def fetch_into(
    sources: FileSources,
    files: Mapping[str, FileAddress],
    directory: LocalDirectory,
    stage: Stage,
    pool: Executor,
    parts: Executor,
) -> None:
    """Fetch files into a directory of the user's, through no link in it, in place of files of these names.

    A name appears when its file is whole and on disk, and none does when one of them cannot be fetched.
    """
    with closing(directory.staging()) as staging:
        temporary = {name: staging.unused_name() for name in files}

        def fetch(name: str) -> int | None:
            with prefixed(name), _on_disk(directory.told(_parts(name))):
                flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                descriptor = os.open(temporary[name], flags, 0o666, dir_fd=staging.folder)
                try:
                    return sources.fetch(files[name], descriptor, parts, stage.advance).size
                finally:
                    os.close(descriptor)

        try:
            sizes = dict(zip(files, pool.map(fetch, files), strict=True))
            with _on_disk(directory.path):
                staging.sync(list(temporary.values()))
            for name in files:
                directory.put(_parts(name), staging, temporary[name])
                path = directory.told(_parts(name))
                log_transfer(FileTransfer("download", name, str(files[name]), path, sizes[name]))
        finally:
            staging.clear(keep_partial=False)
            staging.leave()


def _parts(name: str) -> tuple[bytes, ...]:
    return tuple(os.fsencode(part) for part in name.split("/"))


@contextmanager
def _on_disk(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise local_error(error, f"cannot write {path!r}") from error


@contextmanager
def prefixed(about: str) -> Iterator[None]:
    """Have errors of the block begin with what they are about."""
    try:
        yield
    except PenstockError as error:
        if not error.what.startswith(f"{about}: "):
            error.what = f"{about}: {error.what}"
            error.args = (error.what, error.why, error.fix)
        raise
