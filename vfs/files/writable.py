"""A version with an overlay over it, as a file system to read and write, without a kernel.

What nobody changed is read as `filesystem` reads it. All that changes a name or an attribute is done on the event loop,
in one step with what it looks up, so requests are atomic towards each other.

Refusals are `errnos.Refusal` and the overlay's `Refused`; anything of `penstock.errors` is a failure of the source.
It belongs to one event loop.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import msgspec
import trio

from penstock.manifest.entry import BLOCK_SIZE, MAX_SIZE, Kind, Metadata, TreeEntry, block_count
from penstock.manifest.file_attributes import described
from penstock.manifest.metadata import canonical_json
from penstock.manifest.tree import ROOT_INODE, NodeMissing
from penstock.overlay.content.layers import LOWER, ZEROS
from penstock.overlay.overlay import Overlay
from penstock.overlay.tables.schema import FIRST_NEW_INODE, InodeRecord, decode_entry
from penstock.overlay.tree.namespace import UPPER_OFFSET, MergedItem, MergedNode, Namespace
from penstock.vfs.ahead.large_file_rules import Readahead
from penstock.vfs.source.source import Source
from penstock.vfs.source.tree_queries import TreeQueries
from penstock.vfs.source.workers import Workers

from .attached_files import FIRST_ATTACHED_INODE
from .attributes import Attributes, FileSystemSize, attributes_of, attributes_of_record, holes_of
from .errnos import Refusal
from .file_handles import FileHandle, inode_of
from .filesystem import DirectoryItem as Listed
from .filesystem import ReadOnlyFileSystem
from .resent_requests import Resent, note
from .xattrs import META, PREFIX, extended_attributes, is_fixed, listed, with_extended_attribute, within_bounds

__all__ = ["WritableFileSystem"]

_T = TypeVar("_T")
Owner = tuple[int | None, int | None]
"""User and group of what is made; None: the mount's."""

_BATCH = 128
_BATCH_AMONG_CHANGES = 16
_LATELY = 0.02
"""Seconds for which a directory counts as one in which names change: the kernel lets nobody change a directory while an
answer to a listing is on its way, so that `rm -rf` beside a program that lists waits for one such answer a file."""
_CHANGING = 64
"""Directories of which that is known."""
_PASSED = 4096
"""Names that a step of the event loop passes over, in a directory whose names were removed."""
_CHILDREN = 2
_ATTACHED_OFFSET = UPPER_OFFSET + (1 << 61)
"""Offset in the root of what is attached to the version: behind all that was added to it."""
_UNIT = 4096


class _Open:
    """An open file: how it is read ahead, and the entry below it, decoded once."""

    __slots__ = ("below", "entry", "readahead")

    def __init__(self) -> None:
        self.below = b""
        self.entry: TreeEntry | None = None
        self.readahead: Readahead | None = None

    def lower(self, record: InodeRecord) -> TreeEntry:
        """Return what the version has of the file."""
        if self.entry is None or self.below != record.entry:
            self.below, self.entry = record.entry, decode_entry(record.entry)
            self.readahead = Readahead(block_count(self.entry.size))
        return self.entry


