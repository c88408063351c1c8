"""Push of openclipart through the proxy, beside `rclone copy --transfers 32`."""

from __future__ import annotations

import json

from figures import Figures
from world import World

__all__ = ["bench_push"]

_RUNS = 3


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def bench_push(world: World, figures: Figures) -> None:
    """First pushes into empty buckets, the two programs in turn; then a second push."""
    source = world.clipart
    ours, theirs, puts = [], [], []
    bucket = ""
    for _ in range(_RUNS):
        world.forget_cache()
        bucket = world.bucket()
        world.proxy.reset()
        ours.append(world.run("penstock", "push", source, f"{bucket}/clipart")[0])
        puts.append(sum("/data/" in path for method, path in world.proxy.counts().paths if method == "PUT"))
        copy = world.bucket()
        theirs.append(world.run("rclone", "copy", "--transfers", "32", "--checkers", "32", source, f"s:{copy}")[0])
    again, answer = world.run("penstock", "push", "--json", source, f"{bucket}/clipart")
    figures.add("push of openclipart (8,121 PNG)", _median(ours), "s")
    figures.add("rclone copy --transfers 32 of the same", _median(theirs), "s")
    figures.add("rclone's time / ours", _median(theirs) / _median(ours), "x", at_least=3)
    figures.add("data PUTs", max(puts), "", at_most=14)
    figures.add("second push", again, "s")
    figures.add("second push: data bytes sent", json.loads(answer)["bytes_uploaded"], "B", at_most=0)
