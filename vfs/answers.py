"""The kernel's requests to calls of `filesystem`: protocol adapter only.

A version never changes: names, attributes and pages stay valid for ever, names that are not there too. Opening is
answered with ENOSYS, once, and the kernel opens and closes files by itself from then on: a file costs a LOOKUP and a
READ, and nothing at all while the kernel has it in its page cache.

`at_once` answers from memory. What that cannot is for `in_time`, which may wait. Used by `requests`.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from penstock.errors import PenstockError

from .access_log import AccessLog
from .errnos import Refusal
from .filesystem import ReadOnlyFileSystem
from .protocol import (
    ABSENT,
    Opcode,
    Owner,
    attributes_answer,
    entry_answer,
    listed,
    opendir_answer,
    read_request,
    statfs_answer,
    wanted_xattr,
    xattr_size_answer,
)

__all__ = ["Answer", "Answers"]

Answer: TypeAlias = bytes | memoryview
Body: TypeAlias = bytes | memoryview

_MOST_NAME = 255


class Answers:
    """Answers requests by opcode. `bytes_read` counts what was given of files; `access_log` is written to if any."""

    def __init__(self, file_system: ReadOnlyFileSystem, owner: Owner) -> None:
        self._fs = self.file_system = file_system
        self._owner = owner
        self.bytes_read = 0
        self.access_log: AccessLog | None = None
        self._at_once: dict[int, Callable[[int, Body], Answer | None]] = {
            Opcode.LOOKUP: self._known_name,
            Opcode.READ: self._bytes_at_hand,
        }
        self._in_time: dict[int, Callable[[int, Body], Awaitable[Answer]]] = {
            Opcode.LOOKUP: self._lookup,
            Opcode.GETATTR: self._getattr,
            Opcode.READLINK: self._readlink,
            Opcode.READ: self._read,
            Opcode.STATFS: self._statfs,
            Opcode.GETXATTR: self._getxattr,
            Opcode.LISTXATTR: self._listxattr,
            Opcode.OPENDIR: self._opendir,
            Opcode.READDIRPLUS: self._readdir,
            Opcode.RELEASEDIR: self._releasedir,
        }

    def reads(self) -> tuple[int, int | None]:
        """Return the bytes of files given so far, and None: how many files are open is not known here."""
        return self.bytes_read, None

    def at_once(self, opcode: int, inode: int, body: Body) -> Answer | None:
        """Return the answer if memory has it, without waiting and in microseconds; None otherwise."""
        known = self._at_once.get(opcode)
        return known(inode, body) if known is not None else None

    async def in_time(self, opcode: int, inode: int, body: bytes) -> Answer:
        """Return the answer. `Refusal`, and any of `penstock.errors`."""
        call = self._in_time.get(opcode)
        if call is None:  # the kernel does without from now on
            raise Refusal(errno.ENOSYS)
        return await call(inode, body)

    def _known_name(self, inode: int, body: Body) -> Answer | None:
        found = self._fs.lookup_at_hand(inode, bytes(body[:-1]))
        return entry_answer(found, self._owner) if found is not None else None

    def _bytes_at_hand(self, inode: int, body: Body) -> Answer | None:
        if self.access_log is not None:
            return None
        _, offset, size = read_request(body)
        found = self._fs.read_at_hand(inode, offset, size)
        if found is not None:
            self.bytes_read += len(found)
        return found

    async def _lookup(self, inode: int, body: Body) -> Answer:
        name = bytes(body[:-1])
        if len(name) > _MOST_NAME:
            raise Refusal(errno.ENAMETOOLONG)
        found = await self._fs.lookup(inode, name)
        return entry_answer(found, self._owner) if found is not None else ABSENT

    async def _getattr(self, inode: int, _: Body) -> Answer:
        return attributes_answer(await self._fs.getattr(inode), self._owner)

    async def _readlink(self, inode: int, _: Body) -> Answer:
        return await self._fs.readlink(inode)

    async def _read(self, inode: int, body: Body) -> Answer:
        _, offset, size = read_request(body)
        if self.access_log is not None:
            found = await self._read_logged(self.access_log, inode, offset, size)
        else:
            found = await self._fs.read(inode, offset, size)
        self.bytes_read += len(found)
        return found

    async def _read_logged(self, log: AccessLog, inode: int, offset: int, size: int) -> Answer:
        begun = time.monotonic()
        try:
            path, hit = await self._fs.describe(inode, offset, size)
        except PenstockError:  # the nodes above it cannot be had now; what is in the file perhaps can
            path, hit = b"?", False
        found: Answer = b""
        error = None
        try:
            found = await self._fs.read(inode, offset, size)
        except (PenstockError, Refusal) as raised:
            error = str(raised)
            raise
        finally:
            log.write("read", path, begun=begun, offset=offset, size=len(found), hit=hit, error=error)
        return found

    async def _opendir(self, inode: int, _: Body) -> Answer:
        return opendir_answer(await self._fs.opendir(inode))

    async def _readdir(self, _: int, body: Body) -> Answer:
        """List a directory, with attributes, until the kernel's buffer is full or a batch is used up."""
        handle, offset, size = read_request(body)
        parts: list[bytes] = []
        for item in await self._fs.readdir(handle, offset):
            part = listed(item.name, item.attributes, self._owner, item.next)
            size -= len(part)
            if size < 0:
                break
            parts.append(part)
        return b"".join(parts)

    async def _releasedir(self, _: int, body: Body) -> Answer:
        handle, _, _ = read_request(body)
        self._fs.releasedir(handle)
        return b""

    async def _statfs(self, _: int, __: Body) -> Answer:
        return statfs_answer(self._fs.statfs())

    async def _getxattr(self, inode: int, body: Body) -> Answer:
        most, name = wanted_xattr(body)
        return _within(await self._fs.getxattr(inode, name), most)

    async def _listxattr(self, inode: int, body: Body) -> Answer:
        most, _ = wanted_xattr(body)
        return _within(b"".join(name + b"\0" for name in await self._fs.listxattr(inode)), most)


def _within(value: bytes, most: int) -> bytes:
    """Return an attribute's value, or its size to one who has asked for that."""
    if not most:
        return xattr_size_answer(len(value))
    if len(value) > most:
        raise Refusal(errno.ERANGE)
    return value
