"""File datasets through the proxy: many small files as one version, rows of a data frame beside plain boto3.

What is measured runs as a program of its own (below), told what by its arguments; it prints seconds, or other figures.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from figures import Figures
from world import World

__all__ = ["bench_files"]

_RUNS = 3
_SMALL, _SMALL_BYTES = 10_000, 4096
_ROWS, _THREADS = 200, 8
_SLEEP = 0.025
_MANY = 100_000


def bench_files(world: World, figures: Figures) -> None:
    """Measure those rows whose name what is asked for fits."""
    rows = {
        "small": _bench_small,
        "batch": _bench_rows,
        "again": _bench_again,
        "many": _bench_many,
        "dask": _bench_dask,
    }
    for name, bench in rows.items():
        if re.search(world.rows, name):
            bench(world, figures)


def _measure(world: World, what: str, *arguments: str) -> Any:
    return json.loads(world.run(sys.executable, __file__, what, *arguments)[1])


def _data_puts(world: World) -> int:
    return sum("/.penstock/data/" in path for method, path in world.proxy.counts().paths if method == "PUT")


def _bench_small(world: World, figures: Figures) -> None:
    folder = world.scratch / "small"
    folder.mkdir()
    for number in range(_SMALL):
        (folder / f"{number:05}").write_bytes(number.to_bytes(4, "big") * (_SMALL_BYTES // 4))
    ours: list[list[float]] = []
    theirs: list[list[float]] = []
    puts = 0
    for run in range(_RUNS):
        bucket = world.bucket()
        world.forget_cache()
        world.proxy.reset()
        ours.append(_measure(world, "fuse", str(folder), f"{bucket}/small"))
        puts = max(puts, _data_puts(world))
        if not run:  # it takes most of a minute, and each is the same
            theirs.append(_measure(world, "put_each", str(folder), world.bucket()))
    took, worked = (_median([each[at] for each in ours]) for at in (0, 1))
    figures.add("10,000 files of 4 KB into a dataset", took, "s")
    figures.add("  of that, CPU", worked, "s")
    figures.add("  one PUT a file, boto3 in 16 threads", theirs[0][0], "s")
    figures.add("  of that, CPU", theirs[0][1], "s")
    figures.add("  its time / ours", theirs[0][0] / took, "x", at_least=20)
    figures.add("  its CPU / ours", theirs[0][1] / worked, "x")
    figures.add("  data PUTs", puts, "", at_most=4)


def _bench_rows(world: World, figures: Figures) -> None:
    bucket = world.bucket()
    _measure(world, "inputs", bucket)
    ratios: dict[str, list[float]] = {"threads": [], "overlap": []}
    for run in range(_RUNS):
        raw = _measure(world, "raw", bucket, str(_THREADS), "0")
        ours = _measure(world, "batch", bucket, f"s3://{bucket}/threads-{run}", str(_THREADS), "0")
        ratios["threads"].append(raw / ours)
        raw = _measure(world, "raw", bucket, "1", str(_SLEEP))
        ours = _measure(world, "batch", bucket, f"s3://{bucket}/overlap-{run}", "0", str(_SLEEP))
        ratios["overlap"].append(raw / ours)
    figures.add(
        "map_batch of 200 rows, 8 threads: boto3's time in 8 threads / ours",
        _median(ratios["threads"]),
        "x",
        at_least=0.8,
    )
    figures.add(
        "map_batch of 200 rows, fn of 25 ms: boto3's time one after the other / ours",
        _median(ratios["overlap"]),
        "x",
        at_least=1.5,
    )


def _bench_again(world: World, figures: Figures) -> None:
    bucket = world.bucket()
    _measure(world, "inputs", bucket)
    log = world.scratch / "calls"
    into = f"{bucket}/again"
    _measure(world, "again", bucket, into, str(_ROWS - 10), str(log))
    log.unlink()
    world.proxy.reset()
    _measure(world, "again", bucket, into, str(_ROWS), str(log))
    figures.add("second run after 10 new inputs: calls of fn", len(log.read_text().splitlines()), "", at_most=10)
    figures.add("  data PUTs", _data_puts(world), "", at_most=1)
    log.unlink()
    _measure(world, "half", bucket, f"s3://{bucket}/half", str(_ROWS), str(log))
    before = len(log.read_text().splitlines())
    _measure(world, "again", bucket, f"s3://{bucket}/half", str(_ROWS), str(log))
    after = len(log.read_text().splitlines()) - before
    figures.add("killed at half: calls before", before, "")
    figures.add("  run again: calls of fn more than the rest", before + after - _ROWS, "", at_most=20)


def _bench_many(world: World, figures: Figures) -> None:
    count = _MANY if world.full else _MANY // 10
    few = count // 10
    small, large = (_measure(world, "many", f"{world.bucket()}/many", str(each)) for each in (few, count))
    figures.add(f"map_batch of {count:,} rows into a dataset", large["seconds"], "s")
    figures.add(f"  most memory, of {count:,} rows / of {few:,}", large["memory"] / small["memory"], "x", at_most=2)
    figures.add("  most memory", large["memory"], "MB", at_most=500)


def _bench_dask(world: World, figures: Figures) -> None:
    count = _MANY if world.full else _MANY // 10
    few = count // 10
    small, large = (_measure(world, "dask", str(world.scratch / f"dask-{each}"), str(each)) for each in (few, count))
    figures.add(f"map_batch of {count:,} rows on two workers of Dask, to files", large["seconds"], "s")
    figures.add("  most memory of its scheduler", large["scheduler"], "MB", at_most=500)
    figures.add(f"  the same, of {count:,} rows / of {few:,}", large["scheduler"] / small["scheduler"], "x", at_most=2)
    figures.add("  most memory of the caller", large["memory"], "MB", at_most=500)


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


# What runs as a program


def _fuse(folder: str, into: str) -> tuple[float, float]:
    from penstock import FileDataset

    files = FileDataset()
    outputs = {name: Path(folder, name) for name in os.listdir(folder)}
    files.upload_files(dict([outputs.popitem()]), into, id="first")  # what boto3.client() does before the other's time
    begin = time.perf_counter(), time.process_time()
    files.upload_files(outputs, into, id="all")
    return time.perf_counter() - begin[0], time.process_time() - begin[1]


def _put_each(folder: str, bucket: str) -> tuple[float, float]:
    from concurrent.futures import ThreadPoolExecutor

    import boto3
    from botocore.config import Config

    client = boto3.client("s3", config=Config(max_pool_connections=16))
    begin = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(16) as pool:
        put = lambda name: client.put_object(Bucket=bucket, Key=name, Body=Path(folder, name).read_bytes())  # noqa: E731
        list(pool.map(put, os.listdir(folder)))
    return time.perf_counter() - begin[0], time.process_time() - begin[1]


def _inputs(bucket: str) -> int:
    from concurrent.futures import ThreadPoolExecutor

    import boto3

    client = boto3.client("s3")
    with ThreadPoolExecutor(8) as pool:
        put = lambda number: client.put_object(Bucket=bucket, Key=f"in/{number}", Body=b"%06d" % number)  # noqa: E731
        list(pool.map(put, range(_ROWS)))
    return _ROWS


def _raw(bucket: str, threads: str, sleep: str) -> float:
    """The least that does the same: a GET, a file, the function, a file, a PUT."""
    import tempfile
    from concurrent.futures import ThreadPoolExecutor

    import boto3

    client = boto3.client("s3")

    def row(number: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder, "in"), Path(folder, "out")
            source.write_bytes(client.get_object(Bucket=bucket, Key=f"in/{number}")["Body"].read())
            time.sleep(float(sleep))
            target.write_bytes(source.read_bytes())
            client.put_object(Bucket=bucket, Key=f"raw/{number}", Body=target.read_bytes())

    row(0)
    begin = time.perf_counter()
    with ThreadPoolExecutor(int(threads)) as pool:
        list(pool.map(row, range(_ROWS)))
    return time.perf_counter() - begin


def _frame(bucket: str, count: int) -> Any:
    import pandas as pd

    return pd.DataFrame({"in": [f"s3://{bucket}/in/{number}" for number in range(count)], "id": range(count)})


def _function(sleep: float, log: str | None = None, most: int | None = None) -> Callable[..., Any]:
    def fn(input_dir: Path, output_dir: Path) -> dict[str, Path]:
        if log is not None:
            with open(log, "a") as stream:
                stream.write("called\n")
            if most is not None and len(Path(log).read_text().splitlines()) >= most:
                os.kill(os.getpid(), 9)
        time.sleep(sleep)
        (output_dir / "out").write_bytes((input_dir / "in").read_bytes())
        return {"out": output_dir / "out"}

    return fn


def _batch(bucket: str, into: str, threads: str, sleep: str) -> float:
    from concurrent.futures import ThreadPoolExecutor

    from penstock import FileDataset

    files = FileDataset()
    executor = ThreadPoolExecutor(int(threads)) if int(threads) else None
    files.map_batch(_frame(bucket, 1), _function(0), {"into_path": f"{into}-first"})
    begin = time.perf_counter()
    found = files.map_batch(_frame(bucket, _ROWS), _function(float(sleep)), {"into_path": into}, executor=executor)
    took = time.perf_counter() - begin
    assert not found["error"].notna().any(), found["error"].dropna().iloc[0]
    return took


def _again(bucket: str, into: str, count: str, log: str) -> int:
    from penstock import FileDataset

    fn = _function(0, log)
    found = FileDataset().map_batch(_frame(bucket, int(count)), fn, {"into_path": into}, version="1")
    assert not found["error"].notna().any(), found["error"].dropna().iloc[0]
    return len(found)


def _half(bucket: str, into: str, count: str, log: str) -> int:
    from penstock import FileDataset

    child = os.fork()
    if child == 0:
        fn = _function(0, log, int(count) // 2)
        FileDataset().map_batch(_frame(bucket, int(count)), fn, {"into_path": into}, version="1")
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -9, status
    return 0


def _many(into: str, count: str) -> dict[str, float]:
    import resource

    import pandas as pd

    from penstock import FileDataset

    def fn(output_dir: Path, *, id: int) -> dict[str, Path]:  # noqa: A002  # a column
        (output_dir / "out").write_bytes(b"%d" % id)
        return {"out": output_dir / "out"}

    frame = pd.DataFrame({"id": range(int(count))})
    begin = time.perf_counter()
    options = {"into_path": into, "commit_every": 10_000}
    found = FileDataset().map_batch(frame, fn, options, files=[])
    assert not found["error"].notna().any(), found["error"].dropna().iloc[0]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": time.perf_counter() - begin, "memory": memory}


def _dask(into: str, count: str) -> dict[str, float]:
    """Rows whose function and files are on two workers, with a scheduler that is a process of its own."""
    import resource

    import pandas as pd
    from distributed import Client

    from penstock import FileDataset

    def fn(output_dir: Path, *, id: int) -> dict[str, Path]:  # noqa: A002  # a column
        (output_dir / "out").write_bytes(b"%d" % id)
        return {"out": output_dir / "out"}

    address = Path(f"{into}.json")
    common = ["--scheduler-file", str(address), "--no-dashboard"]
    programs = [["scheduler", "--host", "127.0.0.1", "--port", "0"]]
    programs += [["worker", "--host", "127.0.0.1", "--nthreads", "1"]] * 2
    running = [
        subprocess.Popen([sys.executable, "-m", "dask", *words, *common], stderr=subprocess.DEVNULL)
        for words in programs
    ]
    try:
        while not address.exists():
            time.sleep(0.1)
        with Client(scheduler_file=str(address)) as client:
            client.wait_for_workers(2)
            frame = pd.DataFrame({"id": range(int(count))})
            begin = time.perf_counter()
            found = FileDataset().map_batch(frame, fn, {"into_path": into}, files=[], executor=client, version="1")
            took = time.perf_counter() - begin
            assert not found["error"].notna().any(), found["error"].dropna().iloc[0]
        told = Path(f"/proc/{running[0].pid}/status").read_text()
        scheduler = int(told.partition("VmHWM:")[2].split()[0]) / 1024
    finally:
        for each in reversed(running):
            each.terminate()
        for each in running:
            each.wait()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": took, "scheduler": scheduler, "memory": memory}


PROGRAMS: dict[str, Callable[..., Any]] = {
    "fuse": _fuse,
    "put_each": _put_each,
    "inputs": _inputs,
    "raw": _raw,
    "batch": _batch,
    "again": _again,
    "half": _half,
    "many": _many,
    "dask": _dask,
}

if __name__ == "__main__":
    print(json.dumps(PROGRAMS[sys.argv[1]](*sys.argv[2:])))
