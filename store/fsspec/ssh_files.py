"""A directory of another machine, by SFTP: ``ssh://[user@]host[:port]/dir``, through sshfs (asyncssh).

Laid out as a local store is (`store.local`), so one directory may be used as both. A file is written beside, synced,
and then renamed over what was there, or linked where nothing was: link(2) of the server decides who was first. SFTP has
no way to sync a folder: after a power cut of the server a name may be gone that was given, never half a file be there.

As in a local store the root may be a symbolic link and below it none is followed: where a path leads is asked before it
is used. Who a host is is looked up in ``~/.ssh/known_hosts``, how to log in in ``~/.ssh/config``, keys and an agent.
"""

from __future__ import annotations

import asyncio
import os
import posixpath
import re
import secrets
import stat
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import suppress
from typing import Any, Self, TypeVar
from urllib.parse import unquote, urlsplit

import asyncssh  # pyright: ignore[reportMissingImports]  # an extra
from sshfs import SSHFileSystem  # pyright: ignore[reportMissingImports]  # an extra

from penstock.errors import AccessError, ConflictError, PenstockError, StoreUnreachableError, UsageError
from penstock.store.base import Buffer
from penstock.store.durable import STALE_AFTER, TEMPORARY_FOLDER
from penstock.store.options import StoreOptions

from .remote_files import RemoteFacts, RemoteFiles, RemoteLevel

__all__ = ["SshFiles"]

T = TypeVar("T")

_STEP = 1 << 20
_PLACING_ATTEMPTS = 20
"""Somebody else may remove an empty folder between our making it and our naming a file in it."""
_TEMPORARY_NAME = re.compile(r"[0-9]{1,10}-[0-9a-f]{32}")
_FULL = (asyncssh.SFTPNoSpaceOnFilesystem, asyncssh.SFTPQuotaExceeded)


