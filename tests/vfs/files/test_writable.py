"""The writable file system without a kernel: random requests, beside a model of plain Python objects.

Every answer and every refusal must be the model's; whatever was open stays so, also in a process that follows one that
was killed; all that is there is compared at the end, and once more after the overlay was opened again.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from views.bucket import LocalBucket, write_tree
from views.memory import EPOCH_NS, Link, Made, Spec

from penstock.manifest.entry import BLOCK_SIZE, MAX_SIZE, Kind
from penstock.mountpoint.working_copy.overlay_directory import adopt
from penstock.overlay.overlay import Overlay
from penstock.overlay.tables.schema import Name
from penstock.overlay.tree.namespace import Namespace
from penstock.overlay.tree.refusal import Refused
from penstock.repo.read.snapshot import Snapshot, open_snapshot
from penstock.vfs.files import writable
from penstock.vfs.files.errnos import Refusal
from penstock.vfs.files.filesystem import ReadOnlyFileSystem
from penstock.vfs.files.writable import WritableFileSystem
from penstock.vfs.source.tree_queries import TreeQueries
from penstock.vfs.source.workers import Workers

SPEC: Spec = {
    b"a": Made(b"first\n"),
    b"b": {b"a": {b"a": Made(b"x"), b"b": Made(b"y" * 100)}, b"b": Link(b"../a"), b"c": Made(b"1", executable=True)},
    b"c": Made(bytes(range(256)) * (BLOCK_SIZE // 256) + b"tail"),
    b"d": {b"%03d" % number: Made(b"%d" % number) for number in range(140)},
}
NAMES = [b"a", b"b", b"c", b"d", b"000", b"150", b"n" * 255]
THREAD = 7
NOTHING = (None, None)


@dataclass(eq=False)
class Node:
    """A file (`children` and `target` are None), a directory, or a symlink."""

    data: bytearray = field(default_factory=bytearray)
    executable: bool = False
    children: dict[bytes, Node] | None = None
    target: bytes | None = None
    metadata: dict[bytes, bytes] = field(default_factory=dict)
    inode: int = 0
    linked: bool = True

    @property
    def is_file(self) -> bool:
        return self.children is None and self.target is None


def model_of(spec: Spec) -> Node:
    children: dict[bytes, Node] = {}
    for name, item in spec.items():
        if isinstance(item, Made):
            children[name] = Node(bytearray(item.data), item.executable)
        elif isinstance(item, Link):
            children[name] = Node(target=item.target)
        else:
            children[name] = model_of(item)
    return Node(children=children)


def holds(above: Node, node: Node) -> bool:
    return above is node or any(holds(child, node) for child in (above.children or {}).values())


class Compared:
    """The file system and the model; each operation is made on both. Numbers choose what it is made on."""

    def __init__(self, overlay: str, version: Snapshot, nursery: trio.Nursery) -> None:
        self._directory, self._version, self._nursery = overlay, version, nursery
        self.root = model_of(SPEC)
        self.root.inode = 1
        self.open: list[tuple[int, Node]] = []
        self._processes = 0
        self.overlay = Overlay(overlay)
        adopt(self.overlay, version)
        self._serve(resumed=False)

    def _serve(self, *, resumed: bool) -> None:
        workers = Workers()
        lower = ReadOnlyFileSystem(self._version, self._nursery, workers, epoch_ns=EPOCH_NS)
        asker = TreeQueries(self._version, self._nursery, workers)
        self.fs = WritableFileSystem(lower, self._version, asker, workers, self.overlay, resumed=resumed)

    @property
    def thread(self) -> int:
        return THREAD + self._processes

    def folders(self) -> list[Node]:
        return [node for node in self._nodes(self.root) if node.children is not None]

    def files(self) -> list[Node]:
        return [node for node in self._nodes(self.root) if node.is_file]

    def _nodes(self, node: Node) -> Iterator[Node]:
        yield node
        for child in (node.children or {}).values():
            yield from self._nodes(child)

    async def inode(self, node: Node) -> int:
        """Return the inode of something in the model, as looking it up from the root finds it."""
        if not node.inode or node.linked:
            await self._look_up(self.root, node)
        assert node.inode
        return node.inode

    async def _look_up(self, folder: Node, wanted: Node) -> bool:
        if folder is wanted:
            return True
        for name, child in (folder.children or {}).items():
            if holds(child, wanted):
                found = await self.fs.lookup(folder.inode, name)
                assert found is not None
                assert child.inode in {0, found.inode}  # a rename changes no inode
                child.inode = found.inode
                return await self._look_up(child, wanted)
        return False

    async def expect(self, refusal: int, call: Callable[[], Awaitable[object]]) -> bool:
        """Make a call; True when it is done, as it should be where `refusal` is 0."""
        try:
            await call()
        except (Refusal, Refused) as error:
            assert error.errno == refusal, (errno.errorcode.get(error.errno or 0), errno.errorcode.get(refusal))
            return False
        assert not refusal, errno.errorcode[refusal]
        return True

    async def make(self, which: int, name: bytes, what: int) -> None:
        folder = self.folders()[which % len(self.folders())]
        assert folder.children is not None
        parent = await self.inode(folder)
        refusal = errno.EEXIST if name in folder.children else 0
        node = (Node(), Node(executable=True), Node(children={}), Node(target=b"some/where"))[what]

        async def call() -> None:
            if what < 2:
                mode = 0o755 if node.executable else 0o644
                handle, found = await self.fs.create(parent, name, mode, self.thread, NOTHING)
                self.open.append((handle, node))
            elif what == 2:
                found = await self.fs.mkdir(parent, name, 0o755, self.thread, NOTHING)
            else:
                found = await self.fs.symlink(parent, name, b"some/where", self.thread, NOTHING)
            node.inode = found.inode

        if await self.expect(refusal, call):
            folder.children[name] = node

    async def remove(self, which: int, name: bytes, directory: bool) -> None:
        folder = self.folders()[which % len(self.folders())]
        assert folder.children is not None
        parent = await self.inode(folder)
        node = folder.children.get(name)
        if node is None:
            refusal = errno.ENOENT
        elif directory:
            refusal = errno.ENOTDIR if node.children is None else errno.ENOTEMPTY if node.children else 0
        else:
            refusal = 0 if node.children is None else errno.EISDIR
        call = self.fs.rmdir if directory else self.fs.unlink
        if await self.expect(refusal, lambda: call(parent, name, self.thread)):
            self._unlinked(folder.children.pop(name))

    def _unlinked(self, node: Node) -> None:
        node.linked = holds(self.root, node)

    async def link(self, which: int, to: int, name: bytes) -> None:
        nodes = [node for node in self._nodes(self.root) if node.children is None]
        folder = self.folders()[to % len(self.folders())]
        if not nodes:
            return
        assert folder.children is not None
        node = nodes[which % len(nodes)]
        inode, parent = await self.inode(node), await self.inode(folder)
        refusal = errno.EEXIST if name in folder.children else 0
        if await self.expect(refusal, lambda: self.fs.link(inode, parent, name, self.thread)):
            folder.children[name] = node
        assert (await self.fs.getattr(inode)).links == sum(each is node for each in self._nodes(self.root))

    async def rename(self, which: int, name: bytes, to: int, new_name: bytes, how: int) -> None:
        folder, target = (self.folders()[number % len(self.folders())] for number in (which, to))
        assert folder.children is not None
        assert target.children is not None
        parent, new_parent = await self.inode(folder), await self.inode(target)
        moved, there = folder.children.get(name), target.children.get(new_name)
        replace, exchange = how != 1, how == 2
        refusal = 0
        if moved is None or (exchange and there is None):
            refusal = errno.ENOENT
        elif there is moved and not exchange:
            refusal = 0 if replace else errno.EEXIST
        elif there is not None and not exchange:
            if not replace:
                refusal = errno.EEXIST
            elif there.children is not None and moved.children is None:
                refusal = errno.EISDIR
            elif moved.children is not None and there.children is None:
                refusal = errno.ENOTDIR
            elif there.children:
                refusal = errno.ENOTEMPTY
        below = moved is not None and moved.children is not None and holds(moved, target)
        above = exchange and there is not None and there.children is not None and holds(there, folder)
        if there is moved and exchange and not refusal:
            return  # the kernel does not ask for that
        if not refusal and (below or above):
            refusal = errno.EINVAL

        def call() -> Awaitable[object]:
            return self.fs.rename(parent, name, new_parent, new_name, self.thread, replace=replace, exchange=exchange)

        if not await self.expect(refusal, call) or there is moved:
            return
        assert moved is not None
        del folder.children[name]
        target.children[new_name] = moved
        if exchange and there is not None:
            folder.children[name] = there
        elif there is not None:
            self._unlinked(there)

    async def open_file(self, which: int) -> None:
        if files := self.files():
            node = files[which % len(files)]
            self.open.append((await self.fs.open(await self.inode(node), os.O_RDWR), node))

    async def close_file(self, which: int) -> None:
        if self.open:
            handle, _ = self.open.pop(which % len(self.open))
            self.fs.release(handle)

    async def write(self, which: int, offset: int, data: bytes) -> None:
        if self.open:
            handle, node = self.open[which % len(self.open)]
            assert await self.fs.write(handle, offset, data) == len(data)
            if data:
                node.data.extend(bytes(max(0, offset - len(node.data))))
                node.data[offset : offset + len(data)] = data

    async def cut(self, which: int, *sizes: int) -> None:
        if self.open:
            _, node = self.open[which % len(self.open)]
            for size in sizes:
                found = await self.fs.setattr(node.inode, size=size)
                node.data[size:] = bytes(max(0, size - len(node.data)))
                assert found.size == size

    async def read(self, which: int, offset: int, size: int) -> None:
        if self.open:
            handle, node = self.open[which % len(self.open)]
            assert bytes(await self.fs.read(handle, offset, size)) == node.data[offset : offset + size]

    async def describe(self, which: int, key: bytes, value: bytes | None) -> None:
        if files := self.files():
            node = files[which % len(files)]
            inode, name = await self.inode(node), b"user.meta." + key
            if value is not None:
                await self.fs.setxattr(inode, name, value)
                node.metadata[key] = value
            elif await self.expect(
                0 if key in node.metadata else errno.ENODATA, lambda: self.fs.removexattr(inode, name)
            ):
                del node.metadata[key]

    async def list_changing(self, which: int, name: bytes) -> None:
        """List a directory while what was listed goes, and something comes."""
        folder = self.folders()[which % len(self.folders())]
        assert folder.children is not None
        handle = await self.fs.opendir(await self.inode(folder))
        seen: list[bytes] = []
        stable = set(folder.children) - {name}
        start = 0
        while items := await self.fs.readdir(handle, start):
            for item in items[:100]:
                seen.append(item.name)
                start = item.next
            number = self.folders().index(folder)
            await (self.remove(number, name, False) if name in folder.children else self.make(number, name, 3))
            if len(seen) > 1000:
                break
        self.fs.releasedir(handle)
        assert len(seen) == len(set(seen)) or name in seen
        assert stable <= set(seen)
        assert set(seen) <= stable | {name, b".", b".."}

    async def follow(self) -> None:
        """Go on in another process, as after a kill: handles live on, and the overlay is as its journal has it.

        All was answered, so another thread goes on: the last request, made once more by the same one and at once,
        would be taken for one that the kernel sends again.
        """
        self._processes += 1
        self.overlay.records.close(checkpoint=False)
        self.overlay.content.close()
        self.overlay = Overlay(self._directory)
        self._serve(resumed=True)

    async def mount_again(self) -> None:
        while self.open:
            await self.close_file(0)
        self.overlay.close()
        self.overlay = Overlay(self._directory)
        self.overlay.remove_orphans()
        self._serve(resumed=False)

    async def compare(self) -> None:
        await self._compare(self.root, Counter(map(id, self._nodes(self.root))))
        for handle, node in self.open:
            assert bytes(await self.fs.read(handle, 0, 1 << 30)) == node.data

    async def _compare(self, folder: Node, names: Counter[int]) -> None:
        assert folder.children is not None
        handle = await self.fs.opendir(folder.inode)
        found: dict[bytes, int] = {}
        start = 0
        while items := await self.fs.readdir(handle, start):
            for item in items:
                assert item.name not in found
                found[item.name] = item.attributes.inode
            start = items[-1].next
        self.fs.releasedir(handle)
        assert found.keys() - {b".", b".."} == folder.children.keys()
        for name, node in folder.children.items():
            facts = await self.fs.lookup(folder.inode, name)
            assert facts is not None
            assert facts.inode == found[name]
            assert node.inode in {0, facts.inode}
            assert facts.links == names[id(node)]
            node.inode = facts.inode
            if node.children is not None:
                await self._compare(node, names)
            elif node.target is not None:
                assert await self.fs.readlink(node.inode) == node.target
            else:
                assert facts.size == len(node.data)
                assert bool(facts.mode & 0o100) == node.executable
                handle = await self.fs.open(node.inode, os.O_RDONLY)
                assert bytes(await self.fs.read(handle, 0, 1 << 30)) == node.data
                self.fs.release(handle)
                listed = await self.fs.listxattr(node.inode)
                assert {each for each in listed if each.startswith(b"user.meta.")} == {
                    b"user.meta." + key for key in node.metadata
                }
                for key, value in node.metadata.items():
                    assert await self.fs.getxattr(node.inode, b"user.meta." + key) == value


_which = st.one_of(st.integers(0, 5), st.integers(0, 1 << 16))  # a few are met again and again
_names = st.sampled_from(NAMES)
_offsets = st.one_of(
    st.integers(0, 8), st.integers(0, 300), st.integers(BLOCK_SIZE - 3, BLOCK_SIZE + 10), st.just(3 * BLOCK_SIZE)
)
_keys = st.sampled_from([b"label", "ünï".encode(), b"stars"])
_OPERATIONS = {
    "make": (_which, _names, st.integers(0, 3)),
    "remove": (_which, _names, st.booleans()),
    "link": (_which, _which, _names),
    "rename": (_which, _names, _which, _names, st.integers(0, 2)),
    "open_file": (_which,),
    "close_file": (_which,),
    "write": (_which, _offsets, st.binary(max_size=200)),
    "cut": (_which, _offsets, _offsets),
    "read": (_which, _offsets, st.sampled_from([1, 100, 4096, 2 * BLOCK_SIZE])),
    "describe": (_which, _keys, st.one_of(st.none(), st.just(b"value"), st.just("ü".encode()))),
    "list_changing": (_which, _names),
    "follow": (),
    "mount_again": (),
}
operations = st.lists(
    st.one_of([st.tuples(st.just(name), *arguments) for name, arguments in _OPERATIONS.items()]),
    min_size=10,
    max_size=60,
)


@pytest.fixture(scope="module")
def version() -> Iterator[Snapshot]:
    """Return a version of all in SPEC, in a real bucket."""
    with tempfile.TemporaryDirectory() as name:
        write_tree(Path(name, "source"), SPEC)
        bucket = LocalBucket(Path(name))
        bucket.push(Path(name, "source"))
        with closing(open_snapshot("demo/data", bucket.settings)) as found:
            yield found


async def run(steps: list[tuple[object, ...]], version: Snapshot, directory: str) -> None:
    failure: BaseException | None = None
    async with trio.open_nursery() as nursery:
        compared = Compared(directory, version, nursery)
        try:
            with trio.fail_after(60):
                for name, *arguments in steps:
                    await getattr(compared, str(name))(*arguments)
                await compared.compare()
                await compared.follow()
                await compared.compare()
                await compared.mount_again()
                await compared.compare()
        except BaseException as error:  # noqa: BLE001  # passed on, out of the nursery's group
            failure = error
        finally:
            compared.overlay.close()
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


@settings(
    deadline=None,
    max_examples=60,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)
@given(operations)
def test_random_requests_beside_a_model(version: Snapshot, steps: list[tuple[object, ...]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        trio.run(run, steps, version, directory)


def test_what_a_version_knows_of_a_file_goes_with_its_content(version: Snapshot) -> None:
    async def body(directory: str) -> None:
        async with trio.open_nursery() as nursery:
            compared = Compared(directory, version, nursery)
            fs = compared.fs
            node = compared.root.children[b"a"] if compared.root.children else Node()
            inode = await compared.inode(node)
            digest = await fs.getxattr(inode, b"user.penstock.hash")
            await fs.setxattr(inode, b"user.meta.label", b"cat")
            await fs.setxattr(inode, b"user.penstock.hash", b"another")
            assert await fs.getxattr(inode, b"user.penstock.hash") == digest
            handle = await fs.open(inode, os.O_RDWR)
            await fs.write(handle, 0, b"F")
            assert await fs.listxattr(inode) == [b"user.meta.label"]
            assert await fs.getxattr(inode, b"user.meta.label") == b"cat"
            found = await fs.getattr(inode)
            assert (found.size, found.links) == (6, 1)
            for wanted, call in (
                (errno.EISDIR, lambda: fs.open(1, os.O_RDWR)),
                (errno.ENOTDIR, lambda: fs.opendir(inode)),
                (errno.ENOTDIR, lambda: fs.create(inode, b"x", 0o644, THREAD, NOTHING)),
                (errno.ENAMETOOLONG, lambda: fs.mkdir(1, b"x" * 256, 0o755, THREAD, NOTHING)),
                (errno.EFBIG, lambda: fs.setattr(inode, size=MAX_SIZE + 1)),
                (errno.ESTALE, lambda: fs.getattr(1 << 47)),
                (errno.ENODATA, lambda: fs.getxattr(inode, b"user.penstock.hash")),
                (errno.EPERM, lambda: fs.setxattr(inode, b"user.meta.penstock.mode", b"")),
                (errno.EPERM, lambda: fs.setxattr(inode, b"user.meta", b'{"penstock.mode":"0600"}')),
                (errno.EINVAL, lambda: fs.setxattr(inode, b"user.\xff", b"")),
                (errno.ENOTSUP, lambda: fs.setxattr(inode, b"user.", b"")),
                (errno.ENOTSUP, lambda: fs.setxattr(inode, b"security.other", b"")),
            ):
                await compared.expect(wanted, call)
            assert compared.overlay.node(inode) is not None
            assert compared.overlay.view(version.load).node(inode).kind is Kind.FILE
            compared.overlay.close()
            nursery.cancel_scope.cancel()

    with tempfile.TemporaryDirectory() as directory:
        trio.run(body, directory)


def test_a_listing_costs_what_it_lists_and_leaves_room_for_who_removes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bucket = LocalBucket(tmp_path)
    write_tree(tmp_path / "source", {b"many": {b"%04d" % number: Made() for number in range(1000)}})
    bucket.push(tmp_path / "source")
    monkeypatch.setattr(writable, "_LATELY", 60.0)
    looked_up = 0
    name = Namespace.name

    def counted(self: Namespace, parent: int, wanted: bytes) -> Name | None:
        nonlocal looked_up
        looked_up += 1
        return name(self, parent, wanted)

    async def run() -> None:
        nonlocal looked_up
        async with trio.open_nursery() as nursery:
            compared = Compared(str(tmp_path / "overlay"), version, nursery)
            fs = compared.fs
            many = await fs.lookup(1, b"many")
            assert many is not None
            handle = await fs.opendir(many.inode)
            assert len(await fs.readdir(handle, 0)) == 130
            for number in range(900):
                await fs.unlink(many.inode, b"%04d" % number, THREAD)
            assert len(await fs.readdir(handle, 0)) == 18  # the kernel keeps others out meanwhile: a short answer
            monkeypatch.setattr(Namespace, "name", counted)
            await fs.readdir(handle, 0)
            assert looked_up < 30
            for number in range(900, 1000):
                await fs.unlink(many.inode, b"%04d" % number, THREAD)
            looked_up = 0
            assert len(await fs.readdir(handle, 0)) == 2
            assert looked_up < 120
            looked_up = 0
            await fs.rmdir(1, b"many", THREAD)
            assert looked_up < 10
            compared.overlay.close()
            nursery.cancel_scope.cancel()

    with closing(open_snapshot("demo/data", bucket.settings)) as version:
        trio.run(run)
