"""A bucket of Google Cloud Storage, ``gs://bucket[/prefix]``, through gcsfs.

Objects are told apart by their generation; one is made where there is none by ``ifGenerationMatch=0``. What is sent is
held against the MD5 that the server answers. Credentials are Google's application default ones; without any, and for an
endpoint that is none of Google's, requests are anonymous.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Self

import aiohttp  # pyright: ignore[reportMissingImports]  # an extra
import google.auth.exceptions  # pyright: ignore[reportMissingImports, reportAttributeAccessIssue, reportMissingModuleSource]  # an extra
import requests.exceptions  # pyright: ignore[reportMissingImports, reportAttributeAccessIssue, reportMissingModuleSource]  # an extra

# Not the class at the top of gcsfs: that asks by another protocol what kind of bucket it is.
from gcsfs.core import GCSFileSystem  # pyright: ignore[reportMissingImports]  # an extra
from gcsfs.retry import ChecksumError, HttpError  # pyright: ignore[reportMissingImports]  # an extra

from penstock.errors import AccessError, PenstockError, UsageError
from penstock.store.base import Buffer
from penstock.store.options import StoreOptions

from .remote_files import RemoteFacts, RemoteFiles, RemoteLevel

__all__ = ["GcsFiles"]

_WHOLE = 50 << 20
_BOUNDARY = b"--==0=="
"""What gcsfs parts a body from its name with: a body that has it goes by the other kind of upload."""
_STEP = 1 << 18
_PAST_END = 416


class GcsFiles(RemoteFiles):
    """Objects of buckets: a path is ``bucket/key``."""

    errors = (
        OSError,
        ValueError,
        HttpError,
        ChecksumError,
        aiohttp.ClientError,
        requests.exceptions.RequestException,
        google.auth.exceptions.GoogleAuthError,
    )

    def __init__(self, system: GCSFileSystem) -> None:
        self._system: Any = system  # has no types
        self.loop = system.loop

    @classmethod
    def connect(cls, url: str, options: StoreOptions) -> Self:
        """See `RemoteFiles.connect`: prepare a connection; nothing is sent. AccessError: there are no credentials."""
        try:
            system = GCSFileSystem(
                project="",
                token="anon" if options.anonymous else None,
                endpoint_url=options.endpoint_url,
                consistency="md5",
                requester_pays=options.request_payer,
                requests_timeout=options.read_timeout,
                use_listings_cache=False,
                skip_instance_cache=True,
            )
        except google.auth.exceptions.GoogleAuthError as error:
            raise AccessError(
                f"{url} cannot be reached", why=str(error), fix="gcloud auth application-default login; or --anonymous"
            ) from error
        return cls(system)

    async def read(self, path: str, offset: int, length: int) -> bytes:
        """See `RemoteFiles.read`."""
        if not length:
            if await self.look(path) is None:
                raise FileNotFoundError(path)
            return b""
        try:
            return bytes(await self._system._cat_file(path, start=offset, end=offset + length))  # noqa: SLF001
        except HttpError as error:
            if str(error.code) != str(_PAST_END):
                raise
            return b""

    async def look(self, path: str) -> RemoteFacts | None:
        """See `RemoteFiles.look`."""
        try:
            return _facts(await self._system._get_object(path))  # noqa: SLF001 - `_info` takes a folder for an object
        except FileNotFoundError:
            return None

    async def write(self, path: str, body: Buffer, *, new: bool) -> None:
        """See `RemoteFiles.write`."""
        data = bytes(body)
        size = len(data)
        chunk = _WHOLE if _BOUNDARY not in data else min(_STEP, size)
        await self._system._pipe_file(path, data, chunksize=chunk, mode="create" if new else "overwrite")  # noqa: SLF001

    async def write_file(self, path: str, descriptor: int, size: int) -> None:  # noqa: ARG002 - it is looked at after
        """See `RemoteFiles.write_file`."""
        await self._system._put_file(f"/proc/self/fd/{descriptor}", path, chunksize=_WHOLE)  # noqa: SLF001

    async def level(self, path: str) -> RemoteLevel:
        """See `RemoteFiles.level`."""
        level = RemoteLevel([], [])
        bucket, _, prefix = path.partition("/")
        page: str | None = None
        while True:
            found = await self._system._call(  # noqa: SLF001 - gcsfs has no listing that is of a folder, and no object
                "GET", "b/{}/o", bucket, delimiter="/", prefix=prefix, pageToken=page, json_out=True
            )
            level.folders.extend(each[len(prefix) :].rstrip("/") for each in found.get("prefixes", ()))
            level.files.extend(
                (each["name"][len(prefix) :], _facts(each)) for each in found.get("items", ()) if each["name"] != prefix
            )
            page = found.get("nextPageToken")
            if not page:
                return level

    async def delete(self, path: str) -> None:
        """See `RemoteFiles.delete`."""
        try:
            await self._system._rm_file(path)  # noqa: SLF001
        except FileNotFoundError:
            return

    async def copy(self, source: str, path: str) -> None:
        """See `RemoteFiles.copy`."""
        await self._system._cp_file(source, path)  # noqa: SLF001

    def explain(self, error: Exception, what: str) -> PenstockError | None:
        """See `RemoteFiles.explain`; gcsfs has tried again by itself what may go better."""
        why = f"{type(error).__name__}: {error}"[:300]
        code = str(getattr(error, "code", "")) if isinstance(error, HttpError) else ""
        is_refused = isinstance(error, OSError) and str(error).startswith("Forbidden")
        if code in ("401", "403") or is_refused or isinstance(error, google.auth.exceptions.GoogleAuthError):
            return AccessError(what, why=why, fix="gcloud auth application-default login; and look what may be read.")
        if code.startswith("4") and code not in ("408", "429"):
            return UsageError(what, why=why)
        return UsageError(what, why=why) if isinstance(error, ValueError) else None


def _facts(found: dict[str, Any]) -> RemoteFacts:
    updated = found.get("updated")
    modified = datetime.fromisoformat(str(updated)).timestamp() if updated else None
    generation = found.get("generation")
    return RemoteFacts(int(found.get("size", 0)), modified, str(generation) if generation else None)
