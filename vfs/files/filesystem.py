"""A version as a read-only file system, without a kernel: inodes in, attributes, names and bytes out.

An inode number is a position in pre-order (`manifest.tree`), so nothing is kept for an inode that the kernel knows,
and there is nothing to forget. What is kept: the directories used last, open files, open directories; all of it can
be lost, so that another process can go on with the handles that this one gave out (`handles`).

Every question about the tree is first asked of nodes in memory. When one is missing it is loaded in a thread, once
for all who want it, and the question is asked again.

Errors: `errnos.Refusal` is an answer (ENOENT is not one of them: `lookup` returns None); anything of
`penstock.errors` is a failure of the source. It belongs to one event loop.
"""

from __future__ import annotations

import errno
import itertools
import logging
import os
from bisect import bisect_right
from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import NamedTuple, Protocol, TypeVar

import msgspec
import trio

from penstock.errors import IntegrityError, NotFoundError
from penstock.lru import Lru
from penstock.manifest.entry import BLOCK_SIZE, Kind, NodeRef, TreeEntry, block_count
from penstock.manifest.file_attributes import DEFAULT_UMASK
from penstock.manifest.tree import ROOT_INODE, Inode, NodeMissing, Tree
from penstock.vfs.ahead.large_file_rules import Readahead
from penstock.vfs.ahead.order_follower import OrderFollower
from penstock.vfs.ahead.small_file_prefetch import Prefetcher
from penstock.vfs.ahead.trace_recorder import TraceRecorder
from penstock.vfs.source.block_reader import BlockReader
from penstock.vfs.source.source import Source
from penstock.vfs.source.tree_queries import TreeQueries
from penstock.vfs.source.workers import Workers

from .attached_files import AttachedFile, attached_files
from .attributes import Attributes, FileSystemSize, attributes_of, file_system_size
from .errnos import Refusal
from .file_handles import FileHandle, Handles, inode_of
from .xattrs import META, PREFIX, extended_attributes, is_fixed, listed

__all__ = ["DirectoryItem", "FileSystem", "ReadOnlyFileSystem"]

_T = TypeVar("_T")
_log = logging.getLogger(__name__)

_DIRECTORIES = 16384
"""Directories kept by inode, at about 500 bytes each."""
_BATCH = 128
"""Entries made ready at once by `readdir`: 16 KiB of names and attributes in the kernel's form, 0.5 ms of work."""
_ONCE_ATTACHED = 1024
"""Attached files that are remembered for who has them open, after the mount was brought to another version."""
_CHILDREN = 2
"""Offset in a directory of its first child; 0 and 1 are ``.`` and ``..``."""


class DirectoryItem(msgspec.Struct, frozen=True, gc=False):
    """One name in a directory. `next` is the offset to go on from."""

    name: bytes
    attributes: Attributes
    next: int


class _Directory(NamedTuple):
    """The content of a directory, and its parent's inode (the root is its own)."""

    ref: NodeRef
    parent: Inode


class _OpenFile:
    __slots__ = ("announced", "entry", "inode", "readahead", "started")

    def __init__(self, inode: Inode, entry: TreeEntry, *, announced: bool = False) -> None:
        self.inode = inode
        self.entry = entry
        self.announced = announced
        self.started = False
        self.readahead = Readahead(block_count(entry.size))


class _OpenDirectory:
    """`ready` are items that follow each other; they are used when the reader goes on where they lie."""

    __slots__ = ("begin", "directory", "inode", "ready")

    def __init__(self, inode: Inode, directory: _Directory) -> None:
        self.inode = inode
        self.directory = directory
        self.begin = -1
        self.ready: list[DirectoryItem] = []


class FileSystem(Protocol):
    """What answers questions and reads: the methods of `ReadOnlyFileSystem`, which says what they do."""

    follower: OrderFollower

    @property
    def open_files(self) -> int: ...  # noqa: D102  # as above, and so below
    async def lookup(self, parent: int, name: bytes) -> Attributes | None: ...  # noqa: D102
    async def getattr(self, inode: int) -> Attributes: ...  # noqa: D102
    async def readlink(self, inode: int) -> bytes: ...  # noqa: D102
    async def open(self, inode: int, flags: int) -> FileHandle: ...  # noqa: D102
    async def read(self, handle: int, offset: int, size: int) -> bytes | memoryview: ...  # noqa: D102
    def release(self, handle: int) -> None: ...  # noqa: D102
    async def path(self, inode: int) -> bytes: ...  # noqa: D102
    async def describe(self, handle: int, offset: int, size: int) -> tuple[bytes, bool]: ...  # noqa: D102
    async def opendir(self, inode: int) -> FileHandle: ...  # noqa: D102
    async def readdir(self, handle: int, start: int) -> list[DirectoryItem]: ...  # noqa: D102
    def releasedir(self, handle: int) -> None: ...  # noqa: D102
    def statfs(self) -> FileSystemSize: ...  # noqa: D102
    async def listxattr(self, inode: int) -> list[bytes]: ...  # noqa: D102
    async def getxattr(self, inode: int, name: bytes) -> bytes: ...  # noqa: D102


