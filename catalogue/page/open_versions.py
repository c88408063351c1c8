"""Versions that pages are shown of, kept open: the next picture of a grid waits for no look-up.

A branch is looked up each time it is asked for, by the session that its bucket has open; the version that it leads to
is opened once. Any thread.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import replace

from penstock.api.handles import Handle
from penstock.api.packages.package import Package, pinned_package
from penstock.catalogue.datasets.bucket_catalogue import BucketCatalogue
from penstock.repo.read.remembered_versions import Pin

__all__ = ["OpenVersions"]

_MOST = 24
_HASH_DIGITS = 64


class OpenVersions:
    """The versions used last. One that is dropped is closed when nobody reads it any more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: OrderedDict[Handle, Package] = OrderedDict()

    def find(self, catalogue: BucketCatalogue, dataset: str, ref: str | None) -> Package:
        """Return a version, looked up. NotFoundError: there is none. UsageError: no ref can be called so."""
        wanted = Handle(catalogue.bucket, dataset, ref or None)
        found = self._known(wanted) if ref is not None and len(ref) == _HASH_DIGITS else None
        if found is not None:
            return found
        version = catalogue.version(dataset, wanted.ref)
        exact = replace(wanted, ref=(version.commit or version.top_hash).hex())
        found = self._known(exact)
        if found is not None:
            return found
        manifest = catalogue.session.repository(dataset).manifest(version.top_hash)
        pin = Pin.whole(version, manifest, None)
        package = pinned_package(exact, catalogue.settings, pin)
        with self._lock:
            package = self._open.setdefault(exact, package)
            while len(self._open) > _MOST:
                self._open.popitem(last=False)
        return package

    def _known(self, exact: Handle) -> Package | None:
        with self._lock:
            found = self._open.get(exact)
            if found is not None:
                self._open.move_to_end(exact)
            return found

    def close(self) -> None:
        """Close all of them."""
        with self._lock:
            for package in self._open.values():
                package.close()
            self._open.clear()
