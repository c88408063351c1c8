"""The stores that entries point into when their bytes were left where they lay."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

from penstock.store.base import Store
from penstock.store.opening import open_store
from penstock.store.options import StoreOptions

from .settings import Settings

__all__ = ["Externals", "options_by_address"]


def options_by_address(settings: Settings) -> dict[str, StoreOptions]:
    """Return the options of each remote by the address that it stands for."""
    return {remote.url.rstrip("/"): remote.store_options() for remote in settings.remotes.values()}


class Externals:
    """Opens them when they are needed, and keeps them open. Thread-safe.

    An S3 bucket that is a remote's address is opened as that remote; any other one as the dataset's own bucket is.
    """

    def __init__(self, remotes: Mapping[str, StoreOptions], options: StoreOptions) -> None:
        self._remotes = remotes
        self._options = options
        self._stores: dict[str, Store] = {}
        self._lock = threading.Lock()

    def __call__(self, uri: str) -> tuple[Store, str]:
        """Return the store that holds the object, and its key there."""
        parts = urlsplit(uri)
        if parts.scheme == "file":
            directory, _, key = unquote(parts.path).rpartition("/")
            root = f"file://{directory or '/'}"
        else:
            root, key = f"s3://{parts.netloc}", unquote(parts.path.lstrip("/"))
        with self._lock:
            store = self._stores.get(root)
            if store is None:
                store = self._stores[root] = self.open(root)
        return store, key

    def open(self, url: str) -> Store:
        """Open a store as the remote of that address is, else as the dataset's own; it is the caller's to close."""
        return open_store(url, self._remotes.get(url, self._options))

    def close(self) -> None:
        """Close what was opened."""
        with self._lock:
            for store in self._stores.values():
                store.close()
            self._stores.clear()
