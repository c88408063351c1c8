"""A tree depends on what it contains, and on nothing else; it says what went in, and how much of it."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees.model import File, Folder, Loader, bare, build, built, find, flatten, reachable
from trees.packs import PackSink
from trees.reference import Split, node_hash
from trees.strategies import file_of, files, folders, quick

from penstock.errors import UsageError
from penstock.manifest.build import DirectoryWriter, DiscardSink, MemorySink, TreeBuilder
from penstock.manifest.entry import MAX_DEPTH, Extent, Kind, TreeEntry
from penstock.manifest.hashing import content_hash
from penstock.manifest.split import entry_weight
from penstock.manifest.tree import Tree
from penstock.manifest.update import Edit, update

pytestmark = pytest.mark.usefixtures("small_nodes")


@quick
@given(folders())
def test_the_hash_is_what_the_format_says(small_nodes_split: Split, folder: Folder) -> None:
    root, _ = built(folder)
    assert (root.hash, root.entries, root.size) == node_hash(folder, small_nodes_split)


@pytest.fixture(scope="module")
def small_nodes_split(small_nodes: Split) -> Split:
    return small_nodes


@quick
@given(folders(most=12, item=files()))
def test_every_entry_comes_back_as_it_went_in(folder: Folder) -> None:
    root, load = built(folder)
    found = [(path, bare(entry)) for path, entry in Tree(root, load).walk()]
    assert found == list(flatten(folder))
    assert root.entries == len(found)


@quick
@given(folders(), st.randoms(use_true_random=True))
def test_any_history_gives_the_same_nodes(folder: Folder, chance: random.Random) -> None:
    root, load = built(folder)
    sink = MemorySink()
    grown = build(Folder(), sink)
    paths = [path for path, _ in flatten(folder)]
    junk = [(b"%d" % number,) for number in chance.sample(range(10**6), 10)]
    chance.shuffle(paths)
    both = Loader(sink)
    for start in range(0, len(paths), 7):  # in batches, in random order, with passing guests
        batch = sorted(paths[start : start + 7])
        grown = update(grown, [Edit(path, _entry_at(folder, path, sink)) for path in batch], both, sink)
        guests = [guest for guest in sorted(junk) if find(folder, guest) is None]
        grown = update(grown, [Edit(guest, file_of(guest[-1], 3).entry) for guest in guests], both, sink)
        grown = update(grown, [Edit(guest, None) for guest in guests], both, sink)
    assert reachable(grown, both) == reachable(root, load)


def _entry_at(folder: Folder, path: tuple[bytes, ...], sink: MemorySink) -> TreeEntry:
    item = find(folder, path)
    if isinstance(item, File):
        shell = Folder({path[-1]: item})
        _, entry = Tree(build(shell, sink), Loader(sink)).resolve((path[-1],))
        return entry
    assert isinstance(item, Folder)
    return TreeEntry(path[-1], Kind.DIRECTORY, mtime_ns=item.mtime_ns, metadata=item.metadata)


@quick
@given(folders(), st.sampled_from([1, 200, 1500, 1 << 20]))
def test_nodes_are_found_by_pack_and_offset(folder: Folder, most: int) -> None:
    sink = PackSink(most)
    root = build(folder, sink)  # type: ignore[arg-type]  # any sink will do
    sink.close()
    found = [(path, bare(entry)[:7]) for path, entry in Tree(sink.located(root), sink.load).walk()]
    assert found == [(path, entry[:7]) for path, entry in flatten(folder)]


@quick
@given(folders())
def test_a_hash_alone_needs_no_frames_kept(folder: Folder) -> None:
    sink = DiscardSink()
    root, _ = built(folder)
    assert build(folder, sink).hash == root.hash
    assert not sink.frames


@quick
@given(folders())
def test_times_and_places_do_not_change_the_hash(folder: Folder) -> None:
    def moved(source: Folder) -> Folder:
        children: dict[bytes, File | Folder] = {}
        for name, item in source.children.items():
            if isinstance(item, Folder):
                children[name] = moved(item)
                continue
            old = item.entry
            extents = (Extent(content_hash(old.name), 1, old.size),) if old.extents else ()
            entry = TreeEntry(name, old.kind, old.size, old.hash, 77, old.metadata, old.target, extents)
            children[name] = File(entry, item.blocks)
        return Folder(children, 99, source.metadata)

    assert built(moved(folder))[0].hash == built(folder)[0].hash


@quick
@given(folders(), st.integers(0, 1 << 30), st.sampled_from(["name", "kind", "hash", "metadata", "size"]))
def test_whatever_is_content_changes_the_hash(folder: Folder, choice: int, what: str) -> None:
    paths = [path for path, _ in flatten(folder) if isinstance(find(folder, path), File)]
    if not paths:
        return
    path = paths[choice % len(paths)]
    other = folder.copy()
    parent = find(other, path[:-1])
    assert isinstance(parent, Folder)
    old = parent.children.pop(path[-1])
    assert isinstance(old, File)
    entry = old.entry
    kind = {Kind.FILE: Kind.EXECUTABLE, Kind.EXECUTABLE: Kind.FILE, Kind.SYMLINK: Kind.FILE}[entry.kind]
    fields = {
        "name": {"name": b"a name of its own"},
        "kind": {"kind": kind},
        "hash": {"hash": content_hash(entry.hash)},
        "metadata": {"metadata": entry.metadata[:-1] + (b',"z":1}' if entry.metadata else b'{"z":1}')},
        "size": {"size": entry.size + 1},
    }[what]
    changed = TreeEntry(**{**{name: getattr(entry, name) for name in entry.__struct_fields__}, **fields})
    parent.children[changed.name] = File(changed, b"")
    assert built(other)[0].hash != built(folder)[0].hash


def test_a_directory_is_cut_early_when_no_name_cuts_it(small_nodes: Split) -> None:
    names = [name for name in (b"%05d" % number for number in range(400)) if not small_nodes.level(name)]
    folder = Folder({name: file_of(name, 1) for name in names})
    root, load = built(folder)
    assert (root.hash, root.entries, root.size) == node_hash(folder, small_nodes)
    sizes = [len(load(ref)) for ref in _children(root, load)]
    assert set(sizes[:-1]) == {small_nodes.most_entries}
    assert sizes[-1] <= small_nodes.most_entries
    assert [path[0] for path, _ in Tree(root, load).walk()] == names


def _children(root: object, load: Loader) -> list[object]:
    leaves: list[object] = []
    stack = [root]
    while stack:
        node = load(stack[-1])  # type: ignore[arg-type]
        ref = stack.pop()
        if node.level == 0:
            leaves.append(ref)
        else:
            stack.extend(reversed(node.children))  # type: ignore[union-attr]
    return leaves


def test_a_slice_full_of_metadata_ends_early(small_nodes: Split) -> None:
    body = b'{"k":"%s"}' % (b"v" * 700)
    names = [name for name in (b"%05d" % number for number in range(200)) if not small_nodes.level(name)]
    folder = Folder({name: File(TreeEntry(name, Kind.FILE, 0, content_hash(b""), 0, body)) for name in names})
    root, load = built(folder)
    assert root.hash == node_hash(folder, small_nodes)[0]
    assert all(len(load(ref)) <= 2 for ref in _children(root, load))  # type: ignore[arg-type]


def test_the_weight_of_an_entry_is_that_of_the_format() -> None:
    assert entry_weight(file_of(b"abc", 1).entry) == 64 + 3
    assert entry_weight(file_of(b"abc", 10).entry) == 64 + 3 + len(b"../10")
    assert entry_weight(file_of(b"abc", 3).entry) == 64 + 3 + len(b'{"n":3}')


def test_an_empty_directory_is_a_leaf_without_entries() -> None:
    root, load = built(Folder())
    assert (root.entries, root.size, len(load(root)), load(root).level) == (0, 0, 0, 0)
    assert list(Tree(root, load).walk()) == []


def test_names_must_come_in_order_each_once() -> None:
    for names in ([b"b", b"a"], [b"a", b"a"], [b"\xff", b"a"]):
        writer = DirectoryWriter(MemorySink())
        writer.put(file_of(names[0], 1).entry)
        with pytest.raises(UsageError, match="byte order"):
            writer.put(file_of(names[1], 1).entry)


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"/", b"a\0", b"x" * 256])
def test_what_cannot_be_a_name_is_refused_when_written(name: bytes) -> None:
    with pytest.raises(UsageError, match="bad name"):
        DirectoryWriter(MemorySink()).put(TreeEntry(name, Kind.FILE, 0, content_hash(b"")))


def test_directories_nest_to_the_limit_and_no_further() -> None:
    sink = MemorySink()
    builder = TreeBuilder(sink)
    for _ in range(MAX_DEPTH - 1):
        builder.enter(b"d")
    with pytest.raises(UsageError, match="too deeply"):
        builder.enter(b"d")
    builder.add(file_of(b"f", 1).entry)
    for _ in range(MAX_DEPTH - 1):
        builder.leave()
    tree = Tree(builder.finish(), Loader(sink))
    deepest, entry = list(tree.walk())[-1]
    assert (len(deepest), entry.name) == (MAX_DEPTH, b"f")
    assert tree.path_of(tree.resolve(deepest)[0]) == deepest


@quick
@given(folders(), folders())
def test_a_build_on_an_older_tree_gives_the_same_and_writes_what_is_new(old: Folder, new: Folder) -> None:
    merged = Folder({**old.children, **new.children})
    sink = MemorySink()
    base = build(old, sink)
    fresh = MemorySink()
    builder = TreeBuilder(fresh, base, Loader(sink))
    _fill_on(builder, merged, base, Loader(sink))
    root = builder.finish()
    plain, load = built(merged)
    assert (root.hash, root.entries, root.size) == (plain.hash, plain.entries, plain.size)
    both = Loader(fresh, sink)
    assert [node[:4] for node in reachable(root, both)] == [node[:4] for node in reachable(plain, load)]
    again = MemorySink()
    builder = TreeBuilder(again, root, both)
    _fill_on(builder, merged, root, both)
    assert builder.finish().hash == root.hash
    pages = [item for item in again.frames.values() if item[4] == 2]
    assert len(pages) == len(again.frames)  # no node at all


def _fill_on(builder: TreeBuilder, folder: Folder, base: object, load: Loader) -> None:
    for name, item in sorted(folder.children.items()):
        if isinstance(item, Folder):
            old = Tree(base, load).find(base, name) if base is not None else None  # type: ignore[arg-type]
            below = old[0].directory if old is not None else None
            builder.enter(name, mtime_ns=item.mtime_ns, metadata=item.metadata, base=below)
            _fill_on(builder, item, below, load)
            builder.leave()
        elif item.blocks:
            builder.add_file(item.entry, item.blocks)
        else:
            builder.add(item.entry)


def _times(*times: int | None) -> tuple[list[int | None], bytes]:
    """Return what files with these times have after they were written and read, and the magic of their leaf."""
    entry, folder, sink = file_of(b"a", 1).entry, Folder(), MemorySink()
    for at, time in enumerate(times):
        name = b"%d" % at
        folder.children[name] = File(msgspec.structs.replace(entry, name=name, mtime_ns=time))
    root = build(folder, sink)
    found = [each.mtime_ns for _, each in Tree(root, Loader(sink)).walk()]
    return found, sink.frames[root.location.digest][:4]


def test_times_that_no_64_bits_hold_are_kept_at_the_limit() -> None:
    for time, kept in ((1 << 70, (1 << 64) - 1), (-(1 << 70), 1 - (1 << 63))):
        assert _times(time)[0] == [kept]


def test_a_time_of_zero_and_one_of_later_centuries_are_told_from_none() -> None:
    year_2500 = 16_725_225_600_123_456_789
    assert _times(None, 1, -1, (1 << 63) - 1) == ([None, 1, -1, (1 << 63) - 1], b"PSN1")
    assert _times(None, 0) == ([None, 0], b"PSN2")
    assert _times(None, year_2500, -1, 0) == ([None, year_2500, -1, 0], b"PSN2")


def test_times_are_no_part_of_what_a_leaf_is_known_by() -> None:
    entry = file_of(b"a", 1).entry
    hashes = set()
    for time in (None, 0, 1, 1 << 63):
        root, _ = built(Folder({b"a": File(msgspec.structs.replace(entry, mtime_ns=time))}))
        hashes.add(root.hash)
    assert len(hashes) == 1
