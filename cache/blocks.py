"""`BlockCache`: blocks by their BLAKE3, for all threads and all processes of a user.

**Invariant:** a byte that `get` returns was, in this process, either hashed on its way in or hashed where it lies.
**Invariant:** trouble with the disk, the directory or the bound never leaves here as an exception: a block is not
held, or not stored, and `mode` says why. Only `clear`, which removes things, refuses a directory that is not safe.

Lock order: the cache's lock, the layout lock (flock), an environment's lock (and LMDB's writer mutex). The hot path
of `get` takes none. See docs/CACHE.md.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from weakref import WeakSet

from blake3 import blake3

from penstock.errors import AccessError, IntegrityError, UsageError
from penstock.store.base import Buffer

from .cache_directory import CacheDirectory, disk_usage
from .cache_session import CacheSession, rebuilt
from .environment import IndexDamagedError
from .health import Health
from .index_state import IndexState, boot_id
from .layout import SMALLEST_BOUND, SpaceBudget
from .report import CacheInfo, VerifyReport

__all__ = ["BlockCache"]

_VERIFY_ROWS = 1024
_SET_ASIDE_SECONDS = 600.0


class BlockCache:
    """A directory of blocks within a bound. Thread-safe; shared by processes; usable in a forked child."""

    def __init__(
        self,
        directory: Path,
        max_bytes: int,
        *,
        boot: str | None = None,
        retry_seconds: float = 60.0,
        set_aside: str = "",
    ) -> None:
        """Open the cache in `directory`, made if need be, of at most `max_bytes` on disk.

        It holds nothing, and `mode` says why, when the bound is below SMALLEST_BOUND, when the directory is another
        user's or open to others' writing, and while the disk refuses. With `set_aside`, for that reason it is not
        even looked at for ten minutes. `boot` stands in for the kernel's boot id, `retry_seconds` for how long a
        faulty disk is left alone.
        """
        self.directory = Path(os.path.abspath(directory))
        self.max_bytes = max_bytes
        self.budget = SpaceBudget.of(max_bytes)
        root = str(self.directory)
        self._files = CacheDirectory(root)
        self._state = IndexState(self._files.state, self._files.index, boot or boot_id(), root)
        self._opening = Health(root, retry_seconds)
        self._writing = Health(root, retry_seconds)
        self._lock = threading.RLock()
        self._session: CacheSession | None = None
        self._closed = False
        if set_aside:
            self._opening.rest(set_aside, _SET_ASIDE_SECONDS)
        elif max_bytes < SMALLEST_BOUND:
            least = f"{SMALLEST_BOUND >> 20} MiB that its segments and its index need"
            self._opening.rest(f"its bound of {max_bytes:,} bytes is below the {least}", math.inf)
        _caches.add(self)
        self._current()

    def get(self, key: bytes, *, fresh: bool = False) -> memoryview | None:
        """Return the block, read-only and without a copy, or None when it is not held (whole) here.

        It is hashed on its first use in a process, except a `fresh` one: the caller knows that it was checked and
        stored a moment ago, by a process that fetches for this one. A MiB takes 0.23 ms to hash.

        The view stays right for as long as it is kept, also when the block is evicted or the cache cleared.
        """
        session = self._session
        if session is not None and session.cell[0] == session.seen:
            found = session.recent.younger.get(key)
            if found is not None:
                mapped, start, end = found
                view = mapped.view
                if view is not None and mapped.unchanged(start, end):
                    mapped.hit = True
                    return view[start:end]
        return self._find(key, fresh=fresh)

    def put(self, key: bytes, data: Buffer) -> bool:
        """Store a block of 1 byte to 4 MiB; whether it is held now. IntegrityError when `key` is not its BLAKE3."""
        return self.put_many([(key, data)])[0]

    def put_many(self, items: Iterable[tuple[bytes, Buffer]], *, checked: bool = False) -> list[bool]:
        """Store blocks as `put` does, with one index transaction for each 32; whether each is held now.

        `checked`: the caller has just held each against its key, and they need not be hashed once more.
        """
        blocks: list[tuple[bytes, memoryview]] = []
        for key, data in items:
            if not checked and blake3(data).digest() != key:
                raise IntegrityError("a block is not what its hash says", why=f"it should be {key.hex()}")
            blocks.append((key, memoryview(data).cast("B")))
        with self._lock:
            # Twice, because the index may be replaced (the cache cleared elsewhere) or found damaged meanwhile.
            for _ in range(2):
                session = self._current()
                if session is None or not self._writing.usable():
                    break
                try:
                    held = session.store(blocks)
                except IndexDamagedError:
                    self._rebuild(session)
                    continue
                except OSError as error:
                    self._writing.fail(error)
                    if not session.index.current():
                        # Somebody removed the whole directory: the next call makes it anew.
                        self._leave()
                    break
                if held is not None:
                    self._writing.recover()
                    return held
            return [False] * len(blocks)

    def accepts(self) -> bool:
        """Whether it is worth while to store something: not while the disk refuses, but for a try now and then."""
        return self._opening.due() and self._writing.due()

    def readable(self) -> bool:
        """Whether it is worth while to have others store something that is then read here; as `accepts`."""
        return self._opening.due()

    def __contains__(self, key: object) -> bool:
        """Whether the block is held, as far as the index knows: `get` may still find it damaged."""
        return isinstance(key, bytes) and not self.missing([key])

    def missing(self, keys: Sequence[bytes]) -> list[bytes]:
        """Return those of `keys` whose blocks are not held, in the same order."""
        session = self._current()
        if session is None:
            return list(keys)
        try:
            found = session.index.get_many(keys)
        except IndexDamagedError:
            self._rebuild(session)
            return list(keys)
        except OSError as error:
            self._refuse(session, error)
            return list(keys)
        alive = session.alive
        return [key for key, at in zip(keys, found, strict=True) if at is None or at.segment not in alive]

    def has_room(self, blocks: int, size: int, *, largest: int) -> bool:
        """Whether so many blocks of `size` bytes in all, none above `largest`, surely fit without an eviction.

        Segments that are being filled count as full, and one more is set aside for each of two writers.
        """
        session = self._current()
        if session is None:
            return False
        try:
            segments = [segment.size for segment in self._files.segments()]
            return self.budget.takes(segments, blocks, size, largest) and session.index.has_room(blocks)
        except IndexDamagedError:
            self._rebuild(session)
        except OSError as error:
            self._refuse(session, error)
        return False

    def info(self) -> CacheInfo:
        """Return what the cache holds and how it is."""
        session = self._current()
        blocks = quarantined = 0
        if session is not None:
            try:
                blocks, quarantined = session.index.counts()
            except IndexDamagedError:
                self._rebuild(session)
            except OSError as error:
                self._refuse(session, error)
        return CacheInfo(
            directory=self.directory,
            max_bytes=self.max_bytes,
            blocks=blocks,
            bytes=disk_usage(str(self.directory)),
            segments=0 if session is None else len(session.alive),
            quarantined=quarantined,
            mode=self.mode,
        )

    @property
    def mode(self) -> str:
        """How the disk was when this process last used it: ``ok`` or ``degraded: why``."""
        why = self._opening.why or self._writing.why
        return f"degraded: {why}" if why else "ok"

    def clear(self) -> int:
        """Drop every block and return the bytes freed on disk. Other processes go on, with an empty cache.

        AccessError, UsageError when the directory is not this user's alone, or cannot be changed.
        """
        before = disk_usage(str(self.directory))
        with self._lock:
            self._leave()
            try:
                self._files.prepare()
            except OSError as error:
                self._refuse(None, error)
            try:
                self._files.empty()
            except OSError as error:
                raise AccessError(
                    f"the cache in {self.directory} cannot be emptied", why=error.strerror or str(error)
                ) from error
            self._current()
        return max(0, before - disk_usage(str(self.directory)))

    def verify(self) -> VerifyReport:
        """Read and hash every block; quarantine those that are damaged."""
        blocks = size = damaged = missing = 0
        last = b""
        while (session := self._current()) is not None:
            try:
                rows = session.index.after(last, _VERIFY_ROWS)
                if not rows:
                    break
                last = rows[-1][0]
                for key, at in sorted(rows, key=lambda row: row[1]):
                    if session.maps.get(at.segment) is None:
                        missing += session.index.remove([(key, at)])
                    elif session.checked(key, at) is None:
                        damaged += 1
                    else:
                        blocks += 1
                        size += at.length
            except IndexDamagedError:
                self._rebuild(session)
                last = b""
                blocks = size = damaged = missing = 0
            except OSError as error:
                self._refuse(session, error)
        return VerifyReport(blocks=blocks, bytes=size, damaged=damaged, missing=missing)

    def trim(self) -> None:
        """Let go of segments that other processes evicted; their bytes stay on disk while they are mapped here.

        Every `get` and `put` does so as well: this is for a process that may be idle for long.
        """
        self._current()

    def close(self) -> None:
        """Let go of everything. Views handed out stay right; a closed cache holds nothing and stores nothing."""
        with self._lock:
            self._closed = True
            self._leave(leave_clean=True)

    def _find(self, key: bytes, *, fresh: bool) -> memoryview | None:
        """Look in the index, and hash the block: its first use in this process, or the first for long."""
        session = self._current()
        if session is None:
            return None
        known = session.recent.older.get(key) or session.recent.younger.get(key)
        if known is not None and (view := known[0].view) is not None and known[0].unchanged(known[1], known[2]):
            session.recent.add(key, known[0], known[1], known[2] - known[1])
            known[0].hit = True
            return view[known[1] : known[2]]
        try:
            at = session.index.get(key)
            return None if at is None else session.checked(key, at, fresh=fresh)
        except IndexDamagedError:
            self._rebuild(session)
        except OSError as error:
            self._refuse(session, error)
        return None

    def _current(self) -> CacheSession | None:
        """Return a session that has caught up with the directory; None while the disk refuses."""
        session = self._session
        if session is not None and session.cell[0] == session.seen:
            return session
        with self._lock:
            session = self._session
            try:
                if session is not None and session.catch_up():
                    return session
                self._leave()
                if self._closed or not self._opening.usable():
                    return None
                self._enter(CacheSession(self._files, self._state, self.budget))
            except IndexDamagedError:
                self._rebuild(self._session)
            except (AccessError, UsageError) as error:
                self._refuse(self._session, OSError(str(error)))
            except OSError as error:
                self._refuse(self._session, error)
            return self._session

    def _rebuild(self, seen: CacheSession | None) -> None:
        """Replace a damaged index by one made from the segments, unless another thread has done so."""
        with self._lock:
            if self._session is not seen or self._closed:
                return
            try:
                self._leave()
                self._enter(rebuilt(self._files, self._state, self.budget))
            except IndexDamagedError as error:
                self._refuse(self._session, OSError(str(error)))
            except OSError as error:
                self._refuse(self._session, error)

    def _refuse(self, seen: CacheSession | None, error: OSError) -> None:
        """Hold nothing for a while: the disk fails. What happens to a session that was left means nothing."""
        with self._lock:
            if self._session is seen:
                self._opening.fail(error)
                self._leave()

    def _enter(self, session: CacheSession) -> None:
        self._session = session
        session.catch_up()
        self._opening.recover()

    def _leave(self, *, leave_clean: bool = False) -> None:
        session, self._session = self._session, None
        if session is not None:
            # An index that could not be left clean is rebuilt after the next boot.
            with contextlib.suppress(OSError, IndexDamagedError):
                session.close(leave_clean=leave_clean)

    def start_over_in_child(self) -> None:
        """Forget what the parent opened, and the lock that one of its threads may have held."""
        self._lock = threading.RLock()
        self._session = None


_caches: WeakSet[BlockCache] = WeakSet()


def _after_fork_in_child() -> None:
    for cache in list(_caches):
        cache.start_over_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)
