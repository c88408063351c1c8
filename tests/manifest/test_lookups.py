"""Looking into a tree: every answer against a plain list of what is in it."""

from __future__ import annotations

from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees.model import Folder, Loader, Path, bare, built, find, flatten
from trees.strategies import file_of, folders, names, quick

from penstock.errors import IntegrityError, NotFoundError, UsageError
from penstock.manifest.build import MemorySink
from penstock.manifest.codec import encode_index, encode_leaf
from penstock.manifest.cursor import Cursor
from penstock.manifest.diff import diff
from penstock.manifest.entry import Kind, Location, NodeRef, TreeEntry, display_path, split_path
from penstock.manifest.node import Leaf, Node
from penstock.manifest.tree import ROOT_INODE, Inode, NodeMissing, Tree, root_entry

pytestmark = pytest.mark.usefixtures("small_nodes")


def _listing(folder: Folder, path: Path) -> list[tuple[int, bytes]]:
    """Name and position of each child of a directory, by counting."""
    here = find(folder, path)
    assert isinstance(here, Folder)
    return [(position, below[0]) for position, (below, _) in enumerate(flatten(here)) if len(below) == 1]


@quick
@given(folders())
def test_paths_and_inodes_lead_to_each_other(folder: Folder) -> None:
    root, load = built(folder)
    tree = Tree(root, load)
    assert tree.resolve(()) == (ROOT_INODE, root_entry(root))
    assert tree.by_inode(ROOT_INODE) == root_entry(root)
    assert tree.path_of(ROOT_INODE) == ()
    for number, (path, entry) in enumerate(flatten(folder), ROOT_INODE + 1):
        inode, found = tree.resolve(path)
        assert inode == number
        assert bare(found) == entry
        assert tree.by_inode(Inode(number)) == found
        assert tree.path_of(Inode(number)) == path
        assert tree.locate(Inode(number)) == (path, found)
    assert tree.locate(ROOT_INODE) == ((), root_entry(root))
    for outside in (0, -1, root.entries + 2, 1 << 70):
        with pytest.raises(NotFoundError):
            tree.by_inode(Inode(outside))


@quick
@given(folders())
def test_files_are_ranges_of_numbers_that_do_not_touch(folder: Folder) -> None:
    root, load = built(folder)
    runs = list(Tree(root, load).files())
    assert [inode for run in runs for inode in run] == [
        number
        for number, (_, entry) in enumerate(flatten(folder), ROOT_INODE + 1)
        if entry[1] in (Kind.FILE, Kind.EXECUTABLE)
    ]
    assert all(run for run in runs)
    assert all(before.stop < after.start for before, after in pairwise(runs))


@quick
@given(folders(), st.lists(names, min_size=1, max_size=5))
def test_a_name_is_found_if_it_is_there(folder: Folder, guesses: list[bytes]) -> None:
    root, load = built(folder)
    tree = Tree(root, load)
    for name in guesses:
        found = tree.find(root, name)
        inode = tree.lookup(ROOT_INODE, root, name)
        if name in folder.children:
            assert found is not None
            assert inode == (found[1] + 2, found[0])
            assert (found[1], found[0].name) in _listing(folder, ())
        else:
            assert found is None
            assert inode is None
            with pytest.raises(NotFoundError, match="no such file"):
                tree.resolve((name,))


@quick
@given(folders(), st.one_of(names, st.just(b"\xff" * 255)), st.integers(0, 8))
def test_listing_after_a_name_and_with_a_limit(folder: Folder, after: bytes, limit: int) -> None:
    root, load = built(folder)
    tree = Tree(root, load)
    whole = _listing(folder, ())
    assert [(at, entry.name) for at, entry in tree.children(root)] == whole
    rest = [(at, name) for at, name in whole if name > after]
    assert [(at, entry.name) for at, entry in tree.children(root, after=after)] == rest
    assert [(at, entry.name) for at, entry in islice(tree.children(root, after=after), limit)] == rest[:limit]
    for at, name in whole:  # every name as the one to go on from
        assert [entry.name for _, entry in tree.children(root, after=name)] == [n for p, n in whole if p > at]


