"""The least that a file system in Python can be: a directory's files, read into memory, served by pyfuse3.

    python bare_fuse.py SOURCE MOUNTPOINT

serves until SIGINT. It is what reading through pyfuse3 costs at the least: no look-up in a tree, no cache, no check.
The kernel may keep names, attributes and pages, as with Penstock.
"""

# ruff: noqa: ARG002  # pyfuse3 fixes what handlers take
from __future__ import annotations

import errno
import os
import signal
import stat
import sys
from dataclasses import dataclass, field

import pyfuse3
import trio
from pyfuse3 import EntryAttributes, FileInfo, FUSEError, RequestContext

_FOR_EVER = 10 * 365 * 86400


@dataclass(slots=True)
class _Node:
    """A file or directory; its inode is its place in the list of all."""

    attributes: EntryAttributes
    content: bytes = b""
    children: dict[bytes, int] = field(default_factory=dict)


class _InMemory(pyfuse3.Operations):
    """Names and contents in dictionaries."""

    enable_writeback_cache = False

    def __init__(self, source: bytes) -> None:
        super().__init__()
        self._nodes = [_Node(EntryAttributes())]  # inode 0 is none
        self._add(source)

    def _add(self, path: bytes) -> int:
        status = os.stat(path)
        node = _Node(_attributes(len(self._nodes), status))
        self._nodes.append(node)
        if stat.S_ISDIR(status.st_mode):
            node.children = {name: self._add(os.path.join(path, name)) for name in os.listdir(path)}
        else:
            with open(path, "rb") as stream:
                node.content = stream.read()
        return node.attributes.st_ino

    async def lookup(self, parent_inode: int, name: bytes, ctx: RequestContext) -> EntryAttributes:
        inode = self._nodes[parent_inode].children.get(name)
        if inode is None:
            raise FUSEError(errno.ENOENT)
        return self._nodes[inode].attributes

    async def getattr(self, inode: int, ctx: RequestContext) -> EntryAttributes:
        return self._nodes[inode].attributes

    async def open(self, inode: int, flags: int, ctx: RequestContext) -> FileInfo:
        return FileInfo(fh=inode, keep_cache=True)

    async def read(self, fh: int, off: int, size: int) -> bytes:
        return self._nodes[fh].content[off : off + size]

    async def flush(self, fh: int) -> None:
        raise FUSEError(errno.ENOSYS)  # not to be asked again

    async def release(self, fh: int) -> None:
        """There is nothing to let go of."""


def _attributes(inode: int, status: os.stat_result) -> EntryAttributes:
    out = EntryAttributes()
    out.st_ino = inode
    out.st_mode = status.st_mode
    out.st_size = status.st_size
    out.st_uid, out.st_gid = os.getuid(), os.getgid()
    out.st_mtime_ns = out.st_ctime_ns = out.st_atime_ns = status.st_mtime_ns
    out.entry_timeout = out.attr_timeout = _FOR_EVER
    return out


async def _serve() -> None:
    async def end_on_signal() -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as received:
            await anext(received)
            pyfuse3.terminate()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(end_on_signal)
        await pyfuse3.main()
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    pyfuse3.init(_InMemory(os.fsencode(sys.argv[1])), sys.argv[2], {"ro", "default_permissions", "fsname=bare"})
    try:
        trio.run(_serve)
    finally:
        pyfuse3.close(unmount=True)
