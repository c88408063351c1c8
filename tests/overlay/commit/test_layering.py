"""Commits that fail leave few layers behind, and all that was written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from views.bucket import LocalBucket, write_tree
from views.edited import Edited, version_tree
from views.memory import Made

from penstock.errors import StoreUnreachableError
from penstock.manifest.entry import BLOCK_SIZE
from penstock.overlay.commit import layer_merge
from penstock.repo.read.snapshot import open_snapshot
from penstock.store.local import LocalStore

BIG = bytes(3 * BLOCK_SIZE)


@pytest.fixture
def edited(tmp_path: Path) -> Iterator[Edited]:
    bucket = LocalBucket(tmp_path)
    write_tree(tmp_path / "source", {b"a": Made(b"0123456789"), b"big": Made(BIG)})
    bucket.push(tmp_path / "source")
    found = Edited(bucket, tmp_path / "overlay")
    yield found
    found.close()


def layers(edited: Edited, path: str) -> int:
    record = edited.node(path).record
    return len(record.layers) if record is not None else 0


def fail_five_times(edited: Edited, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(store: LocalStore, key: str, body: bytes) -> bool:
        raise StoreUnreachableError("it is down")

    with monkeypatch.context() as down:
        down.setattr(LocalStore, "put", unreachable)
        down.setattr(LocalStore, "create", unreachable)
        for number in range(5):
            edited.write("a", number, b"x")
            edited.write("big", number * BLOCK_SIZE // 2, b"%d" % number * 5000)
            if number == 3:
                edited.truncate("a", 2)
                edited.truncate("big", BLOCK_SIZE)
            with pytest.raises(StoreUnreachableError):
                edited.commit()
            edited.write("a", 9, b"y")


def test_five_commits_that_fail(edited: Edited, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_five_times(edited, monkeypatch)
    assert 1 <= layers(edited, "a") <= 2
    assert layers(edited, "big") == 1
    assert edited.read("a") == b"xx\0\0x\0\0\0\0y"
    wanted = bytearray(BIG)
    for number in range(5):
        start = number * BLOCK_SIZE // 2
        wanted[start : start + 5000] = b"%d" % number * 5000
        if number == 3:
            wanted = wanted[:BLOCK_SIZE]
            wanted += bytes(max(0, 2 * BLOCK_SIZE - len(wanted)))
    assert edited.read("big") == bytes(wanted[: 2 * BLOCK_SIZE + 5000])
    seen = edited.tree()
    assert edited.commit().commit is not None
    assert edited.tree() == seen == version_tree(open_snapshot("demo/data", edited.bucket.settings, cached=False))
    assert layers(edited, "a") == layers(edited, "big") == 0


def test_what_is_too_long_to_copy_keeps_its_layers(edited: Edited, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_merge, "_MOST_BYTES", 100)
    fail_five_times(edited, monkeypatch)
    assert layers(edited, "big") == 5
    assert 1 <= layers(edited, "a") <= 2
    seen = edited.tree()
    assert edited.commit().commit is not None
    assert edited.tree() == seen


def test_dry_runs_leave_one(edited: Edited) -> None:
    for number in range(4):
        edited.write("a", number, b"x")
        edited.commit(dry_run=True)
    assert layers(edited, "a") == 1
    assert edited.read("a") == b"xxxx456789"
