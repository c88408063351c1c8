"""FUSE requests to calls of `filesystem`: protocol adapter only.

A version never changes: names, attributes and pages stay valid for ever, names that are not there too. It runs
on the event loop.
"""

# ruff: noqa: ARG002  # pyfuse3 fixes what handlers take
from __future__ import annotations

import errno
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import wraps
from typing import Any, TypeVar, cast

import pyfuse3
import trio
from pyfuse3 import EntryAttributes, FileInfo, FUSEError, ReaddirToken, RequestContext, StatvfsData

from penstock.errors import ConflictError, IntegrityError, NotFoundError, PenstockError
from penstock.vfs.files.attributes import Attributes
from penstock.vfs.files.errnos import Refusal, errno_of
from penstock.vfs.files.file_handles import inode_of
from penstock.vfs.files.filesystem import FileSystem
from penstock.vfs.files.xattrs import PREFIX

from .access_log import AccessLog
from .listing_flag import ListingFlag
from .readers import Readers
from .slow_reads import SLOW, SlowReads

__all__ = ["FuseOperations", "answering"]

_FOR_EVER = 10 * 365 * 86400
_MOST_NAME = 255
_BLOCK = 1 << 20
_DAMAGE = (IntegrityError, NotFoundError, ConflictError)
"""What a read fails with when the store no longer has what the version promises."""
_MOST_DAMAGED = 32
_Handler = TypeVar("_Handler", bound=Callable[..., Awaitable[Any]])


def answering(handler: _Handler) -> _Handler:
    """Turn what a handler raises into its errno: an exception that left it would end the mount."""
    name = handler.__name__

    @wraps(handler)
    async def answered(self: FuseOperations, *args: Any) -> Any:
        try:
            return await handler(self, *args)
        except FUSEError:
            raise
        except Exception as error:  # noqa: BLE001  # one request fails, the mount lives on
            raise FUSEError(errno_of(error, f"{name}{args[:1]}")) from None

    return cast(_Handler, answered)


