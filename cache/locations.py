"""`LocationIndex`: which object of a bucket holds a content, so that a push can skip what is already there.

Every answer is a hint: it may be missing, and what it names may be gone from the bucket. Values are opaque and carry
a checksum; namespaces (a bucket's url) are hashed to 16 bytes. Nothing here raises because of the disk: an index
that does not work knows nothing. It lives in the directory of the block cache, within that cache's bound.
"""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import threading
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import islice
from operator import itemgetter
from pathlib import Path
from weakref import WeakSet
from zlib import crc32

from blake3 import blake3

from penstock.errors import AccessError, UsageError

from .cache_directory import CacheDirectory, prepare_directory
from .disposal import remove_environment
from .environment import PAGE_BYTES, Environment, IndexDamagedError, open_environment
from .health import Health
from .index_state import IndexState, boot_id
from .layout import DEFAULT_BOUND, SMALLEST_BOUND, location_share
from .locking import LockedFile

__all__ = ["LocationIndex"]

_ONLY = 0
_NAMESPACE_BYTES = 16
_CHECK_BYTES = 4
_BATCH = 32
_LARGE_BATCH = 512
"""Entries that one transaction puts: where there is plenty of room, so many that beginning it costs little."""
_SLACK_PAGES = 256
_THINNED = 32
"""One entry in so many goes when the index is full."""