class SshFiles(RemoteFiles):
    """Files below `root` on the host that `system` is logged in to. Paths given are below `root`, as it is spelt."""

    errors = (OSError, asyncssh.Error)
    has_empty_folders = True
    reserved = TEMPORARY_FOLDER

    def __init__(self, system: SSHFileSystem, root: str, deadline: float) -> None:
        self._system: Any = system  # has no types
        self._spelt = root.rstrip("/")
        loop: Any = system.loop
        self.loop = loop
        self._sftp = self._now(self._channel(), deadline)
        self._root: str | None = None
        self._temporary: str | None = None

    async def _channel(self) -> asyncssh.SFTPClient:
        channel: asyncssh.SFTPClient = await self._system.client.start_sftp_client()
        return channel

    def _now(self, work: Coroutine[Any, Any, T], seconds: float) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return future.result(seconds)
        finally:
            future.cancel()

    @classmethod
    def connect(cls, url: str, options: StoreOptions) -> Self:
        """See `RemoteFiles.connect`. AccessError: the host or the user is not who it should be."""
        parts = urlsplit(url)
        by_hand = f"ssh {parts.hostname}"
        login: dict[str, Any] = {}
        if parts.username:
            login["username"] = unquote(parts.username)
        if parts.port:
            login["port"] = parts.port
        try:
            system = SSHFileSystem(
                parts.hostname,
                known_hosts=(),  # sshfs would take any host for the one that was meant
                timeout=options.deadline,
                connect_timeout=options.connect_timeout,
                login_timeout=options.read_timeout,
                keepalive_interval=options.read_timeout,
                skip_instance_cache=True,
                **login,
            )
            return cls(system, unquote(parts.path), options.deadline)
        except (asyncssh.HostKeyNotVerifiable, asyncssh.KeyExchangeFailed) as error:
            raise AccessError(
                f"{url} may be another host",
                why=str(error),
                fix=f"Look whether it is the right one: ssh {parts.hostname}",
            ) from error
        except (PermissionError, asyncssh.PermissionDenied) as error:
            raise AccessError(f"{url} refuses", why=str(error), fix=f"Try it: {by_hand}") from error
        except (OSError, asyncssh.Error, TimeoutError) as error:
            raise StoreUnreachableError(
                f"{url} does not answer",
                why=f"{type(error).__name__}: {error}"[:300],
                fix=f"Try it: {by_hand}",
            ) from error

    @property
    def is_lost(self) -> bool:
        """See `RemoteFiles.is_lost`."""
        return bool(self._system.client.is_closed())

    def close(self) -> None:
        """See `RemoteFiles.close`."""
        self.loop.call_soon_threadsafe(self._sftp.exit)
        self.loop.call_soon_threadsafe(self._system.client.close)

    async def read(self, path: str, offset: int, length: int) -> bytes:
        """See `RemoteFiles.read`."""
        real, facts = await self._found(path)
        if facts is None:
            raise FileNotFoundError(path)
        if not length or offset >= facts.size:
            return b""
        async with await self._asked(self._sftp.open(real, "rb")) as file:
            return bytes(await file.read(min(length, facts.size - offset), offset))

    async def look(self, path: str) -> RemoteFacts | None:
        """See `RemoteFiles.look`."""
        return (await self._found(path))[1]

    async def _found(self, path: str) -> tuple[str, RemoteFacts | None]:
        """Return where a path is, and what is there, if it is a file."""
        try:
            real = await self._real(path)
            found = await self._sftp.lstat(real)
        except asyncssh.SFTPNoSuchFile:
            return path, None
        return real, _facts(found) if stat.S_ISREG(found.permissions or 0) else None

    async def _real(self, path: str) -> str:
        """Return a path without links. SFTPNoSuchFile: there is no such thing. AccessError: it leads through a link."""
        root = self._root
        if root is None:
            root = self._root = str(await self._sftp.realpath(self._spelt or "/"))
        real = posixpath.join(root, path[len(self._spelt) + 1 :]).rstrip("/") or "/"
        found = await self._sftp.realpath(real)
        if found != real:
            raise AccessError(
                f"{path} leads elsewhere",
                why=f"a symbolic link on the way goes to {found}",
                fix="Put there what the link leads to; only the store itself, as a whole, may be a link",
            )
        return real

    async def _asked(self, work: Any) -> Any:
        try:
            return await work
        except asyncssh.SFTPNoSuchFile as error:
            raise FileNotFoundError(str(error)) from error

    async def write(self, path: str, body: Buffer, *, new: bool) -> None:
        """See `RemoteFiles.write`."""
        view = memoryview(body).cast("B")
        await self._write(path, (bytes(view[at : at + _STEP]) for at in range(0, len(view), _STEP)), new=new)

    async def write_file(self, path: str, descriptor: int, size: int) -> None:
        """See `RemoteFiles.write_file`."""
        await self._write(path, _pieces(descriptor, size), new=False)

    async def copy(self, source: str, path: str) -> None:
        """See `RemoteFiles.copy`. A server that cannot copy is sent what it has sent."""
        real, facts = await self._found(source)
        if facts is None:
            raise FileNotFoundError(source)
        async with await self._asked(self._sftp.open(real, "rb")) as file:

            async def fill(target: asyncssh.SFTPClientFile) -> None:
                for offset in range(0, facts.size, _STEP):
                    await target.write(await file.read(_STEP, offset), offset)

            await self._place(path, fill, new=False)

    async def _write(self, path: str, parts: Iterable[bytes], *, new: bool) -> None:
        async def fill(target: asyncssh.SFTPClientFile) -> None:
            offset = 0
            for part in parts:
                await target.write(part, offset)
                offset += len(part)

        await self._place(path, fill, new=new)

    async def _place(self, path: str, fill: Callable[[asyncssh.SFTPClientFile], Any], *, new: bool) -> None:
        """Write a file beside, sync it, and give it its name."""
        name = f"{await self._temporary_folder()}/{os.getpid()}-{secrets.token_hex(16)}"
        is_left = True
        try:
            async with await self._sftp.open(name, "xb") as file:
                await fill(file)
                with suppress(asyncssh.SFTPOpUnsupported):
                    await file.fsync()
            await self._name(name, path, new=new)
            is_left = new
        except asyncssh.SFTPNoSuchFile:
            self._temporary = None  # somebody tidied up: the next attempt makes it once more
            raise
        finally:
            if is_left:
                with suppress(asyncssh.SFTPNoSuchFile):
                    await self._sftp.remove(name)

    async def _name(self, name: str, path: str, *, new: bool) -> None:
        folder, _, last = path.rpartition("/")
        target = ""
        for left in reversed(range(_PLACING_ATTEMPTS)):
            try:
                target = f"{await self._real(folder)}/{last}"
                if new:
                    await self._sftp.link(name, target)
                else:
                    await self._sftp.posix_rename(name, target)
                return
            except asyncssh.SFTPNoSuchFile:
                if not left:
                    raise
                await self._make_folder(folder)
            except asyncssh.SFTPOpUnsupported as error:
                what = "make a file only where there is none" if new else "put one file in the place of another"
                raise UsageError(
                    f"cannot write {path}", why=f"the server cannot {what} (hard links, posix-rename)"
                ) from error
            except asyncssh.SFTPFailure as error:
                found = await self._sftp.lstat(target)  # raises, if the failure was another one
                if new and stat.S_ISREG(found.permissions or 0):
                    raise FileExistsError(path) from error
                raise

    async def _make_folder(self, folder: str) -> None:
        """Make a folder, and all above it that is missing. UsageError: a file is in the way."""
        try:
            found = await self._sftp.lstat(await self._real(folder))
        except asyncssh.SFTPNoSuchFile:
            if len(folder) <= len(self._spelt):
                await self._sftp.makedirs(self._spelt, exist_ok=True)
                self._root = None
                return
            above, _, name = folder.rpartition("/")
            await self._make_folder(above)
            with suppress(asyncssh.SFTPFailure):  # somebody else was faster
                await self._sftp.mkdir(f"{await self._real(above)}/{name}")
            return
        if not stat.S_ISDIR(found.permissions or 0):
            raise UsageError(
                f"cannot write below {folder}",
                why="in a directory, one name cannot be an object and hold others below it",
                fix="Choose another name, or delete the object that is in the way",
            )

    async def _temporary_folder(self) -> str:
        """Return the folder of temporary files; the first time, it is looked whose it is, and cleared of old ones."""
        if self._temporary is not None:
            return self._temporary
        place = f"{self._spelt}/{TEMPORARY_FOLDER}"
        await self._make_folder(place)
        folder = await self._real(place)
        probe = f"{folder}/{os.getpid()}-{secrets.token_hex(16)}"
        file = await self._sftp.open(probe, "xb")
        try:
            own = await file.stat()
        finally:
            await file.close()
        await self._sftp.remove(probe)
        owners = {own.uid, (await self._sftp.lstat(self._root or folder)).uid}
        owner = (await self._sftp.lstat(folder)).uid
        if owner not in owners:
            raise AccessError(
                f"cannot write to {self._spelt}",
                why=f"{folder} belongs to uid {owner}, who is neither this user nor the owner of the store",
                fix="Have it removed: nothing in it is needed",
            )
        for each in await self._sftp.readdir(folder):
            is_old = (each.attrs.mtime or 0) < (own.mtime or 0) - STALE_AFTER
            name = str(each.filename)
            if _TEMPORARY_NAME.fullmatch(name) and is_old and each.attrs.uid == own.uid:
                with suppress(asyncssh.SFTPError):
                    await self._sftp.remove(f"{folder}/{name}")
        self._temporary = folder
        return folder

    async def level(self, path: str) -> RemoteLevel:
        """See `RemoteFiles.level`. AccessError: there is a link; left out, what it leads to would seem to be gone."""
        level = RemoteLevel([], [])
        try:
            real = await self._real(path)
            names = await self._sftp.readdir(real)
        except asyncssh.SFTPNoSuchFile:
            return level
        for each in names:
            name, mode = str(each.filename), each.attrs.permissions or 0
            if name in (".", ".."):
                continue
            if stat.S_ISDIR(mode):
                level.folders.append(name)
            elif stat.S_ISREG(mode):
                level.files.append((name, _facts(each.attrs)))
            elif stat.S_ISLNK(mode):
                raise AccessError(
                    f"cannot list {path}", why=f"{name} is a symbolic link", fix="Put there what the link leads to."
                )
        return level

    async def delete(self, path: str) -> None:
        """See `RemoteFiles.delete`. A symbolic link goes itself."""
        folder, _, name = path.rpartition("/")
        try:
            real = await self._real(folder)
            found = await self._sftp.lstat(f"{real}/{name}")
            if stat.S_ISDIR(found.permissions or 0):
                return
            await self._sftp.remove(f"{real}/{name}")
        except asyncssh.SFTPNoSuchFile:
            return
        with suppress(asyncssh.SFTPError):  # not empty, or gone already
            while real != self._root:
                await self._sftp.rmdir(real)
                real = posixpath.dirname(real)

    def explain(self, error: Exception, what: str) -> PenstockError | None:
        """See `RemoteFiles.explain`."""
        if self.is_lost or isinstance(error, asyncssh.SFTPConnectionLost | asyncssh.SFTPNoConnection):
            return None
        why = f"{type(error).__name__}: {error}"[:300]
        if isinstance(error, asyncssh.SFTPPermissionDenied | asyncssh.PermissionDenied | PermissionError):
            return AccessError(what, why=why, fix="Check owner and permissions there")
        if isinstance(error, _FULL):
            return StoreUnreachableError(what, why=why, fix="Free some space in that file system, then try again")
        if isinstance(error, asyncssh.SFTPNoSuchFile):
            return None  # somebody removes folders while others are made
        if isinstance(error, asyncssh.SFTPError):
            return StoreUnreachableError(what, why=why, fix="Look at the disk there, and how much of it is free")
        return None


def _facts(found: asyncssh.SFTPAttrs) -> RemoteFacts:
    size, modified = found.size or 0, found.mtime or 0
    return RemoteFacts(size, float(modified), f"{modified:x}-{size:x}", is_weak=True)


def _pieces(descriptor: int, size: int) -> Iterator[bytes]:
    offset = 0
    while offset < size:
        part = os.pread(descriptor, min(_STEP, size - offset), offset)
        if not part:
            raise ConflictError("the file became shorter while it was sent", why=f"it had {size} bytes")
        yield part
        offset += len(part)
