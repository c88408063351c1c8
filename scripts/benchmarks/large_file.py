"""Rows of the reading benchmark that read a file of 1 GiB from begin to end, or have it read beside small ones."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from stage import LARGE, RUNS, Stage, median
from whole_files import Reading, begin_reading, finish, read_files

__all__ = ["beside_a_fetch", "cold_sequential", "warm_sequential"]

_QUIET_FILES = 4000


def cold_sequential(stage: Stage) -> None:
    """1 GiB with nothing cached, beside raw GETs and s3fs, in turn."""
    program = Path(__file__).with_name("raw_gets.py")
    ours, raw, theirs = [], [], []
    for run in range(RUNS):
        found = json.loads(stage.world.run(sys.executable, program, stage.plain_bucket, LARGE)[1])
        raw.append(found["bytes"] / found["seconds"] / 1e6)
        with stage.mounted(stage.mixed) as where:
            ours.append(_read_large(stage, where).megabytes_per_second)
            if run == 0:
                stage.world.run("cmp", stage.large, where / LARGE)
        with stage.world.s3fs_mount(stage.plain_bucket) as (where, _):
            theirs.append(_read_large(stage, where).megabytes_per_second)
    add = stage.figures.add
    add("cold, 1 GiB from begin to end", median(ours), "MB/s")
    add("  raw ranged GETs with boto3, 8 threads", median(raw), "MB/s")
    add("  ours / raw", median(ours) / median(raw), "x", at_least=0.9)
    add("  s3fs", median(theirs), "MB/s")
    add("  ours / s3fs's", median(ours) / median(theirs), "x", at_least=1.5)


def warm_sequential(stage: Stage) -> None:
    """1 GiB from the block cache, beside the plain file, the page cache dropped before each."""
    if not stage.can_drop:
        return
    ours, plain = [], []
    with stage.mounted(stage.mixed) as where:
        _read_large(stage, where)
        for _ in range(RUNS):
            stage.world.drop_page_cache()
            ours.append(_read_large(stage, where).megabytes_per_second)
            stage.world.drop_page_cache()
            plain.append(_read_large(stage, stage.large.parent).megabytes_per_second)
    stage.figures.add("cache warm, 1 GiB again, page cache dropped", median(ours), "MB/s")
    stage.figures.add("  a plain file on the same disk", median(plain), "MB/s")
    stage.figures.add("  ours / plain", median(ours) / median(plain), "x", at_least=0.8)


def beside_a_fetch(stage: Stage) -> None:
    """Warm reads of small files while the same mount fetches 1 GiB as fast as it can, and while it does not."""
    names = [f"clipart/{name}" for name in stage.order(0)]
    quiet, busy = [], []
    for _ in range(RUNS):
        with stage.mounted(stage.mixed) as where:
            read_files(where, names, readers=16)
            quiet.append(read_files(where, names[:_QUIET_FILES], evict=True))
            fetching = begin_reading(where, [LARGE])
            beside = begin_reading(where, names, evict=True, while_pid=fetching.pid)
            try:
                finish(fetching)
            finally:
                busy.append(finish(beside))
    add = stage.figures.add
    add("p99 of warm reads, idle", median([each.p99_us for each in quiet]), "us")
    add("  while a cold fetch saturates the link", median([each.p99_us for each in busy]), "us")
    ratios = [during.p99_us / before.p99_us for before, during in zip(quiet, busy, strict=True)]
    add("  of that / idle", median(ratios), "x", at_most=3)
    add("  median of the same reads, idle", median([each.p50_us for each in quiet]), "us")
    add("  during the fetch", median([each.p50_us for each in busy]), "us")


def _read_large(stage: Stage, where: Path) -> Reading:
    reading = read_files(where, [LARGE])
    assert reading.bytes == stage.large.stat().st_size, reading
    return reading
