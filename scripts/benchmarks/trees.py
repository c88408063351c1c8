"""A tree of ten million made-up entries: built in flat memory, published through the proxy, mounted, looked into."""

from __future__ import annotations

import json
import os
import random
import sys
import time
from pathlib import Path

from figures import Figures
from world import World

__all__ = ["bench_tree"]

_FOLDERS = 1000
_LOOKUPS = 200


def bench_tree(world: World, figures: Figures) -> None:
    """Build in a process of its own (its memory is a figure); then mount what it built."""
    bucket = world.bucket()
    world.forget_cache()
    _, answer = world.run(sys.executable, __file__, bucket, str(world.entries))
    built = json.loads(answer)
    figures.add(f"tree of {world.entries:,} entries: built", built["rate"], "entries/s", at_least=100_000)
    figures.add("  memory of the build", built["rss_mb"], "MB", at_most=500)
    figures.add("  metadata", built["bytes"] / world.entries, "B/entry")
    figures.add("  cold look-up of a random path: most GETs", built["most_gets"], "", at_most=4)
    figures.add("  path to inode and back", built["inode_us"], "us")

    where = world.scratch / "tree"
    where.mkdir()
    world.forget_cache()
    world.proxy.reset()
    mounted, _ = world.run("penstock", "mount", f"{bucket}/tree", where)
    listed, names = world.run("ls", where)
    requests = world.proxy.counts().requests("GET")
    figures.add("  mounted", mounted, "s")
    figures.add("  first ls", listed, "s")
    figures.add("  GETs for mount and first ls", requests, "", at_most=10)
    assert len(names.splitlines()) == _FOLDERS
    rows = map(json.loads, world.run("penstock", "mounts", "--json")[1].splitlines())
    pid = next(each["worker_pid"] for each in rows)
    folders = max(1, min(_FOLDERS, 1_000_000 * _FOLDERS // world.entries))
    begin = time.perf_counter()
    count = sum(int(world.run("sh", "-c", f"find {where}/part-{number:04} | wc -l")[1]) for number in range(folders))
    figures.add(f"  find over {count:,} of them", count / (time.perf_counter() - begin), "entries/s")
    figures.add("  memory of the mount after that", _rss_mb(pid), "MB", at_most=200)
    world.run("penstock", "umount", where)


def _rss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmRSS")


def _build(bucket: str, entries: int) -> None:
    """Publish a tree of `entries` files in 1,000 folders, and measure. The files' data object is not there."""
    import resource
    from contextlib import closing

    from penstock.manifest.build import TreeBuilder
    from penstock.manifest.entry import Extent, Kind, TreeEntry
    from penstock.manifest.records import Manifest
    from penstock.progress import SILENT
    from penstock.repo.bucket.leases import Lease, LeaseKind
    from penstock.repo.read.snapshot import open_snapshot
    from penstock.repo.refs.refs import WriteAccess
    from penstock.repo.refs.repository import Repository
    from penstock.repo.settings.settings import Settings
    from penstock.repo.write.node_pack import NodePackWriter
    from penstock.repo.write.publish import Authorship, publish
    from penstock.repo.write.upload import Upload

    settings = Settings.load()
    data = bytes(32)
    per_folder = entries // _FOLDERS
    with closing(settings.open_bucket(bucket)) as store, closing(Upload(store, SILENT.stage("uploading"))) as upload:
        sink = NodePackWriter(lambda key, body: upload.send(key, body, data=False))
        builder = TreeBuilder(sink)
        chance = random.Random(0)  # hashes do not compress
        begin = time.perf_counter()
        number = 0
        for folder in range(_FOLDERS):
            builder.enter(b"part-%04d" % folder, mtime_ns=1_700_000_000_000_000_000)
            for at in range(per_folder):
                number += 1
                builder.add(
                    TreeEntry(
                        b"image-%08d.jpg" % at,
                        Kind.FILE,
                        100_000 + number % 50_000,
                        chance.randbytes(32),
                        1_700_000_000_000_000_000 + number,
                        extents=(Extent(data, number * 150_000, 100_000 + number % 50_000),),
                    )
                )
            builder.leave()
        root = builder.finish()
        sink.flush()
        took = time.perf_counter() - begin
        upload.finish()
        manifest = Manifest(sink.located(root))
        with Lease(store, "tree", LeaseKind.PUSH) as lease:
            who = Authorship("bench", "", "bench")
            publish(Repository(store, "tree"), WriteAccess(lease), "main", None, manifest, who)
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    most, inode_us = _look_up(bucket, settings, per_folder, open_snapshot)
    print(
        json.dumps(
            {
                "rate": number / took,
                "rss_mb": rss,
                "bytes": sink.bytes,
                "most_gets": most,
                "inode_us": inode_us,
            }
        )
    )


def _look_up(bucket: str, settings, per_folder: int, open_snapshot) -> tuple[int, float]:  # type: ignore[no-untyped-def]  # imported late
    """Most GETs of a cold look-up of a random path; microseconds of an inode round trip with the nodes in memory."""
    choose = random.Random(1)
    most = 0
    for _ in range(20):
        snapshot = open_snapshot(f"{bucket}/tree", settings, cached=False)
        path = (b"part-%04d" % choose.randrange(_FOLDERS), b"image-%08d.jpg" % choose.randrange(per_folder))
        snapshot.tree.resolve(path)
        most = max(most, snapshot.counters()["node_gets"])
        snapshot.close()
    snapshot = open_snapshot(f"{bucket}/tree", settings, cached=False)
    tree = snapshot.tree
    inodes = []
    for _ in range(_LOOKUPS):
        inode = choose.randrange(1, snapshot.root.entries + 2)
        assert tree.resolve(tree.path_of(inode))[0] == inode
        inodes.append(inode)
    begin = time.perf_counter()
    for inode in inodes[-50:]:
        assert tree.resolve(tree.path_of(inode))[0] == inode
    took = time.perf_counter() - begin
    snapshot.close()
    return most, took / 50 * 1e6


if __name__ == "__main__":
    os.environ.pop("PYTHONPATH", None)
    _build(sys.argv[1], int(sys.argv[2]))
