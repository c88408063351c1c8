"""The walk over what was touched, on tables in memory: what it yields makes the committed version the merged tree."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trees.model import Folder, Loader, build
from trees.strategies import file_of
from views.tables import MemoryTables

from penstock.manifest.build import MemorySink
from penstock.manifest.entry import Kind, NodeRef, TreeEntry, split_path
from penstock.manifest.hashing import content_hash
from penstock.manifest.metadata import canonical_json
from penstock.manifest.tree import ROOT_INODE, Tree
from penstock.manifest.update import Edit, update
from penstock.overlay.tables.schema import InodeRecord, TableChange, decode_entry
from penstock.overlay.tree.changes import Changed, Changes, Path
from penstock.overlay.tree.editor import Editor
from penstock.overlay.tree.lower import Lower
from penstock.overlay.tree.namespace import Namespace
from penstock.overlay.tree.refusal import Refused

_PATHS = [
    "a",
    "d",
    "d/deep",
    "d/deep/y",
    "d/deep/empty",
    "d/x",
    "e",
    "e/d",
    "e/d/deep",
    "e/d/deep/y",
    "m/0003",
    "n",
    "z",
]
_paths = st.sampled_from([split_path(path) for path in _PATHS])
_steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["create", "mkdir", "unlink", "rmdir", "describe", "chmod"]), _paths),
        st.tuples(st.sampled_from(["rename", "exchange"]), _paths, _paths),
        st.just(("commit",)),
    ),
    min_size=2,
    max_size=25,
)


def base() -> Folder:
    many = Folder({b"%04d" % number: file_of(b"%04d" % number, number % 4) for number in range(12)})
    sub = Folder({b"x": file_of(b"x", 0), b"deep": Folder({b"y": file_of(b"y", 1), b"empty": Folder()})})
    return Folder({b"a": file_of(b"a", 0), b"d": sub, b"e": Folder(), b"m": many, b"z": file_of(b"z", 2)})


class NoData:
    def drop(self, inode: int, layers: object) -> list[TableChange]:
        return []


class Walked:
    """A tree with an overlay, and the version that was committed last."""

    def __init__(self) -> None:
        self._sink = MemorySink()
        self._load = Loader(self._sink)
        self.committed = build(base(), self._sink)
        self.tables = MemoryTables()
        self.editor = Editor(self.tables, NoData(), lambda _: False)
        self.view = Namespace(self.tables, Lower(self.committed, self.tables, self._load))

    def changes(self, *, renames: bool = False) -> Changes:
        return Changes(
            self.tables, self.view, self.editor.counters.committed, self.committed, self._load, renames=renames
        )

    def _place(self, path: Path) -> tuple[int, bytes]:
        folder = self.view.resolve(path[:-1])
        if folder is None:
            raise Refused(2, "no such directory")
        return folder.inode, path[-1]

    def do(self, operation: str, *paths: Path) -> None:
        """Make one change, or commit; what is refused changes nothing."""
        try:
            if operation == "commit":
                self.commit()
            elif operation in ("create", "mkdir"):
                kind = Kind.FILE if operation == "create" else Kind.DIRECTORY
                self.editor.create(self.view, *self._place(paths[0]), kind, mode=0o644)
            elif operation == "unlink":
                self.editor.unlink(self.view, *self._place(paths[0]))
            elif operation == "rmdir":
                self.editor.rmdir(self.view, *self._place(paths[0]))
            elif operation in ("rename", "exchange"):
                places = (*self._place(paths[0]), *self._place(paths[1]))
                self.editor.rename(self.view, *places, exchange=operation == "exchange")
            elif (node := self.view.resolve(paths[0])) is not None:
                if operation == "chmod":
                    self.editor.change(node, mode=0o755)
                else:
                    self.editor.change(node, metadata=canonical_json({"n": self.editor.counters.sequence}))
        except Refused:
            pass

    def applied(self) -> NodeRef:
        """Return the committed version with all applied that the walk yields."""
        return update(self.committed, map(edit_of, self.walk()), self._load, self._sink)

    def walk(self) -> Iterator[Changed]:
        last: Path | None = None
        for changed in self.changes().walk():
            assert last is None or last < changed.path
            last = changed.path
            if changed.path:
                yield changed

    def commit(self) -> None:
        """Have the version be what there is now, as a commit that landed has."""
        self.committed = self.applied()
        counters = self.editor.counters
        self.editor.apply([], counters._replace(committed=counters.sequence))

    def merged(self, directory: int = ROOT_INODE, path: Path = ()) -> Iterator[tuple[Path, Kind, bytes]]:
        for item in self.view.items(directory, 0):
            found = item.node.record or item.node.entry
            assert found is not None
            yield (*path, item.name), found.kind, found.metadata
            if item.node.is_directory:
                yield from self.merged(item.node.inode, (*path, item.name))

    def listed(self, root: NodeRef) -> list[tuple[Path, Kind, bytes]]:
        return sorted((path, entry.kind, entry.metadata) for path, entry in Tree(root, self._load).walk())


def edit_of(changed: Changed) -> Edit:
    record = changed.record
    if record is None:
        return Edit(changed.path, None, missing_ok=True)
    return Edit(changed.path, entry_of(record, changed.path[-1], changed.base))


def entry_of(record: InodeRecord, name: bytes, directory: NodeRef | None) -> TreeEntry:
    if record.kind is Kind.DIRECTORY:
        return TreeEntry(name, Kind.DIRECTORY, metadata=record.metadata, directory=directory)
    if not record.entry:
        return TreeEntry(name, record.kind, 0, content_hash(b""), metadata=record.metadata)
    old = decode_entry(record.entry)
    return TreeEntry(
        name, record.kind, old.size, old.hash, 0, record.metadata, old.target, old.extents, old.blocks, old.pages
    )


@settings(max_examples=250, deadline=None)
@given(_steps)
def test_what_is_yielded_makes_the_committed_version_the_merged_tree(steps: list[tuple[object, ...]]) -> None:
    walked = Walked()
    for step in steps:
        walked.do(*step)  # type: ignore[arg-type]  # an operation and its paths
        assert walked.listed(walked.applied()) == sorted(walked.merged())


@settings(max_examples=250, deadline=None)
@given(_steps)
def test_nothing_is_dirty_when_all_is_committed(steps: list[tuple[object, ...]]) -> None:
    walked = Walked()
    for step in steps:
        walked.do(*step)  # type: ignore[arg-type]  # an operation and its paths
    walked.commit()
    assert walked.changes().is_empty
    assert not any(changed.dirty for changed in walked.changes().walk())


def paths_of(walked: Walked, *, renames: bool = False) -> list[str]:
    found = []
    for changed in walked.changes(renames=renames).walk():
        if changed.dirty and changed.path:
            sign = "-" if changed.record is None else ">" if changed.source is not None else "+"
            found.append(sign + b"/".join(changed.path).decode())
    return found


def test_a_name_that_was_taken_away_again_was_never_there() -> None:
    walked = Walked()
    assert walked.changes().is_empty
    walked.do("create", split_path("d/new"))
    assert paths_of(walked) == ["+d/new"]
    walked.do("unlink", split_path("d/new"))
    assert paths_of(walked) == []


def test_only_what_was_touched_is_yielded() -> None:
    walked = Walked()
    walked.do("describe", split_path("m/0007"))
    walked.do("chmod", split_path("d/deep"))  # a directory's mode is in no version
    walked.do("unlink", split_path("a"))
    assert paths_of(walked) == ["-a", "+m/0007"]
    walked.commit()
    walked.do("create", split_path("m/0007/below"))  # it is a file: refused
    assert paths_of(walked) == []


@pytest.mark.parametrize("committed", [False, True])
def test_below_a_directory_that_moved_all_is_yielded_committed_or_not(committed: bool) -> None:
    walked = Walked()
    walked.do("create", split_path("d/deep/new"))
    walked.do("unlink", split_path("d/x"))
    if committed:
        walked.do("commit")
    walked.do("rename", split_path("d"), split_path("e/d"))
    dirty = {changed.path: changed.dirty for changed in walked.changes().walk() if changed.forced}
    assert dirty[split_path("e/d/deep/new")] is dirty[split_path("e/d/x")] is not committed
    assert walked.listed(walked.applied()) == sorted(walked.merged())


def test_where_things_came_from() -> None:
    walked = Walked()
    walked.do("rename", split_path("d"), split_path("e/d"))
    walked.do("rename", split_path("m/0003"), split_path("e/d/3"))
    walked.do("exchange", split_path("a"), split_path("z"))
    sources = {changed.path: changed.source[0] for changed in walked.changes(renames=True).walk() if changed.source}
    assert sources == {
        split_path("e/d"): split_path("d"),
        split_path("e/d/3"): split_path("m/0003"),
        split_path("a"): split_path("z"),
        split_path("z"): split_path("a"),
    }
    assert paths_of(walked, renames=True) == [">a", "-d", ">e/d", ">e/d/3", "-m/0003", ">z"]
