"""Versions of the past mount for ever, whatever became of the branches that led to them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from views.bucket import LocalBucket, write_tree
from views.memory import Made, Spec

from penstock.mountpoint.known_mounts import MountInfo
from penstock.repo.history.branch_merge import join
from penstock.repo.history.branches import delete_branch, make_branch, reset_branch
from penstock.repo.history.landing import land
from penstock.repo.history.log import find_published
from penstock.repo.session.bucket_session import open_session
from penstock.repo.write.publish import Authorship

pytestmark = pytest.mark.fuse
Mount = Callable[..., MountInfo]


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
    with open_session("demo", demo.settings) as session:
        repository, load = session.repository("data"), session.load
        # Back to the first version; a branch goes on from there and is merged; the second version is undone.
        who = Authorship("me", "", "test")
        make_branch(repository, "side", find_published(repository, "main"), who)
        reset_branch(repository, "main", find_published(repository, first.hex()), who)
        merged = join(repository, load, "main", find_published(repository, "side").commit, who)
        assert merged.published is not None
        before = repository.manifest(bytes.fromhex(repository.commit(first).top_hash))
        undone = land(repository, load, "main", second, before, who)
        reset_branch(repository, "side", find_published(repository, first.hex()), who)
        delete_branch(repository, "side", who)
        top_hash = repository.commit(second).top_hash
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
    with open_session("demo", demo.settings) as session:
        repository = session.repository("data")
        who = Authorship("me", "", "test")
        make_branch(repository, "side", find_published(repository, None), who)
        write_tree(tmp_path / "ours", {b"a": Made(b"ours" * 400_000), b"d": {b"x": Made(b"base")}})
        demo.push(tmp_path / "ours")
        write_tree(tmp_path / "theirs", {b"a": Made(b"base"), b"d": {b"x": Made(b"theirs"), b"y": Made(b"new")}})
        demo.push(tmp_path / "theirs", "demo/data:side")
        source = find_published(repository, "side").commit
        join(repository, session.load, "main", source, who)
    found = content(mounts("demo/data").mountpoint)
    assert found == {"a": b"ours" * 400_000, "d/x": b"theirs", "d/y": b"new"}
