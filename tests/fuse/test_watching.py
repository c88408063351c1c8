"""What inotify(7) tells of changes in a mount, by whichever way they come."""

from __future__ import annotations

import ctypes
import os
import select
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from views.bucket import LocalBucket

from penstock.mountpoint.known_mounts import MountInfo
from penstock.mountpoint.mount_options import MountOptions
from penstock.mountpoint.working_copy.working_copy import open_working_copy

pytestmark = pytest.mark.fuse
Mount = Callable[..., MountInfo]

_libc = ctypes.CDLL(None, use_errno=True)
_MODIFY, _CREATE, _DELETE, _DELETE_SELF = 0x2, 0x100, 0x200, 0x400
_HEAD = struct.Struct("iIII")


class Watch:
    """An inotify descriptor that watches one path."""

    def __init__(self, path: Path) -> None:
        self._descriptor = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        assert self._descriptor >= 0
        mask = _MODIFY | _CREATE | _DELETE | _DELETE_SELF
        assert _libc.inotify_add_watch(self._descriptor, os.fsencode(path), mask) >= 0

    def seen(self, seconds: float) -> list[tuple[int, bytes]]:
        """Return masks and names, once there are any, or after some time."""
        if not select.select([self._descriptor], [], [], seconds)[0]:
            return []
        body, found, at = os.read(self._descriptor, 65536), [], 0
        while at < len(body):
            _, mask, _, length = _HEAD.unpack_from(body, at)
            at += _HEAD.size + length
            found.append((mask, body[at - length : at].rstrip(b"\0")))
        return found

    def close(self) -> None:
        os.close(self._descriptor)


def test_changes_are_seen_through_a_bind_mount_as_well(pushed: LocalBucket, mounts: Mount, tmp_path: Path) -> None:
    place = Path(mounts(options=MountOptions(writable=True)).mountpoint)
    bound = tmp_path / "bound"
    bound.mkdir()
    subprocess.run(["mount", "--bind", place, bound], check=True)
    watch = Watch(bound)
    (place / "new").write_bytes(b"x")
    (place / "old").unlink()
    assert watch.seen(5) == [(_CREATE, b"new"), (_MODIFY, b"new"), (_DELETE, b"old")]
    watch.close()


def test_who_watches_a_file_hears_that_a_refresh_has_taken_it_away(
    pushed: LocalBucket, mounts: Mount, source: Path
) -> None:
    place = Path(mounts().mountpoint)
    directory, gone, changed = Watch(place), Watch(place / "old"), Watch(place / "small.txt")
    (source / "old").unlink()
    (source / "small.txt").write_text("changed")
    (source / "more").write_text("more")
    pushed.push(source)
    open_working_copy(str(place), pushed.settings).refresh()
    assert (place / "small.txt").read_text() == "changed"
    assert not (place / "old").exists()
    assert gone.seen(5)[0][0] == _DELETE_SELF
    # The kernel takes no other event from a file system: who watches a directory has to look.
    assert (directory.seen(0), changed.seen(0)) == ([], [])
    for watch in (directory, gone, changed):
        watch.close()