class FuseOperations(pyfuse3.Operations):
    """Answers the kernel. `initialized` is set when it has sent its first request.

    `bytes_read` counts what it was given of files; `access_log` is written to while there is one; `readers` and
    `detour` are there once the session is.
    """

    supports_dot_lookup = True
    enable_writeback_cache = False

    def __init__(self, file_system: FileSystem, *, uid: int, gid: int) -> None:
        super().__init__()
        self._fs = self.file_system = file_system
        self._uid = uid
        self._gid = gid
        self.initialized = trio.Event()
        self.bytes_read = 0
        self._slow = SlowReads()
        self._damaged: dict[int, str] = {}
        self.access_log: AccessLog | None = None
        self.readers: Readers | None = None
        self.detour: ListingFlag | None = None

    def arrived(self) -> None:
        """Take note that a request has been answered."""
        if self.detour is not None:
            self.detour.end()

    def show(self, file_system: FileSystem) -> None:
        """Answer by another file system from now on, whose inodes and handles go on with this one's."""
        self._fs = self.file_system = file_system

    def reads(self) -> tuple[int, int]:
        """Return the bytes of files given so far, and how many handles are open."""
        return self.bytes_read, self._fs.open_files

    def init(self) -> None:
        """Take note that the kernel is there."""
        self.initialized.set()

    def _filled(self, attributes: Attributes) -> EntryAttributes:
        out = EntryAttributes()
        out.st_ino = attributes.inode
        out.st_mode = attributes.mode
        out.st_size = attributes.size
        out.st_blocks = attributes.blocks
        out.st_blksize = _BLOCK
        out.st_uid = self._uid
        out.st_gid = self._gid
        out.st_mtime_ns = out.st_ctime_ns = out.st_atime_ns = attributes.mtime_ns
        out.entry_timeout = out.attr_timeout = _FOR_EVER
        return out

    @answering
    async def lookup(self, parent_inode: int, name: bytes, ctx: RequestContext) -> EntryAttributes:
        """Find a name; inode 0 tells the kernel to remember that there is none."""
        if len(name) > _MOST_NAME:
            raise FUSEError(errno.ENAMETOOLONG)
        found = await self._fs.lookup(parent_inode, name)
        if found is not None:
            return self._filled(found)
        absent = EntryAttributes()
        absent.st_ino = 0
        absent.entry_timeout = _FOR_EVER
        return absent

    @answering
    async def getattr(self, inode: int, ctx: RequestContext) -> EntryAttributes:
        """Answer stat(2)."""
        return self._filled(await self._fs.getattr(inode))

    @answering
    async def readlink(self, inode: int, ctx: RequestContext) -> bytes:
        """Say where a symlink points."""
        return await self._fs.readlink(inode)

    @answering
    async def open(self, inode: int, flags: int, ctx: RequestContext) -> FileInfo:
        """Open a file; pages that the kernel has of it are kept."""
        begun = time.monotonic()
        handle = await self._fs.open(inode, flags)
        if self.readers is not None:
            self.readers.note(ctx.pid, begun)
        if self.access_log is not None:
            self.access_log.write("open", await self._path(inode), begun=begun)
        return FileInfo(fh=handle, keep_cache=True)

    @answering
    async def read(  # type: ignore[override]  # pyfuse3 takes any buffer: a view of the cache goes out uncopied
        self, fh: int, off: int, size: int
    ) -> bytes | memoryview:
        """Read from a file."""
        if self.access_log is not None:
            return await self._read_logged(self.access_log, fh, off, size)
        begun = time.monotonic()
        try:
            found = await self._fs.read(fh, off, size)
        except _DAMAGE as error:
            self._note_damage(fh, error)
            raise
        self._count(fh, found, begun)
        return found

    def _count(self, fh: int, found: bytes | memoryview, begun: float) -> None:
        self.bytes_read += len(found)
        if self._damaged:  # it may have been repaired
            self._damaged.pop(inode_of(fh), None)
        waited = time.monotonic() - begun
        if waited > SLOW:
            self._slow.note(inode_of(fh), waited)

    def _note_damage(self, fh: int, error: PenstockError) -> None:
        if len(self._damaged) < _MOST_DAMAGED:
            self._damaged[inode_of(fh)] = error.reason

    async def damaged_files(self) -> list[tuple[bytes, str]]:
        """Return the paths of files whose last read found damage in the store, and what it found; some of them."""
        return [(await self._path(inode), why) for inode, why in list(self._damaged.items())]

    async def slowest_files(self, count: int) -> list[tuple[bytes, float]]:
        """Return the paths of files that were waited for longest, with seconds, the longest first."""
        return [(await self._path(inode), seconds) for inode, seconds in self._slow.slowest(count)]

    async def _read_logged(self, log: AccessLog, fh: int, off: int, size: int) -> bytes | memoryview:
        begun = time.monotonic()
        try:
            path, hit = await self._fs.describe(fh, off, size)
        except PenstockError:  # the nodes above it cannot be had now; what is in the file perhaps can
            path, hit = b"?", False
        found: bytes | memoryview = b""
        error = None
        try:
            found = await self._fs.read(fh, off, size)
        except (PenstockError, Refusal) as raised:
            error = str(raised)
            if isinstance(raised, _DAMAGE):
                self._note_damage(fh, raised)
            raise
        finally:
            log.write("read", path, begun=begun, offset=off, size=len(found), hit=hit, error=error)
        self._count(fh, found, begun)
        return found

    async def _path(self, inode: int) -> bytes:
        try:
            return await self._fs.path(inode)
        except (PenstockError, Refusal):  # as above; or it is gone by now
            return b"?"

    async def flush(self, fh: int) -> None:
        """Tell the kernel never to ask again: 5k opens a second become 8k."""
        raise FUSEError(errno.ENOSYS)

    @answering
    async def release(self, fh: int) -> None:
        """Close a file."""
        self._fs.release(fh)

    @answering
    async def opendir(self, inode: int, ctx: RequestContext) -> int:
        """Open a directory; what the kernel knows of its listing is kept."""
        handle = await self._fs.opendir(inode)
        if self.detour is not None:
            self.detour.begin()
        return handle

    @answering
    async def readdir(self, fh: int, start_id: int, token: ReaddirToken) -> None:
        """List a directory, with attributes, until the kernel's buffer is full or a batch is used up."""
        for item in await self._fs.readdir(fh, start_id):
            if not pyfuse3.readdir_reply(token, item.name, self._filled(item.attributes), item.next):
                return

    @answering
    async def releasedir(self, fh: int) -> None:
        """Close a directory."""
        self._fs.releasedir(fh)

    @answering
    async def statfs(self, ctx: RequestContext) -> StatvfsData:
        """Answer statvfs(3)."""
        size = self._fs.statfs()
        out = StatvfsData()
        out.f_bsize = out.f_frsize = size.unit
        out.f_blocks = size.blocks
        out.f_bfree = out.f_bavail = size.free_blocks
        out.f_files = size.files
        out.f_ffree = out.f_favail = size.free_files
        out.f_namemax = _MOST_NAME
        return out

    async def getxattr(self, inode: int, name: bytes, ctx: RequestContext) -> bytes:
        """Give an extended attribute. The kernel asks for one of its own before the first write to each file."""
        if not name.startswith(PREFIX):
            raise FUSEError(errno.ENODATA)
        return await self._getxattr(inode, name)

    @answering
    async def _getxattr(self, inode: int, name: bytes) -> bytes:
        return await self._fs.getxattr(inode, name)

    @answering
    async def listxattr(self, inode: int, ctx: RequestContext) -> Sequence[bytes]:
        """Give the names of the extended attributes."""
        return await self._fs.listxattr(inode)