@quick
@given(folders())
def test_listing_from_any_position(folder: Folder) -> None:
    root, load = built(folder)
    tree = Tree(root, load)
    whole = _listing(folder, ())
    for position in range(root.entries + 2):
        wanted = [(at, name) for at, name in whole if at >= position]
        assert [(at, entry.name) for at, entry in tree.children_from(root, position)] == wanted


@quick
@given(folders())
def test_walking_below_any_directory(folder: Folder) -> None:
    root, load = built(folder)
    tree = Tree(root, load)
    for path, entry in tree.walk():
        if entry.directory is not None:
            below = [(path + inner, bare(found)) for inner, found in tree.walk(entry.directory)]
            here = find(folder, path)
            assert isinstance(here, Folder)
            assert below == list(flatten(here, path))
            assert entry.entries == len(below)


@quick
@given(folders())
def test_a_leaf_says_kind_hash_and_size_without_making_entries(folder: Folder) -> None:
    root, load = built(folder)
    stack = [root]
    while stack:
        node = load(stack.pop())
        if not isinstance(node, Leaf):
            stack.extend(node.children)
            continue
        for at, entry in enumerate(map(node.entry, range(len(node)))):
            assert (node.kind(at), node.hash(at)) == (entry.kind, entry.hash)
            assert node.find(entry.name) == at
            assert entry.is_file == (entry.kind in (Kind.FILE, Kind.EXECUTABLE))
            if entry.directory is not None:
                stack.append(entry.directory)


@quick
@given(folders())
def test_a_caller_that_must_not_block_is_told_what_to_fetch(folder: Folder) -> None:
    root, load = built(folder)
    held: dict[NodeRef, Node] = {}

    def peek(ref: NodeRef) -> Node:
        if ref not in held:
            raise NodeMissing(ref)
        return held[ref]

    tree = Tree(root, peek)
    for path, _ in islice(flatten(folder), 10):
        while True:
            try:
                found = tree.resolve(path)
                break
            except NodeMissing as missing:
                held[missing.ref] = load(missing.ref)
        assert found == Tree(root, load).resolve(path)


def test_a_path_through_a_file_is_no_path() -> None:
    root, load = built(Folder({b"a": file_of(b"a", 1)}))
    with pytest.raises(NotFoundError, match="'a' is not a directory"):
        Tree(root, load).resolve((b"a", b"b"))


def test_loads_do_not_grow_with_the_directory() -> None:
    folder = Folder({b"%04d" % number: file_of(b"%04d" % number, number % 7) for number in range(300)})
    root, load = built(folder)
    tree = Tree(root, load)
    height = load(root).level + 1
    load.count = 0
    tree.resolve((b"0299",))
    assert load.count == height
    load.count = 0
    tree.by_inode(Inode(150))
    assert load.count == height
    load.count = 0
    next(tree.children(root, after=b"0200"))
    assert load.count == height


def test_paths_are_cut_at_slashes_and_shown_as_they_are() -> None:
    assert split_path("/a//b/") == (b"a", b"b")
    assert split_path("") == split_path("///") == ()
    assert split_path(b"\xff/x") == (b"\xff", b"x")
    assert split_path(display_path((b"\xff", b"x"))) == (b"\xff", b"x")
    for bad in ("a/../b", ".", "a\0", "x" * 256, "/".join(["d"] * 2049)):
        with pytest.raises(UsageError):
            split_path(bad)


# Nodes that keep every rule but lie about their place.


def _leaf(sink: MemorySink, *labels: bytes) -> NodeRef:
    entries = [file_of(label, 1).entry for label in labels]
    digest, frame = encode_leaf(entries, sink.resolve)
    return NodeRef(digest, len(entries), sum(entry.size for entry in entries), sink.write(frame))


