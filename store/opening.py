"""From a URL to a store.

    s3://bucket[/prefix]        file:///dir        https://host/bucket
    gs://bucket[/prefix]        az://container[/prefix]        ssh://[user@]host[:port]/dir: by libraries of fsspec

The one way to make a store, also for whoever unpickles one. botocore costs 300 ms to import, and fsspec's libraries
as much, so they are imported when the first such store opens, not before. Opening does no I/O on a store that it would
have to wait for, and creates nothing: a wrong name shows at the first call.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote, unquote_to_bytes

from penstock.errors import UsageError
from penstock.store.base import Store
from penstock.store.local import LocalStore
from penstock.store.options import StoreOptions

from .keys import check_key

if TYPE_CHECKING:
    from penstock.store.fsspec.remote_files import RemoteFiles

__all__ = ["StoreOptions", "open_store"]

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")  # looser than AWS: other servers are
_EXAMPLES = "Examples: s3://bucket, s3://bucket/prefix, file:///srv/data"
_DEFAULTS = StoreOptions()
_EXTRAS = {"gs": "gcs", "az": "azure", "ssh": "ssh"}


def open_store(url: str, options: StoreOptions = _DEFAULTS) -> Store:
    """Return the store at `url`. Raises UsageError when it is no address of a store."""
    scheme, colon, rest = url.partition("://")
    if colon and scheme == "s3":
        return _open_s3(url, rest, options)
    if colon and scheme == "file":
        return LocalStore(_local_path(url, rest))
    if colon and scheme in ("https", "http"):
        from penstock.store.http.http_store import HttpStore  # urllib3 is not needed for most

        return HttpStore(url, options)
    if colon and scheme in _EXTRAS:
        return _open_by_fsspec(scheme, url, rest, options)
    if url.startswith("/"):
        raise UsageError(f"{url!r} is no address of a store", fix=f"A local directory is written file://{url}")
    why = f"{scheme}:// is not supported" if colon else "it has no scheme"
    raise UsageError(f"{url!r} is no address of a store", why=why, fix=_EXAMPLES)


def _open_s3(url: str, rest: str, options: StoreOptions) -> Store:
    bucket, _, prefix = rest.partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise UsageError(
            f"{url!r} names no bucket",
            why="a bucket's name has at least two letters, digits, dots, dashes or underscores",
            fix=_EXAMPLES,
        )
    prefix = prefix.rstrip("/")
    if prefix:
        check_key(prefix)
    from penstock.store.s3.s3_store import S3Store  # the reason is at the top

    return S3Store(bucket, prefix, options)


def _open_by_fsspec(scheme: str, url: str, rest: str, options: StoreOptions) -> Store:
    """Return a store that takes one of the extras. UsageError: it is not installed, or the address is none."""
    place, _, prefix = rest.partition("/")
    prefix = prefix.rstrip("/")
    if not place or (scheme == "ssh" and (not prefix or ":" in place.rpartition("@")[0])):
        raise UsageError(
            f"{url!r} is no address of a store",
            why="it names no place, or has a password in it",
            fix="Examples: gs://bucket/prefix, az://container/prefix, ssh://user@host/srv/data",
        )
    if prefix:
        check_key(unquote(prefix) if scheme == "ssh" else prefix)
    from penstock.store.fsspec.fsspec_store import FsspecStore  # the reason is at the top

    base = f"{place}/{prefix}/" if prefix else f"{place}/"
    if scheme == "ssh":
        base = f"/{unquote(prefix)}/"
    try:
        kind = _kind(scheme)
    except ImportError as error:
        extra = _EXTRAS[scheme]
        raise UsageError(
            f"{url} cannot be reached", why=f"that takes penstock[{extra}]", fix=f"pip install 'penstock[{extra}]'"
        ) from error
    return FsspecStore(url.rstrip("/"), base, options, kind)


def _kind(scheme: str) -> type[RemoteFiles]:
    """Return what speaks to a kind of server. Raises ImportError."""
    if scheme == "gs":
        from penstock.store.fsspec.gcs_files import GcsFiles

        return GcsFiles
    if scheme == "az":
        from penstock.store.fsspec.azure_files import AzureFiles

        return AzureFiles
    from penstock.store.fsspec.ssh_files import SshFiles

    return SshFiles


def _local_path(url: str, rest: str) -> bytes:
    """Return the absolute path in a file URL (RFC 8089); percent escapes are undone."""
    host, slash, path = rest.partition("/")
    if host not in ("", "localhost"):
        raise UsageError(
            f"{url!r} names a directory of another machine",
            why=f"the host {host!r} stands where a third slash should",
            fix=f"Write file:///{rest}" if slash else _EXAMPLES,
        )
    if not slash:
        raise UsageError(f"{url!r} names no directory", fix=_EXAMPLES)
    plain = b"/" + unquote_to_bytes(path)
    if b"\0" in plain:
        raise UsageError(f"{url!r} names no directory", why="a path holds no NUL")
    return plain
