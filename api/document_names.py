"""The names that the document about packages has for what a `Package` does: each one is another method's."""

from __future__ import annotations

from .entry import Entry
from .package_entries import PackageEntries

__all__ = ["DocumentNames"]


class DocumentNames(PackageEntries):
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
