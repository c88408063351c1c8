"""A tracked directory as a lazy mount in its place: what is read is fetched, what is changed becomes a version."""

from __future__ import annotations

import os

import pytest
from views.directories import tree_of, write_tree

from .conftest import run_in

pytestmark = pytest.mark.fuse


def test_a_mounted_directory_is_read_changed_added_and_follows_git(registry, tmp_path):
    write_tree(registry / "raw", {"a/1": b"one", "b": b"2" * 5000})
    run_in(registry, "penstock", "add", "raw")
    run_in(registry, "git", "add", "-A")
    run_in(registry, "git", "commit", "-q", "-m", "one")
    run_in(registry, "penstock", "push")
    clone = tmp_path / "clone"
    run_in(tmp_path, "git", "clone", "-q", str(registry), str(clone))
    run_in(clone, "penstock", "init", "--hooks")
    run_in(clone, "penstock", "trust")
    run_in(clone, "penstock", "checkout", "--mount", "raw")
    try:
        assert os.path.ismount(clone / "raw")
        assert (clone / "raw/b").read_bytes() == b"2" * 5000
        assert run_in(clone, "git", "status", "--short") == ""
        (clone / "raw/new").write_bytes(b"n")
        (clone / "raw/a/1").unlink()
        told = run_in(clone, "penstock", "status", code=1)
        assert "A new" in told
        assert "D a/1" in told
        run_in(clone, "penstock", "add", "raw")
        assert "nothing changed" in run_in(clone, "penstock", "status")
        run_in(clone, "git", "commit", "-q", "-a", "-m", "two")
        run_in(clone, "git", "checkout", "-q", "HEAD~1")
        assert (clone / "raw/a/1").read_bytes() == b"one"
        run_in(clone, "git", "checkout", "-q", "main")
        assert (clone / "raw/new").read_bytes() == b"n"
    finally:
        run_in(clone, "penstock", "umount", "raw")
    dataset = f"file://{tmp_path}/storage/registry"
    assert "edits-" in run_in(clone, "penstock", "branch", dataset)  # the only thing that keeps it, so far
    run_in(clone, "penstock", "push")
    assert "edits-" not in run_in(clone, "penstock", "branch", dataset)
    run_in(clone, "penstock", "checkout", "raw")
    assert set(tree_of(clone / "raw")) == {"a", "b", "new"}