class LocationIndex:
    """A map (namespace, content hash) -> value. Thread-safe; shared by processes; usable in a forked child."""

    def __init__(
        self,
        directory: Path,
        max_bytes: int = DEFAULT_BOUND,
        *,
        boot: str | None = None,
        retry_seconds: float = 60.0,
    ) -> None:
        """Open the index in the cache `directory`, whose bound is `max_bytes` (an eightieth of it is used here).

        A directory that is not the user's own raises nothing either: nothing is known there, as for `BlockCache`.
        """
        root = os.path.abspath(directory)
        self._files = CacheDirectory(os.path.join(root, "locations"))
        self._state = IndexState(self._files.state, self._files.index, boot or boot_id(), root)
        self._pages = location_share(max_bytes) // PAGE_BYTES
        self._health = Health(root, retry_seconds)
        self._lock = threading.Lock()
        self._environment: Environment | None = None
        self._users: LockedFile | None = None
        _indexes.add(self)
        self._root = root
        if max_bytes < SMALLEST_BOUND:
            self._health.rest("the bound is too small", math.inf)

    def get(self, namespace: bytes, content: bytes) -> bytes | None:
        """Return the value of `content`, or None."""
        key = _prefix(namespace) + content
        with self._lock:
            environment = self._open()
            if environment is None:
                return None
            try:
                found = environment.get(_ONLY, key)
            except (OSError, IndexDamagedError) as error:
                self._give_up(error)
                return None
        return _opened(key, found)

    def get_many(self, namespace: bytes, contents: Sequence[bytes]) -> list[bytes | None]:
        """Return the values of `contents`, in their order."""
        prefix = _prefix(namespace)
        keys = [prefix + content for content in contents]
        with self._lock:
            environment = self._open()
            if environment is None:
                return [None] * len(keys)
            try:
                with environment.transaction() as transaction:
                    found = transaction.get_many(_ONLY, keys)
            except (OSError, IndexDamagedError) as error:
                self._give_up(error)
                return [None] * len(keys)
        return [_opened(key, value) for key, value in zip(keys, found, strict=True)]

    def put_many(self, namespace: bytes, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Set the value of each content; a full index forgets some others."""
        prefix = _prefix(namespace)
        pending = iter(items)
        while batch := list(islice(pending, _LARGE_BATCH)):
            rows = [(key, _sealed(key, value)) for content, value in batch for key in [prefix + content]]
            rows.sort(key=itemgetter(0))  # neighbours share pages
            while rows:
                with self._lock:
                    environment = self._open()
                    if environment is None:
                        return
                    try:
                        # Each entry may copy a page and split it, and others put as well.
                        roomy = self._make_room(environment, prefix) > 4 * _LARGE_BATCH
                        now = len(rows) if roomy else _BATCH
                        with environment.transaction(write=True) as transaction:
                            transaction.put_many(_ONLY, rows[:now])
                    except (OSError, IndexDamagedError) as error:
                        self._give_up(error)
                        return
                rows = rows[now:]

    def clear(self, namespace: bytes) -> None:
        """Forget everything about a namespace."""
        prefix = _prefix(namespace)
        with self._lock:
            environment = self._open()
            try:
                while environment is not None and _delete_from(environment, prefix, _BATCH, prefix):
                    pass
            except (OSError, IndexDamagedError) as error:
                self._give_up(error)

    def close(self) -> None:
        """Let go; the last user leaves the index fit to be trusted after a reboot."""
        with self._lock:
            environment, users = self._environment, self._users
            if environment is None or users is None:
                return
            # An index that could not be left clean is forgotten at the next boot.
            with contextlib.suppress(OSError, IndexDamagedError), self._files.layout():
                if users.upgrade():
                    environment.sync()
                    self._state.end()
            self._let_go()

    def start_over_in_child(self) -> None:
        """Forget what the parent opened, and the lock that one of its threads may have held."""
        self._lock = threading.Lock()
        self._environment = self._users = None

    def _open(self) -> Environment | None:
        """Return the environment, opened by this process; None while the disk refuses."""
        if self._environment is not None:
            return self._environment
        if not self._health.usable():
            return None
        try:
            prepare_directory(self._root)
            prepare_directory(self._files.root)
            with self._files.layout():
                self._users = LockedFile(self._files.users, exclusive=False)
                sole = self._users.upgrade()
                if sole:
                    self._files.succeed()
                self._users.downgrade()
                self._environment = self._opened_or_new(sole=sole)
                self._state.begin()
        except (AccessError, UsageError) as error:
            self._give_up(OSError(str(error)))
            return None
        except (OSError, IndexDamagedError) as error:
            self._give_up(error)
            return None
        self._health.recover()
        return self._environment

    def _opened_or_new(self, *, sole: bool) -> Environment:
        if self._state.trusted(sole=sole, rebuildable=False):
            try:
                return open_environment(self._files.index, (b"locations",))
            except IndexDamagedError:
                pass
        self._state.forget()
        remove_environment(self._files.index)
        os.mkdir(self._files.index, 0o700)
        return open_environment(self._files.index, (b"locations",))

    def _give_up(self, error: OSError | IndexDamagedError) -> None:
        """Know nothing for a while. A damaged index is thrown away: there is nothing to make it from."""
        self._let_go()
        if isinstance(error, IndexDamagedError):
            with contextlib.suppress(OSError):  # the next one to open it is told
                remove_environment(self._files.index)
            return
        self._health.fail(error)

    def _let_go(self) -> None:
        if self._environment is not None:
            self._environment.release()
        if self._users is not None:
            self._users.close()
        self._environment = self._users = None

    def _make_room(self, environment: Environment, prefix: bytes) -> int:
        """Have entries go until there is room for `_BATCH`; return how many pages there are to the bound."""
        # Where only a small map was to be had, there is room for an eighth less than it.
        most = min(self._pages, environment.map_bytes // 8 * 7 // PAGE_BYTES)
        while True:
            with environment.transaction() as transaction:
                pages, entries = transaction.pages(_ONLY), transaction.entries(_ONLY)
            if pages <= most - _SLACK_PAGES:
                break
            # Contents are hashes: what follows a random one is a random sample.
            start = prefix + secrets.token_bytes(32)
            excess = max(_BATCH, entries // _THINNED)
            while excess > 0:
                removed = _delete_from(environment, start, _BATCH) or _delete_from(environment, b"\0", _BATCH)
                excess -= removed or excess
        used = environment.file_pages()
        if used > most - _SLACK_PAGES // 8:
            raise IndexDamagedError("the location index outgrew its share")
        return most - used


_indexes: WeakSet[LocationIndex] = WeakSet()


def _after_fork_in_child() -> None:
    for index in list(_indexes):
        index.start_over_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)


def _delete_from(environment: Environment, start: bytes, limit: int, prefix: bytes = b"") -> int:
    """Delete up to `limit` entries whose keys are `start` or greater and begin with `prefix`; return how many."""
    with environment.transaction(write=True) as transaction:
        rows = transaction.rows_from(_ONLY, start, limit)
        return sum(transaction.delete(_ONLY, key) for key, _ in rows if key.startswith(prefix))


@lru_cache(maxsize=64)
def _prefix(namespace: bytes) -> bytes:
    return blake3(namespace).digest(_NAMESPACE_BYTES)


def _sealed(key: bytes, value: bytes) -> bytes:
    return crc32(value, crc32(key)).to_bytes(_CHECK_BYTES, "big") + value


def _opened(key: bytes, value: bytes | None) -> bytes | None:
    if value is None or crc32(value[_CHECK_BYTES:], crc32(key)).to_bytes(4, "big") != value[:_CHECK_BYTES]:
        return None
    return value[_CHECK_BYTES:]
