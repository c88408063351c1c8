"""Versions that pages are shown of, kept open: the next picture of a grid waits for no look-up.

A branch is looked up each time it is asked for; the version that it leads to is opened once. Any thread.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import replace

from penstock.api.handles import Handle
from penstock.api.packages.package import Package
from penstock.api.settings import Settings

__all__ = ["OpenVersions"]

_MOST = 24
_HASH_DIGITS = 64


class OpenVersions:
    """The versions used last. One that is dropped is closed when nobody reads it any more."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._open: OrderedDict[str, Package] = OrderedDict()

    def find(self, bucket: str, dataset: str, ref: str | None) -> Package:
        """Return a version, looked up. NotFoundError: there is none. UsageError: no ref can be called so."""
        handle = Handle(bucket, dataset, ref or None)
        if ref is not None and len(ref) == _HASH_DIGITS:
            package = self._known(str(handle))
            if package is not None:
                return package
        package = Package(handle, self._settings)
        exact = replace(handle, ref=package.commit or package.top_hash)
        with self._lock:
            package = self._open.setdefault(str(exact), package)
            self._open.move_to_end(str(exact))
            while len(self._open) > _MOST:
                self._open.popitem(last=False)
        return package

    def _known(self, name: str) -> Package | None:
        with self._lock:
            found = self._open.get(name)
            if found is not None:
                self._open.move_to_end(name)
            return found

    def close(self) -> None:
        """Close all of them."""
        with self._lock:
            for package in self._open.values():
                package.close()
            self._open.clear()
