"""What a deletion rests on, proven in the bucket itself before anything is deleted: its listings and its clock.

`gc` takes for garbage what no ref leads to, so a listing that leaves out a ref is the end of a version. Servers were
met whose listing with a delimiter shows no folder that holds only folders. So a few probe objects are put where a
branch's records would lie, as deep, and have to be found by every way of listing that `gc` uses: flat and by folder,
whole and in pages of one, from a key on, in order, with the time that the object itself has, and no more once they
are deleted.

Blocking. Writes below `.penstock/probe/` and nowhere else.
"""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass

from penstock.errors import AccessError, IntegrityError
from penstock.repo.bucket import object_keys
from penstock.store.base import ObjectInfo, Store

from .leases import now

__all__ = ["StoreClock", "prove_store"]

_SLACK = 2.5
"""Seconds: some stores cut the time in one answer to seconds, and in another not."""
_DRIFT = 60.0
_FARTHEST = 900.0
"""Seconds between two clocks; S3 itself refuses requests beyond that."""
_LEFT = 86400.0
"""Seconds after which a probe was left by somebody who was killed."""
_OURS = re.compile(re.escape(object_keys.PROBES) + r"[0-9a-f]{32}(/.*)?")
_ADVICE = "Nothing was deleted. Use a server that lists as S3 does; penstock doctor --write BUCKET tries it again."


@dataclass(frozen=True, slots=True)
class StoreClock:
    """The store's clock: what it said, and when that was on this machine's clock (`leases.now`)."""

    said: float
    at: float

    def now(self) -> float:
        """Return what it says now."""
        return self.said + now() - self.at

    def check(self, modified: float) -> None:
        """Raise IntegrityError unless an object that was written just now was dated so."""
        apart = modified - self.now()
        if abs(apart) > _DRIFT:
            raise IntegrityError(
                "the store's clock has jumped",
                why=f"by {apart:.0f} seconds since this began, so nobody can say what is old",
                fix="Run gc again when the server's clock is right.",
            )


def prove_store(store: Store) -> StoreClock:
    """Return the store's clock when its listings show what is there; else IntegrityError, which says what is wrong.

    AccessError: the bucket may not be written.
    """
    root = f"{object_keys.PROBES}{secrets.token_hex(16)}/"
    keys = [
        object_keys.number_key(f"{root}a/heads/main/", 1),
        object_keys.number_key(f"{root}a/heads/main/", 0),
        object_keys.number_key(f"{root}b/heads/main/", 0),
    ]
    try:
        for key in keys:
            store.put(key, b"probe")
        at = now()
        clock = StoreClock(_modified(store, keys[-1]), at)
        _check_listings(store, root, keys)
        store.delete(keys[:1])
        _same(store, "what is left when one of three objects was deleted", _flat(store, root), keys[1:])
    finally:
        store.delete(keys)
    _same(store, "what is left when all were deleted", _flat(store, root), [])
    _check_time(clock.said)
    left = [info.key for info in store.list(object_keys.PROBES) if info.is_older(clock.said - _LEFT)]
    store.delete([key for key in left if _OURS.fullmatch(key)])
    return clock


def _check_listings(store: Store, root: str, keys: list[str]) -> None:
    _same(store, "a listing", _flat(store, root), keys)
    _same(store, "a listing by folder", store.list_level(root).folders, ["a", "b"])
    _same(store, "a listing by folder, one deeper", store.list_level(f"{root}a/heads/").folders, ["main"])
    level = store.list_level(f"{root}a/heads/main/")
    _same(store, "a listing by folder of a folder of objects", [info.key for info in level.objects], keys[:2])
    behind = [info.key for info in store.list(root, start_after=keys[0])]
    _same(store, "a listing that begins behind a key", behind, keys[1:])
    _same(store, "a listing in pages of one object", [info.key for info in store.list(root, page=1)], keys)
    _same(store, "a listing by folder in pages of one", store.list_level(root, page=1).folders, ["a", "b"])
    for info in store.list(root):
        listed, modified = written_at(store, info), _modified(store, info.key)
        if abs(listed - modified) > _SLACK:
            raise _untrusted(
                store,
                f"a listing says that an object was written {abs(listed - modified):.0f} seconds "
                f"{'after' if listed > modified else 'before'} it was",
            )


def _same(store: Store, what: str, found: list[str], wanted: list[str]) -> None:
    if found == wanted:
        return
    missing = [key for key in wanted if key not in found]
    if missing:
        why = f"{what} leaves out {missing[0]!r}, which was just written"
    elif len(found) > len(wanted):
        why = f"{what} shows {next((key for key in found if key not in wanted), found[0])!r}, which is not there"
    else:
        why = f"{what} is not in order"
    raise _untrusted(store, why)


def _untrusted(store: Store, why: str) -> IntegrityError:
    return IntegrityError(f"the listings of {store.url} cannot be trusted", why=why, fix=_ADVICE)


def _flat(store: Store, root: str) -> list[str]:
    return [info.key for info in store.list(root)]


def written_at(store: Store, info: ObjectInfo) -> float:
    """Return when an object was written, by the store's clock. AccessError: nobody says."""
    if info.modified is None:
        raise AccessError(
            f"nobody can say how old the objects in {store.url} are",
            why="an object that was just written has no Last-Modified",
            fix="Reach the server without the proxy on the way, if there is one",
        )
    return info.modified


def _modified(store: Store, key: str) -> float:
    info = store.head(key)
    if info is None:
        raise _untrusted(store, f"{key!r} was just written, and is not there")
    return written_at(store, info)


def _check_time(said: float) -> None:
    """Raise IntegrityError when one of two clocks is so wrong that ages mean nothing."""
    apart = said - time.time()
    if abs(apart) > _FARTHEST:
        raise IntegrityError(
            "this machine's clock and the store's do not agree",
            why=f"the store's is {abs(apart):.0f} seconds {'ahead' if apart > 0 else 'behind'}, and one of them is "
            "wrong, so nobody can say what is old enough to be garbage",
            fix="Set the clock that is wrong. As root: timedatectl set-ntp true",
        )
