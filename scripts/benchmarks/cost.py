"""What reading costs: processor seconds of all processes that serve a mount, beside peers' and raw GETs.

Nothing stands between here and the server, and time by the clock is not looked at: processor time is what noise on a
machine moves least. The server's own work counts for nobody.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from figures import Figures
from memory import family
from stage import LARGE, Stage, median
from whole_files import read_files
from world import World

__all__ = ["bench_cost"]

_RUNS = 3
_TICK = os.sysconf("SC_CLK_TCK")
_PEER_FILES = 400
"""What rclone reads of openclipart: a file costs it milliseconds."""
_MISSES = 24


@dataclass(frozen=True, slots=True)
class _Work:
    """Processor seconds, user and system, of processes and of their children that have ended."""

    all: float
    fetching: float
    """Of those that fetch for a mount."""


class _Spent:
    """What processes have used within a block."""

    work: _Work


@contextmanager
def _watched(pid: int) -> Iterator[_Spent]:
    spent, before = _Spent(), _work_of(pid)
    yield spent
    after = _work_of(pid)
    spent.work = _Work(after.all - before.all, after.fetching - before.fetching)


def _work_of(pid: int) -> _Work:
    total = fetching = 0.0
    for each in family(pid):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        seconds = sum(int(value) for value in fields[11:15]) / _TICK
        total += seconds
        if b"fetch_process" in Path(f"/proc/{each}/cmdline").read_bytes():
            fetching += seconds
    return _Work(total, fetching)


def bench_cost(world: World, figures: Figures) -> None:
    """Measure the rows whose names the world's pattern matches."""
    wanted = re.compile(world.rows)
    rows = {name: row for name, row in _ROWS.items() if wanted.search(name)}
    if not rows:
        sys.exit(f"no row matches {world.rows}; there are {', '.join(_ROWS)}")
    stage = Stage(world, figures)
    with world.no_latency():
        for name, row in rows.items():
            begin = time.perf_counter()
            row(stage)
            print(f"  {name}: {time.perf_counter() - begin:.1f} s", file=sys.stderr)


def _large(stage: Stage) -> None:
    """1 GiB from begin to end with nothing cached."""
    program = Path(__file__).with_name("raw_gets.py")
    ours, fetching, raw, rclone, s3fs, clock, s3fs_clock = [], [], [], [], [], [], []
    for _ in range(_RUNS):
        found = json.loads(stage.world.run(sys.executable, program, stage.plain_bucket, LARGE)[1])
        raw.append(found["processor_seconds"])
        stage.world.forget_cache()
        with stage.world.penstock_mount(stage.mixed) as (where, pid), _watched(pid) as spent:
            clock.append(read_files(where, [LARGE]).megabytes_per_second)
        ours.append(spent.work.all)
        fetching.append(spent.work.fetching)
        with stage.world.rclone_mount(stage.plain_bucket) as (where, pid), _watched(pid) as spent:
            read_files(where, [LARGE])
        rclone.append(spent.work.all)
        if shutil.which("s3fs") is not None:
            with stage.world.s3fs_mount(stage.plain_bucket) as (where, pid), _watched(pid) as spent:
                s3fs_clock.append(read_files(where, [LARGE]).megabytes_per_second)
            s3fs.append(spent.work.all)
    add = stage.figures.add
    add("cold, 1 GiB from begin to end, processor time", median(ours), "s/GiB")
    add("  of that in processes that fetch", median(fetching), "s/GiB")
    add("  raw ranged GETs with boto3, 8 threads", median(raw), "s/GiB")
    add("  ours / raw", median(ours) / median(raw), "x", at_most=1.6)
    add("  rclone", median(rclone), "s/GiB")
    add("  ours / rclone's", median(ours) / median(rclone), "x", at_most=0.5)
    add("  by the clock", median(clock), "MB/s")
    if s3fs:
        add("  s3fs", median(s3fs), "s/GiB")
        add("  ours / s3fs's", median(ours) / median(s3fs), "x", at_most=0.7)
        add("  by the clock, ours / s3fs's", median(clock) / median(s3fs_clock), "x", at_least=1.5)


