"""Metadata of the mounted root: a version's own, or that of the directory that is mounted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from views.bucket import LocalBucket, write_tree
from views.edited import Edited
from views.memory import Made

from penstock.manifest.tree import ROOT_INODE
from penstock.repo.read.snapshot import open_snapshot


@pytest.fixture
def bucket(tmp_path: Path) -> LocalBucket:
    made = LocalBucket(tmp_path)
    write_tree(tmp_path / "source", {b"dir": {b"x": Made(b"x")}, b"y": Made(b"y")})
    made.push(tmp_path / "source")
    return made


@pytest.fixture
def pair(bucket: LocalBucket, tmp_path: Path) -> Iterator[tuple[Edited, Edited]]:
    made = Edited(bucket, tmp_path / "first")
    made.describe("", {"title": "old", "by": "me"})
    made.describe("dir", {"folder": 1})
    assert made.commit().commit is not None
    made.close()
    mine, theirs = Edited(bucket, tmp_path / "mine"), Edited(bucket, tmp_path / "theirs")
    yield mine, theirs
    mine.close()
    theirs.close()


def shown(edited: Edited) -> dict[str, object]:
    node = edited.view.node(ROOT_INODE)
    found = node.record or node.entry
    assert found is not None
    return dict(json.loads(found.metadata or b"{}"))


def kept(bucket: LocalBucket, handle: str = "demo/data") -> dict[str, object]:
    version = open_snapshot(handle, bucket.settings, cached=False)
    try:
        return dict(json.loads(version.root_metadata or b"{}"))
    finally:
        version.close()


def test_the_root_shows_what_the_version_has_and_a_commit_keeps_it(pair: tuple[Edited, Edited]) -> None:
    mine, _ = pair
    assert shown(mine) == kept(mine.bucket) == {"title": "old", "by": "me"}
    mine.write("y", 0, b"Y")
    assert mine.commit().commit is not None
    assert kept(mine.bucket) == {"title": "old", "by": "me"}
    mine.describe("", {**shown(mine), "title": "new"})
    assert mine.commit().commit is not None
    assert kept(mine.bucket) == shown(mine) == {"title": "new", "by": "me"}
    assert not mine.overlay.is_dirty()


def test_what_others_say_of_the_root_comes_with_a_commit(pair: tuple[Edited, Edited]) -> None:
    mine, theirs = pair
    mine.describe("", {**shown(mine), "title": "mine"})
    assert mine.commit().commit is not None
    theirs.write("y", 0, b"T")
    assert theirs.commit().commit is not None
    assert shown(theirs) == kept(mine.bucket) == {"title": "mine", "by": "me"}
    theirs.describe("", {**shown(theirs), "more": 1})
    theirs.commit()
    mine.describe("", {**shown(mine), "also": 2})
    mine.write("dir/x", 0, b"M")
    mine.commit()
    assert shown(mine) == kept(mine.bucket) == {"title": "mine", "by": "me", "more": 1, "also": 2}
    assert not mine.overlay.is_dirty()


def test_a_directory_that_is_mounted_has_its_own(pair: tuple[Edited, Edited], tmp_path: Path) -> None:
    mine, _ = pair
    edited = Edited(mine.bucket, tmp_path / "sub", "demo/data:main/dir")
    assert shown(edited) == kept(mine.bucket, "demo/data:main/dir") == {"folder": 1}
    edited.describe("", {**shown(edited), "label": "a"})
    edited.commit()
    assert shown(edited) == kept(mine.bucket, "demo/data:main/dir") == {"folder": 1, "label": "a"}
    assert kept(mine.bucket) == {"title": "old", "by": "me"}
    edited.close()


def test_it_is_put_back(pair: tuple[Edited, Edited]) -> None:
    mine, _ = pair
    mine.describe("", {"title": "wrong"})
    mine.write("y", 0, b"Y")
    assert sorted(mine.discard()) == ["", "y"]
    assert shown(mine) == {"title": "old", "by": "me"}
    assert not mine.overlay.is_dirty()
    assert mine.commit().commit is None
