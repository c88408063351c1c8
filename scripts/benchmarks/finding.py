"""`find` over openclipart right after mounting, through the proxy, beside rclone's mount."""

from __future__ import annotations

import time
from pathlib import Path

from figures import Figures
from world import World

__all__ = ["bench_find"]

_RUNS = 3


def bench_find(world: World, figures: Figures) -> None:
    """Mount with nothing cached, and list the whole tree."""
    source = world.clipart
    bucket, copy = world.bucket(), world.bucket()
    world.run("penstock", "push", source, f"{bucket}/clipart")
    world.run("rclone", "copy", "--transfers", "32", source, f"s:{copy}")
    where = world.scratch / "mount"
    where.mkdir()
    mounts, ours, theirs = [], [], []
    requests = 0
    for _ in range(_RUNS):
        world.forget_cache()
        world.proxy.reset()
        mounts.append(world.run("penstock", "mount", f"{bucket}/clipart", where)[0])
        took, listed = world.run("find", where)
        ours.append(took)
        requests = world.proxy.counts().requests("GET")
        world.run("penstock", "umount", where)
        with world.rclone_mount(copy) as (there, _):
            took, listed_there = _find(world, there)
            theirs.append(took)
        # Names only: rclone leaves symlinks out, and a bucket without directories has no empty ones.
        counts = listed.count(".png\n"), listed_there.count(".png\n")
        assert counts == (8121, 8121), counts
    middle = _RUNS // 2
    figures.add("mount of openclipart, nothing cached", sorted(mounts)[middle], "s")
    figures.add("find over it", sorted(ours)[middle], "s")
    figures.add("find over rclone's mount", sorted(theirs)[middle], "s")
    figures.add("rclone's time / ours", sorted(theirs)[middle] / sorted(ours)[middle], "x", at_least=10)
    figures.add("GETs for mount and find", requests, "")


def _find(world: World, where: Path) -> tuple[float, str]:
    begin = time.perf_counter()
    _, listed = world.run("find", where)
    return time.perf_counter() - begin, listed
