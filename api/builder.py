"""A version in the making: what is to be in it is gathered, and becomes a version when it is pushed."""

from __future__ import annotations

import os
from typing import Self

from penstock.errors import UsageError
from penstock.progress import SILENT, Progress

from .dataset import Dataset
from .handles import DEFAULT_BRANCH, Handle, as_handle, dataset_alone, whole_version
from .push import DirectoryHash, PushReport, hash_directory
from .settings import Settings

__all__ = ["PackageBuilder"]


class PackageBuilder:
    """What a version is to hold: one directory of this machine. It has no name until it is pushed.

    >>> import penstock
    >>> builder = penstock.PackageBuilder().add("photos")
    >>> report = builder.push("demo/copies", tag="v1", message="from photos")
    >>> report.files, report.top_hash == builder.hash().top_hash
    (3, True)
    """

    __slots__ = ("_directory",)

    def __init__(self) -> None:
        self._directory: str | None = None

    def add(self, directory: str | os.PathLike[str]) -> Self:
        """Take all that is in a directory, as it is when the version is pushed. UsageError: there is one already."""
        if self._directory is not None:
            raise UsageError(
                f"{os.fspath(directory)} cannot be added",
                why=f"the version is to hold {self._directory} already",
                fix="Put what belongs together into one directory, or make two builders.",
            )
        self._directory = os.fspath(directory)
        return self

    def hash(self, *, progress: Progress = SILENT) -> DirectoryHash:
        """Return the top hash that the version would have now. Errors as `penstock.hash_directory`."""
        return hash_directory(self._source, progress=progress)

    def push(
        self,
        name: str | Handle,
        *,
        tag: str | None = None,
        message: str = "",
        author: str | None = None,
        settings: Settings | None = None,
        progress: Progress = SILENT,
    ) -> PushReport:
        """Make it the next version of ``bucket/dataset[:branch]``.

        Errors as `Dataset.push`; UsageError: nothing was added.
        """
        handle = whole_version(as_handle(name))
        return Dataset(dataset_alone(handle), settings).push(
            self._source,
            branch=handle.ref or DEFAULT_BRANCH,
            tag=tag,
            message=message,
            author=author,
            progress=progress,
        )

    @property
    def _source(self) -> str:
        if self._directory is None:
            raise UsageError("there is nothing in the version yet", fix="Add a directory: builder.add(DIRECTORY)")
        return self._directory

    def __repr__(self) -> str:
        return f"PackageBuilder().add({self._directory!r})" if self._directory is not None else "PackageBuilder()"
