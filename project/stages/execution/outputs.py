"""What runs need of where outputs are kept: the local bucket of a project, or anything that does the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from penstock.project.stages.definition.lock_file import MadeOutput

__all__ = ["MadeFile", "OutputStore"]


class MadeFile(NamedTuple):
    """A file of an output: its path in it, the hash of its content, whether it may be run."""

    path: str
    hash: bytes
    is_executable: bool


class OutputStore(Protocol):
    """Outputs by path, from the project's root. One thread."""

    def look(self, path: str, expected: MadeOutput | None = None) -> MadeOutput | None:
        """Return what lies at a path, None where nothing does; only what changed since the last look is read."""
        ...

    def keep(self, path: str) -> MadeOutput:
        """Have what lies at a path in the local bucket, and return it. The path is left as it is."""
        ...

    def has_version(self, top: str) -> bool:
        """Whether a version can be had: as `has`."""
        ...

    def has(self, output: MadeOutput) -> bool:
        """Whether all of an output can be had: it is in the local bucket, or in a remote that may be used."""
        ...

    def place(self, path: str, output: MadeOutput) -> None:
        """Put an output at a path where nothing is: whole, or not at all."""
        ...

    def files(self, path: str) -> Iterator[MadeFile]:
        """Yield the files of what lies at a path, as of the last `look` or `keep`, in tree order."""
        ...

    def file_hash(self, top: str, path: str) -> bytes | None:
        """Return the hash of a file of a version; None: there is no such file, or no such version any more."""
        ...

    def extract(self, top: str, paths: frozenset[str], directory: str) -> None:
        """Write some files of a version into an empty directory. NotFoundError: there is no such version any more."""
        ...
