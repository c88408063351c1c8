"""An edited tree is the tree that a rebuild would give, node for node, and little is written for it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees.model import File, Folder, Loader, bare, build, built, flatten, reachable
from trees.strategies import Made, Step, apply, as_edits, edits_for, file_of, folders, quick, steps

from penstock.errors import ConflictError, IntegrityError, NotFoundError, UsageError
from penstock.manifest.build import MemorySink
from penstock.manifest.codec import encode_index
from penstock.manifest.entry import MAX_DEPTH, Kind, NodeRef, TreeEntry
from penstock.manifest.tree import Tree
from penstock.manifest.update import EMPTY_DIRECTORY, Edit, update

pytestmark = pytest.mark.usefixtures("small_nodes")


def _check(folder: Folder, made: list[Made]) -> None:
    sink = MemorySink()
    root = build(folder, sink)
    load = Loader(sink)
    updated = update(root, as_edits(made, Tree(root, load), sink), load, sink)
    wanted = apply(folder, made)
    rebuilt, fresh = built(wanted)
    assert [(path, bare(entry)) for path, entry in Tree(updated, load).walk()] == list(flatten(wanted))
    assert reachable(updated, load) == reachable(rebuilt, fresh)


@quick
@given(folders(), steps)
def test_update_equals_rebuild(folder: Folder, wanted: list[Step]) -> None:
    _check(folder, edits_for(folder, wanted))


_numbers = st.integers(0, 249)


@quick
@given(
    st.integers(1, 250),
    st.integers(1, 3),
    st.sets(_numbers, max_size=12),
    st.sets(_numbers, max_size=12),
    st.tuples(_numbers, _numbers),
)
def test_update_equals_rebuild_in_tall_directories(
    count: int, step: int, put: set[int], removed: set[int], gap: tuple[int, int]
) -> None:
    names = [b"%03d" % number for number in range(0, count, step)]
    folder = Folder({name: file_of(name, 1) for name in names})
    gone = removed | set(range(min(gap), max(gap)))  # a whole run too: whole nodes go, and the tree gets lower
    edits: dict[tuple[bytes, ...], File | None] = {(b"%03d" % n,): None for n in gone if b"%03d" % n in folder.children}
    edits.update({(b"%03d" % n,): file_of(b"%03d" % n, 2) for n in put})
    _check(folder, [(path, item, None) for path, item in sorted(edits.items())])


@quick
@given(st.integers(0, 250), st.integers(1, 250))
def test_every_prefix_and_suffix_of_a_directory_can_go(kept: int, count: int) -> None:
    names = [b"%03d" % number for number in range(count)]
    folder = Folder({name: file_of(name, 1) for name in names})
    _check(folder, [((name,), None, None) for name in names[kept:]])
    _check(folder, [((name,), None, None) for name in names[:kept]])


@pytest.mark.parametrize("middle", range(0, 240, 11))
def test_little_is_loaded_and_written_for_a_little_edit(middle: int) -> None:
    sink = MemorySink()
    root = build(Folder({b"%03d" % number: file_of(b"%03d" % number, 1) for number in range(240)}), sink)
    load = Loader(sink)
    height = load(root).level + 1
    load.count = 0
    new = MemorySink()
    update(root, [Edit((b"%03d" % middle,), file_of(b"%03d" % middle, 2).entry)], load, new)
    assert len(new.frames) <= height
    assert load.count <= 2 * height  # at worst it is seen that the next node fits only when the last one was opened


def test_no_edits_give_the_tree_itself() -> None:
    sink = MemorySink()
    root = build(Folder({b"a": file_of(b"a", 1)}), sink)
    assert update(root, [], Loader(sink), MemorySink()) is root


def test_a_directory_moves_by_reference_without_being_read() -> None:
    inner = Folder({b"%03d" % number: file_of(b"%03d" % number, 1) for number in range(200)})
    folder = Folder({b"old": inner, b"other": Folder()})
    sink = MemorySink()
    root = build(folder, sink)
    load = Loader(sink)
    moved = Tree(root, load).resolve((b"old",))[1].directory
    load.count = 0
    new = MemorySink()
    edits = [
        Edit((b"new",), TreeEntry(b"new", Kind.DIRECTORY, directory=moved)),
        Edit((b"old",), None),
    ]
    updated = update(root, edits, load, new)
    assert load.count == len(new.frames) == 1
    assert Tree(updated, Loader(sink, new)).resolve((b"new",))[1].directory == moved
    wanted, _ = built(Folder({b"new": inner, b"other": Folder()}))
    assert updated.hash == wanted.hash


def test_edits_below_a_directory_that_moves_go_into_its_new_place() -> None:
    sink = MemorySink()
    root = build(Folder({b"old": Folder({b"a": file_of(b"a", 1), b"b": file_of(b"b", 1)})}), sink)
    load = Loader(sink)
    moved = Tree(root, load).resolve((b"old",))[1].directory
    edits = [
        Edit((b"new",), TreeEntry(b"new", Kind.DIRECTORY, directory=moved)),
        Edit((b"new", b"a"), None),
        Edit((b"new", b"c"), file_of(b"c", 2).entry),
        Edit((b"old", b"a"), None),
    ]
    updated = update(root, edits, load, sink)
    assert [path for path, _ in Tree(updated, load).walk()] == [
        (b"new",),
        (b"new", b"b"),
        (b"new", b"c"),
        (b"old",),
        (b"old", b"b"),
    ]


def test_missing_parents_are_made() -> None:
    sink = MemorySink()
    root = build(Folder(), sink)
    updated = update(root, [Edit((b"a", b"b", b"c"), file_of(b"c", 1).entry)], Loader(sink), sink)
    wanted, _ = built(Folder({b"a": Folder({b"b": Folder({b"c": file_of(b"c", 1)})})}))
    assert updated == wanted


def test_a_file_becomes_a_directory_and_back() -> None:
    sink = MemorySink()
    root = build(Folder({b"a": file_of(b"a", 1)}), sink)
    load = Loader(sink)
    folder = update(
        root, [Edit((b"a",), TreeEntry(b"a", Kind.DIRECTORY)), Edit((b"a", b"b"), file_of(b"b", 1).entry)], load, sink
    )
    assert [path for path, _ in Tree(folder, load).walk()] == [(b"a",), (b"a", b"b")]
    assert update(folder, [Edit((b"a",), file_of(b"a", 1).entry)], load, sink) == root
    emptied = update(folder, [Edit((b"a",), None), Edit((b"a", b"c"), file_of(b"c", 1).entry)], load, sink)
    assert [path for path, _ in Tree(emptied, load).walk()] == [(b"a",), (b"a", b"c")]


def _small() -> tuple[NodeRef, Loader, MemorySink]:
    sink = MemorySink()
    root = build(Folder({b"d": Folder({b"x": file_of(b"x", 1)}), b"f": file_of(b"f", 1)}), sink)
    return root, Loader(sink), sink


FILE = file_of(b"f", 1).entry
DEEP = tuple([b"d"] * (MAX_DEPTH - 1))


@pytest.mark.parametrize(
    ("edits", "error", "words"),
    [
        ([Edit((b"nope",), None)], NotFoundError, "'nope'"),
        ([Edit((b"d", b"nope"), None)], NotFoundError, "'d/nope'"),
        ([Edit((b"f", b"x"), None)], ConflictError, "'f' is a file"),
        ([Edit((b"f", b"f"), FILE)], ConflictError, "'f' is a file"),
        ([Edit((b"f",), FILE), Edit((b"f", b"f"), FILE)], ConflictError, "a file and a directory"),
        ([Edit((b"f",), FILE), Edit((b"f", b"a", b"f"), FILE)], ConflictError, "a file and a directory"),
        ([Edit((b"f",), FILE), Edit((b"f",), FILE)], UsageError, "out of order"),
        ([Edit((b"x", b"f"), FILE), Edit((b"f",), FILE)], UsageError, "out of order"),
        ([Edit((), None)], UsageError, "out of order"),
        ([Edit((b"g",), FILE)], UsageError, "names differ"),
        ([Edit((b"..", b"f"), FILE)], UsageError, "bad name"),
        ([Edit((*DEEP, b"d", b"f"), FILE)], UsageError, "levels"),
        ([Edit((*DEEP, b"d"), TreeEntry(b"d", Kind.DIRECTORY))], UsageError, "levels"),
    ],
)
def test_edits_that_cannot_be_are_refused(edits: list[Edit], error: type[Exception], words: str) -> None:
    root, load, sink = _small()
    with pytest.raises(error, match=words):
        update(root, edits, load, sink)


def test_the_deepest_path_can_be_made() -> None:
    root, load, sink = _small()
    path = (*DEEP, b"f")
    updated = update(root, [Edit(path, FILE)], load, sink)
    assert Tree(updated, load).resolve(path)[1] == FILE


def test_a_hostile_tree_is_refused_while_it_is_copied() -> None:
    sink = MemorySink()
    first = build(Folder({b"b": file_of(b"b", 1), b"c": file_of(b"c", 1)}), sink)
    second = build(Folder({b"a": file_of(b"a", 1), b"z": file_of(b"z", 1)}), sink)
    digest, frame = encode_index(1, [b"c", b"z"], [first, second], sink.resolve)
    root = NodeRef(digest, 4, first.size + second.size, sink.write(frame))
    with pytest.raises(IntegrityError, match="wrong place"):
        update(root, [Edit((b"y",), file_of(b"y", 1).entry)], Loader(sink), sink)


@pytest.mark.parametrize(
    "path",
    [
        (b"nope",),
        (b"d", b"nope"),
        (b"nope", b"x"),
        (b"d", b"nope", b"x"),
        (b"f", b"x"),
        (b"f", b"x", b"y"),
    ],
)
def test_what_may_be_missing_is_removed_without_a_trace(path: tuple[bytes, ...]) -> None:
    root, load, sink = _small()
    after = (*path[:-1], path[-1] + b"!")
    gone = [Edit(path, None, missing_ok=True), Edit(after, None, missing_ok=True)]
    assert update(root, gone, load, sink) == root
    last = Edit((b"z",), TreeEntry(b"z", Kind.FILE, 1, FILE.hash, 0, extents=FILE.extents))
    names = [path for path, _ in Tree(update(root, [*gone, last], load, sink), load).walk()]
    assert names == [(b"d",), (b"d", b"x"), (b"f",), (b"z",)]


def test_what_may_be_missing_goes_where_it_is_there() -> None:
    root, load, sink = _small()
    edits = [Edit((b"d", b"x"), None, missing_ok=True), Edit((b"f",), None, missing_ok=True)]
    assert [path for path, _ in Tree(update(root, edits, load, sink), load).walk()] == [(b"d",)]


def test_a_file_below_one_that_was_kept_is_still_refused() -> None:
    root, load, sink = _small()
    with pytest.raises(ConflictError, match="a file and a directory"):
        update(root, [Edit((b"f", b"a"), None, missing_ok=True), Edit((b"f", b"f"), FILE)], load, sink)


def test_a_directory_can_begin_with_nothing() -> None:
    root, load, sink = _small()
    empty = TreeEntry(b"d", Kind.DIRECTORY, directory=EMPTY_DIRECTORY)
    assert [path for path, _ in Tree(update(root, [Edit((b"d",), empty)], load, sink), load).walk()] == [
        (b"d",),
        (b"f",),
    ]
    filled = update(root, [Edit((b"d",), empty), Edit((b"d", b"f"), FILE)], load, sink)
    wanted, _ = built(Folder({b"d": Folder({b"f": file_of(b"f", 1)}), b"f": file_of(b"f", 1)}))
    assert filled.hash == wanted.hash
