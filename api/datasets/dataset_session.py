"""A dataset by its name, its bucket opened when a method first needs it, and leave to write. The base of `Dataset`.

Any thread; what is open is open once in each process.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Self

from penstock.api.handles import DEFAULT_BRANCH, Handle, as_handle, whole_version
from penstock.api.per_process import PerProcess
from penstock.api.settings import Settings
from penstock.errors import UsageError
from penstock.repo.bucket.leases import LeaseKind
from penstock.repo.refs.repository import Repository, dataset_of
from penstock.repo.session.bucket_session import open_session
from penstock.repo.write.authorship import default_author
from penstock.repo.write.publish import Authorship
from penstock.repo.write.version_writer import VersionWriter

__all__ = ["DatasetSession", "authorship"]


class DatasetSession:
    """What all methods of a `Dataset` stand on."""

    __slots__ = ("_name", "_session", "handle", "settings")

    def __init__(self, name: str | Handle, settings: Settings | None = None) -> None:
        handle = whole_version(as_handle(name))
        if handle.ref is not None:
            raise UsageError(
                f"{str(handle)!r} names a version",
                why="a dataset is named without one",
                fix=f"Write {replace(handle, ref=None)}, and give {handle.ref!r} to the method that is about it.",
            )
        self.handle = handle
        self.settings = settings or Settings.load()
        self._name = dataset_of(handle)
        self._session = PerProcess(partial(open_session, handle.bucket, self.settings))

    @property
    def name(self) -> str:
        """The dataset's name, as ``bucket/dataset``."""
        return str(self.handle)

    def close(self) -> None:
        """Close what is open. The next method opens it again."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _repository(self) -> Repository:
        return self._session.get().repository(self._name)

    @contextmanager
    def _writing(
        self, who: Authorship, branch: str = DEFAULT_BRANCH, *, tag: str | None = None, dry_run: bool = False
    ) -> Iterator[VersionWriter]:
        """Give leave to move refs: what is found within the block is not deleted by `Bucket.gc`."""
        session, repository = self._session.get(), self._repository
        with VersionWriter(
            session, repository, LeaseKind.HISTORY, who, branch=branch, tag=tag, dry_run=dry_run
        ) as writer:
            if not dry_run:
                writer.hold()
            yield writer


def authorship(author: str | None, message: str, operation: str) -> Authorship:
    """Return who writes, by default as git has it, and what is written of it."""
    return Authorship(author or default_author(), message, operation)
