"""A merge is what the naive rule gives on plain dicts, conflict by conflict; only what differs is opened."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees.model import File, Folder, Loader, Path, build, built
from trees.strategies import Step, apply, edits_for, file_of, folders, quick, steps

from penstock.manifest.build import DiscardSink, MemorySink
from penstock.manifest.diff import same_content
from penstock.manifest.entry import Metadata, NodeRef
from penstock.manifest.merge import MOST_CONFLICTS, Choose, Deed, Merged, Side, merge, merge_metadata
from penstock.manifest.metadata import canonical_json

pytestmark = pytest.mark.usefixtures("small_nodes")

Item = File | Folder | None


def _inline(metadata: Metadata) -> bytes:
    assert isinstance(metadata, bytes)
    return metadata


def same(one: Item, other: Item) -> bool:
    if isinstance(one, Folder) and isinstance(other, Folder):
        names = {*one.children, *other.children}
        return one.metadata == other.metadata and all(
            same(one.children.get(name), other.children.get(name)) for name in names
        )
    if isinstance(one, File) and isinstance(other, File):
        return same_content(one.entry, other.entry)
    return one is other


def naive(base: Item, ours: Item, theirs: Item, path: Path, choose: Choose, conflicts: list[Path]) -> Item:
    """The textbook rule, directory by directory."""
    if same(ours, theirs) or same(base, theirs):
        return ours
    if same(base, ours):
        return theirs
    if not (isinstance(ours, Folder) and isinstance(theirs, Folder)):
        side = choose(path)
        if side is None:
            conflicts.append(path)
        return theirs if side is Side.THEIRS else ours
    old = base if isinstance(base, Folder) else Folder()
    metadata = merge_metadata(old.metadata, ours.metadata, theirs.metadata, _inline)
    if metadata is None:
        side = choose(path)
        if side is None:
            conflicts.append(path)
        metadata = (theirs if side is Side.THEIRS else ours).metadata
    result = Folder(metadata=metadata)
    for name in sorted({*ours.children, *theirs.children}):
        parts = (each.children.get(name) for each in (old, ours, theirs))
        made = naive(*parts, (*path, name), choose, conflicts)
        if made is not None:
            result.children[name] = made
    return result


def merged(base: Folder, ours: Folder, theirs: Folder, choose: Choose | None = None) -> tuple[Merged, Loader]:
    sink = MemorySink()
    roots = [build(each, sink) for each in (base, ours, theirs)]
    load = Loader(sink)
    return merge(*roots, load, sink, load.metadata, choose), load


def hash_of(folder: Folder) -> bytes:
    return build(folder, DiscardSink()).hash


@quick
@given(folders(), steps, steps)
def test_two_edits_of_one_tree(base: Folder, one: list[Step], other: list[Step]) -> None:
    ours, theirs = (apply(base, edits_for(base, wanted)) for wanted in (one, other))
    conflicts: list[Path] = []
    expected = naive(base, ours, theirs, (), lambda path: None, conflicts)
    found, _ = merged(base, ours, theirs)
    assert [conflict.path for conflict in found.conflicts] == sorted(conflicts)
    assert found.conflict_count == len(conflicts)
    if conflicts:
        assert found.root is None
    else:
        assert found.root is not None
        assert isinstance(expected, Folder)
        assert found.root.hash == hash_of(expected)


@quick
@given(folders(), steps, steps, st.integers(0, 3))
def test_conflicts_that_are_settled(base: Folder, one: list[Step], other: list[Step], salt: int) -> None:
    ours, theirs = (apply(base, edits_for(base, wanted)) for wanted in (one, other))
    met: list[Path] = []

    def choose(path: Path) -> Side:
        met.append(path)
        return (Side.OURS, Side.THEIRS)[(sum(map(len, path)) + salt) % 2] if salt < 2 else (*Side,)[salt - 2]

    expected = naive(base, ours, theirs, (), choose, [])
    expected_meetings, met = met, []
    found, _ = merged(base, ours, theirs, choose)
    assert met == sorted(expected_meetings)
    assert (found.settled, found.conflict_count) == (len(met), 0)
    assert found.root is not None
    assert isinstance(expected, Folder)
    assert found.root.hash == hash_of(expected)


@quick
@given(folders(), folders())
def test_trees_that_have_nothing_in_common(ours: Folder, theirs: Folder) -> None:
    sink = MemorySink()
    roots = build(ours, sink), build(theirs, sink)
    conflicts: list[Path] = []
    expected = naive(None, ours, theirs, (), lambda path: Side.THEIRS, conflicts)
    found = merge(None, *roots, Loader(sink), sink, _inline, lambda path: Side.THEIRS)
    assert found.root is not None
    assert isinstance(expected, Folder)
    assert found.root.hash == hash_of(expected)


@quick
@given(folders(), steps)
def test_what_one_side_did_alone_is_taken(base: Folder, wanted: list[Step]) -> None:
    edited = apply(base, edits_for(base, wanted))
    for ours, theirs in ((edited, base), (base, edited), (edited, edited)):
        found, _ = merged(base, ours, theirs)
        assert found.root is not None
        assert found.root.hash == hash_of(edited)


def folder(**children: File | Folder) -> Folder:
    return Folder({name.encode(): item for name, item in children.items()})


def file(name: str, flavour: int) -> File:
    return file_of(name.encode(), flavour)


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "path", "deeds"),
    [
        (folder(a=file("a", 1)), folder(a=file("a", 2)), folder(a=file("a", 3)), (b"a",), "modified modified"),
        (folder(a=file("a", 1)), folder(a=file("a", 2)), folder(), (b"a",), "modified deleted"),
        (folder(), folder(a=file("a", 1)), folder(a=file("a", 2)), (b"a",), "added added"),
        (folder(), folder(a=file("a", 1)), folder(a=folder(b=file("b", 1))), (b"a",), "added added"),
        (
            folder(d=folder(x=file("x", 1))),
            folder(),
            folder(d=folder(x=file("x", 2))),
            (b"d",),
            "deleted changed-below",
        ),
        (
            folder(d=folder(x=file("x", 1))),
            folder(d=folder(x=file("x", 1), new=file("new", 1))),
            folder(d=file("d", 5)),
            (b"d",),
            "changed-below modified",
        ),
    ],
)
def test_what_a_conflict_says(base: Folder, ours: Folder, theirs: Folder, path: Path, deeds: str) -> None:
    found, _ = merged(base, ours, theirs)
    (conflict,) = found.conflicts
    assert conflict.path == path
    assert [conflict.ours, conflict.theirs] == [Deed(word.replace("-", " ")) for word in deeds.split()]
    assert (conflict.example is not None) == ("below" in deeds)
    back, _ = merged(base, theirs, ours)
    assert [back.conflicts[0].theirs, back.conflicts[0].ours] == [conflict.ours, conflict.theirs]


def test_changes_are_counted_and_many_conflicts_are_not_kept() -> None:
    names = [f"{number:05}" for number in range(MOST_CONFLICTS + 10)]
    base = folder(**{name: file(name, 1) for name in names})
    ours = folder(**{name: file(name, 2) for name in names}, mine=folder(a=file("a", 1), b=file("b", 1)))
    theirs = folder(**{name: file(name, 3) for name in names}, x=file("x", 1), y=file("y", 1))
    found, _ = merged(base, ours, theirs)
    assert (len(found.conflicts), found.conflict_count) == (MOST_CONFLICTS, MOST_CONFLICTS + 10)
    assert (found.ours, found.theirs, found.both) == (1, 2, 0)


def test_a_directory_that_came_or_went_is_taken_without_a_look() -> None:
    many = Folder({b"%04d" % number: file_of(b"%04d" % number, 1) for number in range(2000)})
    sink = MemorySink()
    base, ours = build(folder(a=file("a", 1), old=many), sink), build(folder(a=file("a", 2), old=many), sink)
    theirs = build(folder(a=file("a", 1), new=many), sink)
    load = Loader(sink)
    found = merge(base, ours, theirs, load, sink, _inline)
    assert found.root is not None
    assert found.root.hash == hash_of(folder(a=file("a", 2), new=many))
    assert load.count < 10
    assert found.theirs == 2


@pytest.mark.parametrize("place", [0, 133, 239])
def test_little_is_opened_for_little_differences(place: int) -> None:
    base = Folder({b"%03d" % number: file_of(b"%03d" % number, 1) for number in range(240)})
    ours, theirs = base.copy(), base.copy()
    ours.children[b"%03d" % place] = file_of(b"%03d" % place, 2)
    theirs.children[b"120"] = file_of(b"120", 3)
    sink = MemorySink()
    roots: list[NodeRef] = [build(each, sink) for each in (base, ours, theirs)]
    load = Loader(sink)
    height = load(roots[0]).level + 1
    load.count = 0
    assert merge(*roots, load, sink, load.metadata).root is not None
    assert load.count <= 10 * height


def test_metadata_merges_member_by_member() -> None:
    def merge_values(base: object, ours: object, theirs: object) -> bytes | None:
        return merge_metadata(canonical_json(base), canonical_json(ours), canonical_json(theirs), _inline)

    assert merge_values({"a": 1}, {"a": 1, "b": 2}, {"c": 3}) == canonical_json({"b": 2, "c": 3})
    assert merge_values({"a": 1}, {"a": 2}, {"a": 2, "b": 1}) == canonical_json({"a": 2, "b": 1})
    assert merge_values({}, {"a": 1}, {"a": 1}) == canonical_json({"a": 1})
    assert merge_values({"a": 1}, {"a": 2}, {"a": 3}) is None
    assert merge_values({"a": 1}, {}, {"a": 3}) is None
    assert merge_values({"a": 1}, {"a": True}, {"a": 1, "x": 0}) == canonical_json({"a": True, "x": 0})
    assert merge_values({"a": 1}, {"a": 1.0}, {"a": 2}) is None
    large = "x" * 600_000
    assert merge_values({}, {"a": large}, {"b": large}) is None


def test_metadata_of_directories_merges_too() -> None:
    def with_metadata(value: dict[str, int]) -> Folder:
        return folder(d=Folder({b"f": file("f", 1)}, metadata=canonical_json(value)))

    found, _ = merged(with_metadata({"a": 1}), with_metadata({"a": 1, "b": 1}), with_metadata({"a": 1, "c": 1}))
    assert found.root is not None
    assert found.root.hash == hash_of(with_metadata({"a": 1, "b": 1, "c": 1}))
    found, _ = merged(with_metadata({"a": 1}), with_metadata({"a": 2}), with_metadata({"a": 3}))
    assert [conflict.path for conflict in found.conflicts] == [(b"d",)]


def test_nothing_changed() -> None:
    root, load = built(folder(a=file("a", 1)))
    load.count = 0
    found = merge(root, root, root, load, DiscardSink(), _inline)
    assert (found.root, load.count) == (root, 0)
