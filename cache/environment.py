"""LMDB environments: one a process for each file, safe under fork, their errors in our terms.

LMDB must not open one file twice in a process, nor use or close in a child what the parent opened. So environments
are shared here by the identity of their file, and a child drops those it inherited: py-lmdb frees an environment of
another process without touching it. For that to be complete no other reference may exist, hence:

**Invariant:** LMDB's handles are referenced only by an `Environment` and, under its lock, a `Transaction`; they are
opened and closed under the registry's lock; fork waits for both.

LMDB's own locks and its table of readers go by process ids, which two containers may both have. So it runs without
them, and a `MomentaryLock` on the data file takes their place: whoever reads shares it for a moment, whoever writes
has it alone, as LMDB asks of those who do without its locks. **Invariant:** nobody looks at a page without that lock.

Durability: nothing is synced at commit. Within one boot the kernel keeps what was written whatever dies; what a power
loss leaves is never opened (see `index_state`).
"""

from __future__ import annotations

import errno
import os
import threading
from typing import Any

import lmdb

from .locking import MomentaryLock
from .transaction import IndexDamagedError, Transaction, translated

__all__ = ["PAGE_BYTES", "Environment", "IndexDamagedError", "open_environment"]

_MAP_BYTES = (64 << 30, 8 << 30, 1 << 30, 128 << 20)
"""Address space, not disk: the size of the file is held down by whoever writes (`Environment.file_pages`).

The next one is tried where a limit on address space (`ulimit -v`) refuses the one before.
"""

_FORK_WAIT_SECONDS = 5.0
PAGE_BYTES = os.sysconf("SC_PAGESIZE")


class Environment:
    """An open environment and its named databases. Thread-safe: one transaction at a time."""

    def __init__(self, path: str, names: tuple[bytes, ...]) -> None:
        self.lock = threading.Lock()
        self._users = 1
        self._gate = MomentaryLock(os.path.join(path, "data.mdb"))
        self._environment: lmdb.Environment | None = None
        try:
            self._gate.alone()
            with translated():
                self._environment, self.map_bytes = _open(path, len(names))
                pages = self._environment.info()["last_pgno"] + 1
                self._size = pages * PAGE_BYTES if pages > 2 else 0
                self._check_size()
                self._databases = [self._environment.open_db(name) for name in names]
            self._gate.release()
        except BaseException:
            self._drop()
            raise

    def transaction(self, *, write: bool = False) -> Transaction:
        """Return a transaction to enter."""
        return Transaction(self, write=write)

    def get(self, database: int, key: bytes) -> bytes | None:
        """Return the value of `key`: what a transaction would, in less time."""
        with self.lock:
            self._enter(write=False)
            try:
                # In a frame of its own, so that no handle outlives the lock.
                return self._get(database, key)
            except lmdb.Error:
                pass
            finally:
                self._gate.release()
        with self.transaction() as transaction:
            return transaction.get(database, key)

    def begin(self, *, write: bool) -> tuple[lmdb.Transaction[bytes], list[Any]]:
        """Return a transaction and the databases, for `Transaction`, which holds the lock, and will `end` it.

        OSError after a fork, or when another process keeps the index for long.
        """
        self._enter(write=write)
        try:
            return self._live().begin(write=write), self._databases
        except BaseException:
            self._gate.release()
            raise

    def end(self) -> None:
        """Let others at the pages: a transaction is over."""
        if self._environment is not None:  # else it was closed meanwhile, and its lock with it
            self._gate.release()

    def file_pages(self) -> int:
        """Return the pages that the file has ever used: it never shrinks."""
        with self.lock:
            self._enter(write=False)
            try:
                with translated():
                    return self._live().info()["last_pgno"] + 1
            finally:
                self._gate.release()

    def sync(self) -> None:
        """Write everything to the disk."""
        with self.lock, translated():
            self._live().sync(True)

    def share(self) -> Environment:
        """Count another user, who will `release` it too; under the registry's lock."""
        self._users += 1
        return self

    def release(self) -> None:
        """Close the environment when this was its last user. Who still uses it then gets an OSError."""
        with _registry.lock:
            self._users -= 1
            if self._users == 0:
                _registry.remove(self)
                with self.lock:
                    self._drop()

    def abandon(self) -> None:
        """Forget, in a child, what the parent opened, without closing it."""
        self._gate.forget()
        self._drop()
        self.lock = threading.Lock()

    def _drop(self) -> None:
        # The last references: py-lmdb closes what this process opened, and only frees what its parent did.
        self._databases = []
        self._environment = None
        self._gate.close()

    def _enter(self, *, write: bool) -> None:
        """Keep others off the pages, and see that those there were are still there."""
        self._live()
        if write:
            self._gate.alone()
        else:
            self._gate.shared()
        try:
            self._check_size()
        except BaseException:
            self._gate.release()
            raise

    def _check_size(self) -> None:
        # LMDB never shortens the file, and looking beyond its end would be a SIGBUS.
        size = self._gate.size()
        if size < self._size:
            raise IndexDamagedError("the cache index is truncated")
        self._size = size

    def _get(self, database: int, key: bytes) -> bytes | None:
        with self._live().begin(self._databases[database]) as handle:
            return handle.get(key)

    def _live(self) -> lmdb.Environment:
        if self._environment is None:
            raise OSError(errno.ESTALE, "the cache index was closed meanwhile")
        return self._environment


