"""A bucket behind a server of the catalogue: ``https://host/bucket``, read with a key; of a reader's, leases are put.

The server says what a key opens. Of objects that several datasets share it sends what belongs to the key's own, and
zeros for the rest: whoever asked holds the bytes against their hashes. The key goes to the host that was named and
nowhere else: no redirect is followed, and without TLS it goes to this machine alone.

Blocking, thread-safe; survives a fork, because connections are of a process.
"""

from __future__ import annotations

import ipaddress
import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from typing import Any, NoReturn
from urllib.parse import quote, urlencode, urlsplit

import msgspec
import urllib3

from penstock.error_form import ErrorForm, error_of
from penstock.errors import (
    AccessError,
    ConflictError,
    IntegrityError,
    NotFoundError,
    PenstockError,
    StoreUnreachableError,
    UsageError,
)
from penstock.store.base import (
    WHOLE_LIMIT,
    Buffer,
    ByteRange,
    Level,
    ObjectBeginning,
    ObjectInfo,
    Store,
    too_large,
)
from penstock.store.keys import check_key, check_prefix, check_start_after
from penstock.store.options import StoreOptions
from penstock.store.retry import Deadline, RetryPolicy

__all__ = ["HttpStore", "check_server_url"]

_CHUNK = 1 << 18
_MOST_ERROR = 1 << 16
_MOST_LISTING = 8 << 20
_PAGE = 1000
_AGAIN = frozenset({429, 500, 502, 503, 504})
_LEASES = ".penstock/leases/mount/"
"""What may be put and deleted: the one thing that a reader says."""


class _Listed(msgspec.Struct, frozen=True):
    key: str
    size: int
    modified: float | None = None
    etag: str | None = None


class _ListAnswer(msgspec.Struct, frozen=True):
    objects: list[_Listed]
    folders: list[str]
    is_cut: bool


class _ErrorAnswer(msgspec.Struct, frozen=True):
    error: ErrorForm


