"""A container of Azure Blob Storage, ``az://container[/prefix]``, through adlfs, which logs in, and Azure's own client.

The account is that of the environment (AZURE_STORAGE_ACCOUNT_NAME and _KEY, AZURE_STORAGE_CONNECTION_STRING, …), or of
the endpoint, ``https://ACCOUNT.blob.core.windows.net``. One blob is made where there is none by ``If-None-Match: *``.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any, Self
from urllib.parse import urlsplit

from adlfs import AzureBlobFileSystem  # pyright: ignore[reportMissingImports]  # an extra
from azure.core.exceptions import (  # pyright: ignore[reportMissingImports]  # an extra
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.storage.blob import BlobProperties  # pyright: ignore[reportMissingImports]  # an extra
from azure.storage.blob.aio import BlobClient  # pyright: ignore[reportMissingImports]  # an extra

from penstock.errors import AccessError, ConflictError, PenstockError, UsageError
from penstock.store.base import Buffer
from penstock.store.options import StoreOptions

from .remote_files import RemoteFacts, RemoteFiles, RemoteLevel

__all__ = ["AzureFiles"]

_PAST_END = 416
_LOGIN = "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY say who you are; or: az login"


def _of_endpoint(options: StoreOptions) -> dict[str, str]:
    """Return how adlfs is told of an endpoint: it takes one with keys only as a connection string."""
    endpoint = str(options.endpoint_url)
    host = urlsplit(endpoint).netloc
    name = os.environ.get("AZURE_STORAGE_ACCOUNT_NAME") or host.partition(".")[0]
    secret = os.environ.get("AZURE_STORAGE_ACCOUNT_KEY")
    if secret and not options.anonymous:
        return {"connection_string": f"BlobEndpoint={endpoint};AccountName={name};AccountKey={secret}"}
    return {"account_name": name, "account_host": host}


class AzureFiles(RemoteFiles):
    """Blobs of containers: a path is ``container/key``."""

    errors = (AzureError, OSError)
    refused = "\\"

    def __init__(self, system: AzureBlobFileSystem) -> None:
        self._system: Any = system  # has no types
        self.loop = system.loop

    def _blob(self, path: str) -> BlobClient:
        container, _, key = path.partition("/")
        blob: BlobClient = self._system.service_client.get_blob_client(container=container, blob=key)
        return blob

    @classmethod
    def connect(cls, url: str, options: StoreOptions) -> Self:
        """See `RemoteFiles.connect`: nothing is sent. AccessError: it is not known to which account, or as whom."""
        login: dict[str, Any] = {"anon": True} if options.anonymous else {}
        if options.endpoint_url is not None:
            login.update(_of_endpoint(options))
        try:
            system = AzureBlobFileSystem(
                connection_timeout=options.connect_timeout,
                read_timeout=options.read_timeout,
                use_listings_cache=False,
                skip_instance_cache=True,
                **login,
            )
        except (ValueError, AzureError, ImportError) as error:
            raise AccessError(f"{url} cannot be reached", why=str(error)[:300], fix=_LOGIN) from error
        return cls(system)

    async def read(self, path: str, offset: int, length: int) -> bytes:
        """See `RemoteFiles.read`."""
        if not length:
            if await self.look(path) is None:
                raise FileNotFoundError(path)
            return b""
        try:
            stream = await self._blob(path).download_blob(offset=offset, length=length)
            return bytes(await stream.readall())
        except ResourceNotFoundError as error:
            raise FileNotFoundError(path) from error
        except HttpResponseError as error:
            if error.status_code != _PAST_END:
                raise
            return b""

    async def look(self, path: str) -> RemoteFacts | None:
        """See `RemoteFiles.look`."""
        try:
            return _facts(await self._blob(path).get_blob_properties())
        except ResourceNotFoundError:
            return None

    async def write(self, path: str, body: Buffer, *, new: bool) -> None:
        """See `RemoteFiles.write`. Azure's client answers 409 for what is there."""
        try:
            await self._blob(path).upload_blob(bytes(body), overwrite=not new, validate_content=True)
        except ResourceExistsError as error:
            if new:
                raise FileExistsError(path) from error
            raise

    async def write_file(self, path: str, descriptor: int, size: int) -> None:
        """See `RemoteFiles.write_file`."""
        with open(f"/proc/self/fd/{descriptor}", "rb") as stream:  # noqa: ASYNC230 - a file of this machine
            await self._blob(path).upload_blob(stream, length=size, overwrite=True, validate_content=True)
        if os.fstat(descriptor).st_size != size:
            raise ConflictError("the file changed while it was sent", why=f"it had {size} bytes", fix="Try it again.")

    async def level(self, path: str) -> RemoteLevel:
        """See `RemoteFiles.level`."""
        level = RemoteLevel([], [])
        container, _, prefix = path.partition("/")
        client = self._system.service_client.get_container_client(container)
        async for each in client.walk_blobs(name_starts_with=prefix, delimiter="/"):
            name = each.name[len(prefix) :]
            if not isinstance(each, BlobProperties):
                level.folders.append(name.rstrip("/"))
            elif name:
                level.files.append((name, _facts(each)))
        return level

    async def delete(self, path: str) -> None:
        """See `RemoteFiles.delete`."""
        try:
            await self._blob(path).delete_blob()
        except ResourceNotFoundError:
            return

    async def copy(self, source: str, path: str) -> None:
        """See `RemoteFiles.copy`. By way of here, in pieces: the server would want a signed address of the source."""
        there = self._blob(source)
        try:
            found = await there.get_blob_properties()
            stream = await there.download_blob(max_concurrency=1)

            async def pieces() -> AsyncIterator[bytes]:
                async for piece in stream.chunks():
                    yield piece

            await self._blob(path).upload_blob(pieces(), length=found.size, overwrite=True)
        except ResourceNotFoundError as error:
            raise FileNotFoundError(source) from error

    def explain(self, error: Exception, what: str) -> PenstockError | None:
        """See `RemoteFiles.explain`; Azure's client has tried again by itself what may go better."""
        why = str(error).split("\n", 1)[0][:300]
        status = getattr(error, "status_code", None) if isinstance(error, HttpResponseError) else None
        if isinstance(error, ClientAuthenticationError) or status in (401, 403):
            return AccessError(what, why=why, fix=_LOGIN)
        if status is not None and 400 <= status < 500 and status not in (408, 429):
            return UsageError(what, why=why)
        return None


def _facts(found: BlobProperties) -> RemoteFacts:
    return RemoteFacts(found.size, found.last_modified.timestamp(), (found.etag or "").strip('"') or None)