class WritableFileSystem:
    """The tree of `lower`, which shows `source`, with `overlay` over it.

    `resumed`: another process served it before, and has given out handles.
    """

    def __init__(
        self,
        lower: ReadOnlyFileSystem,
        source: Source,
        asker: TreeQueries,
        workers: Workers,
        overlay: Overlay,
        *,
        resumed: bool = False,
    ) -> None:
        self.overlay = overlay
        self.follower = lower.follower
        self._lower = lower
        self._source = source
        self._asker = asker
        self._workers = workers
        self._umask = lower.umask
        self._epoch_ns = lower.epoch_ns
        self.editor = overlay.editor(self.is_open, umask=self._umask, epoch_ns=self._epoch_ns)
        self._files: dict[FileHandle, _Open] = {}
        self._uses: Counter[int] = Counter()
        self._changed_at: dict[int, float] = {}
        # Of what was open before, nobody knows how often: it is removed when the overlay is mounted the next time.
        self._inherited = overlay.counters.inode if resumed else 0
        self._resent = Resent(overlay.records.recent_notes() if resumed else ())

    def is_open(self, inode: int) -> bool:
        """Whether somebody may have an inode open."""
        return self._uses[inode] > 0 or inode < self._inherited

    async def ask(self, question: Callable[[Namespace], _T]) -> _T:
        """Answer a question about the merged tree, or change it: `question` looks first and changes last."""
        return await self._asker.ask(lambda load: question(self.overlay.view(load)))

    async def _node(self, inode: int) -> MergedNode:
        found = self.overlay.node(inode)
        return found if found is not None else await self.ask(lambda view: view.node(inode))

    async def _known(self, inode: int) -> MergedNode:
        """Return an inode, also one that was removed lately: it may be somebody's working directory."""
        return self.overlay.node(inode) or self.editor.gone(inode) or await self._node(inode)

    def _attributes(self, node: MergedNode) -> Attributes:
        if node.record is not None:
            record = node.record
            if record.size <= BLOCK_SIZE or not record.is_file:
                return attributes_of_record(node.inode, record)
            if record.layers or record.shown < record.size:
                stored = self.overlay.content.stored(node.inode, record)
            else:
                stored = record.size - holes_of(decode_entry(record.entry))
            return attributes_of_record(node.inode, record, stored)
        assert node.entry is not None  # a node has one of the two
        return attributes_of(node.inode, node.entry, self._epoch_ns, self._umask)

    async def lookup(self, parent: int, name: bytes) -> Attributes | None:
        """Return the attributes of a name in a directory; None when there is no such name. ENOTDIR, ESTALE."""
        if name in (b".", b".."):
            return await self.getattr(parent if name == b"." else await self._parent(parent))
        found = await self.ask(lambda view: view.lookup(parent, name))
        if found is None:
            attached = await self._attached(parent, name)
            return await self.getattr(attached) if attached else None
        return self._attributes(found)

    async def _attached(self, parent: int, name: bytes) -> int:
        """Return the inode of a file that is attached to the version; 0: no such is shown by this name."""
        if parent == ROOT_INODE:
            for each in await self._lower.attached():
                if each.entry.name == name and await self.ask(lambda view: view.lookup(parent, name)) is None:
                    return each.inode
        return 0

    async def _parent(self, inode: int) -> int:
        if inode == ROOT_INODE:
            return inode
        place = await self.ask(lambda view: view.place(inode))
        if place is None:
            raise Refusal(errno.ENOENT)
        return place[0]

    async def getattr(self, inode: int) -> Attributes:
        """Return the attributes of an inode. ESTALE: there is none with this number."""
        if inode >= FIRST_ATTACHED_INODE:
            found = await self._lower.getattr(inode)
            return msgspec.structs.replace(found, mode=found.mode & ~0o222)
        return self._attributes(await self._known(inode))

    async def readlink(self, inode: int) -> bytes:
        """Return what a symlink points to. EINVAL: it is none."""
        if inode >= FIRST_ATTACHED_INODE:
            return await self._lower.readlink(inode)
        node = await self._node(inode)
        if node.kind is not Kind.SYMLINK:
            raise Refusal(errno.EINVAL)
        found = node.record or node.entry
        assert found is not None
        return found.target

    async def open(self, inode: int, flags: int) -> FileHandle:
        """Open a file. EISDIR, ELOOP: it is no file. EPERM: to write what is attached to the version."""
        if inode >= FIRST_ATTACHED_INODE:
            if flags & os.O_ACCMODE != os.O_RDONLY or flags & os.O_TRUNC:
                raise Refusal(errno.EPERM)
            return self._opened(inode, await self._lower.open(inode, flags))
        node = await self._node(inode)
        if not node.is_file:
            raise Refusal(errno.EISDIR if node.is_directory else errno.ELOOP)
        if flags & os.O_TRUNC and flags & os.O_ACCMODE != os.O_RDONLY:
            await self.setattr(inode, size=0)
        if node.record is None and inode < FIRST_NEW_INODE:
            return self._opened(inode, await self._lower.open(inode, os.O_RDONLY))
        return self._opened(inode, self._lower.new_handle(inode))

    def _opened(self, inode: int, handle: FileHandle) -> FileHandle:
        self._files[handle] = _Open()
        self._uses[inode] += 1
        return handle

    async def read(self, handle: int, offset: int, size: int) -> bytes | memoryview:
        """Return up to `size` bytes of an open file, fewer only at its end."""
        inode = inode_of(handle)
        node = self.overlay.node(inode)
        if node is None:
            if inode < FIRST_NEW_INODE or inode >= FIRST_ATTACHED_INODE:
                return await self._lower.read(handle, offset, size)
            node = await self._node(inode)
            assert node.entry is not None
            return await self._read_below(self._file(handle), node.entry, offset, min(offset + size, node.entry.size))
        record = node.record
        assert record is not None
        end = min(offset + size, record.size)
        if not 0 <= offset < end:
            return b""
        file = self._file(handle)
        if not record.layers and end <= record.shown:
            return await self._read_below(file, file.lower(record), offset, end)
        segments = self.overlay.content.segments(inode, record, offset, end)
        # The data files first, and at once: what is read from the version may take its time.
        parts: list[bytes | memoryview | None] = [
            bytes(segment.end - segment.start)
            if segment.source == ZEROS
            else None
            if segment.source == LOWER
            else self.overlay.content.read_segment(inode, segment)
            for segment in segments
        ]
        for at, segment in enumerate(segments):
            if segment.source == LOWER:
                parts[at] = await self._read_below(file, file.lower(record), segment.start, segment.end)
        whole = [part for part in parts if part is not None]
        return whole[0] if len(whole) == 1 else b"".join(whole)

    def _file(self, handle: int) -> _Open:
        found = self._files.get(FileHandle(handle))
        return found if found is not None else self._files.setdefault(FileHandle(handle), _Open())

    async def _read_below(self, file: _Open, entry: TreeEntry, start: int, end: int) -> bytes | memoryview:
        """Return bytes of a version's file."""
        if start >= end:
            return b""
        blocks = self._lower.blocks
        if entry.size <= BLOCK_SIZE:
            return (await blocks.read_small(entry, lambda: None))[start:end]
        if file.readahead is not None:
            ahead = file.readahead.observe(start, end)
            if ahead:
                blocks.fetch_ahead(entry, ahead)
        return await blocks.read(entry, start, end)

    async def write(self, handle: int, offset: int, data: bytes) -> int:
        """Write into an open file; return how many bytes. EFBIG, ENOSPC, EIO: of the disk of the overlay."""
        inode = inode_of(handle)
        if offset + len(data) > MAX_SIZE:
            raise Refusal(errno.EFBIG)
        node = await self._node(inode)
        record = self.editor.record_of(node)

        def put() -> None:
            generation = self.editor.counters.generation
            self.editor.put_content(node, *self.overlay.content.write(inode, record, offset, data, generation))

        try:
            put()
        except OSError as error:
            if not self._makes_room(error):
                raise
            put()
        return len(data)

    async def setattr(
        self,
        inode: int,
        *,
        size: int | None = None,
        mode: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
        mtime_ns: int | None = None,
        atime_ns: int | None = None,
    ) -> Attributes:
        """Change attributes; return what they are then. EINVAL: the size of what is no file; EFBIG."""
        _refuse_attached(inode)
        node = await self._node(inode)
        if size is not None:
            if not node.is_file:
                raise Refusal(errno.EISDIR if node.is_directory else errno.EINVAL)
            if size > MAX_SIZE:
                raise Refusal(errno.EFBIG)
            if size != node.size:
                record, changes = self.overlay.content.truncate(
                    inode, self.editor.record_of(node), size, self.editor.counters.generation
                )
                node = self.editor.put_content(node, record, changes)
            elif mtime_ns is None:
                mtime_ns = time.time_ns()
        if any(value is not None for value in (mode, uid, gid, mtime_ns, atime_ns)):
            node = self.editor.change(node, mode=mode, uid=uid, gid=gid, mtime_ns=mtime_ns, atime_ns=atime_ns)
        return self._attributes(node)

    async def create(
        self, parent: int, name: bytes, mode: int, thread: int, owner: Owner
    ) -> tuple[FileHandle, Attributes]:
        """Make a file and open it. EEXIST, ENAMETOOLONG, ENOSPC."""
        node = await self._make("create", parent, name, Kind.FILE, thread, owner, mode=mode)
        return self._opened(node.inode, self._lower.new_handle(node.inode)), self._attributes(node)

    async def mkdir(self, parent: int, name: bytes, mode: int, thread: int, owner: Owner) -> Attributes:
        """Make a directory."""
        return self._attributes(await self._make("mkdir", parent, name, Kind.DIRECTORY, thread, owner, mode=mode))

    async def mknod(self, parent: int, name: bytes, mode: int, thread: int, owner: Owner) -> Attributes:
        """Make a file, a pipe or a socket. EPERM: a device."""
        form = stat.S_IFMT(mode)
        if form not in (stat.S_IFREG, stat.S_IFIFO, stat.S_IFSOCK):
            raise Refusal(errno.EPERM)
        special = form if form != stat.S_IFREG else 0
        node = await self._make("mknod", parent, name, Kind.FILE, thread, owner, mode=mode, special=special)
        return self._attributes(node)

    async def symlink(self, parent: int, name: bytes, target: bytes, thread: int, owner: Owner) -> Attributes:
        """Make a symlink."""
        return self._attributes(await self._make("symlink", parent, name, Kind.SYMLINK, thread, owner, target=target))

    async def link(self, inode: int, parent: int, name: bytes, thread: int) -> Attributes:
        """Give an inode one more name. EEXIST, ENAMETOOLONG, ENOENT, EPERM: a directory."""
        _refuse_attached(inode)
        asked = note("link", thread, inode, parent, name)
        done = self._resent.take(asked)
        await self._check_free(parent, name)

        def link(view: Namespace) -> MergedNode:
            if done and (there := view.lookup(parent, name)) is not None and there.inode == inode:
                return there
            return self.editor.link(view, inode, parent, name, asked)

        return self._attributes(await self._grow(link))

    async def _make(
        self,
        operation: str,
        parent: int,
        name: bytes,
        kind: Kind,
        thread: int,
        owner: Owner,
        *,
        mode: int = 0,
        target: bytes = b"",
        special: int = 0,
    ) -> MergedNode:
        asked = note(operation, thread, parent, name)
        done = self._resent.take(asked)
        self._is_changing(parent)
        await self._check_free(parent, name)

        def make(view: Namespace) -> MergedNode:
            if done and (there := view.lookup(parent, name)) is not None:
                return there
            uid, gid = owner
            return self.editor.create(
                view, parent, name, kind, mode=mode, target=target, special=special, uid=uid, gid=gid, note=asked
            )

        return await self._grow(make)

    async def _check_free(self, parent: int, name: bytes) -> None:
        """Refuse a name that stands for what is attached to the version: it is made anew with each commit. EPERM."""
        if await self._attached(parent, name):
            raise Refusal(errno.EPERM)

    async def _grow(self, make: Callable[[Namespace], MergedNode]) -> MergedNode:
        """Make something, on a full disk by what was removed."""
        try:
            return await self.ask(make)
        except OSError as error:
            if not self._makes_room(error):
                raise
            return await self.ask(make)

    def _makes_room(self, error: OSError) -> bool:
        """Whether the disk was full and is not any more: what was removed takes space until the next checkpoint."""
        return error.errno in (errno.ENOSPC, errno.EDQUOT) and self.overlay.make_room()

    async def unlink(self, parent: int, name: bytes, thread: int) -> None:
        """Remove a name that is no directory's. ENOENT, EISDIR."""
        await self._take_away("unlink", parent, name, thread)

    async def rmdir(self, parent: int, name: bytes, thread: int) -> None:
        """Remove an empty directory. ENOENT, ENOTDIR, ENOTEMPTY."""
        await self._take_away("rmdir", parent, name, thread)

    async def _take_away(self, operation: str, parent: int, name: bytes, thread: int) -> None:
        asked = note(operation, thread, parent, name)
        done = self._resent.take(asked)
        self._is_changing(parent)
        await self._check_free(parent, name)
        if operation == "rmdir" and (found := await self.ask(lambda view: view.lookup(parent, name))) is not None:
            await self._pass_hidden(found.inode)

        def remove(view: Namespace) -> None:
            if done and view.lookup(parent, name) is None:
                return
            if operation == "rmdir":
                self.editor.rmdir(view, parent, name, asked)
            else:
                self.editor.unlink(view, parent, name, asked)

        await self.ask(remove)

    async def rename(
        self, parent: int, name: bytes, new_parent: int, new_name: bytes, thread: int, *, replace: bool, exchange: bool
    ) -> None:
        """Move what a name stands for. ENOENT, EEXIST, EISDIR, ENOTDIR, ENOTEMPTY, EINVAL."""
        asked = note("rename", thread, parent, name, new_parent, new_name)
        done = self._resent.take(asked)
        self._is_changing(parent)
        self._is_changing(new_parent)
        await self._check_free(parent, name)
        await self._check_free(new_parent, new_name)

        def move(view: Namespace) -> None:
            if done and (exchange or view.lookup(parent, name) is None):
                return
            self.editor.rename(view, parent, name, new_parent, new_name, replace=replace, exchange=exchange, note=asked)

        await self.ask(move)

    async def fsync(self) -> None:
        """Return when all that was written so far is on disk."""
        await self._workers.run(self.overlay.records.durable)

    def release(self, handle: int) -> None:
        """Close a file; the last one to close it removes what was unlinked meanwhile."""
        known = self._files.pop(FileHandle(handle), None)
        self._lower.release(handle)
        inode = inode_of(handle)
        if known is not None:
            self._put_down(inode)

    def _put_down(self, inode: int) -> None:
        if not self._uses[inode]:
            return
        self._uses[inode] -= 1
        if not self._uses[inode]:
            del self._uses[inode]
            node = self.overlay.node(inode)
            if node is not None and not self.is_open(inode):
                self.editor.forget(node)

    @property
    def open_files(self) -> int:
        """How many handles of files are open."""
        return len(self._files)

    async def path(self, inode: int) -> bytes:
        """Return the path of an inode from the root. ESTALE: there is none with this number, or no more."""
        if inode >= FIRST_ATTACHED_INODE:
            return await self._lower.path(inode)
        found = await self.ask(lambda view: view.path(inode))
        if found is None:
            raise Refusal(errno.ESTALE)
        return b"/".join(found)

    async def describe(self, handle: int, offset: int, size: int) -> tuple[bytes, bool]:
        """Return the path of an open file, and whether a range of it is on this machine."""
        inode = inode_of(handle)
        is_below = inode < FIRST_NEW_INODE or inode >= FIRST_ATTACHED_INODE
        if self.overlay.node(inode) is None and is_below:
            return await self._lower.describe(handle, offset, size)
        return await self.path(inode), True

    async def opendir(self, inode: int) -> FileHandle:
        """Open a directory for listing. ENOTDIR, ESTALE."""
        if not (await self._known(inode)).is_directory:
            raise Refusal(errno.ENOTDIR)
        self._uses[inode] += 1
        return self._lower.new_handle(inode)

    async def readdir(self, handle: int, start: int) -> list[Listed]:
        """Return the entries from offset `start` on, as many as are at hand; none at the end."""
        inode = inode_of(handle)
        listed: list[Listed] = []
        if start < _CHILDREN:
            listed = [
                Listed(b".", await self.getattr(inode), 1),
                Listed(b"..", await self._attributes_of_parent(inode), _CHILDREN),
            ][max(start, 0) :]
            await self._pass_hidden(inode)
        begin = max(start, _CHILDREN)
        changed_at = self._changed_at.get(inode)
        most = _BATCH if changed_at is None or time.monotonic() - changed_at > _LATELY else _BATCH_AMONG_CHANGES
        for item in await self.ask(lambda view: _batch(view, inode, begin, most)):
            listed.append(Listed(item.name, self._attributes(item.node), item.next))
        if inode == ROOT_INODE and len(listed) <= max(_CHILDREN - start, 0):  # all else was listed
            for each in await self._lower.attached():
                at = _ATTACHED_OFFSET + each.number
                if at >= start and await self._attached(inode, each.entry.name):
                    listed.append(Listed(each.entry.name, await self.getattr(each.inode), at + 1))
        return listed

    async def _pass_hidden(self, inode: int) -> None:
        """Look in small steps for the first name that shows, when very many were removed."""
        while not await self.ask(lambda view: view.pass_hidden(inode, _PASSED)):
            await trio.lowlevel.checkpoint()

    def _is_changing(self, directory: int) -> None:
        if len(self._changed_at) >= _CHANGING:
            self._changed_at.clear()
        self._changed_at[directory] = time.monotonic()

    async def _attributes_of_parent(self, inode: int) -> Attributes:
        try:
            return await self.getattr(await self._parent(inode))
        except Refusal:  # it was removed
            return await self.getattr(inode)

    def releasedir(self, handle: int) -> None:
        """Close a directory."""
        self._put_down(inode_of(handle))

    def statfs(self) -> FileSystemSize:
        """Return the size of the version, and what the overlay's disk has left."""
        lower = self._lower.statfs()
        free = self.overlay.bytes_free() // _UNIT
        return FileSystemSize(lower.unit, lower.blocks + free, lower.files + (1 << 32), free, 1 << 32)

    async def listxattr(self, inode: int) -> list[bytes]:
        """Return the names of an inode's extended attributes."""
        if inode >= FIRST_ATTACHED_INODE:
            return await self._lower.listxattr(inode)
        return listed(await self._extended_attributes(inode, META))

    async def getxattr(self, inode: int, name: bytes) -> bytes:
        """Return an extended attribute. ENODATA: there is no such."""
        if inode >= FIRST_ATTACHED_INODE:
            return await self._lower.getxattr(inode, name)
        if not name.startswith(PREFIX):
            raise Refusal(errno.ENODATA)
        if name == META:
            metadata = await self._metadata((await self._described(inode)).metadata)
            if not (found := described(metadata)):
                raise Refusal(errno.ENODATA)
            return within_bounds(canonical_json(found))
        value = (await self._extended_attributes(inode, name)).get(name)
        if value is None:
            raise Refusal(errno.ENODATA)
        return await self._workers.run(value)

    async def _extended_attributes(self, inode: int, name: bytes) -> dict[bytes, Callable[[], bytes]]:
        entry = await self._described(inode)
        metadata = await self._metadata(entry.metadata) if not is_fixed(name) else b""
        return extended_attributes(self._source, entry, metadata, is_root=inode == ROOT_INODE)

    async def _metadata(self, metadata: Metadata) -> bytes:
        """Return metadata as JSON, fetching it if it is a document."""
        if isinstance(metadata, bytes):
            return metadata
        return await self._workers.run(partial(self._source.read_metadata, metadata))

    async def _described(self, inode: int) -> TreeEntry:
        """Return an inode as an entry; what was changed has no hash and no blocks."""
        node = await self._node(inode)
        if node.record is None:
            assert node.entry is not None
            return node.entry
        record = node.record
        if record.entry and not record.layers and record.shown == record.size:
            return msgspec.structs.replace(decode_entry(record.entry), metadata=record.metadata)
        return TreeEntry(record.name, record.kind, record.size, metadata=record.metadata, target=record.target)

    async def setxattr(self, inode: int, name: bytes, value: bytes, flags: int = 0) -> None:
        """Set an attribute, or a key of an entry's metadata. ENOTSUP: an attribute that is not of users."""
        await self._edit_metadata(inode, name, value, flags)

    async def removexattr(self, inode: int, name: bytes) -> None:
        """Remove an attribute, or a key of an entry's metadata. ENODATA: there is none."""
        await self._edit_metadata(inode, name, None, 0)

    async def _edit_metadata(self, inode: int, name: bytes, value: bytes | None, flags: int) -> None:
        if is_fixed(name):
            return  # who copies a file back sets what its copy was told: it is not so for that
        _refuse_attached(inode)
        node = await self._node(inode)
        if node.kind is Kind.SYMLINK:
            raise Refusal(errno.EPERM)
        known = self.editor.record_of(node).metadata
        metadata = await self._metadata(known)
        while (now := self.editor.record_of(node).metadata) != known:  # somebody else was quicker
            known, metadata = now, await self._metadata(now)
        self.editor.change(node, metadata=with_extended_attribute(metadata, name, value, flags))


def _refuse_attached(inode: int) -> None:
    """Refuse to change what is attached to the version. EPERM."""
    if inode >= FIRST_ATTACHED_INODE:
        raise Refusal(errno.EPERM)


def _batch(view: Namespace, inode: int, begin: int, most: int) -> list[MergedItem]:
    items: list[MergedItem] = []
    try:
        for item in view.items(inode, begin):
            items.append(item)
            if len(items) == most:
                break
    except NodeMissing:
        if not items:
            raise
    return items
