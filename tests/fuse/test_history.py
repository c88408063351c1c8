"""Versions of the past mount for ever, whatever became of the branches that led to them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from views.bucket import LocalBucket, write_tree
from views.memory import Made, Spec
from views.writing import open_writer

from penstock.mountpoint.known_mounts import MountInfo
from penstock.repo.history.branch_merge import join
from penstock.repo.history.branches import delete_branch, make_branch, reset_branch
from penstock.repo.history.log import find_published
from penstock.repo.history.revert import revert
from penstock.repo.settings.handle import parse_handle
from penstock.repo.write.publish import Authorship

pytestmark = pytest.mark.fuse
Mount = Callable[..., MountInfo]
ME = Authorship("me", "", "test")


def content(top: str | Path) -> dict[str, bytes]:
    return {str(path.relative_to(top)): path.read_bytes() for path in Path(top).rglob("*") if path.is_file()}


def test_old_versions_mount_for_ever(demo: LocalBucket, mounts: Mount, tmp_path: Path) -> None:
    def push(number: int, spec: Spec) -> bytes:
        write_tree(tmp_path / f"source{number}", spec)
        commit = demo.push(tmp_path / f"source{number}").commit
        assert commit is not None
        return commit

    first = push(1, {b"a": Made(b"one"), b"d": {b"x": Made(b"one")}})
    second = push(2, {b"a": Made(b"two"), b"d": {b"x": Made(b"one")}, b"new": Made(b"two")})
    live = Path(mounts("demo/data", at="live").mountpoint)
    handle = parse_handle("demo/data")
    with open_writer(handle, demo.settings, ME, branch="side") as side, open_writer(handle, demo.settings, ME) as main:
        repository = main.repository
        # Back to the first version; a branch goes on from there and is merged; the second version is undone.
        make_branch(side, find_published(repository, "main"))
        reset_branch(main, find_published(repository, first.hex()))
        merged = join(main, find_published(repository, "side").commit)
        assert merged.published is not None
        undone = revert(main, second.hex()).landed
        reset_branch(side, find_published(repository, first.hex()))
        delete_branch(side)
        top_hash = repository.commit(second).top_hash.hex()
    one = {"a": b"one", "d/x": b"one"}
    two = {"a": b"two", "d/x": b"one", "new": b"two"}
    assert content(live) == two  # the branch went back under it, and it did not
    assert content(mounts("demo/data", at="now").mountpoint) == one
    assert content(mounts(f"demo/data:{second.hex()}", at="by-commit").mountpoint) == two
    assert content(mounts(f"demo/data:{top_hash[:12]}", at="by-content").mountpoint) == two
    assert content(mounts(f"demo/data:{undone.published.commit.hex()[:10]}", at="by-prefix").mountpoint) == one


def test_a_merge_is_mounted_and_read(demo: LocalBucket, mounts: Mount, tmp_path: Path) -> None:
    write_tree(tmp_path / "base", {b"a": Made(b"base"), b"d": {b"x": Made(b"base")}})
    demo.push(tmp_path / "base")
    handle = parse_handle("demo/data")
    with open_writer(handle, demo.settings, ME, branch="side") as writer:
        make_branch(writer, find_published(writer.repository, None))
    with open_writer(handle, demo.settings, ME) as writer:
        write_tree(tmp_path / "ours", {b"a": Made(b"ours" * 400_000), b"d": {b"x": Made(b"base")}})
        demo.push(tmp_path / "ours")
        write_tree(tmp_path / "theirs", {b"a": Made(b"base"), b"d": {b"x": Made(b"theirs"), b"y": Made(b"new")}})
        demo.push(tmp_path / "theirs", "demo/data:side")
        join(writer, find_published(writer.repository, "side").commit)
    found = content(mounts("demo/data").mountpoint)
    assert found == {"a": b"ours" * 400_000, "d/x": b"theirs", "d/y": b"new"}
