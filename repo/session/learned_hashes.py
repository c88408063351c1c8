"""What hashes blocks have that are pinned by identity: nobody knows before they were read, and then this remembers.

In memory for as long as a session is open, and beside the block cache for the next one: so a mount finds the blocks
that an earlier one has cached, and a local copy can be held against its version. What is written down goes by the
server that was asked, besides address, version, ETag and size: another one may have something else there.

All of it is a hint, within the bound of the cache's location index. That is opened when it is needed and let go some
seconds later, with what was learnt meanwhile: one that is open when the machine goes down is not believed after that.

Blocking, thread-safe. Nothing here raises: what cannot be remembered is not known.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from penstock.cache import LocationIndex
from penstock.errors import PenstockError
from penstock.lru import Lru
from penstock.manifest.entry import External
from penstock.manifest.hashing import HASH_SIZE, content_hash

__all__ = ["LEARNED", "LearnedHashes"]

LEARNED = b"hashes of blocks that are pinned by identity"
"""The namespace of the location index that they have."""
_IN_MEMORY = 1 << 16
"""Blocks: 64 GiB of large files, in about 15 MB."""
_TOGETHER = 512
"""Hashes that are written down together."""
_OPEN = 5.0
"""Seconds that the index stays open: to open it and let go of it takes milliseconds."""


class LearnedHashes:
    """Hashes of blocks by what stands for them, `identity_block`.

    `open_index` opens the location index; without it, memory is all there is. `server` names the one that is asked for
    an object, and may raise a PenstockError.
    """

    def __init__(
        self,
        open_index: Callable[[], LocationIndex] | None = None,
        server: Callable[[External], str] = lambda _: "",
    ) -> None:
        self._open_index = open_index
        self._server = server
        self._known: Lru[bytes, bytes] = Lru(_IN_MEMORY)
        self._unsaved: dict[bytes, bytes] = {}
        self._lock = threading.Lock()
        self._index: LocationIndex | None = None
        self._timer: threading.Timer | None = None

    def get(self, name: bytes) -> bytes | None:
        """Return the hash of a block, if it is in memory: quick enough for an event loop."""
        return self._known.get(name)

    def peek(self, name: bytes) -> bytes | None:
        """Return the same, without counting it as used."""
        return self._known.peek(name)

    def recall(self, found: External, names: Sequence[bytes]) -> list[bytes | None]:
        """Return the hashes of some blocks of an object, also those that were learnt in an earlier session."""
        known = [self._known.get(name) for name in names]
        absent = [at for at, digest in enumerate(known) if digest is None]
        if not absent or self._open_index is None:
            return known
        keys = self._keys(found, [names[at] for at in absent])
        if not keys:
            return known
        with self._opened() as index:
            values = index.get_many(LEARNED, keys) if index is not None else [None] * len(keys)
        for at, value in zip(absent, values, strict=True):
            if value is not None and len(value) == HASH_SIZE:
                known[at] = value
                self._known.put(names[at], value)
        return known

    def learn(self, found: External, names: Sequence[bytes], digests: Sequence[bytes]) -> None:
        """Remember the hashes of blocks of an object that were just read."""
        fresh = [at for at, name in enumerate(names) if self._known.peek(name) != digests[at]]
        for at in fresh:
            self._known.put(names[at], digests[at])
        if not fresh or self._open_index is None:
            return
        keys = self._keys(found, [names[at] for at in fresh])
        with self._opened() as index:
            if index is None:
                return
            self._unsaved.update(zip(keys, (digests[at] for at in fresh), strict=False))
            if len(self._unsaved) >= _TOGETHER:
                self._save(index)

    def close(self) -> None:
        """Write down what is not yet. What is learnt after that stays in memory."""
        with self._lock:
            self._open_index = None
            self._let_go()

    def _keys(self, found: External, names: Sequence[bytes]) -> list[bytes]:
        """Return what goes for some blocks in the index; nothing, when it is not known who would be asked."""
        try:
            server = self._server(found).encode("utf-8", "surrogateescape")
        except PenstockError:  # whoever reads the object is told
            return []
        return [content_hash(name + server) for name in names]

    @contextmanager
    def _opened(self) -> Iterator[LocationIndex | None]:
        with self._lock:
            if self._index is None and self._open_index is not None:
                self._index = self._open_index()
                self._timer = threading.Timer(_OPEN, self._time_is_up)
                self._timer.daemon = True
                self._timer.start()
            yield self._index

    def _time_is_up(self) -> None:
        with self._lock:
            self._let_go()

    def _let_go(self) -> None:
        if self._index is not None and self._timer is not None:
            self._timer.cancel()
            self._save(self._index)
            self._index.close()
        self._index = self._timer = None

    def _save(self, index: LocationIndex) -> None:
        index.put_many(LEARNED, self._unsaved.items())
        self._unsaved.clear()
