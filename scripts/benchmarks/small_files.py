"""Rows of the reading benchmark that read openclipart: 8,121 files with a median of 8 KB."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path

from stage import RUNS, Stage, median
from whole_files import Reading, read_files

__all__ = [
    "cold_one_reader",
    "cold_sample",
    "cold_sixteen_readers",
    "half_cache",
    "page_cache",
    "training",
    "warm",
]

_SAMPLES = 3
_MANY = 16


def cold_one_reader(stage: Stage) -> None:
    """Everything once in random order, nothing cached; the bytes of that, too."""
    rates, fetched = [], []
    for run in range(RUNS):
        stage.world.proxy.reset()
        with stage.mounted(stage.clipart) as where:
            rates.append(stage.read(where, stage.order(run)).rate)
        fetched.append(stage.world.proxy.counts().bytes_to_client / stage.clipart_stored)
    add = stage.figures.add
    add("cold, openclipart in random order, 1 reader", median(rates), "files/s")
    add("  rclone", stage.rclone.one_reader, "files/s")
    add("  ours / rclone's", median(rates) / stage.rclone.one_reader, "x", at_least=100)
    add("  bytes fetched / data set, metadata and heads included", median(fetched), "x", at_most=1.05)


def cold_sixteen_readers(stage: Stage) -> None:
    """The same, sixteen at a time."""
    rates = []
    for run in range(RUNS):
        with stage.mounted(stage.clipart) as where:
            rates.append(stage.read(where, stage.order(run), readers=_MANY).rate)
            if run == 0:
                stage.compare(where)  # the kernel has the pages: it is what the readers were given
    add = stage.figures.add
    add("cold, openclipart in random order, 16 readers", median(rates), "files/s")
    add("  rclone", stage.rclone.sixteen_readers, "files/s")
    add("  ours / rclone's", median(rates) / stage.rclone.sixteen_readers, "x", at_least=20)


def cold_sample(stage: Stage) -> None:
    """One file of a hundred, nothing cached: what is fetched for it, and for mounting."""
    shares, rates = [], []
    for run in range(_SAMPLES):
        names = stage.order(100 + run, len(stage.sizes) // 100)
        stage.world.proxy.reset()
        with stage.mounted(stage.clipart) as where:
            rates.append(stage.read(where, names).rate)
        shares.append(stage.world.proxy.counts().bytes_to_client / stage.size_of(names))
    stage.figures.add("cold, 1 % of the files in random order", median(rates), "files/s")
    stage.figures.add("  bytes fetched / bytes read", median(shares), "x", at_most=10)


def warm(stage: Stage) -> None:
    """All in the block cache and nothing in the page cache, beside rclone and the local disk."""
    if not stage.can_drop:
        return
    ours, local = [], []
    with stage.warmed() as where:
        for run in range(RUNS):
            stage.world.drop_page_cache()
            ours.append(stage.read(where, stage.order(run)).rate)
            if run == 0:
                stage.compare(where)
            stage.world.drop_page_cache()
            local.append(stage.read(stage.world.clipart, stage.order(run)).rate)
    rclone = stage.rclone.warm
    assert rclone is not None
    add = stage.figures.add
    add("cache warm, page cache dropped, random order, 1 reader", median(ours), "files/s")
    add("  rclone, --vfs-cache-mode full", rclone, "files/s")
    add("  ours / rclone's", median(ours) / rclone, "x", at_least=10)
    add("  the same files on the local disk", median(local), "files/s")
    add("  ours / local", median(ours) / median(local), "x", at_least=1)


def page_cache(stage: Stage) -> None:
    """All in the page cache: what opening costs. Beside the least that pyfuse3 can do."""
    bare = stage.world.scratch / "bare"
    bare.mkdir()
    program = Path(__file__).with_name("bare_fuse.py")
    ours, theirs = [], []
    with (
        stage.warmed() as where,
        stage.world.serving(bare, sys.executable, program, stage.world.clipart, bare),
    ):
        for root in (where, bare):
            stage.read(root, stage.order(0))
        for run in range(1, 1 + RUNS):
            ours.append(stage.read(where, stage.order(run)).rate)
            theirs.append(stage.read(bare, stage.order(run)).rate)
    stage.figures.add("page cache warm, random order, 1 reader", median(ours), "files/s")
    stage.figures.add("  a bare pyfuse3 file system in memory", median(theirs), "files/s")
    stage.figures.add("  ours / bare", median(ours) / median(theirs), "x", at_least=0.8)


def half_cache(stage: Stage) -> None:
    """Three epochs in random order with a cache for half of the data; what the third finds there.

    Sixteen readers, because one would take minutes. The page cache is kept out of it, file by file.
    """
    bound = stage.clipart_stored // 2
    cache = Path(stage.world.environment["PENSTOCK_CACHE_DIR"])
    third: Reading | None = None
    fetched = 0
    with stage.mounted(stage.clipart, "--cache-size", str(bound)) as where:
        for epoch in range(3):
            before = _bytes_fetched(where)
            third = read_files(where, stage.order(epoch), readers=_MANY, evict=True, ask_cached=True)
            fetched = _bytes_fetched(where) - before
            assert third.bytes == sum(stage.sizes.values())
        on_disk = sum(path.stat().st_blocks * 512 for path in cache.rglob("*") if path.is_file())
    assert third is not None
    add = stage.figures.add
    add("third epoch, cache = half of the data: blocks in the cache when read", third.cached / third.blocks, "")
    add("  hit rate: 1 - bytes fetched / bytes read", 1 - fetched / third.bytes, "", at_least=0.45)
    add("  third epoch, 16 readers", third.rate, "files/s")
    add("  cache on disk / its bound", on_disk / bound, "x", at_most=1)


def _bytes_fetched(where: Path) -> int:
    return int(os.getxattr(where, "user.penstock.bytes_fetched"))


def training(stage: Stage) -> None:
    """Images through PyTorch's DataLoader with two workers, all warm, beside the local disk."""
    missing = [name for name in ("torch", "numpy", "PIL") if importlib.util.find_spec(name) is None]
    if missing:
        print(f"  no {', '.join(missing)} here: the DataLoader row is left out", file=sys.stderr)
        return
    ours, local = [], []
    with stage.warmed() as where:
        for _ in range(RUNS):
            ours.append(_images_per_second(stage, where))
            local.append(_images_per_second(stage, stage.world.clipart))
    stage.figures.add("images through a DataLoader, 2 workers, warm", median(ours), "images/s")
    stage.figures.add("  the same from the local disk", median(local), "images/s")
    stage.figures.add("  ours / local", median(ours) / median(local), "x", at_least=0.9)


def _images_per_second(stage: Stage, root: Path) -> float:
    program = Path(__file__).with_name("training.py")
    found = json.loads(stage.world.run(sys.executable, program, root)[1])
    return float(found["images"] / found["seconds"])
