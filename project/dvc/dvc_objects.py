"""Contents by their MD5: from DVC's caches, from git, or from remotes; each held against its hash before it is used.

What is in a cache is read where it lies. What is not is written to a folder of our own, which goes when this is closed.
Nothing is written to where DVC keeps its own.

One thread.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO

from penstock.errors import AccessError, IntegrityError, NotFoundError, StoreUnreachableError
from penstock.store.base import ByteRange, Store

from .dvc_files import DvcHash
from .hashes import MOST_LISTING, fits, parse_listing

__all__ = ["DvcObjects", "NamedStore"]

_PIECE = 16 << 20
_LISTINGS = 4
"""Listings that are held; of a large directory one is large."""
NamedStore = tuple[str, Store]


class DvcObjects:
    """Finds contents. `caches` are directories; `stores` gives named remotes, opened when the first is needed."""

    def __init__(self, caches: Sequence[str], stores: Callable[[], Sequence[NamedStore]], folder: str) -> None:
        self._caches = tuple(caches)
        self._open_stores = stores
        self._opened: list[NamedStore] | None = None
        self._folder = folder
        self._listings: dict[str, dict[tuple[bytes, ...], DvcHash]] = {}
        self.damaged: list[str] = []
        """What was there under a hash that it has not."""
        self.silent: dict[str, str] = {}
        """Remotes that could not be read, and why: asked once."""

    def __enter__(self) -> DvcObjects:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove what was fetched."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def forget_files(self) -> None:
        """Remove what was fetched so far: it is stored elsewhere by now."""
        self.close()

    def listing(self, wanted: DvcHash, told: str, more: Sequence[NamedStore] = ()) -> dict[tuple[bytes, ...], DvcHash]:
        """Return the files of a directory, by their names. Errors as `file`; IntegrityError: it is no listing."""
        if wanted.md5 not in self._listings:
            while len(self._listings) >= _LISTINGS:
                del self._listings[next(iter(self._listings))]
            path = self.file(wanted, told, more)
            if os.stat(path).st_size > MOST_LISTING:
                raise IntegrityError(f"{told}: its listing has more than {MOST_LISTING >> 20} MiB")
            with open(path, "rb") as stream:
                self._listings[wanted.md5] = parse_listing(stream.read(), told, is_old=wanted.is_old)
        return self._listings[wanted.md5]

    def file(
        self,
        wanted: DvcHash,
        told: str,
        more: Sequence[NamedStore] = (),
        in_git: Callable[[], bytes | None] = lambda: None,
    ) -> bytes:
        """Return the path of a file that holds what has this hash; `more` are stores that may have it as well.

        NotFoundError: it is nowhere; `silent` says which places could not be read.
        """
        kept = os.path.join(self._folder, wanted.md5)
        if os.path.lexists(kept):
            return os.fsencode(kept)
        for cache in self._caches:
            for key in _keys(wanted):
                path = os.fsencode(os.path.join(cache, key))
                if self._is_good(path, wanted):
                    return path
        body = in_git()
        if body is not None and fits(BytesIO(body), wanted):
            self._write(kept, iter((body,)))
            return os.fsencode(kept)
        for name, store in [*self._stores(), *more]:
            if name in self.silent:
                continue
            try:
                if self._fetched(store, wanted, kept):
                    return os.fsencode(kept)
            except (AccessError, StoreUnreachableError) as error:
                self.silent[name] = str(error)
        more_told = f"; {', '.join(self.silent)} cannot be read" if self.silent else ""
        raise NotFoundError(f"{told} cannot be had", why=f"no cache and no remote has {wanted.md5}{more_told}")

    def _stores(self) -> list[NamedStore]:
        if self._opened is None:
            self._opened = list(self._open_stores())
        return self._opened

    def _is_good(self, path: bytes, wanted: DvcHash) -> bool:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return False
        with os.fdopen(descriptor, "rb", buffering=0) as stream:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return False
            if fits(stream, wanted):
                return True
        self.damaged.append(os.fsdecode(path))
        return False

    def _fetched(self, store: Store, wanted: DvcHash, kept: str) -> bool:
        for key in _keys(wanted):
            found = store.head(key)
            if found is None:
                continue
            self._write(kept, _pieces(store, key, found.size))
            if self._is_good(os.fsencode(kept), wanted):
                return True
            os.unlink(kept)
            self.damaged[-1] = f"{store.url}/{key}"
        return False

    def _write(self, path: str, pieces: Iterator[bytes]) -> None:
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        with open(f"{path}.part", "wb") as stream:
            stream.writelines(pieces)
        os.replace(f"{path}.part", path)


def _keys(wanted: DvcHash) -> tuple[str, str]:
    here = f"{wanted.md5[:2]}/{wanted.md5[2:]}"
    both = f"files/md5/{here}", here
    return (both[1], both[0]) if wanted.is_old else both


def _pieces(store: Store, key: str, size: int) -> Iterator[bytes]:
    for offset in range(0, size, _PIECE):
        yield store.get(key, ByteRange(offset, min(_PIECE, size - offset)), checked=True)
