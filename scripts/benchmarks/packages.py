"""Packages: ten million entries browsed and openclipart copied through the proxy; packages in the making; training."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import time

from figures import Figures
from package_builds import bench_keys, bench_listed, bench_pushers, bench_unread
from package_rows import bench_history, bench_imports, bench_loader, bench_quilt_push
from world import World

__all__ = ["bench_packages"]

_RUNS = 3
_FOLDERS = 1000
"""As `trees` makes them."""
_QUESTIONS = ("ls of the root", "a page in the middle", "metadata of a random entry")


def bench_packages(world: World, figures: Figures) -> None:
    """Measure those rows whose name what is asked for fits."""
    rows = {
        "import": bench_imports,
        "browse": _bench_browsing,
        "copy": _bench_copies,
        "build-keys": bench_keys,
        "build-in-place": bench_unread,
        "build-listed": bench_listed,
        "pushers": bench_pushers,
        "first-push": bench_quilt_push,
        "history": bench_history,
        "loader": bench_loader,
    }
    for name, bench in rows.items():
        if re.search(world.rows, name):
            bench(world, figures)


def _bench_browsing(world: World, figures: Figures) -> None:
    bucket = world.bucket()
    world.forget_cache()
    world.run(sys.executable, os.path.join(os.path.dirname(__file__), "trees.py"), bucket, str(world.entries))
    figures.add(f"package of {world.entries:,} entries, nothing cached", world.entries, "entries")
    for question in _QUESTIONS:
        took, worked, most = [], [], 0
        for run in range(_RUNS):
            world.forget_cache()
            world.proxy.reset()
            _, answer = world.run(sys.executable, __file__, bucket, str(world.entries), question, str(run))
            seconds, of_cpu = json.loads(answer)
            took.append(seconds)
            worked.append(of_cpu)
            most = max(most, world.proxy.counts().bytes_to_client)
        figures.add(f"  {question}, from `open` on", _median(took), "s", at_most=0.5)
        figures.add("    of that, CPU", _median(worked), "s")
        figures.add(f"  {question}: bytes from the store", most, "B", at_most=1_000_000)


def _bench_copies(world: World, figures: Figures) -> None:
    source = world.clipart
    bucket, plain = world.bucket(), world.bucket()
    handle = f"{bucket}/clipart"
    world.run("penstock", "push", source, handle)
    world.run("rclone", "copy", "--transfers", "32", "--checkers", "32", source, f"s:{plain}")
    ours, theirs = [], []
    copy, other = world.scratch / "copy", world.scratch / "other"
    for _ in range(_RUNS):
        for where in (copy, other):
            shutil.rmtree(where, ignore_errors=True)
        world.forget_cache()
        world.proxy.reset()
        ours.append(world.run("penstock", "download", handle, copy)[0])
        gets = _data_gets(world)
        theirs.append(world.run("rclone", "copy", "--transfers", "32", "--checkers", "32", f"s:{plain}", other)[0])
    world.run("diff", "-r", source, copy)
    figures.add("download of openclipart (8,121 PNG), nothing cached", _median(ours), "s")
    figures.add("  rclone copy --transfers 32 of the same", _median(theirs), "s")
    figures.add("  rclone's time / ours", _median(theirs) / _median(ours), "x", at_least=3)
    figures.add("  data GETs", gets, "")
    world.proxy.reset()
    again, _ = world.run("penstock", "download", handle, copy)
    figures.add("  again", again, "s")
    figures.add("  again: data GETs", _data_gets(world), "", at_most=0)
    changed = world.scratch / "changed"
    world.run("cp", "-a", source, changed)
    next(changed.rglob("*.png")).write_bytes(b"another picture")
    world.run("penstock", "push", changed, handle)
    world.forget_cache()
    world.proxy.reset()
    world.run("penstock", "download", handle, copy)
    figures.add("  after one change: data GETs", _data_gets(world), "", at_most=1)
    verified, _ = world.run("penstock", "verify", handle, copy)
    figures.add("  verify of the directory", verified, "s")


def _data_gets(world: World) -> int:
    return sum("/data/" in path for method, path in world.proxy.counts().paths if method == "GET")


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def _ask(bucket: str, entries: int, question: str, seed: int) -> tuple[float, float]:
    """Ask one question of a package that nothing is known of; seconds, and those of CPU, without the imports."""
    import random

    import penstock
    import penstock.store.s3.s3_store

    penstock.Package  # noqa: B018  # imported when it is first named, as boto3 is by the store
    choose = random.Random(seed)
    folder, per_folder = f"part-{choose.randrange(_FOLDERS):04}", entries // _FOLDERS
    begin, worked = time.perf_counter(), time.process_time()
    with penstock.open(f"{bucket}/tree") as package:
        if question == _QUESTIONS[0]:
            count = sum(1 for _ in package.ls())
            assert count == _FOLDERS, count
        elif question == _QUESTIONS[1]:
            after = f"image-{per_folder // 2:08}.jpg"
            count = sum(1 for _ in package.ls(folder, after=after, limit=100))
            assert count == min(100, per_folder - per_folder // 2 - 1), count
        else:
            assert package.get_metadata(f"{folder}/image-{choose.randrange(per_folder):08}.jpg") == {}
        return time.perf_counter() - begin, time.process_time() - worked


if __name__ == "__main__":
    print(json.dumps(_ask(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))))
