"""The block cache of this user: how full it is, emptied, checked."""

from __future__ import annotations

from contextlib import closing

from penstock.api.settings import Settings
from penstock.cache import BlockCache, CacheInfo, VerifyReport

__all__ = ["CacheInfo", "VerifyReport", "cache_info", "clear_cache", "verify_cache"]


def _opened(settings: Settings | None) -> closing[BlockCache]:
    return closing((settings or Settings.load()).open_cache())


def cache_info(settings: Settings | None = None) -> CacheInfo:
    """Return where the cache is, how full, and whether it works.

    >>> import penstock
    >>> penstock.cache_info().mode
    'ok'
    """
    with _opened(settings) as cache:
        return cache.info()


def clear_cache(settings: Settings | None = None) -> int:
    """Remove every block and return the bytes that this freed. Mounts that use the cache go on, and fetch again.

    What was learnt of objects that are pinned by identity is forgotten, too.
    """
    from penstock.repo.session.learned_hashes import LEARNED

    settings = settings or Settings.load()
    with closing(settings.open_locations()) as index:
        index.clear(LEARNED)
    with _opened(settings) as cache:
        return cache.clear()


def verify_cache(settings: Settings | None = None) -> VerifyReport:
    """Read every block and check it; bad ones are dropped, to be fetched again."""
    with _opened(settings) as cache:
        return cache.verify()
