"""What is loaded ahead of a comparison is what it opens, and nothing below a directory that only one tree has."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from trees.model import Folder, Loader, build
from trees.strategies import Step, apply, edits_for, file_of, folders, quick, steps

from penstock.manifest import ahead
from penstock.manifest.ahead import load_ahead
from penstock.manifest.build import MemorySink
from penstock.manifest.diff import changes
from penstock.manifest.entry import NodeRef
from penstock.manifest.node import Node

pytestmark = pytest.mark.usefixtures("small_nodes")


class Watched:
    """Loads nodes and remembers which; `rounds` counts the times that many were asked for."""

    def __init__(self, load: Loader) -> None:
        self._load = load
        self.seen: set[bytes] = set()
        self.rounds = 0

    def one(self, ref: NodeRef) -> Node:
        self.seen.add(ref.hash)
        return self._load(ref)

    def many(self, refs: Sequence[NodeRef]) -> list[Node]:
        self.rounds += 1
        return [self.one(ref) for ref in refs]


def watch(old: Folder, new: Folder) -> tuple[Watched, Watched]:
    """Return what was loaded ahead, and what a comparison opened."""
    sink = MemorySink()
    roots = build(old, sink), build(new, sink)
    before, compared = Watched(Loader(sink)), Watched(Loader(sink))
    load_ahead(*roots, before.many, before.many)
    list(changes(*roots, compared.one, compared.one))
    return before, compared


def tall(count: int) -> Folder:
    """Return a directory in directories, each of many nodes."""
    inner = {b"%03d" % number: file_of(b"%03d" % number, 1) for number in range(count)}
    return Folder({b"d%02d" % number: Folder(dict(inner)) for number in range(count // 10)})


@pytest.mark.parametrize("chosen", [range(0, 200, 40), range(7, 200, 3), []])
def test_a_comparison_opens_what_was_loaded(chosen: Sequence[int]) -> None:
    old = tall(200)
    new = old.copy()
    for number in chosen:
        folder = new.children[b"d%02d" % (number // 10)]
        assert isinstance(folder, Folder)
        folder.children[b"%03d" % number] = file_of(b"%03d" % number, 2)
    before, compared = watch(old, new)
    assert before.seen >= compared.seen
    assert len(before.seen) <= 1.2 * len(compared.seen)
    assert before.rounds <= 30  # as many as the tree has levels, on both sides


def test_what_only_one_tree_has_is_not_loaded() -> None:
    old, new = tall(50), tall(50)
    many = {b"%04d" % number: file_of(b"%04d" % number, 3) for number in range(1000)}
    new.children[b"d99"] = Folder({b"x": Folder(dict(many))})
    del new.children[b"d00"]
    before, compared = watch(old, new)
    assert len(before.seen) < 20
    assert len(compared.seen) < 20


def test_beyond_the_bound_nothing_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = tall(100), tall(100)
    for folder in new.children.values():
        assert isinstance(folder, Folder)
        folder.children[b"new"] = file_of(b"new", 1)
    monkeypatch.setattr(ahead, "MOST_AHEAD", 4)
    before, compared = watch(old, new)
    assert len(before.seen) < 20 < len(compared.seen)


@quick
@given(folders(), steps)
def test_any_two_trees(old: Folder, wanted: list[Step]) -> None:
    new = apply(old, edits_for(old, wanted))
    before, compared = watch(old, new)
    # Where a cut has moved, levels do not meet: some nodes are opened unforeseen, some are loaded in vain. But a tree
    # is never walked for that: whatever is loaded differs, or stands above what does.
    assert bool(before.seen) == bool(compared.seen)
    assert len(before.seen) <= 3 * len(compared.seen)
