"""FUSE requests that change something, to calls of `writable`: protocol adapter only.

Names, attributes and pages stay valid for ever here too: all changes come through the kernel, and those that do not
(`refresh`, `discard`) tell it. It runs on the event loop.
"""

# ruff: noqa: ARG002  # pyfuse3 fixes what handlers take
from __future__ import annotations

import errno
import os
import stat

import pyfuse3
from pyfuse3 import EntryAttributes, FileInfo, FUSEError, RequestContext, SetattrFields

from penstock.vfs.files.attributes import Attributes
from penstock.vfs.files.writable import Owner, WritableFileSystem

from .operations import FuseOperations, answering

__all__ = ["WritableOperations"]

_ANY_X = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH


class WritableOperations(FuseOperations):
    """Answers the kernel for a writable mount. `bytes_written` counts what it was given."""

    def __init__(self, file_system: WritableFileSystem, *, uid: int, gid: int) -> None:
        super().__init__(file_system, uid=uid, gid=gid)
        self._writable = file_system
        self.bytes_written = 0

    def _filled(self, attributes: Attributes) -> EntryAttributes:
        out = super()._filled(attributes)
        if attributes.uid is not None:
            out.st_uid = attributes.uid
        if attributes.gid is not None:
            out.st_gid = attributes.gid
        if attributes.ctime_ns is not None:
            out.st_ctime_ns = attributes.ctime_ns
        if attributes.atime_ns is not None:
            out.st_atime_ns = attributes.atime_ns
        out.st_nlink = attributes.links
        return out

    def _owner(self, ctx: RequestContext) -> Owner:
        """Return whose a new file is: None for whom the mount gives all files to."""
        return (ctx.uid if ctx.uid != self._uid else None, ctx.gid if ctx.gid != self._gid else None)

    @answering
    async def access(self, inode: int, mode: int, ctx: RequestContext) -> bool:
        """Say what root may do where the kernel does not check modes: all, but to run what nobody may."""
        if not mode & os.X_OK:
            return True
        found = await self._writable.getattr(inode)
        return not stat.S_ISREG(found.mode) or bool(found.mode & _ANY_X)

    @answering
    async def setattr(
        self, inode: int, attr: EntryAttributes, fields: SetattrFields, fh: int | None, ctx: RequestContext
    ) -> EntryAttributes:
        """Answer truncate(2), chmod(2), chown(2), utimensat(2)."""
        found = await self._writable.setattr(
            inode,
            size=attr.st_size if fields.update_size else None,
            mode=attr.st_mode if fields.update_mode else None,
            uid=attr.st_uid if fields.update_uid else None,
            gid=attr.st_gid if fields.update_gid else None,
            mtime_ns=attr.st_mtime_ns if fields.update_mtime else None,
            atime_ns=attr.st_atime_ns if fields.update_atime else None,
        )
        return self._filled(found)

    @answering
    async def create(
        self, parent_inode: int, name: bytes, mode: int, flags: int, ctx: RequestContext
    ) -> tuple[FileInfo, EntryAttributes]:
        """Make a file and open it."""
        handle, found = await self._writable.create(parent_inode, name, mode, ctx.pid, self._owner(ctx))
        return FileInfo(fh=handle, keep_cache=True), self._filled(found)

    @answering
    async def mkdir(self, parent_inode: int, name: bytes, mode: int, ctx: RequestContext) -> EntryAttributes:
        """Make a directory."""
        return self._filled(await self._writable.mkdir(parent_inode, name, mode, ctx.pid, self._owner(ctx)))

    @answering
    async def mknod(self, parent_inode: int, name: bytes, mode: int, rdev: int, ctx: RequestContext) -> EntryAttributes:
        """Make a file, a pipe or a socket."""
        return self._filled(await self._writable.mknod(parent_inode, name, mode, ctx.pid, self._owner(ctx)))

    @answering
    async def symlink(self, parent_inode: int, name: bytes, target: bytes, ctx: RequestContext) -> EntryAttributes:
        """Make a symlink."""
        return self._filled(await self._writable.symlink(parent_inode, name, target, ctx.pid, self._owner(ctx)))

    @answering
    async def link(self, inode: int, new_parent_inode: int, new_name: bytes, ctx: RequestContext) -> EntryAttributes:
        """Make a hard link."""
        return self._filled(await self._writable.link(inode, new_parent_inode, new_name, ctx.pid))

    @answering
    async def unlink(self, parent_inode: int, name: bytes, ctx: RequestContext) -> None:
        """Remove a file or a symlink."""
        await self._writable.unlink(parent_inode, name, ctx.pid)

    @answering
    async def rmdir(self, parent_inode: int, name: bytes, ctx: RequestContext) -> None:
        """Remove a directory."""
        await self._writable.rmdir(parent_inode, name, ctx.pid)

    @answering
    async def rename(
        self,
        parent_inode_old: int,
        name_old: bytes,
        parent_inode_new: int,
        name_new: bytes,
        flags: int,
        ctx: RequestContext,
    ) -> None:
        """Answer renameat2(2)."""
        if flags & ~(pyfuse3.RENAME_NOREPLACE | pyfuse3.RENAME_EXCHANGE):
            raise FUSEError(errno.EINVAL)
        await self._writable.rename(
            parent_inode_old,
            name_old,
            parent_inode_new,
            name_new,
            ctx.pid,
            replace=not flags & pyfuse3.RENAME_NOREPLACE,
            exchange=bool(flags & pyfuse3.RENAME_EXCHANGE),
        )

    @answering
    async def write(self, fh: int, off: int, buf: bytes) -> int:
        """Write into a file."""
        written = await self._writable.write(fh, off, buf)
        self.bytes_written += written
        return written

    @answering
    async def fsync(self, fh: int, datasync: bool) -> None:
        """Have all that was written so far put on disk."""
        await self._writable.fsync()

    @answering
    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        """Do the same for a directory."""
        await self._writable.fsync()

    @answering
    async def setxattr(self, inode: int, name: bytes, value: bytes, ctx: RequestContext) -> None:
        """Set an extended attribute."""
        await self._writable.setxattr(inode, name, value)

    @answering
    async def removexattr(self, inode: int, name: bytes, ctx: RequestContext) -> None:
        """Remove an extended attribute."""
        await self._writable.removexattr(inode, name)
