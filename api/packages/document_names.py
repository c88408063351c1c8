"""The names that the document about packages has for what a `Package` does: each one is another method's."""

from __future__ import annotations

import os

from .entry import Entry
from .local_copies import DirectoryCheck, DownloadReport, LocalCopies

__all__ = ["DocumentNames"]


class DocumentNames(LocalCopies):
    """Further names of methods."""

    __slots__ = ()

    def get(self, key: str) -> bytes:
        """Return the bytes of a file: `read`."""
        return self.read(key)

    def get_contents(self, key: str) -> bytes:
        """Return the bytes of a file: `read`."""
        return self.read(key)

    def get_entry(self, key: str) -> Entry:
        """Return an entry: `entry`, or the package at that key."""
        return self.entry(key)

    def copy(self, to: str | os.PathLike[str]) -> DownloadReport:
        """Write the version's files into a directory: `download`."""
        return self.download(to)

    def verify_directory_matches_manifest(self, directory: str | os.PathLike[str]) -> DirectoryCheck:
        """Hold a directory against the version: `verify_directory`."""
        return self.verify_directory(directory)

    def force_directory_to_match_manifest(self, directory: str | os.PathLike[str]) -> DownloadReport:
        """Have a directory hold what the version holds and nothing else: `sync` with `delete`."""
        return self.sync(directory, delete=True)
