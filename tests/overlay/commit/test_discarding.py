"""Giving up changes: all of them, or those at a path."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from views.bucket import LocalBucket, write_tree
from views.edited import Edited
from views.memory import Link, Made, Spec

from penstock.errors import ConflictError, NotFoundError
from penstock.manifest.tree import ROOT_INODE

SPEC: Spec = {
    b"a": Made(b"first\n"),
    b"dir": {b"deep": {b"x": Made(b"x"), b"y": Made(b"y")}, b"link": Link(b"../a"), b"one": Made(b"1")},
    b"other": {b"file": Made(b"file", executable=True)},
}


@pytest.fixture
def edited(tmp_path: Path) -> Iterator[Edited]:
    bucket = LocalBucket(tmp_path)
    write_tree(tmp_path / "source", SPEC)
    bucket.push(tmp_path / "source")
    found = Edited(bucket, tmp_path / "overlay")
    yield found
    found.close()


def change(edited: Edited) -> None:
    edited.write("a", 0, b"FIRST")
    edited.chmod("other/file", 0o644)
    edited.describe("dir/deep", {"label": 1})
    edited.describe("", {"label": 2})
    edited.mkdir("made")
    edited.create("made/f", b"f")
    edited.rename("dir/deep/x", "made/x")
    edited.rename("other", "dir/other")
    edited.create("dir/other/new", b"new")
    edited.unlink("dir/link")
    edited.unlink("dir/one")
    edited.mkdir("dir/one")


def test_all(edited: Edited) -> None:
    before = edited.tree()
    change(edited)
    edited.discard()
    assert edited.tree() == before
    assert not edited.overlay.is_dirty()
    assert edited.commit().commit is None
    assert edited.discard() == []


def test_what_was_listed_as_empty_is_listed_again_when_it_is_back(edited: Edited) -> None:
    before = edited.tree()
    for name in ("deep/x", "deep/y"):
        edited.unlink(f"dir/{name}")
    deep = edited.node("dir/deep").inode
    assert [item.name for item in edited.view.items(deep, 0)] == []
    assert edited.view.pass_hidden(deep, 100)
    edited.create("dir/deep/z")
    assert [item.name for item in edited.view.items(deep, 0)] == [b"z"]
    edited.discard("dir/deep/x")
    assert {item.name for item in edited.view.items(deep, 0)} == {b"x", b"z"}
    edited.discard()
    assert edited.tree() == before


def test_all_after_a_commit(edited: Edited) -> None:
    change(edited)
    assert edited.commit().commit is not None
    before = edited.tree()
    edited.rename("dir", "moved")
    edited.write("moved/other/new", 0, b"NEW")
    edited.unlink("made/x")
    edited.rename("made", "moved/made")
    edited.discard()
    assert edited.tree() == before
    assert not edited.overlay.is_dirty()
    edited.create("again", b"again")
    seen = edited.tree()
    assert edited.commit().commit is not None
    assert edited.committed_tree() == seen


@pytest.mark.parametrize(
    ("path", "restored"),
    [
        ("a", ["a"]),
        ("dir/deep", ["dir/deep", "dir/deep/x"]),
        ("dir/one", ["dir/one"]),
        ("made", ["made", "dir/deep/x"]),
        ("made/f", ["made/f"]),
        ("made/x", ["made/x", "dir/deep/x"]),
        ("dir/other", ["dir/other", "other"]),
        ("dir/other/new", ["dir/other/new"]),
        ("other", ["dir/other", "other"]),
    ],
)
def test_a_path(edited: Edited, path: str, restored: list[str]) -> None:
    before = edited.tree()
    change(edited)
    changed = edited.tree()
    found = edited.discard(path)
    assert sorted(set(found)) == sorted({*restored, *(["made/x"] if path == "dir/deep" else [])})
    now = edited.tree()
    for at in {*before, *changed}:
        under = [each for each in found if at == each or at.startswith(each + "/")]
        assert now.get(at) == (before if under else changed).get(at), at
    edited.discard()
    assert edited.tree() == before


def test_nothing_changed_there(edited: Edited) -> None:
    edited.write("a", 0, b"A")
    with pytest.raises(NotFoundError, match="dir/one"):
        edited.discard("dir/one")


def test_the_directory_has_to_be_there(edited: Edited) -> None:
    edited.rename("other/file", "file")
    edited.rmdir("other")
    with pytest.raises(ConflictError, match="other/file"):
        edited.discard("file")
    edited.discard("other")
    assert edited.read("other/file") == b"file"


def test_what_is_open_can_still_be_read(edited: Edited) -> None:
    inode = edited.create("new", b"new")
    edited.opened.add(inode)
    edited.discard("new")
    assert edited.view.resolve((b"new",)) is None
    assert edited.read_node(edited.view.node(inode)) == b"new"
    assert edited.view.node(ROOT_INODE).is_directory