def _open(path: str, databases: int) -> tuple[lmdb.Environment, int]:
    """Open what lies at `path`; also return how many bytes of it can be mapped."""
    for map_bytes in _MAP_BYTES:
        try:
            return lmdb.open(
                path,
                map_size=map_bytes,
                mode=0o600,
                metasync=False,
                sync=False,
                lock=False,
                readahead=False,
                max_dbs=databases,
                # A spare read transaction is shared with a forked child, whose release of it breaks the parent's.
                max_spare_txns=0,
            ), map_bytes
        except lmdb.MemoryError:
            continue
    raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))


_Identity = tuple[int, int]


class _Registry:
    """The environments that this process has open, by the identity of their file."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.open: dict[_Identity, Environment] = {}
        self._stopped: list[threading.Lock] = []

    def remove(self, environment: Environment) -> None:
        for identity, found in list(self.open.items()):
            if found is environment:
                del self.open[identity]

    def before_fork(self) -> None:
        self._stop(self.lock)
        for environment in list(self.open.values()):
            self._stop(environment.lock)

    def _stop(self, lock: threading.Lock) -> None:
        # A writer that waits for a stopped process must not keep this one from forking for ever.
        if lock.acquire(timeout=_FORK_WAIT_SECONDS):
            self._stopped.append(lock)

    def after_fork_in_parent(self) -> None:
        for lock in self._stopped:
            lock.release()
        self._stopped.clear()

    def after_fork_in_child(self) -> None:
        self._stopped.clear()
        self.lock = threading.Lock()
        for environment in list(self.open.values()):
            environment.abandon()
        self.open.clear()


_registry = _Registry()
os.register_at_fork(
    before=_registry.before_fork,
    after_in_parent=_registry.after_fork_in_parent,
    after_in_child=_registry.after_fork_in_child,
)


def open_environment(path: str, names: tuple[bytes, ...]) -> Environment:
    """Open the environment at `path`, or share the one that this process has open there; `release` it in the end.

    IndexDamagedError when it cannot be trusted; OSError when the disk refuses.
    """
    with _registry.lock:
        identity = _identify(path)
        if identity is not None and (shared := _registry.open.get(identity)) is not None:
            return shared.share()
        environment = Environment(path, names)
        identity = _identify(path)
        if identity is not None:
            _registry.open[identity] = environment
        return environment


def _identify(path: str) -> _Identity | None:
    try:
        found = os.stat(os.path.join(path, "data.mdb"))
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
