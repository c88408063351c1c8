"""Read whole files and time it: a program of its own, so that readers share no interpreter with the benchmark.

    python whole_files.py --readers 16 ROOT < names, one a line

prints one JSON object, a `Reading`. From Python: `read_files`. Readers are processes; they begin together.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

__all__ = ["Reading", "begin_reading", "finish", "read_files"]

_PIECE = 1 << 20
_NS = 1e9


@dataclass(frozen=True, slots=True)
class Reading:
    """What a run has read, in how many seconds; `p99_us`: microseconds of open, read and close of one file.

    `cached` and `blocks` count blocks that were in the cache just before their file was read, if that was asked for.
    """

    seconds: float
    files: int
    bytes: int
    p50_us: float
    p99_us: float
    cached: int
    blocks: int

    @property
    def rate(self) -> float:
        """Files a second."""
        return self.files / self.seconds

    @property
    def megabytes_per_second(self) -> float:
        """Millions of bytes a second."""
        return self.bytes / self.seconds / 1e6


def begin_reading(
    root: Path,
    names: Sequence[str],
    *,
    readers: int = 1,
    evict: bool = False,
    ask_cached: bool = False,
    while_pid: int | None = None,
) -> subprocess.Popen[str]:
    """Start to read files below `root`. `finish` says how it went.

    `evict`: out of the page cache with each before it is read, which is not timed. `ask_cached`: fill in `cached` and
    `blocks`, by Penstock's extended attribute. `while_pid`: over and over until that process is no more.
    """
    options = ["--readers", str(readers)]
    options += ["--evict"] if evict else []
    options += ["--ask-cached"] if ask_cached else []
    options += ["--while-pid", str(while_pid)] if while_pid is not None else []
    process = subprocess.Popen(
        [sys.executable, __file__, *options, root], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    process.stdin.write("\n".join(names))
    process.stdin.close()
    process.stdin = None
    return process


def finish(process: subprocess.Popen[str]) -> Reading:
    """Wait for the end of what `begin_reading` began. Ends the benchmark if a read failed."""
    try:
        answer, _ = process.communicate()
    except BaseException:
        process.kill()
        process.wait()
        raise
    if process.returncode:
        sys.exit("a file could not be read")
    return Reading(**json.loads(answer))


def read_files(root: Path, names: Sequence[str], **options: Any) -> Reading:
    """Do both; options as `begin_reading`."""
    return finish(begin_reading(root, names, **options))


class _Reader:
    """One reader's share, and what it has measured."""

    def __init__(self, root: str, names: Sequence[str], options: argparse.Namespace) -> None:
        self._paths = [os.path.join(root, name) for name in names]
        self._options = options
        self._buffer = bytearray(_PIECE)
        self.bytes = 0
        self.cached = self.blocks = 0
        self.times: list[int] = []

    def run(self) -> None:
        pid = self._options.while_pid
        while True:
            for path in self._paths:
                if pid is not None and not os.path.exists(f"/proc/{pid}"):
                    return
                self._read(path)
            if pid is None:
                return

    def _read(self, path: str) -> None:
        if self._options.ask_cached:
            cached, _, blocks = os.getxattr(path, "user.penstock.cached").partition(b"/")
            self.cached += int(cached)
            self.blocks += int(blocks)
        if self._options.evict:
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)
        begin = time.perf_counter_ns()
        descriptor = os.open(path, os.O_RDONLY)
        while size := os.readv(descriptor, [self._buffer]):
            self.bytes += size
        os.close(descriptor)
        self.times.append(time.perf_counter_ns() - begin)


def _share(root: str, names: list[str], options: argparse.Namespace, barrier: Any, results: Any) -> None:
    reader = _Reader(root, names, options)
    barrier.wait()
    begin = time.monotonic_ns()
    reader.run()
    results.put((begin, time.monotonic_ns(), reader.bytes, reader.cached, reader.blocks, reader.times))


def _main() -> int:
    parser = argparse.ArgumentParser(description="Read whole files, named on standard input, and time it.")
    parser.add_argument("root")
    parser.add_argument("--readers", type=int, default=1)
    parser.add_argument("--evict", action="store_true")
    parser.add_argument("--ask-cached", action="store_true")
    parser.add_argument("--while-pid", type=int)
    options = parser.parse_args()
    names = sys.stdin.read().split("\n")
    context = get_context("fork")
    barrier, results = context.Barrier(options.readers), context.SimpleQueue()
    shares = [
        context.Process(
            target=_share, args=(options.root, names[number :: options.readers], options, barrier, results), daemon=True
        )
        for number in range(options.readers)
    ]
    for share in shares:
        share.start()
    parts: list[tuple[int, int, int, int, int, list[int]]] = []
    while len(parts) < len(shares):
        if results.empty():
            if any(share.exitcode for share in shares):
                return 1  # its traceback is on standard error
            time.sleep(0.01)
            continue
        parts.append(results.get())
    for share in shares:
        share.join()
    begins, ends, sizes, cached, blocks, times = zip(*parts, strict=True)
    each = sorted(took for some in times for took in some)
    reading = Reading(
        seconds=(max(ends) - min(begins)) / _NS,
        files=len(each),
        bytes=sum(sizes),
        p50_us=each[len(each) // 2] / 1e3,
        p99_us=each[len(each) * 99 // 100] / 1e3,
        cached=sum(cached),
        blocks=sum(blocks),
    )
    print(json.dumps(asdict(reading)))
    return 0


if __name__ == "__main__":
    sys.exit(_main())