def check_server_url(url: str) -> None:
    """Raise UsageError unless `url` is the address of a bucket on a server, by TLS or on this machine."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise UsageError(f"{url!r} is no address of a bucket on a server", fix="Write https://host/bucket") from error
    if not host or port == 0 or parts.username is not None or parts.query or parts.fragment:
        raise UsageError(f"{url!r} is no address of a bucket on a server", fix="Write https://host/bucket")
    if parts.path.strip("/").count("/") or not parts.path.strip("/"):
        raise UsageError(f"{url!r} names no bucket", fix="Write https://host/bucket")
    if parts.scheme == "http" and not _is_loopback(host):
        raise UsageError(
            f"{url!r} would send a key that anybody on the way can read",
            why="it has no TLS",
            fix="Write https://, or reach the server through one that has it.",
        )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class HttpStore(Store):
    """The bucket at `url`. UsageError: that is no address of one."""

    def __init__(self, url: str, options: StoreOptions) -> None:
        check_server_url(url)
        self.url = url.rstrip("/")
        self._options = options
        base, _, bucket = self.url.rpartition("/")
        self._base = f"{base}/store/{bucket}"
        self._pool: tuple[int, urllib3.PoolManager] | None = None
        self._policy = RetryPolicy(
            options.deadline, options.max_attempts, options.connect_timeout + options.read_timeout
        )

    def __reduce__(self) -> tuple[object, ...]:
        return HttpStore, (self.url, self._options)

    def get(
        self,
        key: str,
        byte_range: ByteRange | None = None,
        *,
        limit: int = WHOLE_LIMIT,
        checked: bool = False,  # noqa: ARG002 - an answer that was cut short is seen, and all else is the server's word
        version_id: str | None = None,
        etag: str | None = None,
        size: int | None = None,
    ) -> bytes:
        """See `Store.get`. There are no versions: UsageError for a `version_id`."""
        _refuse_version(version_id)
        query: dict[str, str] = {}
        most = limit
        if byte_range is not None:
            if not byte_range.length:
                return b""
            query = {"offset": str(byte_range.offset), "length": str(byte_range.length)}
            most = byte_range.length
        headers, body = self._ask("GET", f"/o/{quote(check_key(key))}", query, most)
        if (etag is not None and headers.get("etag") != f'"{etag}"') or (
            size is not None and headers.get("x-penstock-size") != str(size)
        ):
            raise ConflictError(f"{key} in {self.url} has changed")
        return body

    def begin(self, key: str, length: int, *, version_id: str | None = None) -> ObjectBeginning:
        """See `Store.begin`."""
        _refuse_version(version_id)
        query = {"offset": "0", "length": str(length)}
        headers, body = self._ask("GET", f"/o/{quote(check_key(key))}", query, length)
        return ObjectBeginning(_info(key, headers), body, None)

    def head(self, key: str) -> ObjectInfo | None:
        """See `Store.head`."""
        try:
            headers, _ = self._ask("HEAD", f"/o/{quote(check_key(key))}", {}, 0)
        except NotFoundError:
            return None
        return _info(key, headers)

    def list(
        self, prefix: str = "", *, start_after: str = "", limit: int | None = None, page: int | None = None
    ) -> Iterator[ObjectInfo]:
        """See `Store.list`."""
        check_prefix(prefix)
        check_start_after(start_after)
        left, after = limit, start_after
        while left is None or left > 0:
            wanted = min(page or _PAGE, _PAGE, left if left is not None else _PAGE)
            answer = self._listing({"prefix": prefix, "start_after": after, "limit": str(wanted)})
            for each in answer.objects[:wanted]:
                if not each.key.startswith(prefix) or each.key <= after:
                    raise self._nonsense("its listing is not in order")
                after = each.key
                yield ObjectInfo(each.key, each.size, each.modified, each.etag)
            if not answer.is_cut or not answer.objects:
                return
            left = left - len(answer.objects) if left is not None else None

    def list_folders(self, prefix: str = "") -> Iterator[str]:
        """See `Store.list_folders`."""
        check_prefix(prefix)
        if prefix and not prefix.endswith("/"):
            raise UsageError(f"{prefix!r} is no folder", fix="End it with a slash")
        return iter(self._listing({"prefix": prefix, "folders": "true"}).folders)

    def list_level(self, prefix: str = "", *, page: int | None = None) -> Level:  # noqa: ARG002 - one answer has all
        """See `Store.list_level`: what a server shows of a dataset has records, and no levels."""
        raise UsageError(f"{self.url} cannot be registered in place", why="it is a server, and no store of files")

    def put(self, key: str, body: Buffer) -> None:
        """See `Store.put`: leases of readers alone, so that gc leaves what they show; all else is refused."""
        if not key.startswith(_LEASES):
            self._refuse_writing()
        self._ask("PUT", f"/o/{quote(check_key(key))}", {}, 0, bytes(body))

    def put_file(self, key: str, descriptor: int, size: int, pool: Executor | None = None) -> None:  # noqa: ARG002 - whatever it is
        """See `Store.put_file`: refused."""
        self._refuse_writing()

    def create(self, key: str, body: Buffer) -> bool:  # noqa: ARG002 - whatever it is
        """See `Store.create`: refused."""
        self._refuse_writing()

    def delete(self, keys: Iterable[str]) -> None:
        """See `Store.delete`: leases of readers that this one has put; all else is refused."""
        for key in keys:
            if not key.startswith(_LEASES):
                self._refuse_writing()
            self._ask("DELETE", f"/o/{quote(check_key(key))}", {}, 0)

    def copy(self, source: Store, source_key: str, key: str, *, source_version_id: str | None = None) -> None:  # noqa: ARG002 - whatever it is
        """See `Store.copy`: refused."""
        self._refuse_writing()

    def close(self) -> None:
        """See `Store.close`."""
        if self._pool is not None:
            self._pool[1].clear()

    def _refuse_writing(self) -> NoReturn:
        raise AccessError(
            f"{self.url} is only read",
            why="a server lets files be added by its own interface, and nothing be written past it",
            fix="Use penstock.catalogue, or the bucket itself.",
        )

    def _listing(self, query: dict[str, str]) -> _ListAnswer:
        _, body = self._ask("GET", "/list", query, _MOST_LISTING)
        try:
            return msgspec.json.decode(body, type=_ListAnswer)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._nonsense(str(error)) from error

    def _nonsense(self, why: str) -> StoreUnreachableError:
        return StoreUnreachableError(f"{self.url} answers something else", why=why, fix="Check the address.")

    def _connections(self) -> urllib3.PoolManager:
        if self._pool is None or self._pool[0] != os.getpid():
            self._pool = (os.getpid(), urllib3.PoolManager(num_pools=2, maxsize=32))
        return self._pool[1]

    def _ask(
        self, method: str, path: str, query: dict[str, str], most: int, sent: bytes | None = None
    ) -> tuple[Any, bytes]:
        """Send a request until it is answered, or its time is over. Raises as `Store` says."""
        deadline = self._policy.start()
        failures = 0
        while True:
            try:
                return self._once(method, path, query, most, deadline, sent)
            except (urllib3.exceptions.HTTPError, OSError, _TryAgainError) as error:
                failures += 1
                pause = self._policy.pause(failures, deadline)
                if pause is None:
                    raise StoreUnreachableError(
                        f"{self.url} does not answer", why=_words(error), fix="Check the address and the network."
                    ) from error
                time.sleep(pause)

    def _once(
        self, method: str, path: str, query: dict[str, str], most: int, deadline: Deadline, sent: bytes | None
    ) -> tuple[Any, bytes]:
        headers = {"accept-encoding": "identity"}
        if self._options.key is not None:
            headers["authorization"] = f"Bearer {self._options.key}"
        left = max(0.1, deadline.remaining())
        timeout = urllib3.Timeout(
            connect=min(self._options.connect_timeout, left), read=min(self._options.read_timeout, left)
        )
        url = f"{self._base}{path}{f'?{urlencode(query)}' if query else ''}"
        answer = self._connections().request(
            method,
            url,
            body=sent,
            headers=headers,
            timeout=timeout,
            retries=False,
            redirect=False,
            preload_content=False,
        )
        try:
            if answer.status in _AGAIN:
                raise _TryAgainError(f"it answers {answer.status}")
            if answer.status not in (200, 204):
                raise self._error(answer.status, b"" if method == "HEAD" else answer.read(_MOST_ERROR), path)
            body = bytearray()
            while part := answer.read(_CHUNK):
                body += part
                if len(body) > most:
                    raise too_large(f"{self.url}{path}", most)
                deadline.progress(len(body))
                if deadline.remaining() < 0:
                    raise _TryAgainError("it is too slow")
            return answer.headers, bytes(body)
        except BaseException:
            answer.close()
            raise
        finally:
            answer.release_conn()

    def _error(self, status: int, body: bytes, path: str) -> PenstockError:
        try:
            told = error_of(msgspec.json.decode(body, type=_ErrorAnswer).error)
        except (msgspec.DecodeError, UnicodeDecodeError):
            told = PenstockError(f"it answers {status}")
        if status in (401, 403):
            fix = "Set PENSTOCK_KEY, or PENSTOCK_KEY_FILE, to a key of the dataset."
            return AccessError(f"{self.url} refuses", why=told.reason, fix=told.fix or fix)
        if status == 404:
            return NotFoundError(f"no object {path.removeprefix('/o/')} in {self.url}")
        if isinstance(told, IntegrityError | ConflictError | UsageError):
            return told
        return self._nonsense(told.reason)


class _TryAgainError(Exception):
    """An answer that may be another one the next time."""


def _words(error: Exception) -> str:
    cause: BaseException = error
    if isinstance(error, urllib3.exceptions.MaxRetryError) and error.reason is not None:
        cause = error.reason
    return f"{type(cause).__name__}: {cause}"[:300]


def _info(key: str, headers: Any) -> ObjectInfo:
    size, modified = headers.get("x-penstock-size", ""), headers.get("x-penstock-modified", "")
    try:
        return ObjectInfo(
            key, int(size), float(modified) if modified else None, headers.get("etag", "").strip('"') or None
        )
    except ValueError as error:
        raise StoreUnreachableError("a server does not say how large an object is", why=f"{size!r}") from error


def _refuse_version(version_id: str | None) -> None:
    if version_id is not None:
        raise UsageError(f"no version {version_id}", why="a server keeps no versions of objects")