class ReadOnlyFileSystem:
    """The tree of `source`. Times that the version does not record are `epoch_ns`, in nanoseconds since 1970.

    `umask` takes permission bits away, as a process's does. `attachments`: what is attached to the version's commit.

    Fetches run in `nursery`; cancel it to end them.
    """

    def __init__(
        self,
        source: Source,
        nursery: trio.Nursery,
        workers: Workers,
        *,
        epoch_ns: int = 0,
        umask: int = DEFAULT_UMASK,
        attachments: NodeRef | None = None,
    ) -> None:
        self._attachments = attachments
        self._attached: list[AttachedFile] | None = None
        self._once_attached: dict[int, TreeEntry] = {}
        self._covers: NodeRef | None = source.root
        self._source = source
        self._umask = umask
        self._workers = workers
        self._epoch_ns = epoch_ns
        self._tree = Tree(source.root, source.peek)
        self._asker = TreeQueries(source, nursery, workers)
        self._blocks = BlockReader(source, nursery, workers)
        self._prefetcher = Prefetcher(source, nursery, workers, self._asker.load, self._blocks.bring)
        self.recorder: TraceRecorder | None = None
        """What takes note of what is read, while a trace is recorded."""
        self.follower = OrderFollower(source, nursery, workers, self._blocks.bring)
        self._directories: Lru[Inode, _Directory] = Lru(_DIRECTORIES)
        self._handles = Handles()
        self._files: dict[FileHandle, _OpenFile] = {}
        self._open_directories: dict[FileHandle, _OpenDirectory] = {}

    @property
    def umask(self) -> int:
        """Permission bits that files lack."""
        return self._umask

    @property
    def epoch_ns(self) -> int:
        """The time of what has none, in nanoseconds since 1970."""
        return self._epoch_ns

    def new_handle(self, inode: int) -> FileHandle:
        """Return a handle that no other one open here is equal to, for who opens files in another way."""
        return self._handles.new(inode)

    @property
    def blocks(self) -> BlockReader:
        """What reads blocks of files, for who reads them in another way."""
        return self._blocks

    async def _ask(self, question: Callable[[Tree], _T]) -> _T:
        """Answer a question about the tree, loading nodes until it can be answered."""
        try:
            return question(self._tree)  # the tree is made once: this is asked several times a request
        except NodeMissing:
            return await self._asker.ask(lambda load: question(Tree(self._source.root, load)))

    def attach(self, attachments: NodeRef | None) -> None:
        """Show what is attached to another version from now on; files that are open stay what they are.

        Which of the names the version has itself is for who lies over it to say.
        """
        self._attachments, self._attached, self._covers = attachments, None, None

    async def attached(self) -> list[AttachedFile]:
        """Return what is attached to the version's commit, in the order in which it is listed."""
        while self._attached is None:
            root, attachments = self._covers, self._attachments
            try:
                found = await self._asker.ask(partial(attached_files, root, attachments))
            except (IntegrityError, NotFoundError) as error:  # the version is whole without
                _log.warning("what is attached to the version is not shown: %s", error)
                found = []
            if attachments is self._attachments:
                self._attached = found
                if len(self._once_attached) > _ONCE_ATTACHED:
                    self._once_attached.clear()
                self._once_attached.update((each.inode, each.entry) for each in found)
        return self._attached

    async def _entry(self, inode: int) -> TreeEntry:
        if not 0 <= inode - ROOT_INODE <= self._source.root.entries:
            await self.attached()
            entry = self._once_attached.get(inode)
            if entry is None:
                raise Refusal(errno.ESTALE)
            return entry
        entry = await self._ask(lambda tree: tree.by_inode(Inode(inode)))
        if inode == ROOT_INODE and self._source.root_metadata:
            return msgspec.structs.replace(entry, metadata=self._source.root_metadata)
        return entry

    async def _directory(self, inode: int) -> _Directory:
        known = self._directories.get(Inode(inode))
        if known is not None:
            return known
        entry = await self._entry(inode)
        if entry.directory is None:
            raise Refusal(errno.ENOTDIR)
        parent = await self._ask(lambda tree: tree.resolve(tree.path_of(Inode(inode))[:-1])[0])
        return self._keep_directory(Inode(inode), entry.directory, parent)

    def _keep_directory(self, inode: Inode, ref: NodeRef, parent: Inode) -> _Directory:
        directory = _Directory(ref, parent)
        self._directories.put(inode, directory)
        return directory

    async def lookup(self, parent: int, name: bytes) -> Attributes | None:
        """Return the attributes of a name in a directory; None when there is no such name. ENOTDIR, ESTALE."""
        if name == b".":
            return await self.getattr(parent)  # of a file as well: it is how the kernel comes back to a file's handle
        directory = await self._directory(parent)
        if name == b"..":
            return await self.getattr(directory.parent)
        found = await self._ask(lambda tree: tree.lookup(Inode(parent), directory.ref, name))
        if found is None and parent == ROOT_INODE:
            found = next(((each.inode, each.entry) for each in await self.attached() if each.entry.name == name), None)
        if found is None:
            return None
        inode, entry = found
        if entry.directory is not None:
            self._keep_directory(inode, entry.directory, Inode(parent))
        return attributes_of(inode, entry, self._epoch_ns, self._umask)

    async def getattr(self, inode: int) -> Attributes:
        """Return the attributes of an inode. ESTALE: there is none with this number."""
        return attributes_of(inode, await self._entry(inode), self._epoch_ns, self._umask)

    async def readlink(self, inode: int) -> bytes:
        """Return what a symlink points to. EINVAL: it is none."""
        entry = await self._entry(inode)
        if entry.kind is not Kind.SYMLINK:
            raise Refusal(errno.EINVAL)
        return entry.target

    async def open(self, inode: int, flags: int) -> FileHandle:
        """Open a file for reading. EROFS: for anything else; EISDIR, ELOOP: it is no file."""
        if flags & os.O_ACCMODE != os.O_RDONLY or flags & os.O_TRUNC:
            raise Refusal(errno.EROFS)
        entry = await self._entry(inode)
        if not entry.is_file:
            raise Refusal(errno.EISDIR if entry.kind is Kind.DIRECTORY else errno.ELOOP)
        handle = self._handles.new(inode)
        self._files[handle] = _OpenFile(Inode(inode), entry, announced=self.follower.opened(inode))
        return handle

    async def read(self, handle: int, offset: int, size: int) -> bytes | memoryview:
        """Return up to `size` bytes of an open file, fewer only at its end. EBADF: it is no file's handle."""
        file = self._files.get(FileHandle(handle)) or await self._known_file(FileHandle(handle))
        end = min(offset + size, file.entry.size)
        if not 0 <= offset < end:
            return b""
        entry = file.entry
        if self.recorder is not None and self._is_of_version(file.inode):
            self.recorder.note(file.inode, entry, offset, end)
        if not file.started:
            file.started = True
            if not file.announced and self._is_of_version(file.inode):
                self._prefetcher.opened(file.inode)
        if entry.size <= BLOCK_SIZE:
            view = await self._blocks.read_small(
                entry,
                lambda: (
                    self._prefetcher.region(file.inode, entry, alone=file.announced)
                    if self._is_of_version(file.inode)
                    else None
                ),
            )
            return view[offset:end]
        ahead = file.readahead.observe(offset, end)
        if ahead:
            self._blocks.fetch_ahead(entry, ahead)
        return await self._blocks.read(entry, offset, end)

    def _is_of_version(self, inode: int) -> bool:
        """Whether an inode is of the version itself, which has neighbours in its tree."""
        return inode - ROOT_INODE <= self._source.root.entries

    async def _known_file(self, handle: FileHandle) -> _OpenFile:
        """Take up a handle that another process gave out."""
        entry = await self._of_handle(handle)
        if not entry.is_file:
            raise Refusal(errno.EBADF)
        return self._files.setdefault(handle, _OpenFile(inode_of(handle), entry))

    async def _known_directory(self, handle: FileHandle) -> _OpenDirectory:
        if (await self._of_handle(handle)).directory is None:
            raise Refusal(errno.EBADF)
        inode = inode_of(handle)
        return self._open_directories.setdefault(handle, _OpenDirectory(inode, await self._directory(inode)))

    async def _of_handle(self, handle: FileHandle) -> TreeEntry:
        try:
            return await self._entry(inode_of(handle))
        except Refusal as refusal:
            raise Refusal(errno.EBADF) from refusal

    def release(self, handle: int) -> None:
        """Close a file."""
        self._files.pop(FileHandle(handle), None)

    @property
    def open_files(self) -> int:
        """How many handles of files are open."""
        return len(self._files)

    async def path(self, inode: int) -> bytes:
        """Return the path of an inode from the root. ESTALE: there is none with this number."""
        if not 0 <= inode - ROOT_INODE <= self._source.root.entries:
            return (await self._entry(inode)).name
        return b"/".join(await self._ask(lambda tree: tree.path_of(Inode(inode))))

    async def describe(self, handle: int, offset: int, size: int) -> tuple[bytes, bool]:
        """Return the path of an open file, and whether the cache has all blocks of a range of it. EBADF."""
        file = self._files.get(FileHandle(handle)) or await self._known_file(FileHandle(handle))
        path = await self.path(file.inode)
        end = min(offset + size, file.entry.size)
        if not 0 <= offset < end:
            return path, True
        blocks = range(offset // BLOCK_SIZE, (end - 1) // BLOCK_SIZE + 1)
        return path, await self._workers.run(_has_blocks, self._source, file.entry, blocks)

    async def opendir(self, inode: int) -> FileHandle:
        """Open a directory for listing. ENOTDIR, ESTALE."""
        directory = await self._directory(inode)
        handle = self._handles.new(inode)
        self._open_directories[handle] = _OpenDirectory(Inode(inode), directory)
        return handle

    async def readdir(self, handle: int, start: int) -> list[DirectoryItem]:
        """Return the entries from offset `start` on, as many as are at hand; none at the end.

        EBADF: it is no directory's handle.

        Offset 0 is the beginning; any other one is the `next` of an item, of this listing or an earlier one. The
        order is ``.``, ``..``, then names by their bytes. The cost does not depend on the offset.
        """
        stream = self._open_directories.get(FileHandle(handle)) or await self._known_directory(FileHandle(handle))
        if stream.begin <= start and stream.ready and start < stream.ready[-1].next:
            return stream.ready[bisect_right(stream.ready, start, key=attrgetter("next")) :]
        items = await self._dots(stream, start) if start < _CHILDREN else []
        items += await self._children(stream, max(start - _CHILDREN, 0))
        if stream.inode == ROOT_INODE and len(items) <= max(_CHILDREN - start, 0):  # all of the version was listed
            items += [
                DirectoryItem(
                    each.entry.name,
                    attributes_of(each.inode, each.entry, self._epoch_ns, self._umask),
                    self._source.root.entries + each.number + 1 + _CHILDREN,
                )
                for each in await self.attached()
                if self._source.root.entries + each.number >= start - _CHILDREN
            ]
        stream.begin, stream.ready = start, items
        return items

    async def _dots(self, stream: _OpenDirectory, start: int) -> list[DirectoryItem]:
        dots = [
            DirectoryItem(b".", await self.getattr(stream.inode), 1),
            DirectoryItem(b"..", await self.getattr(stream.directory.parent), _CHILDREN),
        ]
        return dots[max(start, 0) :]

    async def _children(self, stream: _OpenDirectory, position: int) -> list[DirectoryItem]:
        ref = stream.directory.ref
        base = stream.inode + 1

        def batch(tree: Tree) -> list[DirectoryItem]:
            items: list[DirectoryItem] = []
            try:
                for at, entry in itertools.islice(tree.children_from(ref, position), _BATCH):
                    inode = Inode(base + at)
                    if entry.directory is not None:
                        self._keep_directory(inode, entry.directory, stream.inode)
                    items.append(
                        DirectoryItem(
                            entry.name, attributes_of(inode, entry, self._epoch_ns, self._umask), at + 1 + _CHILDREN
                        )
                    )
            except NodeMissing:
                if not items:
                    raise
            return items

        return await self._ask(batch)

    def releasedir(self, handle: int) -> None:
        """Close a directory."""
        self._open_directories.pop(FileHandle(handle), None)

    def statfs(self) -> FileSystemSize:
        """Return the size of the whole."""
        return file_system_size(self._source.root)

    async def listxattr(self, inode: int) -> list[bytes]:
        """Return the names of an inode's extended attributes."""
        return listed(await self._extended_attributes(inode, META))

    async def getxattr(self, inode: int, name: bytes) -> bytes:
        """Return an extended attribute. ENODATA: there is no such."""
        if not name.startswith(PREFIX):  # security.* and system.*: asked for by ls, never there
            raise Refusal(errno.ENODATA)
        value = (await self._extended_attributes(inode, name)).get(name)
        if value is None:
            raise Refusal(errno.ENODATA)
        return await self._workers.run(value)

    async def _extended_attributes(self, inode: int, name: bytes) -> dict[bytes, Callable[[], bytes]]:
        """Return an inode's attributes; those of metadata only if the name is of those: it may have to be fetched."""
        entry = await self._entry(inode)
        is_root = inode == ROOT_INODE
        found, metadata = entry.metadata, b""
        if not is_fixed(name):
            read = partial(self._source.read_metadata, found)
            metadata = found if isinstance(found, bytes) else await self._workers.run(read)
        return extended_attributes(self._source, entry, metadata, is_root=is_root)


def _has_blocks(source: Source, entry: TreeEntry, blocks: range) -> bool:
    return not source.missing_blocks([source.block_hash(entry, index) for index in blocks])
