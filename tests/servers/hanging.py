"""A file system that answers everything but reads, which hang until it is killed: a server that went away.

Run as a program: ``python hanging.py MOUNTPOINT COUNT SIZE``. It holds files called 0, 1 and so on, of so many bytes
each, and says ``ready`` on standard output when it is mounted. `stuck_files` hides it below another file system, as
dead disks and servers are: nothing in the table of mounts says that a program serves it. Needs root.
"""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyfuse3
import trio

__all__ = ["stuck_files"]

_FIRST = 2


class _Hanging(pyfuse3.Operations):
    def __init__(self, count: int, size: int) -> None:
        super().__init__()
        self._count = count
        self._size = size

    async def getattr(self, inode: int, ctx: object = None) -> pyfuse3.EntryAttributes:
        found = pyfuse3.EntryAttributes()
        found.st_ino = inode
        found.st_mode = (stat.S_IFDIR | 0o755) if inode == pyfuse3.ROOT_INODE else (stat.S_IFREG | 0o644)
        found.st_size = 0 if inode == pyfuse3.ROOT_INODE else self._size
        found.st_nlink = 1
        return found

    async def lookup(self, parent_inode: int, name: bytes, ctx: object = None) -> pyfuse3.EntryAttributes:
        if not name.isdigit() or int(name) >= self._count:
            raise pyfuse3.FUSEError(errno.ENOENT)
        return await self.getattr(_FIRST + int(name))

    async def opendir(self, inode: int, ctx: object) -> int:
        return inode

    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        for number in range(start_id, self._count):
            if not pyfuse3.readdir_reply(token, b"%d" % number, await self.getattr(_FIRST + number), number + 1):
                break

    async def open(self, inode: int, flags: int, ctx: object) -> pyfuse3.FileInfo:
        return pyfuse3.FileInfo(fh=inode)

    async def statfs(self, ctx: object) -> pyfuse3.StatvfsData:
        return pyfuse3.StatvfsData()

    async def read(self, fh: int, off: int, size: int) -> bytes:
        await trio.sleep_forever()
        raise AssertionError


async def _serve() -> None:
    print("ready", flush=True)
    await pyfuse3.main(max_tasks=10_000)


def main() -> None:
    pyfuse3.init(_Hanging(int(sys.argv[2]), int(sys.argv[3])), sys.argv[1], {"fsname=hanging"})
    trio.run(_serve)


@contextmanager
def stuck_files(folder: Path, count: int, size: int) -> Iterator[None]:
    """Hide `folder`, for the block, behind files that cannot be read. Afterwards whoever waited for them goes on."""
    behind = folder.parent / f"{folder.name}-behind"
    for name in ("below", "upper", "work"):
        (behind / name).mkdir(parents=True)
    command = [sys.executable, __file__, str(behind / "below"), str(count), str(size)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"ready\n"
        layers = f"lowerdir={behind}/below,upperdir={behind}/upper,workdir={behind}/work"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, os.fspath(folder)], check=True)
        try:
            yield
        finally:
            subprocess.run(["umount", "-l", os.fspath(folder)], check=True)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        subprocess.run(["umount", "-l", str(behind / "below")], check=False)


if __name__ == "__main__":
    main()
