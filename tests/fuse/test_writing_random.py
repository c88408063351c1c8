"""Random changes to a mount and to a plain directory: the trees are equal, after mounting again and committed, too."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from views.bucket import LocalBucket
from views.twins import Twins, observed

from penstock.mountpoint.known_mounts import MountInfo
from penstock.mountpoint.mount_options import MountOptions
from penstock.mountpoint.unmount import unmount
from penstock.mountpoint.working_copy.working_copy import open_working_copy
from penstock.overlay.commit.commit_options import CommitOptions
from penstock.progress import SILENT

pytestmark = pytest.mark.fuse
Mount = Callable[..., MountInfo]

WRITABLE = MountOptions(writable=True)
STEPS = 250


@pytest.fixture
def plain(source: Path, tmp_path: Path) -> Path:
    """Return a copy of what is in the version."""
    subprocess.run(["cp", "-a", source, tmp_path / "plain"], check=True)
    return tmp_path / "plain"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_changes(mounts: Mount, pushed: LocalBucket, plain: Path, tmp_path: Path, seed: int) -> None:
    mountpoint = mounts(options=WRITABLE).mountpoint
    original = {path: seen[3] for path, seen in observed(os.fsencode(plain)).items()}
    with closing(Twins(os.fsencode(mountpoint), os.fsencode(plain), seed)) as twins:
        for round_number in range(2):
            for number in range(STEPS):
                twins.step()
                if number % 50 == 0:
                    twins.compare()
            twins.compare()
            if round_number == 0:
                twins.close()
                assert unmount(mountpoint)
                mounts(options=WRITABLE)
                twins.compare()
        open_working_copy(mountpoint, pushed.settings).commit(CommitOptions("me"), SILENT)
        twins.compare()
        for _ in range(50):
            twins.step()
        twins.compare()
        open_working_copy(mountpoint, pushed.settings).commit(CommitOptions("me"), SILENT)
        empty = replace(pushed.settings, cache_directory=tmp_path / "empty-cache")
        fresh = mounts(at="fresh", settings=empty)
        ours, theirs = observed(os.fsencode(fresh.mountpoint)), observed(os.fsencode(plain))
        assert ours.keys() == theirs.keys()
        for path, (kind, executable, old, content) in ours.items():
            assert (kind, executable, content) == (theirs[path][0], theirs[path][1], theirs[path][3]), path
            if old is not None and theirs[path][2] is not None:  # a time alone is no change, and not committed
                assert old == theirs[path][2] or content == original.get(path), path