def _files(stage: Stage) -> None:
    """Openclipart in random order: cold, from the block cache, from the page cache."""
    cold, blocks, cached, pages = [], [], [], []
    for run in range(_RUNS):
        names = stage.order(run)
        stage.world.forget_cache()
        with stage.world.penstock_mount(stage.clipart) as (where, pid):
            with _watched(pid) as spent:
                stage.read(where, names)
            cold.append(spent.work.all / len(names) * 1e6)
            blocks.append(spent.work.fetching / len(names) * 1e6)
            if stage.can_drop:
                stage.world.drop_page_cache()
                with _watched(pid) as spent:
                    stage.read(where, names)
                cached.append(spent.work.all / len(names) * 1e6)
            with _watched(pid) as spent:
                stage.read(where, stage.order(run + _RUNS))
            pages.append(spent.work.all / len(names) * 1e6)
    some = stage.order(0, _PEER_FILES)
    with stage.world.rclone_mount(stage.plain_bucket, "--vfs-cache-mode", "full") as (where, pid):
        stage.world.run("find", where)
        with _watched(pid) as spent:
            stage.read(where / "clipart", some)
    rclone = spent.work.all / len(some) * 1e6
    add = stage.figures.add
    add("cold, openclipart in random order, processor time a file", median(cold), "us", at_most=600)
    add("  of that in processes that fetch", median(blocks), "us", at_most=80)
    add("  rclone", rclone, "us")
    if cached:
        add("from the block cache, page cache dropped, a file", median(cached), "us", at_most=150)
    add("from the page cache, a file", median(pages), "us", at_most=90)


def _miss(stage: Stage) -> None:
    """One file here and there, and the first read once `mount` has returned, beside raw GETs of as many bytes."""
    program = Path(__file__).with_name("raw_gets.py")
    misses, firsts, raw = [], [], []
    for run in range(_RUNS):
        names = stage.order(run, _MISSES)
        stage.world.forget_cache()
        with stage.world.penstock_mount(stage.clipart) as (where, _):
            firsts.append(read_files(where, names[:1]).p50_us / 1e3)
            misses.append(read_files(where, names[1:]).p50_us / 1e3)
        keys = [f"clipart/{name}" for name in names]
        raw.append(json.loads(stage.world.run(sys.executable, program, stage.plain_bucket, *keys)[1])["p50_us"] / 1e3)
    add = stage.figures.add
    add("a file that is not cached, near server", median(misses), "ms")
    add("  a GET with boto3 of the same file as an object", median(raw), "ms")
    add("  ours / raw", median(misses) / median(raw), "x", at_most=1.4)
    add("first read after mount has returned", median(firsts), "ms")
    add("  of that / a raw GET", median(firsts) / median(raw), "x", at_most=3)


def _push(stage: Stage) -> None:
    """1 GiB from the page cache into the server."""
    ours, rclone, aws = [], [], []
    stage.large.read_bytes()
    folder = stage.world.scratch / "only-large"
    folder.mkdir()
    os.link(stage.large, folder / LARGE)
    for _ in range(_RUNS):
        ours.append(_work_to_run(stage.world, "penstock", "push", folder, f"{stage.world.bucket()}/large"))
        rclone.append(_work_to_run(stage.world, "rclone", "copy", folder, f"s:{stage.world.bucket()}"))
        if shutil.which("aws") is not None:
            aws.append(
                _work_to_run(stage.world, "aws", "s3", "cp", "--quiet", folder / LARGE, f"s3://{stage.world.bucket()}/")
            )
    add = stage.figures.add
    add("push of 1 GiB, processor time", median(ours), "s")
    add("  rclone copy", median(rclone), "s")
    add("  ours / rclone's", median(ours) / median(rclone), "x", at_most=0.6)
    if aws:
        add("  aws s3 cp", median(aws), "s")
        add("  ours / aws's", median(ours) / median(aws), "x", at_most=0.4)


def _work_to_run(world: World, *command: str | Path) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    world.run(*command)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


_ROWS: dict[str, Callable[[Stage], None]] = {"large": _large, "files": _files, "miss": _miss, "push": _push}