def _index(sink: MemorySink, level: int, lasts: list[bytes], children: list[NodeRef]) -> NodeRef:
    digest, frame = encode_index(level, lasts, children, sink.resolve)
    entries, size = sum(c.entries for c in children), sum(c.size for c in children)
    return NodeRef(digest, entries, size, sink.write(frame))


def _misplaced() -> list[tuple[str, NodeRef, MemorySink]]:
    sink = MemorySink()
    first, second = _leaf(sink, b"a", b"c"), _leaf(sink, b"d", b"f")
    inner = _index(sink, 1, [b"c", b"f"], [first, second])
    low = _leaf(sink, b"b", b"z")
    return [
        ("overlap", _index(sink, 1, [b"c", b"z"], [first, low]), sink),
        ("twice", _index(sink, 1, [b"c", b"d"], [first, _leaf(sink, b"c", b"d")]), sink),
        ("last", _index(sink, 1, [b"c", b"g"], [first, second]), sink),
        ("level", _index(sink, 2, [b"c", b"f"], [first, second]), sink),
        ("deeper", _index(sink, 1, [b"f"], [inner]), sink),
        ("same level", _index(sink, 1, [b"f", b"z"], [inner, _leaf(sink, b"y", b"z")]), sink),
        (
            "below the grandparent's bound",
            _index(sink, 2, [b"f", b"z"], [inner, _index(sink, 1, [b"z"], [low])]),
            sink,
        ),
    ]


@pytest.mark.parametrize(("root", "sink"), [pytest.param(r, s, id=name) for name, r, s in _misplaced()])
def test_a_node_in_the_wrong_place_is_refused_by_all_who_walk(root: NodeRef, sink: MemorySink) -> None:
    load = Loader(sink)
    tree = Tree(root, load)
    with pytest.raises(IntegrityError, match="wrong place"):
        list(tree.walk())
    with pytest.raises(IntegrityError, match="wrong place"):
        [tree.by_inode(Inode(number)) for number in range(1, root.entries + 2)]
    with pytest.raises(IntegrityError, match="wrong place"):
        list(tree.children_from(root, 0))
    with pytest.raises(IntegrityError, match="wrong place"):
        list(diff(_leaf(sink, b"m"), root, load, load))
    with pytest.raises(IntegrityError, match="wrong place"):
        [tree.find(root, bytes([letter])) for letter in range(97, 123)]
    cursor = Cursor(root, load)
    with pytest.raises(IntegrityError, match="wrong place"):
        while not cursor.done:
            cursor.open() if cursor.level >= 0 else cursor.advance()


def test_a_tree_deeper_than_any_path_is_refused() -> None:
    sink = MemorySink()
    ref = _leaf(sink, b"f")
    for _ in range(2100):
        entry = TreeEntry(b"d", Kind.DIRECTORY, ref.size, ref.hash, directory=ref)
        digest, frame = encode_leaf([entry], sink.resolve)
        ref = NodeRef(digest, ref.entries + 1, ref.size, sink.write(frame))
    tree = Tree(ref, Loader(sink))
    with pytest.raises(IntegrityError, match="levels deep"):
        list(tree.walk())
    with pytest.raises(IntegrityError, match="levels deep"):
        tree.path_of(Inode(2100))
    with pytest.raises(IntegrityError, match="levels deep"):
        list(diff(_leaf(sink, b"x"), ref, Loader(sink), Loader(sink)))


def test_a_root_may_lie_anywhere() -> None:
    where = Location(bytes(32), 0, 1, bytes(32))
    assert root_entry(NodeRef(bytes(32), 0, 0, where)).entries == 0


@quick
@given(folders())
def test_walking_from_any_inode_on(folder: Folder) -> None:
    root, load = built(folder)
    tree = Tree(root, load)
    whole = [(Inode(number), entry) for number, (_, entry) in enumerate(tree.walk(), ROOT_INODE + 1)]
    for start in range(ROOT_INODE, root.entries + 2):
        assert list(tree.walk_from(Inode(start))) == whole[max(start - ROOT_INODE - 1, 0) :]
