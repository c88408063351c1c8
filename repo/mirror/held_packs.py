"""A bucket of which node packs that were read whole are in memory: walks over what is in them ask nobody."""

from __future__ import annotations

from penstock.lru import Lru
from penstock.repo.bucket import object_keys
from penstock.repo.bucket.layered_store import LayeredStore
from penstock.store.base import WHOLE_LIMIT, ByteRange, Store

__all__ = ["HeldPacks"]

_MOST = 64 << 20


class HeldPacks(LayeredStore):
    """The packs that were held last, up to 64 MiB of them; all else is asked of the store. Never closed by itself."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, lambda: iter(()))
        self._packs: Lru[str, bytes] = Lru(_MOST)

    def hold(self, digest: bytes, body: bytes) -> None:
        """Hold a pack that has the hash that names it."""
        self._packs.put(object_keys.node_key(digest), body, len(body))

    def get(
        self,
        key: str,
        byte_range: ByteRange | None = None,
        *,
        limit: int = WHOLE_LIMIT,
        checked: bool = False,
        version_id: str | None = None,
        etag: str | None = None,
        size: int | None = None,
    ) -> bytes:
        """See `Store.get`."""
        held = self._packs.get(key) if byte_range is not None else None
        if held is not None and byte_range is not None:
            return held[byte_range.offset : byte_range.offset + byte_range.length]
        return super().get(key, byte_range, limit=limit, checked=checked, version_id=version_id, etag=etag, size=size)
