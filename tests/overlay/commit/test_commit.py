"""Committing an overlay, with no kernel: what lands is what was seen, and it costs what was changed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from views.bucket import LocalBucket, write_tree
from views.edited import Edited, Tree, version_tree
from views.ending import EndingProgress
from views.memory import Link, Made, Spec

from penstock.errors import CancelledError, ConflictError
from penstock.manifest.entry import BLOCK_SIZE
from penstock.overlay.commit import file_composer
from penstock.overlay.tables.schema import decode_entry
from penstock.progress import SILENT
from penstock.repo.bucket.leases import leases
from penstock.repo.read.snapshot import open_snapshot

_random = random.Random(7)
BIG = _random.randbytes(3 * BLOCK_SIZE + 12345)
SPEC: Spec = {
    b"a": Made(b"first\n"),
    b"big": Made(BIG),
    b"dir": {
        b"deep": {b"x": Made(b"x"), b"y": Made(b"y" * 1000, executable=True)},
        b"empty": {},
        b"link": Link(b"../a"),
        b"one": Made(b"1"),
    },
    b"other": {b"file": Made(b"file")},
}


@pytest.fixture
def bucket(tmp_path: Path) -> LocalBucket:
    made = LocalBucket(tmp_path)
    write_tree(tmp_path / "source", SPEC)
    made.push(tmp_path / "source")
    return made


@pytest.fixture
def edited(bucket: LocalBucket, tmp_path: Path) -> Iterator[Edited]:
    found = Edited(bucket, tmp_path / "overlay")
    yield found
    found.close()


def newest(bucket: LocalBucket, handle: str = "demo/data") -> Tree:
    return version_tree(open_snapshot(handle, bucket.settings, cached=False))


def check(edited: Edited) -> None:
    """Commit, and hold what landed against what was seen; it is clean then."""
    before = edited.tree()
    report = edited.commit()
    assert edited.tree() == before
    assert newest(edited.bucket) == before == edited.committed_tree()
    assert not edited.overlay.is_dirty()
    assert edited.origin.commit is not None
    again = edited.commit()
    assert again.commit is None
    assert not again.changed
    assert report.top_hash == edited.origin.manifest.top_hash


def test_nothing_to_commit(edited: Edited) -> None:
    before = edited.origin
    assert edited.commit().commit is None
    assert edited.origin == before


def test_a_clean_overlay_gives_its_version_names(edited: Edited) -> None:
    edited.create("new", b"new")
    edited.commit()
    before, tree = edited.origin, edited.tree()
    refs = edited.version.repository.refs
    assert not edited.commit(tag="v1", dry_run=True).tagged
    assert refs.tag("v1") is None
    report = edited.commit(tag="v1")
    assert (report.changed, report.tagged, report.branched, report.commit) == (False, True, False, before.commit)
    assert edited.origin == before
    report = edited.commit(branch="beside", tag="v2")
    assert (report.tagged, report.branched, report.handle) == (True, True, "demo/data:beside")
    assert (edited.origin.ref, edited.origin.commit) == ("beside", before.commit)
    assert newest(edited.bucket, "demo/data:beside") == newest(edited.bucket, "demo/data:v2") == tree
    assert edited.commit(tag="v1").commit == before.commit  # it has it already
    report = edited.commit(branch="main")  # it is there already
    assert (report.branched, report.commit, edited.origin.ref) == (False, None, "beside")
    edited.write("a", 0, b"A")
    with pytest.raises(ConflictError, match="v1"):
        edited.commit(tag="v1")
    edited.commit()
    assert newest(edited.bucket) == tree != newest(edited.bucket, "demo/data:beside")
    assert list(edited.bucket.directory.rglob("leases/commit/*")) == []


def test_new_changed_and_removed_files(edited: Edited) -> None:
    edited.create("new", b"new")
    edited.create("dir/none")
    edited.write("a", 2, b"XX")
    edited.unlink("dir/one")
    edited.chmod("other/file", 0o755)
    edited.describe("dir/deep/x", {"label": 1})
    check(edited)


def test_directories_come_and_go(edited: Edited) -> None:
    edited.mkdir("made")
    edited.mkdir("made/below")
    edited.create("made/below/f", b"f")
    edited.symlink("made/l", b"below/f")
    edited.rmdir("dir/empty")
    edited.describe("dir", {"what": "a directory"})
    check(edited)


def test_a_directory_that_moves_keeps_what_changed_in_it(edited: Edited) -> None:
    edited.write("dir/deep/x", 0, b"changed")
    edited.create("dir/deep/new", b"new")
    edited.unlink("dir/one")
    check(edited)
    edited.rename("dir", "moved")
    check(edited)
    edited.rename("moved/deep", "deep")
    edited.write("deep/y", 0, b"Y")
    check(edited)
    edited.rename("deep", "other/deep")
    edited.rename("other", "dir")
    check(edited)


def test_what_was_committed_can_be_removed_and_replaced(edited: Edited) -> None:
    edited.create("new", b"new")
    edited.mkdir("made")
    edited.create("made/f", b"f")
    check(edited)
    edited.unlink("new")
    edited.rename("made/f", "a")
    edited.rmdir("made")
    edited.mkdir("new")
    check(edited)
    edited.rmdir("new")
    edited.create("new", b"a file again")
    check(edited)


def test_exchange(edited: Edited) -> None:
    edited.rename("dir", "other", exchange=True)
    edited.rename("a", "big", exchange=True)
    check(edited)


@pytest.mark.parametrize("size", [0, 1, BLOCK_SIZE - 1, BLOCK_SIZE, BLOCK_SIZE + 1, 3 * BLOCK_SIZE, len(BIG) + 1])
def test_a_large_file_is_cut_and_grows(edited: Edited, size: int) -> None:
    edited.truncate("big", size)
    check(edited)
    edited.truncate("big", 5 * BLOCK_SIZE)
    edited.write("big", 4 * BLOCK_SIZE + 1, b"!")
    check(edited)


def test_one_byte_of_a_large_file_sends_its_block_alone(edited: Edited) -> None:
    edited.write("big", 2 * BLOCK_SIZE + 5, b"!")
    report = edited.commit()
    assert (report.objects_uploaded, report.bytes_uploaded) == (1, BLOCK_SIZE)
    assert report.metadata_objects_uploaded == 1
    wanted = bytearray(BIG)
    wanted[2 * BLOCK_SIZE + 5 : 2 * BLOCK_SIZE + 6] = b"!"
    assert newest(edited.bucket)["big"] == Made(bytes(wanted), False, 0)


def test_writing_what_is_there_is_no_change(edited: Edited) -> None:
    edited.write("big", BLOCK_SIZE, BIG[BLOCK_SIZE : BLOCK_SIZE + 100])
    edited.write("a", 0, b"fir")
    report = edited.commit()
    assert not report.changed
    assert report.commit is None
    assert report.bytes_uploaded == 0
    assert not edited.overlay.is_dirty()


def test_what_is_written_during_a_commit_belongs_to_the_next(edited: Edited) -> None:
    edited.create("new", b"new")
    edited.create("gone", b"gone")
    edited.create("cut", b"0123456789")
    edited.write("big", 0, b"before")
    edited.write("a", 0, b"FIRST")
    taken = edited.tree()
    commit = edited.committing()
    commit.begin()
    edited.write("big", 3, b"during")
    edited.truncate("cut", 4)
    edited.truncate("cut", 8)
    edited.unlink("gone")
    edited.unlink("a")
    edited.rename("new", "renamed")
    edited.create("a", b"another")
    assert commit.build(SILENT)
    edited.write("big", BLOCK_SIZE, b"later")
    commit.intend()
    commit.land()
    edited.create("late", b"late")
    seen = edited.tree()
    settling = commit.settle(lambda _: False)
    while settling.step(edited.view):
        assert edited.tree() == seen
    commit.close()
    assert edited.tree() == seen
    assert newest(edited.bucket) == taken == edited.committed_tree()
    assert edited.overlay.is_dirty()
    check(edited)
    assert newest(edited.bucket) == seen


def test_a_mount_of_a_directory_commits_into_it(bucket: LocalBucket, tmp_path: Path) -> None:
    edited = Edited(bucket, tmp_path / "sub", "demo/data:main/dir")
    edited.write("deep/x", 0, b"changed")
    edited.create("new", b"new")
    edited.rename("deep", "shallow")
    seen = edited.tree()
    assert edited.commit().commit is not None
    assert edited.committed_tree() == seen == edited.tree()
    whole = newest(bucket)
    assert {path[4:]: what for path, what in whole.items() if path.startswith("dir/")} == seen
    assert whole["big"] == Made(BIG, False, 0)
    edited.close()


def test_a_dry_run_sends_nothing(edited: Edited) -> None:
    objects = edited.bucket.data_objects()
    edited.write("big", 0, b"!")
    edited.create("new", b"new")
    report = edited.commit(dry_run=True)
    assert report.changed
    assert report.commit is None
    assert report.bytes_uploaded == BLOCK_SIZE + 3
    assert edited.bucket.data_objects() == objects
    assert edited.overlay.is_dirty()
    check(edited)


def _plant(directory: Path, tree: Tree) -> None:
    """Write a tree to disk; metadata aside."""
    for path, item in sorted(tree.items()):
        at = directory / path
        if isinstance(item, Made):
            at.write_bytes(item.data)
            at.chmod(0o755 if item.executable else 0o644)
        elif isinstance(item, Link):
            at.symlink_to(item.target.decode())
        else:
            at.mkdir()


def test_the_version_is_the_one_that_a_push_would_make(edited: Edited, tmp_path: Path) -> None:
    edited.create("large", _random.randbytes(5000))
    edited.truncate("large", 40 * BLOCK_SIZE + 1)  # so many blocks that their hashes are in a page
    edited.write("large", 35 * BLOCK_SIZE - 3, b"across blocks")
    edited.commit()
    edited.write("large", 7, b"!")
    edited.truncate("large", 36 * BLOCK_SIZE + 17)
    edited.rename("dir/deep", "deep")
    edited.create("dir/executable", b"#!", mode=0o755)
    edited.unlink("other/file")
    edited.write("big", BLOCK_SIZE - 1, b"!!")
    edited.truncate("a", 0)
    report = edited.commit()
    directory = tmp_path / "plain"
    directory.mkdir()
    _plant(directory, edited.tree())
    assert edited.bucket.push(directory, "demo/plain").top_hash == report.top_hash


def test_a_file_in_too_many_pieces_is_sent_whole(edited: Edited, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_composer, "_MOST_EXTENTS", 2)
    edited.write("big", BLOCK_SIZE + 5, b"!")
    before = edited.tree()
    edited.commit()
    assert newest(edited.bucket) == before
    node = edited.node("big")
    assert node.record is not None
    assert len(decode_entry(node.record.entry).extents) == 1


@pytest.mark.parametrize("stage", ["reading", "uploading"])
def test_a_commit_that_is_cancelled_changes_nothing_and_can_be_done_again(edited: Edited, stage: str) -> None:
    top_hash = edited.origin.manifest.top_hash
    edited.create("new", b"new")
    edited.write("big", 5, b"changed")
    before = edited.tree()
    commit = edited.committing()
    commit.begin()
    with pytest.raises(CancelledError):
        commit.build(EndingProgress(stage))
    commit.close()
    assert edited.tree() == before
    assert edited.overlay.is_dirty()
    assert edited.origin.manifest.top_hash == top_hash
    assert list(leases(edited.version.repository.store)) == []
    check(edited)
