"""Files of records in the repository's local bucket: each an object of its own, so that a link can lead to it.

An object is named by the hash of its bytes (docs/FORMAT.md), which makes the bucket a store of files as well. Small
files are not packed together here; that is done on the way to a remote. Objects are read-only to everybody.

**Invariant:** an object has its name only when all its bytes have been written. It is durable when `make_durable` has
returned, which whoever publishes a version calls before. Any number of processes may take the same file at once.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from dataclasses import dataclass

from blake3 import blake3

from penstock.errors import AccessError
from penstock.manifest.entry import BLOCK_SIZE, Extent, Kind, TreeEntry
from penstock.manifest.hashing import content_hash, hash_of_blocks
from penstock.repo.bucket.object_keys import data_key

from .data_record import FileValue

__all__ = ["FileStore", "StoredFile"]

_STEP = 16 << 20
assert _STEP % BLOCK_SIZE == 0


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that was taken: what a record says of it, the object that it is, the hashes of its blocks if several.

    `extents`: where its bytes lie, of one that is no object by itself.
    """

    value: FileValue
    object: bytes
    blocks: bytes
    extents: tuple[Extent, ...] = ()

    def entry(self, name: bytes, metadata: bytes) -> TreeEntry:
        """Return the entry for it; block hashes have still to be put where they belong (`with_blocks`)."""
        size = self.value.size
        extents = self.extents or ((Extent(self.object, 0, size),) if size else ())
        return TreeEntry(name, Kind.FILE, size, bytes.fromhex(self.value.hash), metadata=metadata, extents=extents)


class FileStore:
    """The files of a bucket in a directory. `folder` is for those that are being written, on the same disk."""

    def __init__(self, bucket: str, folder: str) -> None:
        self.bucket = bucket
        self.folder = folder
        self._made: set[str] = set()

    def path_of(self, digest: bytes) -> str:
        """Return the path of an object."""
        return os.path.join(self.bucket, data_key(digest))

    def take(self, path: str, suffix: str, *, move: bool) -> StoredFile:
        """Take a file into the bucket: `move` it there, when it lies in `folder`, or else copy it.

        AccessError: it cannot be read, or the disk is full; nothing has been taken then.
        """
        temporary = path
        try:
            if not move:
                temporary = os.path.join(self.folder, f"copy-{os.getpid()}-{os.path.basename(path)[:100]}")
                shutil.copyfile(path, temporary)
            whole, digest, size, blocks = _hash(temporary)
            self._place(temporary, whole)  # an empty one as well: a link has to lead somewhere
        except OSError as error:
            if not move:
                _forget(temporary)
            raise AccessError(
                f"{path} cannot be kept", why=error.strerror or str(error), fix="Make room, or give yourself access."
            ) from error
        return StoredFile(FileValue(digest.hex(), size, suffix), whole, blocks)

    def take_bytes(self, data: bytes | bytearray | memoryview, suffix: str) -> StoredFile:
        """Take a file that is in memory, of a block at most. AccessError: as of `take`."""
        digest = content_hash(data)
        target = self.path_of(digest)
        temporary = os.path.join(self.folder, f"bytes-{os.getpid()}")
        try:
            self._make_folder(target)
            if not os.path.exists(target):
                with open(temporary, "wb", buffering=0) as stream:
                    if stream.write(data) != len(data):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                    os.fchmod(stream.fileno(), 0o444)
                os.rename(temporary, target)
        except OSError as error:
            _forget(temporary)
            raise AccessError(
                f"a file of {len(data)} bytes cannot be kept",
                why=error.strerror or str(error),
                fix=f"Make room: it goes to {self.bucket}",
            ) from error
        return StoredFile(FileValue(digest.hex(), len(data), suffix), digest, b"")

    def take_spliced(self, path: str, extents: tuple[Extent, ...]) -> StoredFile:
        """Take a file whose bytes lie in objects that were taken before: `path` is read for its hashes alone."""
        whole, digest, size, blocks = _hash(path)
        return StoredFile(FileValue(digest.hex(), size, ""), whole, blocks, extents)

    def _make_folder(self, target: str) -> None:
        folder = os.path.dirname(target)
        if folder not in self._made:
            os.makedirs(folder, exist_ok=True)
            self._made.add(folder)

    def _place(self, temporary: str, digest: bytes) -> None:
        target = self.path_of(digest)
        self._make_folder(target)
        if os.path.exists(target):
            os.unlink(temporary)
        else:
            os.chmod(temporary, 0o444)
            os.rename(temporary, target)

    def make_durable(self) -> None:
        """Write all that was taken to the disk. Raises AccessError when the disk fails."""
        descriptor = os.open(self.bucket, os.O_RDONLY | os.O_DIRECTORY)
        try:
            if _libc.syncfs(descriptor):
                number = ctypes.get_errno()
                raise AccessError(f"{self.bucket} cannot be written to disk", why=os.strerror(number))
        finally:
            os.close(descriptor)


_libc = ctypes.CDLL(None, use_errno=True)


def _hash(path: str) -> tuple[bytes, bytes, int, bytes]:
    """Return the hash of a file's bytes, what an entry has as its hash, its size, and the hashes of its blocks."""
    with open(path, "rb", buffering=0) as stream:
        data = stream.read(BLOCK_SIZE + 1)
        if len(data) <= BLOCK_SIZE and not stream.read(1):
            digest = content_hash(data)
            return digest, digest, len(data), b""
        stream.seek(0)
        whole, blocks, size = blake3(), bytearray(), 0
        buffer = bytearray(_STEP)
        while count := _fill(stream, buffer):
            view = memoryview(buffer)[:count]
            whole.update(view)
            for at in range(0, count, BLOCK_SIZE):
                blocks += content_hash(view[at : at + BLOCK_SIZE])
            size += count
    return whole.digest(), hash_of_blocks(size, bytes(blocks)), size, bytes(blocks)


def _fill(stream: object, buffer: bytearray) -> int:
    view, filled = memoryview(buffer), 0
    while filled < len(buffer):
        count = stream.readinto(view[filled:])  # type: ignore[attr-defined]
        if not count:
            break
        filled += count
    return filled


def _forget(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
