"""Stamps of a process that reads through mounts, and what they name mounted again."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from views.bucket import LocalBucket

import penstock
from penstock.mountpoint.known_mounts import MountInfo
from penstock.mountpoint.mount_options import MountOptions

pytestmark = pytest.mark.fuse
Mount = Callable[..., MountInfo]

PROGRAM = """
import json, os, subprocess, sys, threading
import penstock
read, by_child, never, changed = sys.argv[1:]
os.listdir(never), os.stat(never)
thread = threading.Thread(target=lambda: open(os.path.join(read, "small.txt")).read())
thread.start(); thread.join()
subprocess.run(["sh", "-c", 'sh -c "cat small.txt"'], cwd=by_child, check=True, stdout=subprocess.DEVNULL)
with open(os.path.join(changed, "old"), "r+b") as file: file.write(b"new")
print(json.dumps(penstock.stamp()))
"""


def test_a_stamp_names_the_mounts_that_a_process_and_its_children_have_read(
    pushed: LocalBucket, mounts: Mount, tmp_path: Path
) -> None:
    read, by_child, never = (mounts(at=name) for name in ("read", "child", "never"))
    changed = mounts(at="changed", options=MountOptions(writable=True))
    points = [each.mountpoint for each in (read, by_child, never, changed)]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *points], capture_output=True, text=True, check=True, timeout=100
    )
    stamp = json.loads(done.stdout)
    told = {each["mountpoint"]: each for each in stamp["opened"]}
    assert set(told) == {read.mountpoint, by_child.mountpoint, changed.mountpoint}
    assert {(each["by"], each["top_hash"], each["commit"]) for each in told.values()} == {
        ("mount", read.top_hash, read.commit)
    }
    assert [told[each]["changed"] for each in points if each in told] == [False, False, True]
    assert stamp["unanswered"] == []
    # This process has started it, and so has read what it did.
    assert {each["mountpoint"] for each in penstock.stamp()["opened"] if each["by"] == "mount"} >= set(told)

    again = penstock.reproduce(
        {**stamp, "opened": [told[read.mountpoint]]}, tmp_path / "again", settings=pushed.settings
    )
    try:
        (found,) = again
        assert found.mount.top_hash == read.top_hash
        assert Path(tmp_path, "again", "small.txt").read_bytes() == b"hello world\n"
        assert found.opened[0]["by"] == "mount"
    finally:
        for each in again:
            penstock.unmount(each.mount.mountpoint)
