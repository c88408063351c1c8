"""The difference of two trees is exactly what a comparison of plain lists gives, and equal parts are not opened."""

from __future__ import annotations

import pytest
from hypothesis import given
from trees.model import File, Folder, Path, built, find, flatten
from trees.strategies import Step, apply, edits_for, file_of, folders, quick, steps

from penstock.manifest.diff import Change, diff, same_content
from penstock.manifest.entry import Kind, TreeEntry

pytestmark = pytest.mark.usefixtures("small_nodes")

_Said = tuple[Path, tuple[object, ...] | None, tuple[object, ...] | None]


def _content(entry: TreeEntry | None) -> tuple[object, ...] | None:
    if entry is None:
        return None
    below = () if entry.kind is Kind.DIRECTORY else (entry.size, entry.hash)
    return (entry.kind, entry.metadata, *below)


def _naive(old: Folder, new: Folder) -> list[_Said]:
    def said(folder: Folder) -> dict[Path, tuple[object, ...]]:
        found: dict[Path, tuple[object, ...]] = {}
        for path, _ in flatten(folder):
            item = find(folder, path)
            if isinstance(item, File):
                found[path] = (item.entry.kind, item.entry.metadata, item.entry.size, item.entry.hash)
            elif item is not None:
                found[path] = (Kind.DIRECTORY, item.metadata)
        return found

    before, after = said(old), said(new)
    return [
        (path, before.get(path), after.get(path))
        for path in sorted({*before, *after})
        if before.get(path) != after.get(path)
    ]


def _diff(old: Folder, new: Folder) -> list[_Said]:
    old_root, load_old = built(old)
    new_root, load_new = built(new)
    changes = list(diff(old_root, new_root, load_old, load_new))
    return [(change.path, _content(change.old), _content(change.new)) for change in changes]


@quick
@given(folders(), folders())
def test_unrelated_trees(old: Folder, new: Folder) -> None:
    assert _diff(old, new) == _naive(old, new)


@quick
@given(folders(), steps)
def test_a_tree_and_an_edited_one(old: Folder, wanted: list[Step]) -> None:
    new = apply(old, edits_for(old, wanted))
    assert _diff(old, new) == _naive(old, new)
    assert _diff(new, old) == _naive(new, old)


@quick
@given(folders())
def test_a_tree_and_itself_and_nothing(folder: Folder) -> None:
    root, load = built(folder)
    load.count = 0
    assert list(diff(root, root, load, load)) == []
    assert load.count == 0
    assert [path for path, _, _ in _diff(Folder(), folder)] == [path for path, _ in flatten(folder)]
    assert [new for _, _, new in _diff(folder, Folder())] == [None] * root.entries


def test_times_and_places_are_no_difference() -> None:
    one = file_of(b"a", 1)
    other = File(TreeEntry(b"a", one.entry.kind, one.entry.size, one.entry.hash, 5, extents=one.entry.extents))
    assert same_content(one.entry, other.entry)
    assert _diff(Folder({b"a": one}), Folder({b"a": other})) == []


def test_metadata_and_kind_are_content() -> None:
    entry = file_of(b"a", 1).entry
    fields = {name: getattr(entry, name) for name in entry.__struct_fields__}
    for change in ({"metadata": b'{"new":1}'}, {"kind": Kind.EXECUTABLE}):
        other = TreeEntry(**{**fields, **change})
        assert not same_content(entry, other)
        assert [path for path, _, _ in _diff(Folder({b"a": File(entry)}), Folder({b"a": File(other)}))] == [(b"a",)]


def test_changes_carry_the_entries_of_both_sides() -> None:
    old, load_old = built(Folder({b"a": file_of(b"a", 1)}))
    new, load_new = built(Folder({b"a": file_of(b"a", 2)}))
    assert list(diff(old, new, load_old, load_new)) == [Change((b"a",), file_of(b"a", 1).entry, file_of(b"a", 2).entry)]


@pytest.mark.parametrize("middle", range(0, 240, 7))
def test_little_is_opened_for_a_little_difference(middle: int) -> None:
    names = [b"%03d" % number for number in range(240)]
    old = Folder({name: file_of(name, 1) for name in names})
    new = old.copy()
    new.children[b"%03d" % middle] = file_of(b"%03d" % middle, 2)
    new.children[b"%03d+" % middle] = file_of(b"%03d+" % middle, 2)
    old_root, load_old = built(old)
    new_root, load_new = built(new)
    height = load_old(old_root).level + 1
    load_old.count = load_new.count = 0
    assert len(list(diff(old_root, new_root, load_old, load_new))) == 2
    # One path down each side, and as much again where the new name moved a cut.
    assert load_old.count + load_new.count <= 6 * height
