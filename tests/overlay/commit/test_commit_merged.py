"""Two overlays of one branch: what they changed in different places is merged and shown; a conflict changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from views.bucket import LocalBucket, write_tree
from views.edited import Edited, Tree, settled, version_tree
from views.memory import Link, Made, Spec

from penstock.errors import ConflictError, MergeConflictError
from penstock.manifest.merge import Side
from penstock.overlay.tables.intent import read_intent
from penstock.progress import SILENT
from penstock.repo.read.snapshot import open_snapshot

SPEC: Spec = {
    b"a": Made(b"first\n"),
    b"dir": {b"deep": {b"x": Made(b"x"), b"y": Made(b"y")}, b"link": Link(b"../a"), b"one": Made(b"1")},
    b"gone": {b"below": {b"f": Made(b"f")}},
    b"other": {b"file": Made(b"file")},
}


@pytest.fixture
def bucket(tmp_path: Path) -> LocalBucket:
    made = LocalBucket(tmp_path)
    write_tree(tmp_path / "source", SPEC)
    made.push(tmp_path / "source")
    return made


@pytest.fixture
def pair(bucket: LocalBucket, tmp_path: Path) -> Iterator[tuple[Edited, Edited]]:
    mine, theirs = Edited(bucket, tmp_path / "mine"), Edited(bucket, tmp_path / "theirs")
    yield mine, theirs
    mine.close()
    theirs.close()


def newest(bucket: LocalBucket, handle: str = "demo/data") -> Tree:
    return version_tree(open_snapshot(handle, bucket.settings, cached=False))


def change_much(theirs: Edited) -> None:
    """Change what a merge has to take in: each kind of change once."""
    theirs.write("dir/deep/x", 0, b"their x")
    theirs.create("dir/new", b"their new")
    theirs.unlink("dir/one")
    theirs.mkdir("made")
    theirs.mkdir("made/below")
    theirs.create("made/below/f", b"their f")
    theirs.unlink("gone/below/f")
    theirs.rmdir("gone/below")
    theirs.rmdir("gone")
    theirs.unlink("dir/link")
    theirs.mkdir("dir/link")
    theirs.create("dir/link/was", b"a link")
    theirs.describe("dir/deep", {"by": "them"})
    theirs.chmod("dir/deep/y", 0o755)
    assert theirs.commit().commit is not None


def test_both_land_and_both_show(pair: tuple[Edited, Edited]) -> None:
    mine, theirs = pair
    mine.write("a", 0, b"mine")
    mine.rename("other", "mine")
    change_much(theirs)
    seen = mine.tree()
    report = mine.commit()
    assert report.merged_with == theirs.origin.commit
    merged = newest(mine.bucket)
    assert merged == mine.committed_tree() == mine.tree()
    assert not mine.overlay.is_dirty()
    assert merged != seen
    assert merged["a"] == Made(b"mine\n"[:4] + b"t\n", False, 0)
    # What came is as good as what was there: it is changed, moved and removed like anything else.
    mine.write("made/below/f", 0, b"MY")
    mine.rename("made/below", "dir/deep/below")
    mine.unlink("dir/link/was")
    mine.rename("dir", "made/dir")
    mine.write("made/dir/deep/x", 0, b"my x")
    now = mine.tree()
    assert mine.commit().commit is not None
    assert newest(mine.bucket) == now == mine.tree() == mine.committed_tree()
    mine.rename("made/dir/deep/below", "below")
    now = mine.tree()
    assert mine.commit().commit is not None
    assert newest(mine.bucket) == now == mine.tree()


def test_a_conflict_names_the_path_and_changes_nothing(pair: tuple[Edited, Edited]) -> None:
    mine, theirs = pair
    change_much(theirs)
    before = newest(mine.bucket)
    mine.write("dir/deep/x", 0, b"MY")
    mine.create("new", b"new")
    seen = mine.tree()
    with pytest.raises(MergeConflictError) as failure:
        mine.commit()
    assert [line.split(":")[0] for line in failure.value.candidates] == ["dir/deep/x"]
    assert "--branch NAME" in failure.value.fix
    assert mine.tree() == seen
    assert mine.overlay.is_dirty()
    assert read_intent(mine.overlay.records) is None
    assert newest(mine.bucket) == before
    assert mine.commit(branch="mine").commit is not None
    assert newest(mine.bucket, "demo/data:mine") == seen == mine.tree()
    assert mine.origin.ref == "mine"
    assert mine.origin.handle == "demo/data:mine"
    assert newest(mine.bucket) == before


@pytest.mark.parametrize("side", list(Side))
def test_a_conflict_can_be_settled(pair: tuple[Edited, Edited], side: Side) -> None:
    mine, theirs = pair
    change_much(theirs)
    mine.write("dir/deep/x", 0, b"MY")
    mine.create("new", b"new")
    mine.commit(**settled(side))
    text = b"their x" if side is Side.OURS else b"MY"
    assert newest(mine.bucket)["dir/deep/x"] == Made(text, False, 0)
    assert newest(mine.bucket) == mine.tree() == mine.committed_tree()


def test_what_both_changed_while_it_landed_stays_dirty(pair: tuple[Edited, Edited]) -> None:
    mine, theirs = pair
    mine.create("new", b"new")
    commit = mine.committing()
    commit.begin()
    assert commit.build(SILENT)
    change_much(theirs)
    commit.intend()
    commit.land()
    mine.write("dir/deep/x", 0, b"MY")
    seen = mine.tree()
    settling = commit.settle(lambda _: False)
    with pytest.raises(ConflictError, match="dir/deep/x"):
        settling.step(mine.view)
    commit.close()
    assert mine.tree() == seen
    assert mine.overlay.is_dirty()
    # The version has what was committed; what was changed since is a conflict for the next one to settle.
    assert newest(mine.bucket)["new"] == Made(b"new", False, 0)
    with pytest.raises(MergeConflictError) as failure:
        mine.commit()
    assert [line.split(":")[0] for line in failure.value.candidates] == ["dir/deep/x"]
    assert mine.tree() == seen
    mine.commit(**settled(Side.THEIRS))
    assert newest(mine.bucket)["dir/deep/x"] == Made(b"MY", False, 0)
    assert newest(mine.bucket) == mine.tree() == mine.committed_tree()


def test_what_is_open_keeps_its_content_when_others_remove_it(pair: tuple[Edited, Edited]) -> None:
    mine, theirs = pair
    inode = mine.node("dir/one").inode
    mine.opened.add(inode)
    mine.create("new", b"new")
    theirs.unlink("dir/one")
    theirs.commit()
    commit = mine.committing()
    commit.begin()
    assert commit.build(SILENT)
    commit.intend()
    commit.land()
    settling = commit.settle(lambda number: number in mine.opened)
    while settling.step(mine.view):
        pass
    commit.close()
    assert "dir/one" not in mine.tree()
    assert mine.read_node(mine.view.node(inode)) == b"1"
    assert [(stale.name, stale.inode) for stale in settling.stale] == [(b"one", inode)]
    assert not mine.overlay.is_dirty()
    assert newest(mine.bucket) == mine.tree()


@pytest.mark.parametrize("instead", [False, True])
def test_others_removed_the_directory_that_is_mounted(
    pair: tuple[Edited, Edited], tmp_path: Path, instead: bool
) -> None:
    """What landed has landed: the mount is empty then, clean, and goes on; what is made in it makes it anew."""
    _, theirs = pair
    mine = Edited(theirs.bucket, tmp_path / "sub", "demo/data:main/gone/below")
    theirs.unlink("gone/below/f")
    theirs.rmdir("gone/below")
    if instead:
        theirs.create("gone/below", b"a file")
    else:
        theirs.rmdir("gone")
    theirs.commit()
    mine.write("f", 0, b"M")
    mine.create("new", b"new")
    with pytest.raises(MergeConflictError):
        mine.commit()
    assert mine.read("f") == b"M"
    mine.commit(**settled(Side.OURS))
    assert mine.tree() == {}
    assert not mine.overlay.is_dirty()
    assert read_intent(mine.overlay.records) is None
    assert mine.commit().commit is None
    mine.mkdir("dir")
    mine.create("dir/again", b"again")
    mine.commit()
    assert mine.tree() == mine.committed_tree() == {"dir": b"", "dir/again": Made(b"again", False, 0)}
    assert newest(mine.bucket)["gone/below/dir/again"] == Made(b"again", False, 0)
    mine.close()
