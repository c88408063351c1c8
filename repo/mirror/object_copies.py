"""Objects that are named by their hash, brought from one bucket to another: by the server, or through this process.

**Invariant:** an object gets its final name only when its bytes were seen to have the hash that names it, or when one
server says the same MD5 of it and of what it was copied from. What is there already is not sent again.

The work runs in threads of a pool; their number is what bounds the bytes in memory.
"""

from __future__ import annotations

import re
import tempfile
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from blake3 import blake3

from penstock.errors import AccessError, IntegrityError, NotFoundError, UsageError
from penstock.manifest.hashing import content_hash
from penstock.progress import Stage
from penstock.repo.bucket import object_keys
from penstock.repo.fetch.memory import shares
from penstock.store.base import ByteRange, ObjectInfo, Store

__all__ = ["CopyCounts", "ObjectCopies"]

_WHOLE = 32 << 20
"""Bytes of the largest object that is held in memory as a whole."""
_THREADS = 8
_WAITING = 64
"""Copies that are begun and not done, at most, for each thread."""
_LARGEST_COPY = 5 << 30
"""Bytes that a server of S3 copies by one request."""
_MOST_PACK = 64 << 20
_MD5 = re.compile(r"[0-9a-f]{32}\Z")


class CopyCounts:
    """What was brought: objects that were not there, their bytes, and how many of those the server copied itself."""

    def __init__(self) -> None:
        self.objects = 0
        self.bytes = 0
        self.server_bytes = 0
        self.there = 0
        self._lock = threading.Lock()

    def add(self, size: int, *, by_server: bool) -> None:
        """Count an object that was brought."""
        with self._lock:
            self.objects += 1
            self.bytes += size
            self.server_bytes += size if by_server else 0

    def add_there(self) -> None:
        """Count an object that was there."""
        with self._lock:
            self.there += 1


class ObjectCopies:
    """Copies from `source` to `target`. With `deep`, what a server copies is read, too, and held against its hash.

    `data` and `take_pack` belong to one thread, which `finish` ends; errors of copies come up there or earlier.
    """

    def __init__(self, source: Store, target: Store, stage: Stage, *, deep: bool = False) -> None:
        self.counts = CopyCounts()
        self._source = source
        self._target = target
        self._stage = stage
        self._deep = deep
        self._by_server = type(source) is type(target)
        count = max(1, min(_THREADS, shares().sending // _WHOLE))
        self._most = count * _WAITING
        self._pool = ThreadPoolExecutor(count, "penstock-mirror")
        self._running: set[Future[None]] = set()

    def data(self, digests: Iterable[bytes]) -> None:
        """Begin to bring data objects."""
        for digest in digests:
            self._begin(self._bring, object_keys.data_key(digest), digest)

    def take_pack(self, digest: bytes) -> bytes:
        """Return a node pack, read whole and held against its hash; it is brought meanwhile."""
        key = object_keys.node_key(digest)
        body = self._read(key, digest)
        self._begin(self._put, key, body)
        return body

    def bring_pack(self, digest: bytes) -> None:
        """Begin to bring a node pack that nobody has read."""
        self._begin(self._bring, object_keys.node_key(digest), digest)

    def _begin(self, work: Callable[[str, bytes], None], key: str, what: bytes) -> None:
        if len(self._running) >= self._most:
            self._collect(wait(self._running, return_when=FIRST_COMPLETED)[0])
        self._running.add(self._pool.submit(work, key, what))

    def finish(self) -> None:
        """Wait until all that was begun is there. Raises what a copy failed with."""
        while self._running:
            self._collect(wait(self._running, return_when=FIRST_COMPLETED)[0])

    def _collect(self, done: Iterable[Future[None]]) -> None:
        for each in done:
            self._running.discard(each)
            each.result()

    def close(self) -> None:
        """Begin nothing more, and wait for what is on its way."""
        self._pool.shutdown(cancel_futures=True)

    def _put(self, key: str, body: bytes) -> None:
        there = self._target.head(key)
        if there is not None and there.size == len(body):
            self.counts.add_there()
            return
        self._target.put(key, body)
        self._count(len(body), by_server=False)

    def _bring(self, key: str, digest: bytes) -> None:
        there = self._target.head(key)
        found = self._source.head(key)
        if found is None:
            raise _missing(key, self._source)
        if there is not None and there.size == found.size:
            self.counts.add_there()
        elif self._copy(key, digest, found):
            self._count(found.size, by_server=True)
        else:
            self._send(key, digest, found.size)
            self._count(found.size, by_server=False)

    def _count(self, size: int, *, by_server: bool) -> None:
        self.counts.add(size, by_server=by_server)
        self._stage.advance(size)

    def _copy(self, key: str, digest: bytes, found: ObjectInfo) -> bool:
        """Have the server copy an object; False: it cannot."""
        if not self._by_server or found.size > _LARGEST_COPY:
            return False
        told = _is_md5(found)
        if not told or self._deep:
            self._check_bytes(key, digest, found.size)
        try:
            self._target.copy(self._source, key, key)
        except (UsageError, AccessError):
            # Another kind of store, another endpoint, or credentials that do not reach so far: through this process.
            self._by_server = False
            return False
        except NotFoundError as error:
            raise _missing(key, self._source) from error
        made = self._target.head(key)
        if made is None or made.size != found.size or (told and _is_md5(made) and made.etag != found.etag):
            self._target.delete([key])  # nothing leads to it yet
            raise IntegrityError(
                f"{key} was not copied as it is",
                why=f"{self._target.url} says other things of the copy than {self._source.url} of the object",
                fix="Run it again; penstock verify --deep tells whether the source is damaged.",
            )
        return True

    def _check_bytes(self, key: str, digest: bytes, size: int) -> None:
        hasher = blake3()
        for at in range(0, size, _WHOLE):
            hasher.update(self._source.get(key, ByteRange(at, min(_WHOLE, size - at)), checked=True))
        if hasher.digest() != digest:
            raise _damaged(key, self._source)

    def _read(self, key: str, digest: bytes) -> bytes:
        """Read an object whole; once more, if it is not what its name says: the fault may have been on the way."""
        for _ in range(2):
            try:
                body = self._source.get(key, limit=_MOST_PACK, checked=True)
            except NotFoundError as error:
                raise _missing(key, self._source) from error
            if content_hash(body) == digest:
                return body
        raise _damaged(key, self._source)

    def _send(self, key: str, digest: bytes, size: int) -> None:
        if size <= _WHOLE:
            self._target.put(key, self._read(key, digest))
            return
        with tempfile.TemporaryFile(prefix="penstock-mirror-") as file:
            hasher = blake3()
            for at in range(0, size, _WHOLE):
                part = self._source.get(key, ByteRange(at, min(_WHOLE, size - at)), checked=True)
                hasher.update(part)
                file.write(part)
            if hasher.digest() != digest:
                raise _damaged(key, self._source)
            file.flush()
            self._target.put_file(key, file.fileno(), size)


def _is_md5(info: ObjectInfo) -> bool:
    return info.etag is not None and not info.is_weak and _MD5.match(info.etag) is not None


def _missing(key: str, store: Store) -> IntegrityError:
    return IntegrityError(
        f"{key} is missing in {store.url}",
        why="a version refers to it",
        fix="Restore the object from a copy of the bucket; if gc ran meanwhile, run it again.",
    )


def _damaged(key: str, store: Store) -> IntegrityError:
    return IntegrityError(
        f"{key} in {store.url} is damaged",
        why="its bytes are not those that its name says",
        fix="penstock verify --deep --repair DIR mends it from files; or restore it from a copy of the bucket.",
    )
