"""The merged tree against plain nested dicts: the same calls on both, the same answers and refusals."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees.model import Folder, Loader, built
from trees.strategies import file_of, quick

from penstock.manifest.entry import Kind, NodeRef
from penstock.manifest.tree import ROOT_INODE
from penstock.overlay.tables.durable_tables import DurableTables
from penstock.overlay.tables.schema import TableChange
from penstock.overlay.tree.editor import Editor
from penstock.overlay.tree.lower import Lower
from penstock.overlay.tree.namespace import Namespace
from penstock.overlay.tree.refusal import Refused


class NoData:
    def drop(self, inode: int, layers: object) -> list[TableChange]:
        return []


class Merged:
    """A base tree with an overlay, opened anew whenever a test wants it."""

    def __init__(self, directory: Path, root: NodeRef, load: Loader) -> None:
        self._directory, self._root = directory, root
        self._load = lru_cache(1000)(load)
        self.opened: set[int] = set()
        self.open()

    def open(self) -> None:
        self.records = DurableTables(str(self._directory), lambda: None)
        self.editor = Editor(self.records, NoData(), self.opened.__contains__)
        self.view = Namespace(self.records, Lower(self._root, self.records, self._load))

    def reopen(self) -> None:
        self.records.close()
        self.open()

    def close(self) -> None:
        self.records.close()

    def walk(self, inode: int = ROOT_INODE, path: tuple[bytes, ...] = ()) -> Iterator[tuple[tuple[bytes, ...], str]]:
        for item in self.view.items(inode, 0):
            names = (*path, item.name)
            yield names, item.node.kind.name
            assert self.view.path(item.node.inode) == names
            found = self.view.resolve(names)
            assert found is not None
            assert found.inode == item.node.inode
            if item.node.is_directory:
                yield from self.walk(item.node.inode, names)


@dataclass
class Dir:
    children: dict[bytes, Dir | str] = field(default_factory=dict)


def model_of(folder: Folder) -> Dir:
    return Dir(
        {
            name: model_of(item) if isinstance(item, Folder) else item.entry.kind.name
            for name, item in folder.children.items()
        }
    )


def flat(folder: Dir, path: tuple[bytes, ...] = ()) -> Iterator[tuple[tuple[bytes, ...], str]]:
    for name, item in folder.children.items():
        yield (*path, name), "DIRECTORY" if isinstance(item, Dir) else item
        if isinstance(item, Dir):
            yield from flat(item, (*path, name))


def base(many_files: int = 12) -> Folder:
    many = Folder({b"%04d" % number: file_of(b"%04d" % number, number % 4) for number in range(many_files)})
    sub = Folder({b"x": file_of(b"x", 0), b"deep": Folder({b"y": file_of(b"y", 1), b"empty": Folder()})})
    return Folder({b"a": file_of(b"a", 0), b"d": sub, b"e": Folder(), b"m": many, b"z": file_of(b"z", 2)})


_SMALL = built(base())
_NAMES = [b"a", b"d", b"e", b"m", b"z", b"x", b"deep", b"y", b"n", b"0007", b"empty"]
_paths = st.lists(st.sampled_from(_NAMES), min_size=1, max_size=3).map(tuple)
_steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["create", "mkdir", "unlink", "rmdir"]), _paths),
        st.tuples(st.sampled_from(["rename", "exchange", "noreplace"]), _paths, _paths),
        st.tuples(st.just("reopen")),
    ),
    max_size=25,
)


def folder_at(model: Dir, path: tuple[bytes, ...]) -> Dir:
    for name in path:
        item = model.children.get(name)
        if item is None:
            raise Refused(errno.ENOENT, "")
        if not isinstance(item, Dir):
            raise Refused(errno.ENOTDIR, "")
        model = item
    return model


def on_model(model: Dir, step: tuple[object, ...]) -> None:
    operation, path = step[0], step[1]
    assert isinstance(path, tuple)
    folder, name = folder_at(model, path[:-1]), path[-1]
    item = folder.children.get(name)
    if operation in ("create", "mkdir"):
        if item is not None:
            raise Refused(errno.EEXIST, "")
        folder.children[name] = Dir() if operation == "mkdir" else "FILE"
    elif operation == "unlink":
        if item is None:
            raise Refused(errno.ENOENT, "")
        if isinstance(item, Dir):
            raise Refused(errno.EISDIR, "")
        del folder.children[name]
    elif operation == "rmdir":
        if item is None:
            raise Refused(errno.ENOENT, "")
        if not isinstance(item, Dir):
            raise Refused(errno.ENOTDIR, "")
        if item.children:
            raise Refused(errno.ENOTEMPTY, "")
        del folder.children[name]
    else:
        rename_on_model(model, folder, name, step)


def rename_on_model(model: Dir, folder: Dir, name: bytes, step: tuple[object, ...]) -> None:
    target = step[2]
    assert isinstance(target, tuple)
    into, new = folder_at(model, target[:-1]), target[-1]
    item, there = folder.children.get(name), into.children.get(new)
    if item is None:
        raise Refused(errno.ENOENT, "")
    if step[0] == "exchange":
        if there is None:
            raise Refused(errno.ENOENT, "")
        if contains(item, into) or contains(there, folder):
            raise Refused(errno.EINVAL, "")
        folder.children[name], into.children[new] = there, item
        return
    if there is not None and step[0] == "noreplace":
        raise Refused(errno.EEXIST, "")
    if folder is into and name == new:
        return
    if there is not None:
        if isinstance(there, Dir) and not isinstance(item, Dir):
            raise Refused(errno.EISDIR, "")
        if isinstance(item, Dir) and not isinstance(there, Dir):
            raise Refused(errno.ENOTDIR, "")
        if isinstance(there, Dir) and there.children:
            raise Refused(errno.ENOTEMPTY, "")
    if contains(item, into):
        raise Refused(errno.EINVAL, "")
    into.children[new] = folder.children.pop(name)


def contains(item: Dir | str | None, folder: Dir) -> bool:
    if not isinstance(item, Dir):
        return False
    return item is folder or any(contains(child, folder) for child in item.children.values())


def on_merged(merged: Merged, step: tuple[object, ...]) -> None:
    operation, path = step[0], step[1]
    assert isinstance(path, tuple)
    parent = directory(merged, path[:-1])
    if operation in ("create", "mkdir"):
        merged.editor.create(merged.view, parent, path[-1], Kind.FILE if operation == "create" else Kind.DIRECTORY)
    elif operation == "unlink":
        merged.editor.unlink(merged.view, parent, path[-1])
    elif operation == "rmdir":
        merged.editor.rmdir(merged.view, parent, path[-1])
    else:
        target = step[2]
        assert isinstance(target, tuple)
        merged.editor.rename(
            merged.view,
            parent,
            path[-1],
            directory(merged, target[:-1]),
            target[-1],
            replace=operation != "noreplace",
            exchange=operation == "exchange",
        )


def directory(merged: Merged, path: tuple[bytes, ...]) -> int:
    node = merged.view.node(ROOT_INODE)
    for name in path:
        if not node.is_directory:
            raise Refused(errno.ENOTDIR, "")
        found = merged.view.lookup(node.inode, name)
        if found is None:
            raise Refused(errno.ENOENT, "")
        node = found
    if not node.is_directory:
        raise Refused(errno.ENOTDIR, "")
    return node.inode


@quick
@given(steps=_steps)
def test_the_merged_tree_is_what_a_plain_one_would_be(
    steps: list[tuple[object, ...]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root, load = _SMALL
    merged = Merged(tmp_path_factory.mktemp("overlay"), root, load)
    model = model_of(base())
    try:
        for step in steps:
            if step[0] == "reopen":
                merged.reopen()
                continue
            refused = None
            try:
                on_model(model, step)
            except Refused as refusal:
                refused = refusal.errno
            if refused is None:
                on_merged(merged, step)
            else:
                with pytest.raises(Refused) as told:
                    on_merged(merged, step)
                assert told.value.errno == refused, step
        assert sorted(merged.walk()) == sorted(flat(model))
    finally:
        merged.close()


def test_a_directory_of_many_is_renamed_by_a_few_records(tmp_path: Path) -> None:
    root, load = built(base(700))
    merged = Merged(tmp_path / "overlay", root, load)
    inodes = {item.name: item.node.inode for item in merged.view.items(directory(merged, (b"m",)), 0)}
    before = load.count
    merged.editor.rename(merged.view, ROOT_INODE, b"m", directory(merged, (b"d",)), b"moved")
    assert load.count - before < 20
    assert len(list(merged.records.scan(1, b""))) == 2
    moved = {item.name: item.node.inode for item in merged.view.items(directory(merged, (b"d", b"moved")), 0)}
    assert moved == inodes
    assert len(moved) == 700
    merged.close()


def test_a_listing_goes_on_where_it_was_while_names_come_and_go(tmp_path: Path) -> None:
    root, load = built(base(700))
    merged = Merged(tmp_path / "overlay", root, load)
    parent = directory(merged, (b"m",))
    for number in range(20):
        merged.editor.create(merged.view, parent, b"new-%d" % number, Kind.FILE)
    seen: list[bytes] = []
    offset = 0
    while True:
        batch = [item for item, _ in zip(merged.view.items(parent, offset), range(50), strict=False)]
        if not batch:
            break
        for item in batch:
            merged.editor.unlink(merged.view, parent, item.name)
            seen.append(item.name)
        offset = batch[-1].next
    assert len(seen) == len(set(seen)) == 720
    assert merged.view.is_empty(parent)
    merged.close()


def test_what_is_removed_while_open_is_there_until_it_is_closed(tmp_path: Path) -> None:
    root, load = built(base())
    merged = Merged(tmp_path / "overlay", root, load)
    node = merged.view.lookup(ROOT_INODE, b"a")
    assert node is not None
    merged.opened.add(node.inode)
    merged.editor.unlink(merged.view, ROOT_INODE, b"a")
    left = merged.view.node(node.inode)
    assert left.record is not None
    assert left.record.parent == 0
    assert left.size == node.size
    assert merged.view.path(node.inode) is None
    merged.opened.clear()
    merged.editor.forget(left)
    assert merged.view.record(node.inode) is None
    assert merged.view.path(node.inode) is None
    merged.close()


def test_temporary_names_leave_nothing_behind(tmp_path: Path) -> None:
    root, load = built(base())
    merged = Merged(tmp_path / "overlay", root, load)
    for number in range(100):
        merged.editor.create(merged.view, ROOT_INODE, b"tmp-%d" % number, Kind.FILE)
        merged.editor.unlink(merged.view, ROOT_INODE, b"tmp-%d" % number)
    assert list(merged.records.scan(1, b"")) == []
    assert list(merged.records.scan(2, b"")) == []
    assert [key for key, _ in merged.records.scan(3, b"")] == [ROOT_INODE.to_bytes(8, "big")]  # its time
    merged.close()


@pytest.mark.parametrize("length", [255, 256])
def test_names_are_as_long_as_linux_has_them(tmp_path: Path, length: int) -> None:
    root, load = built(base())
    merged = Merged(tmp_path / "overlay", root, load)
    if length <= 255:
        merged.editor.create(merged.view, ROOT_INODE, b"n" * length, Kind.FILE)
    else:
        with pytest.raises(Refused) as told:
            merged.editor.create(merged.view, ROOT_INODE, b"n" * length, Kind.FILE)
        assert told.value.errno == errno.ENAMETOOLONG
    merged.close()
