"""A mirror of openclipart between endpoints, 25 ms on both sides, beside `rclone sync` of an object a file."""

from __future__ import annotations

import json

from figures import Figures
from servers.latency import LatencyProxy
from world import DELAY_MS, JITTER_MS, MEGABYTES_PER_SECOND, World

__all__ = ["bench_mirror"]

_RUNS = 3


def bench_mirror(world: World, figures: Figures) -> None:
    """The two programs in turn, each into an empty bucket; then a mirror with nothing new, and one by the server."""
    handle, plain = f"{world.bucket()}/clipart", world.bucket()
    world.run("penstock", "push", world.clipart, handle)
    direct = ("--s3-endpoint", world.gateway.endpoint)
    world.run("rclone", "copy", *direct, "--transfers", "32", world.clipart, f"s:{plain}")
    with LatencyProxy(
        world.gateway.endpoint, delay_ms=DELAY_MS, jitter_ms=JITTER_MS, megabytes_per_second=MEGABYTES_PER_SECOND
    ) as far:
        there = {
            "TYPE": "s3",
            "PROVIDER": "Ceph",
            "ENV_AUTH": "true",
            "ENDPOINT": far.endpoint,
        }
        world.environment.update({f"RCLONE_CONFIG_T_{name}": value for name, value in there.items()})
        ours, theirs = [], []
        for number in range(_RUNS):
            world.forget_cache()
            name, bucket, copy = f"far{number}", world.bucket(), world.bucket()
            world.run("penstock", "remote", "add", name, f"s3://{bucket}", "--endpoint-url", far.endpoint)
            ours.append(world.run("penstock", "mirror", handle, name)[0])
            command = ("rclone", "sync", "--transfers", "32", "--checkers", "32", f"s:{plain}", f"t:{copy}")
            theirs.append(world.run(*command)[0])
        tops = {
            json.loads(world.run("penstock", "info", "--json", each)[1])["top_hash"]
            for each in (handle, f"{name}/clipart")
        }
        assert len(tops) == 1, tops
        world.proxy.reset()
        far.reset()
        again = world.run("penstock", "mirror", handle, name)[0]
        counts = [proxy.counts() for proxy in (world.proxy, far)]
        requests = sum(count.requests(*count.methods) for count in counts)
    alone = world.run("penstock", "mirror", handle, world.bucket())[0]
    middle = _RUNS // 2
    figures.add("mirror of openclipart, 25 ms on both sides", sorted(ours)[middle], "s")
    figures.add("rclone sync of an object a file, the same way", sorted(theirs)[middle], "s")
    figures.add("rclone's time / ours", sorted(theirs)[middle] / sorted(ours)[middle], "x", at_least=5)
    figures.add("mirror again, nothing new", again, "s")
    figures.add("requests of that, both buckets", requests, "", at_most=3)
    figures.add("mirror within one server", alone, "s")
