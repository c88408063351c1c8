"""What a bucket has to hold to, found by trying: of two who make one object, the second is refused.

Refs move by create-if-absent alone (`refs`), so a server that answers 200 to both loses versions without a word. Some
do: s3rver, and Ceph 16 in a versioned bucket; others refuse the condition. `broken_promise` tries it in the bucket
itself; `Promises` remembers on this machine where it was kept, and only that, so that whoever writes asks the
bucket once a day and not each time. docs/design/011-promises.md.

`probe_key` is the way to try anything in a bucket. `create_watched` is what is left to those who write all the same.

Blocking, thread-safe.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import msgspec

from penstock.errors import PenstockError, StoreUnreachableError, UsageError
from penstock.manifest.hashing import content_hash
from penstock.manifest.records import MAX_RECORD
from penstock.repo.bucket import object_keys
from penstock.repo.settings.settings import Settings
from penstock.store.base import Store

__all__ = ["Promises", "broken_promise", "create_watched", "probe_key"]

_log = logging.getLogger(__name__)

_NAMESPACE = b"promises 1"
"""The 1 is the format of what is remembered."""
_AGE = 86400.0
"""Seconds for which a promise that was kept is believed: servers are upgraded and moved."""
_PAUSE = 2.0
"""Seconds in which everybody who may have overwritten a record has done so."""


@contextmanager
def probe_key(store: Store) -> Iterator[str]:
    """Give a key below the bucket's probes that nobody has used; the object of that name, if any, is deleted then.

    One that cannot be deleted stays: that is no fault of what was tried.
    """
    key = object_keys.PROBES + secrets.token_hex(16)
    try:
        yield key
    finally:
        try:
            store.delete([key])
        except PenstockError as error:
            _log.info("the probe %s stays: %s", key, error)


def broken_promise(store: Store) -> str:
    """Make one object twice, and say what is wrong with the answers; empty when the second was refused.

    Errors of the store as they are: AccessError when the bucket may not be written.
    """
    first, second = secrets.token_bytes(32), secrets.token_bytes(32)
    with probe_key(store) as key:
        try:
            made = store.create(key, first)
            again = store.create(key, second)
        except UsageError as error:
            store.put(key, first)  # raises what is wrong, if it is not the condition that is refused
            return f"it takes no If-None-Match: {error.why or error.what}"
        kept = store.get(key, limit=MAX_RECORD)
    if not made:
        return "it refused to make an object that was not there"
    if again:
        return "it told both of two who made one object that it is theirs"
    return "" if kept == first else "it refused to overwrite an object, and overwrote it"


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    at: float
    versioned: bool


class Promises:
    """Which buckets are known to hold to create-if-absent, by address and endpoint; kept beside the block cache."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def broken(self, store: Store) -> str:
        """Return what is wrong with a bucket that was written to just now; empty when it holds, or did lately.

        Whether it keeps versions is told by the answer to that writing: when that has changed, it is tried anew.
        """
        with closing(self._settings.open_locations()) as index:
            value = index.get(_NAMESPACE, _key(store))
        try:
            known = msgspec.msgpack.decode(value, type=_Kept) if value is not None else None
        except msgspec.DecodeError:
            known = None
        if known is not None and known.versioned == store.keeps_versions and 0 <= time.time() - known.at < _AGE:
            return ""
        return self.probe(store)

    def probe(self, store: Store) -> str:
        """Try it, whatever is remembered. What does not hold is tried again each time: so mending it is enough."""
        found = broken_promise(store)
        if not found:
            value = msgspec.msgpack.encode(_Kept(time.time(), store.keeps_versions))
            with closing(self._settings.open_locations()) as index:
                index.put_many(_NAMESPACE, [(_key(store), value)])
        return found


def _key(store: Store) -> bytes:
    return content_hash(store.place.encode("utf-8", "surrogateescape"))


def create_watched(store: Store, key: str, body: bytes, *, contested: bool) -> bool:
    """Do what `Store.create` does where the server refuses nobody: look, write, wait, and look who was last.

    What is not `contested` is named by its content: whoever was last, it is as good, and nobody has to wait.

    Lamport's "A fast mutual exclusion algorithm" (1987) has the argument, and gives it to Fischer: who writes within
    half the pause after they saw nothing are all done when the first of them looks again, and one body is left.
    StoreUnreachableError: it took longer than that, so others may have been told meanwhile that theirs is left.
    """
    begun = time.monotonic()
    if store.head(key) is not None:
        return store.get(key, limit=MAX_RECORD) == body
    store.put(key, body)
    taken = time.monotonic() - begun
    if not contested:
        return store.get(key, limit=MAX_RECORD) == body
    if taken > _PAUSE / 2:
        raise StoreUnreachableError(
            f"whether {key} in {store.url} is what was written here is not known",
            why=f"writing it took {taken:.1f} s, and the server does not refuse who comes second",
            fix="penstock log tells what the branch has; run the command again if this is missing.",
        )
    time.sleep(_PAUSE)
    return store.get(key, limit=MAX_RECORD) == body
